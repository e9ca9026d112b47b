"""Drawn faces in the form of `deepfake extract`: enough to run every stage, nothing to learn about people from."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np

from train import faces
from train.synth import masks

SIDE = 96
FRAMES = 44


def face(rng: np.random.Generator, swapped: bool) -> tuple[np.ndarray, np.ndarray]:
    """Crops [T, 96, 96, 3] and landmarks [T, 5, 2]. A swapped one has a smooth face of another colour pasted in."""
    skin = rng.integers(120, 220, 3)
    back = cv2.resize(rng.integers(0, 255, (6, 6, 3)).astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 12, (SIDE, SIDE, 3))
    crops, landmarks = [], []
    for t in range(FRAMES):
        centre = np.asarray([48 + 3 * np.sin(t / 7), 48 + 2 * np.cos(t / 9)])
        points = centre + [[-11, -8], [11, -8], [0, 3], [-8, 14], [8, 14]]
        crop = back.copy()
        cv2.ellipse(crop, tuple(int(v) for v in centre), (24, 32), 0, 0, 360, [int(v) for v in skin], -1)
        crop = np.clip(crop + grain, 0, 255).astype(np.uint8)
        if swapped:
            mask = np.zeros((SIDE, SIDE), np.float32)
            cv2.ellipse(mask, tuple(int(v) for v in centre), (18, 22), 0, 0, 360, 1.0, -1)
            mask = cv2.GaussianBlur(mask, (0, 0), 1.0)[..., None]
            crop = (crop * (1 - mask) + np.clip(skin + [25, -25, -25], 0, 255) * mask).astype(np.uint8)
        for x, y in points[:2]:
            cv2.circle(crop, (int(x), int(y)), 3, (30, 30, 30), -1)
        cv2.ellipse(crop, (int(centre[0]), int(centre[1]) + 14), (8, 2 + t % 4), 0, 0, 360, (120, 40, 40), -1)
        crops.append(crop)
        landmarks.append(points)
    return np.stack(crops), np.asarray(landmarks)


def mesh(landmarks: np.ndarray) -> np.ndarray:
    """Points like FaceMesh's [T, 468, 2] for the drawn faces: the named ones where they belong, the rest spread inside."""
    turn = np.arange(468) * np.pi * (3 - np.sqrt(5))
    points = 0.85 * np.sqrt(np.arange(468) / 468)[:, None] * np.stack([20 * np.cos(turn), 26 * np.sin(turn)], axis=1)
    angle = np.linspace(-np.pi / 2, 1.5 * np.pi, len(masks.OVAL), endpoint=False)
    points[masks.OVAL] = np.stack([21 * np.cos(angle), 28 * np.sin(angle)], axis=1)
    angle = np.linspace(np.pi, 3 * np.pi, len(masks.LIPS), endpoint=False)
    points[masks.LIPS] = [0, 14] + np.stack([8 * np.cos(angle), 4 * np.sin(angle)], axis=1)
    points[masks.BROWS] = np.stack([np.linspace(-15, 15, 10), np.full(10, -13)], axis=1)
    points[masks.EYE_RINGS] = np.stack([np.linspace(-15, 15, 16), np.full(16, -4)], axis=1)
    for eye, x in zip(faces.EYES, (-11, 11)):
        points[eye] = [[x - 3, -8], [x + 3, -8]]
    points[faces.NOSE] = [0, 3]
    middle = landmarks[:, 2:3] - [0, 3]  # the nose lies 3 pixels below the face's middle
    return (points + middle).astype(np.float32)


def write_crops(folder: Path, groups: dict[str, int] | None = None) -> None:
    """A real and a fake clip for each group, and the manifest."""
    rows = []
    for split, count in (groups or {"train": 8, "dev": 4}).items():
        for number in range(count):
            for label in ("real", "fake"):
                rng = np.random.default_rng([number, split == "dev"])  # of one pair, the same face
                crops, landmarks = face(rng, label == "fake")
                base = f"{split}/{label}/clip-{number}/track-0001"
                (folder / base).parent.mkdir(parents=True, exist_ok=True)
                np.save(folder / f"{base}.npy", crops)
                np.save(folder / f"{base}.mesh.npy", mesh(landmarks))
                entries = [{"pts": t, "part": [0, 0, SIDE], "landmarks_crop": p.tolist()} for t, p in enumerate(landmarks)]
                (folder / f"{base}.json").write_text(json.dumps({"margin": 1.6, "crops": entries}))
                rows.append(
                    {
                        "npy": f"{base}.npy",
                        "json": f"{base}.json",
                        "file": f"{split}/{label}/clip-{number}.mp4",
                        "split": split,
                        "label": label,
                        "method": "drawn" if label == "fake" else "-",
                        "dataset": "drawn",
                        "group": f"{split}-{number}",
                        "track": 1,
                        "crops": len(crops),
                    }
                )
    write_manifest(folder, rows)


def write_manifest(folder: Path, rows: list[dict]) -> None:
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def read_manifest(folder: Path) -> list[dict]:
    with (folder / "manifest.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))
