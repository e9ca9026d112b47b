"""A deepfake beside the very clip it was made from: on each frame the same pixels, but for what was forged.

Twins are found by looking, so no naming scheme is needed; they are brought onto the same pixels, because each clip's crops
follow its own face box. Such a pair shows a net nothing but the forgery, says where it is, and parts of it can be blended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from .data import Track

BAND = 0.08  # of the crop's side: its rim shows hardly any of the face
SAME = 8.0  # mean difference there, in grey levels; measured: .5 to 5 for twins, 11 and more for others


@dataclass(frozen=True)
class Twins:
    real: Track
    fake: Track
    at: np.ndarray  # [2, n] the crops of either that show the same moment

    @property
    def crops(self) -> int:
        return self.at.shape[1]

    def frames(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Real and fake crops [n, S, S, 3] of the moments `index`, and FaceMesh's points [n, 468, 2] of the real, on one place.

        The place is half way between the two, so that resampling softens neither more than the other.
        """
        *sides, places = self.sides(index)
        both, size = places.mean(axis=0), sides[0].shape[1]
        mesh = self.real.mesh(self.at[0, index])
        scale = (places[0, :, 2] / both[:, 2])[:, None, None]
        mesh = mesh * scale + ((places[0, :, :2] - both[:, :2]) * size / both[:, 2:])[:, None]
        return *sides, mesh.astype(np.float32)

    def sides(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Real and fake crops as `frames` has them, and where each lay: [2, n, 3]."""
        tracks = (self.real, self.fake)
        places = np.stack([track.sidecar.places[at[index]] for track, at in zip(tracks, self.at)])
        crops, both = [track.frames(at[index]) for track, at in zip(tracks, self.at)], places.mean(axis=0)
        return *(np.stack([onto(*each) for each in zip(side, place, both)]) for side, place in zip(crops, places)), places


def onto(crop: np.ndarray, place: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The crop of `place` (left, top, side) as it lies in the crop of `target`; its border is drawn on."""
    size = crop.shape[0]
    scale = place[2] / target[2]
    left, top = (place[:2] - target[:2]) * size / target[2]
    # Pixel centres, not corners, are what OpenCV counts in.
    matrix = np.asarray([[scale, 0, left + (scale - 1) / 2], [0, scale, top + (scale - 1) / 2]])
    return cv2.warpAffine(crop, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def rim(difference: np.ndarray) -> np.ndarray:
    """The outer band of [n, S, S] as [n, pixels]."""
    side = difference.shape[1]
    width = max(1, round(side * BAND))
    inside = np.zeros((side, side), bool)
    inside[width:-width, width:-width] = True
    return difference[:, ~inside]


def twins_of(fake: Track, reals: list[Track], least: int) -> Twins | None:
    """With the real that looks like the fake around the face; None where none does for `least` moments."""
    best, min_difference = None, SAME
    for real in reals:
        _, *at = np.intersect1d(real.sidecar.times, fake.sidecar.times, return_indices=True)
        twins = Twins(real, fake, np.stack(at))
        if twins.crops < least:
            continue
        one, other, places = twins.sides(np.linspace(0, twins.crops - 1, 4).astype(int))
        if (np.abs(places[0] - places[1])[:, :2].max(axis=1) > 0.3 * places.mean(axis=0)[:, 2]).any():
            continue
        difference = rim(np.abs(one.astype(np.float32) - other).mean(axis=-1)).mean(axis=1).max()
        if difference < min_difference:
            best, min_difference = twins, difference
    return best


def changed(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Where it was forged: crops [n, S, S, 3] -> [n, S, S] of 0..1. What both codecs differ by at the rim counts as nothing."""
    masks = []
    for one, other in zip(real, fake):
        difference = cv2.GaussianBlur(np.abs(one.astype(np.float32) - other).max(axis=-1), (0, 0), 3)
        floor = 1.5 * rim(difference[None]).mean() + 2
        masks.append(np.clip((difference - floor) / 10, 0, 1))
    return np.stack(masks)
