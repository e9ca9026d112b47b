"""Stage `stills`: photographs of many people, brought into the form of the crops.

Clips show few people; photographs bring the variety of faces. They are only ever shown beside pseudo-fakes of themselves.
The CSV has columns file, dataset, group; each picture is square, the face in its middle, 1.6 times its box wide.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from .data import DataError
from .workspace import whole

SIDE, MARGIN = 192, 1.6


def import_stills(table: Path, crops: Path) -> None:
    """Leaves CROPS/stills/*.npy, *.json and manifest.csv, the last one at the end."""
    manifest = crops / "stills" / "manifest.csv"
    if manifest.is_file():
        return
    manifest.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    with table.open(newline="") as stream:
        for row in tqdm(list(csv.DictReader(stream)), desc="stills", unit="still"):
            picture = cv2.imread(str(table.parent / row["file"]))
            if picture is None or picture.shape[0] != picture.shape[1]:
                raise DataError(f"{table.parent / row['file']} is missing, no picture, or not square")
            shrink = picture.shape[0] > SIDE
            picture = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
            base = Path("stills") / Path(row["file"]).stem
            np.save(crops / f"{base}.npy", picture[None, ..., ::-1])
            (crops / f"{base}.json").write_text(json.dumps({"margin": MARGIN, "crops": [{}]}))
            rows.append({"npy": f"{base}.npy", "json": f"{base}.json", "dataset": row["dataset"], "group": row["group"]})
    with whole(manifest) as partial, partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
