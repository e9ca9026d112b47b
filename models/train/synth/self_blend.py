"""A clip blended with a changed copy of itself: nothing to see but a seam and two sides that do not quite match.

"Detecting deepfakes with self-blended images" (Shiohara and Yamasaki, arXiv:2204.08376), carried from images to clips.
"""

from __future__ import annotations

import numpy as np

from .change import Change, Shift, nudge
from .masks import Mask, ar1, blend
from .pair import Pair, Source


def draw(source: Source, rng: np.random.Generator) -> Pair:
    mask, change, shift = Mask.draw(rng), Change.draw(rng), Shift.draw(rng)
    # The change goes on either side, half and half, or "looks untouched" would mean real.
    inside = rng.random() < 0.5
    hair = rng.uniform(0.0, 1.0, 2)
    pair = Pair(kind=mask.kind)
    for crop, mesh, step in zip(source.crops, source.mesh, ar1(len(source.crops), rng)):
        changed = change.apply(crop)
        outer, inner = (crop, changed) if inside else (changed, crop)
        outer, mesh = nudge(outer, hair), mesh + hair
        soft = mask.render(mesh, crop.shape[0])
        pair.add(outer, blend(outer, shift.apply(inner, mesh.mean(axis=0), step, hair), soft), soft)
    return pair
