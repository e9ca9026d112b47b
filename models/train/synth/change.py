"""A changed copy of a face: what one generation, with its own colours, sharpness and place, does to it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..augment import recolour


@dataclass(frozen=True)
class Change:
    """After Shiohara and Yamasaki (SBI, arXiv:2204.08376), whose ranges are the widest drawn here. Drawn once a clip."""

    colour: tuple[float, float, float, float] = (1.0, 0.0, 1.0, 0.0)  # contrast, brightness, saturation, hue
    tint: tuple[int, int, int] = (0, 0, 0)  # added to red, green and blue
    sharpness: float = 1.0  # below 1: shrunk to this share and back; above 1: sharpened

    @classmethod
    def draw(cls, rng: np.random.Generator, sharpness: bool = True) -> Change:
        # Half of them far weaker: a good forger's colours fit, and a net that has met only misfits waits for them in vain.
        k = 1.0 if rng.random() < 0.5 else rng.uniform(0.1, 0.4)
        near = lambda spread: rng.uniform(-k * spread, k * spread)
        colour = (1 + near(0.1), near(12), 1 + near(0.3), near(5))
        tint = tuple(round(near(20)) for _ in range(3)) if rng.random() < 0.7 else (0, 0, 0)
        if not sharpness:
            return cls(colour, tint)
        softer, sharper = (rng.uniform(0.25, 0.75), rng.uniform(1.3, 2.2)) if k == 1.0 else (rng.uniform(0.6, 0.95), rng.uniform(1.1, 1.4))
        return cls(colour, tint, float(rng.choice([softer, 1.0, sharper], p=[0.5, 0.2, 0.3] if k == 1.0 else [0.4, 0.45, 0.15])))

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

    def apply(self, crop: np.ndarray, centre: np.ndarray, step: np.ndarray, hair: np.ndarray | float = 0.0) -> np.ndarray:
        """`step`: of the slide, [2], of unit size; `hair`: what all else was moved by, in pixels."""
        side = crop.shape[0]
        offset = np.asarray(self.move) * side + step * self.drift * side + hair
        matrix = np.hstack([np.diag(self.scale), (centre * (1 - np.asarray(self.scale)) + offset)[:, None]])
        return cv2.warpAffine(crop, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def nudge(crop: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Moved by part of a pixel. What is laid into a crop was resampled, which softens it by a hair; where the rest is softened by
    the same hair, that is no longer a way to tell them apart. It would be one that dies at the first codec."""
    side = crop.shape[0]
    matrix = np.asarray([[1, 0, by[0]], [0, 1, by[1]]])
    return cv2.warpAffine(crop, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
