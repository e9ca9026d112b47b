"""Faces brought to fixed places: eyes, nose and mouth corners onto a template, as face recognition networks want them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from .augment import ClipAugment
from .data import DataError

# dlib's mean face at 150 x 150 pixels: eyes, nose, mouth corners, left in the picture first. The live element has the same.
TEMPLATE = np.asarray([[46.4, 46.6], [104.0, 46.5], [74.8, 78.8], [50.4, 104.1], [99.9, 103.3]], np.float64)
SIDE = 150


def similarity(points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """The turn, scale and shift (2 x 3) that brings `points` [5, 2] nearest to `template`, in least squares.

    Method: Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991).
    """
    from_centre, to_centre = points.mean(axis=0), template.mean(axis=0)
    source, target = points - from_centre, template - to_centre
    u, strength, v = np.linalg.svd(target.T @ source / len(points))
    keep = np.asarray([1.0, np.sign(np.linalg.det(u) * np.linalg.det(v))])  # never a mirror image
    scale = (strength * keep).sum() / source.var(axis=0).sum()
    turn = scale * (u * keep) @ v
    return np.hstack([turn, (to_centre - turn @ from_centre)[:, None]])


def apply(
    augment: ClipAugment, clips: list[np.ndarray], points: list[np.ndarray], size: int, stored_margin: float
) -> list[np.ndarray]:
    """As ClipAugment.apply, with each crop laid on the template by its five points [T, 5, 2] instead of cut out upright."""
    if any(landmarks is None for landmarks in points):
        raise DataError("a clip has no landmarks: extract it with a detector that gives them (CenterFace, YuNet)")
    side = clips[0].shape[1]
    whole = replace(augment, margin=stored_margin, shift=(0.0, 0.0), flip=False)
    out = []
    for clip, landmarks in zip(whole.apply(*clips, size=side, stored_margin=stored_margin), points):
        target = TEMPLATE * (size / SIDE) + np.asarray(augment.shift) * size
        aligned = np.stack([warp(crop, similarity(five, target), size) for crop, five in zip(clip, landmarks)])
        out.append(aligned[:, :, ::-1] if augment.flip else aligned)
    return out


def warp(crop: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    # OpenCV's matrix maps pixel centres at whole numbers; points have the corner of the first pixel at 0.
    k = matrix[:, :2]
    shifted = np.hstack([k, (matrix[:, 2] + k @ [0.5, 0.5] - 0.5)[:, None]])
    return cv2.warpAffine(crop, shifted, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
