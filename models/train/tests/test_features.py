"""The feature graphs against OpenCV, on a picture with every kind of detail."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

FOLDER = Path(__file__).parents[2] / "features"


def load_make():
    spec = importlib.util.spec_from_file_location("make", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = load_make()


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """[61, 83, 3] uint8: soft shapes, a hard edge, grain; odd and unequal sides, so that nothing can be turned unnoticed."""
    rng = np.random.default_rng(3)
    soft = cv2.resize(rng.integers(0, 256, (7, 9, 3)).astype(np.uint8), (83, 61), interpolation=cv2.INTER_CUBIC)
    cv2.circle(soft, (50, 25), 17, (250, 10, 90), -1)
    return np.clip(soft + rng.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)


def feature(name: str, picture: np.ndarray) -> np.ndarray:
    """[H, W, C] of the file that ships."""
    session = onnxruntime.InferenceSession(FOLDER / f"{name}.onnx")
    crops = np.stack([picture, picture[::-1]]).transpose(0, 3, 1, 2).astype(np.float32)
    return session.run(["feature"], {"crops": crops})[0][0].transpose(1, 2, 0)


def test_laplacian_is_that_of_opencv(picture):
    want = np.clip(cv2.Laplacian(picture.astype(np.float32), cv2.CV_32F) / 32, -4, 4)
    assert np.abs(want).max() > 1
    np.testing.assert_allclose(feature("laplacian", picture), want, atol=1e-5)


def test_noise_is_what_the_median_of_opencv_takes_away(picture):
    want = np.clip((picture.astype(np.float32) - cv2.medianBlur(picture, 3)) / 16, -4, 4)
    assert np.abs(want).mean() > 0.1
    np.testing.assert_allclose(feature("noise", picture), want, atol=1e-6)


def test_gradient_is_the_length_of_sobel_s(picture):
    x = picture.astype(np.float32)
    length = np.hypot(cv2.Sobel(x, cv2.CV_32F, 1, 0), cv2.Sobel(x, cv2.CV_32F, 0, 1))
    np.testing.assert_allclose(feature("gradient", picture), np.minimum(length / 128, 4), atol=1e-4)


def test_canny_is_that_of_opencv_with_one_threshold(picture):
    grey = np.round(picture.astype(np.float32) @ np.asarray(make.LUMA, np.float32)).astype(np.uint8)
    want = cv2.Canny(grey, make.CANNY_THRESHOLD, make.CANNY_THRESHOLD) > 0
    have = feature("canny", picture)[..., 0] > 0.5
    assert 0.02 < want.mean() < 0.5
    assert (have != want).mean() < 0.002, "OpenCV's integers decide a few ties otherwise"


def test_rgb_is_the_colours(picture):
    np.testing.assert_allclose(feature("rgb", picture), picture / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.onnx")), ids=lambda path: path.stem)
def test_every_feature_has_the_form_that_training_and_export_expect(path, picture):
    """Also one that somebody only put there."""
    graph = onnx.load(path).graph
    (given,), (made,) = graph.input, graph.output
    assert given.name == "crops" and made.name == "feature"
    values = feature(path.stem, picture)
    assert values.shape == (*picture.shape[:2], made.type.tensor_type.shape.dim[1].dim_value)
    assert np.isfinite(values).all() and np.abs(values).max() <= 4


@pytest.mark.parametrize("name", make.FEATURES)
def test_the_files_are_what_the_script_makes(name):
    assert onnx.load(FOLDER / f"{name}.onnx").graph == make.FEATURES[name]().graph
