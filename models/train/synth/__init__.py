"""Pseudo-fakes: what forgers of any make leave behind, made from real clips without any of them.

Everything that a generator draws is drawn once per clip and replayed on each frame along the smoothed points of the face;
flicker must not become a label. A generator is a small module: a Source (and whatever it needs) in, a Pair out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import redraw, reenact, self_blend, swap
from .masks import smooth
from .pair import Pair, Source

# How often each is drawn, after a donor was found for the swaps.
MIX: dict[str, float] = {
    "self-blend": 0.42,
    "swap": 0.14,
    "live": 0.13,
    "mouth": 0.11,
    "smoothed": 0.09,
    "texture": 0.07,
    "drift": 0.04,
}

Donor = Callable[[np.ndarray, np.random.Generator], Source | None]


def draw(source: Source, donor: Donor, rng: np.random.Generator, kind: str | None = None) -> Pair:
    """A pseudo-fake of `source`. `donor` looks for another person's face of much the same shape and pose."""
    source = Source(source.crops, smooth(source.mesh))
    kind = kind or str(rng.choice(list(MIX), p=np.asarray(list(MIX.values())) / sum(MIX.values())))
    if kind in ("swap", "live"):
        other = donor(source.mesh[0], rng)
        if other is not None:
            make = swap.draw if kind == "swap" else swap.live
            return make(source, Source(other.crops, smooth(other.mesh)), rng)
        kind = "self-blend"
    generator = {
        "self-blend": self_blend.draw,
        "mouth": reenact.mouth,
        "drift": reenact.drift,
        "smoothed": redraw.smoothed,
        "texture": redraw.texture,
    }[kind]
    return generator(source, rng)
