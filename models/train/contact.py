"""`python -m train.contact --crops DIR --out FILE.jpg`: pairs as the encoder sees them, to look at before training on them."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from . import data, train
from .nets import RECIPES


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m train.contact", description=__doc__)
    parser.add_argument("--crops", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", choices=sorted(RECIPES), default="cnn-lstm")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--real-fakes", type=float, default=0.0, help="share of pairs with a real deepfake")
    options = parser.parse_args()

    recipe = RECIPES[options.model]
    pairs = data.Pairs(data.read(options.crops, "train"), 8, options.real_fakes)
    rows = []
    for number in range(options.rows):
        cells = []
        for column in range(2):
            rng = np.random.default_rng([number, column])
            real, fake = pairs.draw(rng)
            sides = train.pair_crops(real, fake, 2, 4, rng, recipe)
            difference = np.clip(np.abs(sides[0].astype(int) - sides[1]) * 4, 0, 255).astype(np.uint8)
            cells += [sides[0, 0], sides[1, 0], sides[1, 1], difference[0]]
        rows.append(np.concatenate(cells, axis=1))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(options.out), np.concatenate(rows)[..., ::-1])
    print(f"{options.out}: real, fake, fake later, 4 x difference; twice a row")


if __name__ == "__main__":
    main()
