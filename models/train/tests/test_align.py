import numpy as np
import pytest

from train import align
from train.augment import ClipAugment, plain
from train.data import DataError


def turned(points: np.ndarray, degrees: float, scale: float, shift) -> np.ndarray:
    a = np.radians(degrees)
    return scale * points @ np.asarray([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + shift


@pytest.mark.parametrize("degrees", [0, 17, -140])
def test_a_turned_scaled_and_shifted_template_is_brought_back_exactly(degrees):
    points = turned(align.TEMPLATE, degrees, 0.7, [30, -5])
    matrix = align.similarity(points, align.TEMPLATE)
    np.testing.assert_allclose(points @ matrix[:, :2].T + matrix[:, 2], align.TEMPLATE, atol=1e-9)


def test_a_mirrored_face_is_never_mirrored_back():
    mirrored = align.TEMPLATE * [-1, 1]
    assert np.linalg.det(align.similarity(mirrored, align.TEMPLATE)[:, :2]) > 0


def dotted(points: np.ndarray, side: int) -> np.ndarray:
    """A dark picture with a bright blot on each of the five points (corner of the first pixel at 0)."""
    y, x = np.mgrid[:side, :side] + 0.5
    blots = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8) for px, py in points]
    return np.repeat((255 * np.max(blots, axis=0)).astype(np.uint8)[..., None], 3, axis=2)


def centres(crop: np.ndarray, near: np.ndarray) -> np.ndarray:
    found = []
    for x, y in near:
        left, top = int(x) - 8, int(y) - 8
        part = crop[top : top + 17, left : left + 17, 0].astype(float)
        v, u = np.mgrid[top : top + 17, left : left + 17] + 0.5
        found.append([(u * part).sum() / part.sum(), (v * part).sum() / part.sum()])
    return np.asarray(found)


def test_landmarks_come_to_lie_on_the_template():
    points = turned(align.TEMPLATE, 12, 0.8, [40, 10])
    crops = dotted(points, 192)[None]
    (out,) = align.apply(plain(1.3), [crops], [points[None]], size=150, stored_margin=1.6)
    assert out.shape == (1, 150, 150, 3)
    np.testing.assert_allclose(centres(out[0], align.TEMPLATE), align.TEMPLATE, atol=0.3)


def test_the_same_draw_moves_both_sides_alike_and_turns_both():
    points = turned(align.TEMPLATE, 5, 0.8, [40, 10])
    crops = dotted(points, 192)[None]
    augment = ClipAugment(shift=(0.03, -0.02), flip=True)
    real, fake = align.apply(augment, [crops, crops], [points[None], points[None]], size=150, stored_margin=1.6)
    np.testing.assert_array_equal(real, fake)
    want = align.TEMPLATE + [4.5, -3.0]
    np.testing.assert_allclose(centres(real[0][:, ::-1], want), want, atol=0.3)


def test_without_landmarks_the_error_names_the_mend():
    with pytest.raises(DataError, match="CenterFace"):
        align.apply(plain(1.3), [np.zeros((1, 96, 96, 3), np.uint8)], [None], size=150, stored_margin=1.6)
