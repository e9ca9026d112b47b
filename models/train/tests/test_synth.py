from dataclasses import replace

import numpy as np
import pytest

from train import data, synth
from train.synth import REGIONS, SelfBlend


@pytest.fixture(scope="module")
def clip(crops):
    track = next(t for t in data.read(crops, "train") if t.label == data.REAL)
    return track.frames(slice(0, 12)), track.landmarks()[:12]


def test_ratio_zero_gives_the_real_back(clip):
    for seed in range(10):
        draw = replace(SelfBlend.draw(np.random.default_rng(seed)), ratio=0.0)
        real, fake = draw.apply(*clip)
        assert (real == fake).all()


@pytest.mark.parametrize("region", REGIONS)
def test_pairs_differ_inside_the_region_and_agree_outside(clip, region):
    crops, landmarks = clip
    draw = replace(SelfBlend.draw(np.random.default_rng(4)), region=region, ratio=1.0, feather=(0.05, 0.03))
    real, fake = draw.apply(crops, landmarks)
    changed = (real != fake).any(axis=-1)
    assert changed.any(axis=(1, 2)).all(), "every frame is a fake"
    rows, columns = np.nonzero(changed[0])
    eyes, mouth = landmarks[0, :2].mean(axis=0), landmarks[0, 3:].mean(axis=0)
    unit = np.linalg.norm(landmarks[0, 1] - landmarks[0, 0])
    centre, half = REGIONS[region]
    middle = eyes + centre[1] * unit * (mouth - eyes) / np.linalg.norm(mouth - eyes)
    assert np.abs(columns - middle[0]).max() <= half[0] * unit * 1.3 + 4
    assert np.abs(rows - middle[1]).max() <= half[1] * unit * 1.3 + 4


def test_the_change_goes_on_either_side(clip):
    """Where it goes on the outer side the real changes with it, or "untouched" would mean real."""
    crops, landmarks = clip
    draw = replace(SelfBlend.draw(np.random.default_rng(4)), sharpness=0.4)
    inner, _ = replace(draw, change_inner=True).apply(crops, landmarks)
    outer, _ = replace(draw, change_inner=False).apply(crops, landmarks)
    assert (inner == crops).all()
    assert (outer != crops).mean() > 0.5


def test_without_drift_a_still_clip_gives_a_still_fake(clip):
    crops, landmarks = (np.repeat(part[:1], 8, axis=0) for part in clip)
    draw = replace(SelfBlend.draw(np.random.default_rng(5)), drift=0.0, ratio=1.0)
    _, fake = draw.apply(crops, landmarks)
    assert (fake == fake[0]).all()
    _, sliding = replace(draw, drift=0.02).apply(crops, landmarks)
    assert (sliding != sliding[0]).any()


def test_faces_in_profile_have_a_region_too(clip):
    crops, landmarks = clip
    profile = landmarks.copy()
    profile[:, 1] = profile[:, 0]
    draw = replace(SelfBlend.draw(np.random.default_rng(6)), ratio=1.0, region="face")
    real, fake = draw.apply(crops, profile)
    assert (real != fake).any()


def test_the_walk_is_slow_and_of_unit_size():
    walk = synth.ar1(20000, np.random.default_rng(0))
    assert abs(walk.std() - 1) < 0.1
    assert np.corrcoef(walk[1:, 0], walk[:-1, 0])[0, 1] > 0.85
