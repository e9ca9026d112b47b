"""Faces that were drawn anew by a decoder: too smooth, too even from frame to frame, or with a decoder's grain."""

from __future__ import annotations

import cv2
import numpy as np

from .change import Change
from .masks import Mask, blend
from .pair import Pair, Source


def smoothed(source: Source, rng: np.random.Generator) -> Pair:
    """The face loses its pores, and its grain stands still: an edge-keeping blur in space and a mean over time."""
    mask = Mask.draw(rng)
    strength, passes = rng.uniform(12, 45), int(rng.integers(1, 3))
    memory = rng.uniform(0.3, 0.7)
    change = Change.draw(rng, sharpness=False) if rng.random() < 0.3 else Change()
    pair, before = Pair(kind=mask.kind), None
    for crop, mesh in zip(source.crops, source.mesh):
        face = crop
        for _ in range(passes):
            face = cv2.bilateralFilter(face, 7, strength, 3)
        if before is not None:
            # Only where little moves; a mean over a moving mouth would be a ghost.
            still = np.abs(face.astype(np.int16) - before).max(axis=-1, keepdims=True) < 14
            face = np.where(still, memory * before + (1 - memory) * face, face).astype(np.uint8)
        before = face
        soft = mask.render(mesh, crop.shape[0])
        pair.add(crop, blend(crop, change.apply(face), soft), soft)
    return pair


def decoded(source: Source, real: np.ndarray, fake: np.ndarray, rng: np.random.Generator) -> Pair:
    """Through a generator's decoder (`vae.py`): the whole picture, or only what a mask covers. `real`, `fake`: the crops of
    `source` before and after it, [T, S, S, 3]."""
    if rng.random() < 0.5:
        return Pair(list(real), list(fake), [np.ones(crop.shape[:2], np.float32) for crop in real], kind="generated")
    mask = Mask.draw(rng)
    change = Change.draw(rng, sharpness=False) if rng.random() < 0.3 else Change()
    pair = Pair(kind=mask.kind)
    for crop, drawn, mesh in zip(real, fake, source.mesh):
        soft = mask.render(mesh, crop.shape[0])
        pair.add(crop, blend(crop, change.apply(drawn), soft), soft)
    return pair


def texture(source: Source, rng: np.random.Generator) -> Pair:
    """Down, up by a decoder's means and sharpened: rings, checkers and jagged edges of a coarse grid."""
    mask = Mask.draw(rng)
    share = rng.uniform(0.3, 0.7)
    way = [cv2.INTER_NEAREST, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4][int(rng.choice(3, p=[0.2, 0.4, 0.4]))]
    gain, sigma = rng.uniform(1.3, 2.5), rng.uniform(0.8, 2.0)
    checker = rng.uniform(0, 5) if rng.random() < 0.5 else 0.0
    period = int(rng.choice([2, 4, 8]))
    change = Change.draw(rng, sharpness=False) if rng.random() < 0.5 else Change()
    pair = Pair(kind=mask.kind)
    for crop, mesh in zip(source.crops, source.mesh):
        side = crop.shape[0]
        small = cv2.resize(crop, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        face = cv2.resize(small, (side, side), interpolation=way)
        face = cv2.addWeighted(face, gain, cv2.GaussianBlur(face, (0, 0), sigma), 1 - gain, 0)
        if checker:
            y, x = np.mgrid[0:side, 0:side]
            grid = np.sin(2 * np.pi * x / period + 0.7) * np.sin(2 * np.pi * y / period + 0.7)
            face = np.clip(face + checker * grid[..., None], 0, 255).astype(np.uint8)
        soft = mask.render(mesh, side)
        pair.add(crop, blend(crop, change.apply(face), soft), soft)
    return pair
