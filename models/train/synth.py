"""Pseudo-fakes: a real clip blended with a changed copy of itself.

After "Detecting deepfakes with self-blended images" (Shiohara and Yamasaki, 2022), carried from images to clips: shape,
colour, sharpness, place and strength are drawn once and replayed on every frame along the smoothed landmarks, and half
of the clips get a slow drift, as swapped faces slide a little on their heads. What is left to see is a blending seam and
two sides that do not quite match: what face swaps of any make have in common.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .augment import recolour

# A face region in face units: centre (right, down) and half axes, where one unit is the distance between the eyes,
# the origin lies between them and "down" points at the mouth.
REGIONS = {
    "face": ((0.0, 0.5), (1.1, 1.4)),
    "inner": ((0.0, 0.45), (0.85, 1.0)),
    "lower": ((0.0, 0.95), (0.9, 0.75)),
    "mouth": ((0.0, 1.05), (0.6, 0.4)),
}


@dataclass(frozen=True)
class SelfBlend:
    region: str
    outline: np.ndarray  # amplitude and phase of the outline's waves, [n, 2]
    feather: tuple[float, float]  # sigmas of the two blurs of the mask, in units of the eye distance
    ratio: float  # strength of the blend; 0 gives the input back
    colour: tuple[float, float, float, float]
    tint: tuple[int, int, int]  # added to red, green and blue
    sharpness: float  # below 1: shrunk to this share and back; above 1: sharpened
    move: tuple[float, float]  # of the blended-in copy, in crop sides
    scale: float
    drift: float  # how far it slides over time, in crop sides
    change_inner: bool  # whether the colour and sharpness change goes on the inner side or on the outer one
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> SelfBlend:
        waves = np.stack([rng.normal(0, 0.05, 4), rng.uniform(0, 2 * np.pi, 4)], axis=1)
        return cls(
            region=str(rng.choice(list(REGIONS), p=[0.45, 0.25, 0.15, 0.15])),
            outline=waves,
            feather=(rng.uniform(0.03, 0.2), rng.uniform(0.02, 0.1)),
            ratio=float(rng.choice([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])),
            colour=(rng.uniform(0.92, 1.08), rng.uniform(-10, 10), rng.uniform(0.75, 1.25), rng.uniform(-4, 4)),
            tint=tuple(int(v) for v in rng.integers(-14, 15, 3)),
            sharpness=float(rng.choice([rng.uniform(0.25, 0.7), 1.0, rng.uniform(1.3, 2.0)], p=[0.5, 0.2, 0.3])),
            move=(rng.uniform(-0.02, 0.02), rng.uniform(-0.01, 0.01)),
            scale=rng.uniform(0.95, 1 / 0.95),
            drift=rng.uniform(0.002, 0.01) if rng.random() < 0.5 else 0.0,
            change_inner=bool(rng.random() < 0.5),
            seed=int(rng.integers(2**31)),
        )

    def apply(self, crops: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Crops [T, S, S, 3] with landmarks [T, 5, 2] -> (real, fake), both like the crops.

        The real comes back too: where the change goes on the outer side, the whole frame changes, and the real beside
        it must show the same change, or "looks untouched" would mean "real".
        """
        side = crops.shape[1]
        slide = ar1(len(crops), np.random.default_rng(self.seed)) * self.drift * side
        reals, fakes = [], []
        for crop, points, step in zip(crops, smooth(landmarks), slide):
            changed = self._change(crop)
            outer, inner = (crop, changed) if self.change_inner else (changed, crop)
            mask = self._mask(points, side) * self.ratio
            inner = self._move(inner, points, step)
            fakes.append(blend(outer, inner, mask))
            reals.append(outer)
        return np.stack(reals), np.stack(fakes)

    def _change(self, crop: np.ndarray) -> np.ndarray:
        side = crop.shape[0]
        changed = recolour(crop, *self.colour)
        changed = cv2.add(changed, np.full_like(changed, np.maximum(self.tint, 0)))
        changed = cv2.subtract(changed, np.full_like(changed, np.maximum(np.negative(self.tint), 0)))
        if self.sharpness < 1:
            small = cv2.resize(changed, None, fx=self.sharpness, fy=self.sharpness, interpolation=cv2.INTER_AREA)
            return cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
        if self.sharpness > 1:
            soft = cv2.GaussianBlur(changed, (0, 0), 1.2)
            return cv2.addWeighted(changed, self.sharpness, soft, 1 - self.sharpness, 0)
        return changed

    def _move(self, crop: np.ndarray, points: np.ndarray, step: np.ndarray) -> np.ndarray:
        side = crop.shape[0]
        x, y = points.mean(axis=0)  # grow around the face, not around the picture's corner
        matrix = np.asarray(
            [
                [self.scale, 0, x * (1 - self.scale) + self.move[0] * side + step[0]],
                [0, self.scale, y * (1 - self.scale) + self.move[1] * side + step[1]],
            ]
        )
        return cv2.warpAffine(crop, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)

    def _mask(self, points: np.ndarray, side: int) -> np.ndarray:
        """[S, S] float, 1 inside."""
        eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
        # In profile the eyes fall together, so the unit is never shorter than the eye-mouth line allows.
        unit = max(np.linalg.norm(points[1] - points[0]), 0.8 * np.linalg.norm(mouth - eyes), 4.0)
        down = (mouth - eyes) / max(np.linalg.norm(mouth - eyes), 1e-3)
        right = np.asarray([down[1], -down[0]])
        centre, half = REGIONS[self.region]
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        radius = 1 + sum(a * np.cos((k + 1) * angle + phase) for k, (a, phase) in enumerate(self.outline))
        across = (centre[0] + half[0] * radius * np.cos(angle)) * unit
        along = (centre[1] + half[1] * radius * np.sin(angle)) * unit
        outline = eyes + across[:, None] * right + along[:, None] * down
        mask = np.zeros((side, side), np.float32)
        cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 1.0)
        mask = cv2.GaussianBlur(mask, (0, 0), self.feather[0] * unit)
        # Only what was well inside stays, so that the seam lies on the face and not around it; then soften that edge.
        mask = np.clip((mask - 0.5) * 2, 0, 1)
        return cv2.GaussianBlur(mask, (0, 0), max(self.feather[1] * unit, 0.5))


def blend(outer: np.ndarray, inner: np.ndarray, mask: np.ndarray) -> np.ndarray:
    mask = mask[..., None]
    return np.round(outer + (inner.astype(np.float32) - outer) * mask).astype(np.uint8)


def smooth(landmarks: np.ndarray) -> np.ndarray:
    """A moving average over three frames: the mask must not tremble with the detector."""
    padded = np.pad(landmarks, ((1, 1), (0, 0), (0, 0)), mode="edge")
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3


def ar1(count: int, rng: np.random.Generator, memory: float = 0.9) -> np.ndarray:
    """A slow random walk around zero, [count, 2], of unit variance."""
    steps = rng.normal(0, 1, (count, 2))
    for i in range(1, count):
        steps[i] = memory * steps[i - 1] + np.sqrt(1 - memory**2) * steps[i]
    return steps
