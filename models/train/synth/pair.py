"""What goes into a generator and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Source:
    """A real clip: crops [T, S, S, 3] uint8 RGB and FaceMesh's points [T, 468, 2] in their pixels."""

    crops: np.ndarray
    mesh: np.ndarray


@dataclass
class Pair:
    """The real frames, the forged ones and where they differ (0..1). The real comes back too, as a generator may change the
    whole frame and must then show the same change on both sides."""

    reals: list[np.ndarray] = field(default_factory=list)
    fakes: list[np.ndarray] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)
    kind: str = "swap"  # of data.KINDS: what a person would call it

    def add(self, real: np.ndarray, fake: np.ndarray, mask: np.ndarray) -> None:
        self.reals.append(real)
        self.fakes.append(fake)
        self.masks.append(mask)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """[T, S, S, 3] twice, [T, S, S] float32."""
        return np.stack(self.reals), np.stack(self.fakes), np.stack(self.masks)
