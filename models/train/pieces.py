"""`python -m train.pieces pack|unpack`: the crops in small files, for a machine that has a GPU and takes little at a time.

Each piece holds whole tracks: a few crops of each clip as JPEG (quality 95), its points, and all that training reads of its
sidecar. Unpacked, they are a folder like that of `deepfake extract`, so that every stage runs there as it does here. What JPEG
does to them is far less than what augmentation does next; windows, which need every crop, are not made of them.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from .data import LABELS, DataError, Track, main_track, read, read_stills
from .workspace import whole

PER_CLIP = 12
QUALITY = 95
LIMIT = 56_000_000  # bytes of a piece


def pack(crops: Path, out: Path) -> None:
    """Leaves OUT/piece-NN.npz. Clips of dev come too: training looks at them now and then."""
    out.mkdir(parents=True, exist_ok=True)
    tracks = main_track(read(crops, "train")) + main_track(read(crops, "dev")) + read_stills(crops)
    piece: dict[str, np.ndarray] = {}
    size = number = 0
    for track in tqdm(tracks, desc="pieces", unit="track"):
        entry = packed(track)
        weight = sum(value.nbytes for value in entry.values())
        if piece and size + weight > LIMIT:
            number, size, piece = write(out, number, piece), 0, {}
        name = str(track.npy.relative_to(crops).with_suffix(""))
        piece |= {f"{name}|{key}": value for key, value in entry.items()}
        size += weight
    write(out, number, piece)


def write(out: Path, number: int, piece: dict[str, np.ndarray]) -> int:
    with whole(out / f"piece-{number:02d}.npz") as partial, partial.open("wb") as stream:
        np.savez(stream, **piece)
    return number + 1


def packed(track: Track) -> dict[str, np.ndarray]:
    index = np.unique(np.linspace(0, track.crops - 1, min(PER_CLIP, track.crops)).round().astype(int))
    still = track.crops == 1 and not json.loads(track.json.read_text())["crops"][0]
    row = {**vars(track), "crops": len(index), "label": {v: k for k, v in LABELS.items()}[track.label], "still": still}
    sidecar = json.loads(track.json.read_text())
    sidecar["crops"] = [sidecar["crops"][i] for i in index]
    row = {key: value for key, value in row.items() if key not in ("npy", "json")}
    entry = {
        "row": as_bytes(json.dumps(row)),
        "sidecar": as_bytes(json.dumps(sidecar)),
        "crops": as_bytes(b"".join(jpegs := [encoded(crop) for crop in track.frames(index)])),
        "sizes": np.asarray([len(jpeg) for jpeg in jpegs]),
    }
    if track.mesh_file.is_file():
        entry["mesh"] = track.mesh(index).astype(np.float16)
    return entry


def as_bytes(value: str | bytes) -> np.ndarray:
    return np.frombuffer(value.encode() if isinstance(value, str) else value, np.uint8)


def encoded(crop: np.ndarray) -> bytes:
    done, data = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444])
    if not done:
        raise DataError("OpenCV could not write a JPEG")
    return data.tobytes()


def unpack(folder: Path, crops: Path) -> None:
    """The tracks of all pieces in FOLDER, as files under CROPS with both manifests."""
    found = sorted(folder.glob("piece-*.npz"))
    if not found:
        raise DataError(f"there are no pieces in {folder}: run `python -m train.pieces pack` first")
    clips, stills = [], []
    for path in tqdm(found, desc="unpack", unit="piece"):
        with np.load(path) as piece:
            for key in piece.files:
                name, _, part = key.partition("|")
                if part == "row":
                    row = place(piece, name, crops)
                    (stills if row.pop("still") else clips).append(row)
    manifest(crops / "manifest.csv", clips)
    if stills:
        manifest(crops / "stills" / "manifest.csv", stills)


def place(piece: np.lib.npyio.NpzFile, name: str, crops: Path) -> dict:
    base = crops / name
    base.parent.mkdir(parents=True, exist_ok=True)
    data, ends = piece[f"{name}|crops"], np.cumsum(piece[f"{name}|sizes"])
    jpegs = np.split(data, ends[:-1])
    pictures = [cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1] for jpeg in jpegs]
    np.save(base.with_suffix(".npy"), np.stack(pictures))
    base.with_suffix(".json").write_bytes(piece[f"{name}|sidecar"].tobytes())
    if f"{name}|mesh" in piece.files:
        np.save(base.with_suffix(".mesh.npy"), piece[f"{name}|mesh"].astype(np.float32))
    row = json.loads(piece[f"{name}|row"].tobytes())
    return row | {"npy": f"{name}.npy", "json": f"{name}.json", "face_px": row.pop("face")}


def manifest(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial, partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.pieces", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pack", "unpack"])
    parser.add_argument("--crops", type=Path, required=True, help="folder of `deepfake extract`: read by pack, written by unpack")
    parser.add_argument("--pieces", type=Path, required=True, help="folder of the pieces")
    options = parser.parse_args()
    try:
        if options.what == "pack":
            pack(options.crops, options.pieces)
        else:
            unpack(options.pieces, options.crops)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
