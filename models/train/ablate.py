"""`python -m train.ablate`: what each part of l40's recipe is worth, and what two more would be.

The encoder is trained once as the recipe says and once without (or with) each part, all with the same few steps on small crops, from
the same seed. What counts is the paired difference on dev; the interval, over source groups, says what of it may be chance. One
seed each: a difference smaller than the interval is none.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from . import data, leave_out, metrics, train
from .augment import degraded, plain
from .nets import l40
from .package import signed, table
from .recipe import Recipe
from .workspace import Workspace, whole

# Dev has no generated heads: one maker's are kept back to measure on.
SMALL = replace(l40.RECIPE, size=112, encoder_steps=400, leave_out="EDTalk", begin_with="", teacher="", vae_share=0.0)
WHOLE = "all of it"
LAPLACIAN_IGNORED = "all of it, then what the Laplacian says thrown away"
VARIANTS: dict[str, Callable[[Recipe], Recipe]] = {
    WHOLE: lambda recipe: recipe,
    "no pseudo-fakes": partial(replace, real_fakes=1.0),
    "no real deepfakes": partial(replace, real_fakes=0.0),
    "no pairs": partial(replace, paired=0),
    "no codecs": partial(replace, codecs=0),
    "with agreement": partial(replace, agreement=2.0),
    "no generated heads": partial(replace, unpaired_fakes=0),
    "no photographs": partial(replace, still_share=0.0),
    "no masks": partial(replace, mask_weight=0.0),
    "colours only": partial(replace, encoder=partial(l40.Encoder, laplacian=False)),
    "Laplacian only": partial(replace, encoder=partial(l40.Encoder, colours=False)),
    "margin 1.0": partial(replace, margin=1.0),
    "margin 1.15": partial(replace, margin=1.15),
    "margin 1.45": partial(replace, margin=1.45),
}
CROPS = 16  # of each dev clip
HEAD = ["recipe", "AUC on dev", "against the whole recipe", "half size, JPEG 60", "H.264 CRF 32", f"fakes by {SMALL.leave_out}"]


def row(
    name: str, encoder: l40.Encoder, recipe: Recipe, dev: list[data.Track], left_out: list[data.Track], whole_recipe: np.ndarray | None
) -> tuple[list[str], np.ndarray]:
    labels, groups = np.asarray([clip.label for clip in dev]), [clip.group for clip in dev]
    as_is, *worse = (train.mean_logits(encoder, dev, augment, recipe, CROPS) for augment in degraded(recipe.margin).values())
    low, high = metrics.auc_interval(labels, as_is, groups)
    gain = "–"
    if whole_recipe is not None:
        difference = metrics.auc(labels, as_is) - metrics.auc(labels, whole_recipe)
        gain = signed(difference, *metrics.gain_interval(labels, as_is, whole_recipe, groups))
    unknown = train.mean_logits(encoder, left_out, plain(recipe.margin), recipe, CROPS)
    unknown = np.concatenate([unknown, as_is[labels == data.REAL]])
    unknown_labels = np.asarray([data.FAKE] * len(left_out) + [data.REAL] * (labels == data.REAL).sum())
    others = [metrics.auc(labels, values) for values in worse] + [metrics.auc(unknown_labels, unknown)]
    return [name, f"{metrics.auc(labels, as_is):.3f} [{low:.3f}, {high:.3f}]", gain, *(f"{value:.3f}" for value in others)], as_is


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.ablate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=Path, required=True, help="folder written by `deepfake extract`, with the meshes of the stage `faces`")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and ablations.md; a later run goes on from them")
    parser.add_argument("--only", action="append", choices=VARIANTS, metavar="NAME", help=f"only the whole recipe and this; any of {', '.join(VARIANTS)}")
    parser.add_argument("--steps", type=int, default=SMALL.encoder_steps)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--compile", action="store_true", help="let PyTorch compile the encoder: faster, needs a C++ compiler")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chosen = [name for name in VARIANTS if not options.only or name in (WHOLE, *options.only)]
    rows, whole_recipe = [], None
    try:
        dev = data.main_track(data.read(options.crops, "dev"))
        tracks, left_out = leave_out.train(options.crops, SMALL)
        left_out, photographs = data.main_track(left_out), data.read_stills(options.crops)
        for name in tqdm(chosen, desc="recipes", unit="recipe"):
            recipe = VARIANTS[name](replace(SMALL, encoder_steps=options.steps, check_every=options.steps))
            work = Workspace(options.out / name.replace(" ", "-"), recipe)
            train.train_encoder(work, tracks, photographs, dev, workers=0, compiled=options.compile)
            encoder = train.trained_encoder(work)
            cells, scores = row(name, encoder, recipe, dev, left_out, whole_recipe)
            rows.append(cells)
            if name == WHOLE:
                whole_recipe = scores
                torch.nn.init.zeros_(encoder.laplacian_stem.weight)
                rows.append(row(LAPLACIAN_IGNORED, encoder, recipe, dev, left_out, whole_recipe)[0])
            about = f"{options.steps} steps of {SMALL.encoder_pairs} pairs at {SMALL.size} pixels; AUC of the mean of {CROPS} crops' logits; one seed."
            with whole(options.out / "ablations.md") as partial_file:
                partial_file.write_text(f"{about}\n\n{table(HEAD, rows)}\n")
    except data.DataError as error:
        parser.exit(1, f"error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "stopped; the same command goes on from the last checkpoint\n")
    print((options.out / "ablations.md").read_text())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
