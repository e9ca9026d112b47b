"""Where a forgery lies: soft masks that follow the 468 points of the face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# Points of MediaPipe's FaceMesh.
OVAL = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377]
OVAL += [152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
JAW = [356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127]
BROWS = [70, 63, 105, 66, 107, 336, 296, 334, 293, 300]
EYE_RINGS = [226, 31, 228, 229, 230, 231, 232, 233, 453, 452, 451, 450, 449, 448, 261, 446]
LIPS = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146]
CHIN = [172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397]
NOSTRILS = [98, 2, 327, 129, 358]

# The convex hull of these points, and how often it is drawn. The names are what each kind of forger makes anew.
REGIONS: dict[str, tuple[list[int], float]] = {
    "face": (OVAL, 0.34),
    "no-forehead": (JAW + BROWS, 0.26),
    "inner": (BROWS + LIPS + [205, 425, 50, 280, 187, 411], 0.16),
    "lower": (NOSTRILS + CHIN + [205, 425], 0.09),
    "mouth": (LIPS + NOSTRILS + [200, 204, 424, 199], 0.08),
    "eyes": (BROWS + EYE_RINGS, 0.04),
    "mouth-eyes": (LIPS + BROWS + EYE_RINGS, 0.03),
}


@dataclass(frozen=True)
class Mask:
    """One draw, replayed on every frame of a clip. Lengths are in units of the eye distance."""

    region: str
    grow: float  # of the outline, about its centre
    waves: tuple[float, float, float]  # of the elastic bend: size, and two phases
    feather: tuple[float, float]  # sigmas of the two blurs
    ratio: float  # strength of the blend; 0 gives the input back

    @classmethod
    def draw(cls, rng: np.random.Generator, regions: tuple[str, ...] = tuple(REGIONS)) -> Mask:
        weight = np.asarray([REGIONS[name][1] for name in regions])
        return cls(
            region=str(rng.choice(regions, p=weight / weight.sum())),
            grow=rng.uniform(0.9, 1.1),
            waves=(rng.uniform(0.0, 0.08), rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)),
            feather=(rng.uniform(0.02, 0.2), rng.uniform(0.01, 0.12)),
            ratio=float(rng.choice([0.5, 0.75, 1.0, 1.0, 1.0, 1.0])),
        )

    @property
    def kind(self) -> str:
        """What a person would call a forgery of this region."""
        return "lips" if self.region in ("lower", "mouth") else "swap"

    def render(self, mesh: np.ndarray, side: int) -> np.ndarray:
        """Mesh [468, 2] in pixels -> [side, side] float32, 0..ratio."""
        unit = eye_distance(mesh)
        outline = cv2.convexHull(mesh[REGIONS[self.region][0]].astype(np.float32))[:, 0]
        centre = outline.mean(axis=0)
        outline = centre + (outline - centre) * self.grow
        size, first, second = self.waves
        # A slow wave across the picture bends the outline: no two seams have the same shape.
        bend = size * unit * np.sin(outline[:, ::-1] * (2.2 / unit) + [first, second])
        mask = np.zeros((side, side), np.float32)
        cv2.fillPoly(mask, [np.round((outline + bend) * 16).astype(np.int32)], 1.0, lineType=cv2.LINE_AA, shift=4)
        mask = cv2.GaussianBlur(mask, (0, 0), max(self.feather[0] * unit, 0.3))
        # Only what was well inside stays, so that the seam lies on the face and not around it; then soften that edge.
        mask = np.clip((mask - 0.5) * 2, 0, 1)
        return cv2.GaussianBlur(mask, (0, 0), max(self.feather[1] * unit, 0.3)) * self.ratio


def eye_distance(mesh: np.ndarray) -> float:
    """A length that goes with the face's size. In profile the eyes fall together, so the height of the face counts too."""
    eyes = np.linalg.norm(mesh[[33, 133]].mean(axis=0) - mesh[[362, 263]].mean(axis=0))
    return float(max(eyes, 0.45 * np.linalg.norm(mesh[10] - mesh[152]), 4.0))


def blend(outer: np.ndarray, inner: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """[S, S, 3] uint8 each, mask [S, S]."""
    return np.round(outer + (inner.astype(np.float32) - outer) * mask[..., None]).astype(np.uint8)


def smooth(points: np.ndarray) -> np.ndarray:
    """A moving average over three frames of [T, n, 2]: the mask must not tremble with the landmarks."""
    padded = np.pad(points, ((1, 1), (0, 0), (0, 0)), mode="edge")
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3


def ar1(count: int, rng: np.random.Generator, memory: float = 0.9) -> np.ndarray:
    """A slow random walk around zero, [count, 2], of unit variance."""
    steps = rng.normal(0, 1, (count, 2))
    for i in range(1, count):
        steps[i] = memory * steps[i - 1] + np.sqrt(1 - memory**2) * steps[i]
    return steps
