"""Faces that are moved: a mouth that opens and closes otherwise, eyes and nose that slide on their own.

What lip-sync and re-enactment networks leave behind is imitated without one: part of the face is warped along its points,
loses some sharpness as if it had been drawn anew, and is blended back.
"""

from __future__ import annotations

import cv2
import numpy as np

from .change import Change, Shift, resharpen
from .masks import CHIN, LIPS, Mask, ar1, blend, eye_distance
from .pair import Pair, Source

# FaceMesh's points of the lower lip and of what moves with it.
LOWER_LIP = [146, 91, 181, 84, 17, 314, 405, 321, 375]


def mouth(source: Source, rng: np.random.Generator) -> Pair:
    """The lower lip and the chin go down and up again, the mouth's corners in and out."""
    mask = Mask.draw(rng, regions=("lower", "mouth"))
    sharpness = rng.uniform(0.35, 0.9)
    change = Change.draw(rng, sharpness=False) if rng.random() < 0.5 else Change()
    pull = rng.uniform(0.08, 0.25) * rng.choice([-0.5, 1.0])
    walk = ar1(len(source.crops), rng, memory=0.7)
    pair = Pair(kind="lips")
    for crop, mesh, step in zip(source.crops, source.mesh, walk):
        side, unit = crop.shape[0], eye_distance(mesh)
        down = mesh[152] - mesh[1]
        down = down / max(np.linalg.norm(down), 1e-3)
        shift = down * unit * pull * (0.7 + 0.3 * step[0])
        across = np.asarray([down[1], -down[0]]) * unit * 0.05 * step[1]
        moved = bump(crop, mesh[LOWER_LIP + CHIN].mean(axis=0), 0.55 * unit, shift)
        moved = bump(moved, mesh[LIPS].mean(axis=0), 0.45 * unit, across)
        soft = mask.render(mesh, side)
        pair.add(crop, blend(crop, resharpen(change.apply(moved), sharpness), soft), soft)
    return pair


def bump(crop: np.ndarray, centre: np.ndarray, radius: float, shift: np.ndarray) -> np.ndarray:
    """What lies at `centre` moves by `shift`, its surroundings less and less (a Gaussian of `radius`)."""
    side = crop.shape[0]
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    weight = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * radius**2)).astype(np.float32)
    # More than 0.6 radii would fold the picture over itself.
    length = np.linalg.norm(shift)
    shift = shift * min(1.0, 0.6 * radius / max(length, 1e-6))
    return cv2.remap(
        crop, x - weight * np.float32(shift[0]), y - weight * np.float32(shift[1]), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )


def drift(source: Source, rng: np.random.Generator) -> Pair:
    """Eyes, nose or mouth slide on the face, each on its own: the parts are right and their places are not."""
    parts = [Mask.draw(rng, regions=(name,)) for name in rng.permutation(["eyes", "mouth", "lower"])[: rng.integers(1, 3)]]
    shifts = [Shift(move=tuple(rng.uniform(-0.02, 0.02, 2)), scale=(rng.uniform(0.95, 1.05),) * 2, drift=0.01) for _ in parts]
    change = Change.draw(rng) if rng.random() < 0.5 else Change()
    walk = ar1(len(source.crops), rng)
    pair = Pair()
    for crop, mesh, step in zip(source.crops, source.mesh, walk):
        fake, soft = crop, np.zeros(crop.shape[:2], np.float32)
        for part, shift in zip(parts, shifts):
            mask = part.render(mesh, crop.shape[0])
            fake = blend(fake, shift.apply(change.apply(crop), mesh.mean(axis=0), step), mask)
            soft = np.maximum(soft, mask)
        pair.add(crop, fake, soft)
    return pair
