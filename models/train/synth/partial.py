"""A part of a real deepfake, blended into the clip it was made from: from one forgery many, and no two alike."""

from __future__ import annotations

import numpy as np

from .masks import Mask, blend
from .pair import Pair, Source

SEEN = 0.3  # share of the forgery that the part must hold; less would be a fake that is none


def draw(source: Source, forged: np.ndarray, where: np.ndarray, kind: str, rng: np.random.Generator) -> Pair:
    """`forged`: the deepfake's crops [T, S, S, 3] on the pixels of `source`; `where` they differ, [T, S, S] of 0..1."""
    mask = Mask.draw(rng)
    soft = np.stack([mask.render(mesh, crop.shape[0]) for crop, mesh in zip(source.crops, source.mesh)])
    if (soft * where).sum() < SEEN * where.sum():
        soft = np.ones_like(soft)
    pair = Pair(kind=kind)
    for crop, fake, share, place in zip(source.crops, forged, soft, where):
        pair.add(crop, blend(crop, fake, share), share * place)
    return pair
