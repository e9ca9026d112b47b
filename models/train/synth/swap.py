"""Another person's face, warped in: the classic face swap, without a network.

The donor's face is laid on the mesh of the target (a smooth warp, least squares), takes over its colours, and is blended in
with feathered edges or by Poisson's equation. After "Face X-ray" (Li et al., arXiv:1912.13458), whose blended images these are.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from .change import Change, nudge, resharpen
from .masks import Mask, blend
from .pair import Pair, Source

# Where they lie fixes the warp; a polynomial of second degree through 60 points cannot fold.
ANCHORS = np.arange(0, 468, 8)


def alike(mesh: np.ndarray) -> np.ndarray:
    """Shape of a face, free of place and size; near shapes make good swaps. [468, 2] -> [120]"""
    points = mesh[ANCHORS] - mesh[ANCHORS].mean(axis=0)
    return (points / np.sqrt((points**2).sum())).ravel()


def draw(source: Source, donor: Source, rng: np.random.Generator) -> Pair:
    mask = Mask.draw(rng, regions=("face", "no-forehead", "inner"))
    change = Change.draw(rng, sharpness=False)
    sharpness = float(rng.choice([rng.uniform(0.4, 0.8), 1.0]))  # swapped faces are mostly made at 128 or 256 pixels
    keep_colours = rng.random() < 0.15
    poisson = rng.random() < 0.25
    hair = rng.uniform(0.0, 1.0, 2)
    pair = Pair()
    for t, (crop, mesh) in enumerate(zip(source.crops, source.mesh)):
        t = t % len(donor.crops)
        side = crop.shape[0]
        crop, mesh = nudge(crop, hair), mesh + hair
        face = resharpen(warp(donor.crops[t], donor.mesh[t], mesh), sharpness)
        soft = mask.render(mesh, side)
        if not keep_colours:
            face = match_colours(face, crop, soft > 0.5 * mask.ratio)
        face = change.apply(face)
        if poisson:
            face = poisson_blend(face, crop, soft > 0.1 * mask.ratio)
        pair.add(crop, blend(crop, face, soft), soft)
    return pair


def live(source: Source, donor: Source, rng: np.random.Generator) -> Pair:
    """As live swap programs do it (DeepFaceLab's models): the whole face drawn anew, aligned, smooth and small, laid in under a
    wide soft mask that is drawn in from the rim and trembles with the landmarks, in the colours of its surroundings."""
    mask = Mask.draw(rng, regions=("face", "no-forehead"))
    mask = replace(mask, grow=rng.uniform(0.78, 0.98), feather=(rng.uniform(0.1, 0.35), rng.uniform(0.05, 0.25)))
    change = Change.draw(rng, sharpness=False) if rng.random() < 0.3 else Change()
    softness, smoothing = rng.uniform(0.25, 0.7), rng.uniform(8, 40)
    sharpen = rng.uniform(1.2, 2.2) if rng.random() < 0.5 else 1.0
    tremble = rng.uniform(0.0, 1.2)  # pixels
    hair = rng.uniform(0.0, 1.0, 2)
    pair = Pair()
    for t, (crop, mesh) in enumerate(zip(source.crops, source.mesh)):
        t = t % len(donor.crops)
        crop, mesh = nudge(crop, hair), mesh + hair
        face = warp(donor.crops[t], donor.mesh[t], mesh + rng.normal(0, tremble, 2))
        face = cv2.bilateralFilter(resharpen(face, softness), 7, smoothing, 3)
        soft = mask.render(mesh + rng.normal(0, tremble, 2), crop.shape[0])
        face = change.apply(match_colours(resharpen(face, sharpen), crop, soft > 0.5))
        pair.add(crop, blend(crop, face, soft), soft)
    return pair


def warp(crop: np.ndarray, mesh: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`crop` with its mesh on `target`'s, both [468, 2]."""
    side = crop.shape[0]
    terms = quadratic((target[ANCHORS] - side / 2) / side)
    # Ridge: where the mesh tells little (outside the face), the warp stays near an affine one.
    ridge = np.diag([1e-9, 1e-9, 1e-9, 1e-2, 1e-2, 1e-2]) * len(ANCHORS)
    weights = np.linalg.solve(terms.T @ terms + ridge, terms.T @ mesh[ANCHORS])
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    grid = np.stack([x.ravel(), y.ravel()], axis=1)
    places = (quadratic((grid - side / 2) / side) @ weights).astype(np.float32).reshape(side, side, 2)
    return cv2.remap(crop, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def quadratic(points: np.ndarray) -> np.ndarray:
    x, y = points[:, 0], points[:, 1]
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)


def match_colours(face: np.ndarray, target: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean and spread of each channel in Lab, as Reinhard et al. (2001)."""
    if where.sum() < 16:
        return face
    lab, wanted = (cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32) for image in (face, target))
    mean, spread = lab[where].mean(axis=0), lab[where].std(axis=0) + 1e-3
    aim, width = wanted[where].mean(axis=0), wanted[where].std(axis=0) + 1e-3
    lab = (lab - mean) * np.clip(width / spread, 0.6, 1.6) + aim
    return cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)


def poisson_blend(face: np.ndarray, target: np.ndarray, where: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(where[2:-2, 2:-2])
    if len(rows) < 64:
        return face
    mask = np.zeros(where.shape, np.uint8)
    mask[2:-2, 2:-2] = where[2:-2, 2:-2] * 255
    left, top, width, height = cv2.boundingRect(mask)
    centre = (left + width // 2, top + height // 2)
    return cv2.seamlessClone(face, target, mask, centre, cv2.NORMAL_CLONE)
