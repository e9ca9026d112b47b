"""A changed copy of a face: what one generation, with its own colours, sharpness and place, does to it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..augment import recolour


@dataclass(frozen=True)
class Change:
    """After Shiohara and Yamasaki (SBI, arXiv:2204.08376), whose ranges these are. Drawn once a clip."""

    colour: tuple[float, float, float, float] = (1.0, 0.0, 1.0, 0.0)  # contrast, brightness, saturation, hue
    tint: tuple[int, int, int] = (0, 0, 0)  # added to red, green and blue
    sharpness: float = 1.0  # below 1: shrunk to this share and back; above 1: sharpened

    @classmethod
    def draw(cls, rng: np.random.Generator, sharpness: bool = True) -> Change:
        return cls(
            colour=(rng.uniform(0.9, 1.1), rng.uniform(-12, 12), rng.uniform(0.7, 1.3), rng.uniform(-5, 5)),
            tint=tuple(int(v) for v in rng.integers(-20, 21, 3)) if rng.random() < 0.7 else (0, 0, 0),
            sharpness=float(rng.choice([rng.uniform(0.25, 0.75), 1.0, rng.uniform(1.3, 2.2)], p=[0.5, 0.2, 0.3])) if sharpness else 1.0,
        )

    def apply(self, crop: np.ndarray) -> np.ndarray:
        changed = recolour(crop, *self.colour) if self.colour != Change.colour else crop
        if any(self.tint):
            changed = cv2.add(changed, np.full_like(changed, np.maximum(self.tint, 0)))
            changed = cv2.subtract(changed, np.full_like(changed, np.maximum(np.negative(self.tint), 0)))
        return resharpen(changed, self.sharpness)


def resharpen(crop: np.ndarray, sharpness: float) -> np.ndarray:
    side = crop.shape[0]
    if sharpness < 1:
        small = cv2.resize(crop, None, fx=sharpness, fy=sharpness, interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
    if sharpness > 1:
        return cv2.addWeighted(crop, sharpness, cv2.GaussianBlur(crop, (0, 0), 1.2), 1 - sharpness, 0)
    return crop


@dataclass(frozen=True)
class Shift:
    """How the copy lies beside its place: moved, scaled, and sliding slowly over time as swapped faces do."""

    move: tuple[float, float] = (0.0, 0.0)  # in crop sides
    scale: tuple[float, float] = (1.0, 1.0)
    drift: float = 0.0  # in crop sides

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Shift:
        k = rng.uniform(0.95, 1 / 0.95)
        return cls(
            move=(rng.uniform(-0.02, 0.02), rng.uniform(-0.01, 0.01)),
            scale=(k * rng.uniform(0.98, 1.02), k),
            drift=rng.uniform(0.002, 0.01) if rng.random() < 0.5 else 0.0,
        )

    def apply(self, crop: np.ndarray, centre: np.ndarray, step: np.ndarray) -> np.ndarray:
        """`step`: of the slide, [2], of unit size."""
        side = crop.shape[0]
        offset = np.asarray(self.move) * side + step * self.drift * side
        matrix = np.hstack([np.diag(self.scale), (centre * (1 - np.asarray(self.scale)) + offset)[:, None]])
        return cv2.warpAffine(crop, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
