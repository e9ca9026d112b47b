"""`python -m train.contact`: a sheet of pseudo-fakes of each kind, to look at before they are trained on."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from . import data, synth
from .synth.pair import Source


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m train.contact", description=__doc__)
    parser.add_argument("--crops", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    pairs = data.Pairs(data.read(options.crops, "train"), 8, 0.0, data.read_stills(options.crops), 0.4)
    rows = []
    for number, kind in enumerate(synth.MIX):
        cells = []
        for column in range(options.columns):
            rng = np.random.default_rng([options.seed, number, column])
            real, _ = pairs.draw(rng)
            frames = min(2, real.crops)
            span = slice(0, real.crops, max(1, real.crops // 2)) if frames > 1 else slice(0, 1)
            source = Source(real.frames(span)[:frames], real.mesh(span)[:frames])
            reals, fakes, masks = synth.draw(source, lambda m, rng: pairs.donor(m, frames, real, rng), rng, kind).arrays()
            red = np.clip(reals[0] + masks[0][..., None] * np.asarray([90, -30, -30]), 0, 255).astype(np.uint8)
            cells += [reals[0], fakes[0], red]
        row = np.concatenate(cells, axis=1)
        cv2.putText(row, kind, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 0), 1, cv2.LINE_AA)
        rows.append(row)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(options.out), np.concatenate(rows)[..., ::-1])
    print(f"{options.out}: real, pseudo-fake, where it was changed; a row a kind")


if __name__ == "__main__":
    main()
