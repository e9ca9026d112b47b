"""Stage `packs`: pairs drawn ahead, for several nets to learn from and for a machine that has a GPU and few processors.

Drawing a pair (crops, forgery, codecs) costs a processor as much as learning from it. Packs keep what was drawn: each is one
file of pairs at the model's size. Several processes may write at once, each its own part of them. A teacher's answers are kept
beside them, so that a small net learns from a large one without running it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from . import train
from .data import DataError, Pairs, Track
from .recipe import Recipe
from .workspace import whole

PAIRS = 256  # in a pack
CELLS = 20  # sides of the stored masks: finer than any map that is compared with them
NOWHERE = 255  # where a mask is not known

# What of a recipe decides the pixels.
PIXELS = ("size", "margin", "encoder_frames", "still_share", "h264_frames", "leave_out", "paired", "codecs", "seed")
PIXELS += ("unpaired_fakes", "real_fakes", "partial", "vae_share", "feature", "alignment")


def settings(recipe: Recipe) -> dict:
    return {name: getattr(recipe, name) for name in PIXELS}


def draw(folder: Path, recipe: Recipe, tracks: list[Track], stills: list[Track], count: int, part: int, parts: int) -> None:
    """Leaves FOLDER/pack-NNNN.npz. Pack n is the same whoever draws it; those that are there already stay."""
    folder.mkdir(parents=True, exist_ok=True)
    check(folder, recipe)
    pairs = Pairs.of(recipe, tracks, recipe.encoder_frames, stills)
    for number in tqdm(range(part, count, parts), desc="packs", unit="pack"):
        path = folder / f"pack-{number:04d}.npz"
        if path.is_file():
            continue
        items = train.FramePairs(pairs, recipe, number * PAIRS, PAIRS)
        batch = train.collate([items[i] for i in range(PAIRS)])
        with whole(path) as partial, partial.open("wb") as stream:
            np.savez(stream, crops=batch.crops, masks=small_masks(batch.masks), kinds=batch.kinds)


def check(folder: Path, recipe: Recipe) -> None:
    """Raises DataError where the folder's packs were drawn by other settings."""
    path, wanted = folder / "settings.json", settings(recipe)
    if not path.is_file():
        with whole(path) as partial:
            partial.write_text(json.dumps(wanted, indent=2))
    found = json.loads(path.read_text())
    differing = [name for name in PIXELS if found.get(name) != wanted[name]]
    if differing:
        raise DataError(f"the packs in {folder} were drawn with another {', '.join(differing)}: choose another folder")


def small_masks(masks: np.ndarray) -> np.ndarray:
    """[pairs, frames, S, S] of 0..1 or NaN -> uint8 [pairs, frames, CELLS, CELLS] of 0..254 or NOWHERE."""
    side = masks.shape[-1] // CELLS * CELLS
    cells = masks[..., :side, :side].reshape(*masks.shape[:-2], CELLS, side // CELLS, CELLS, side // CELLS).mean(axis=(-3, -1))
    return np.where(np.isnan(cells), NOWHERE, np.round(np.nan_to_num(cells) * 254)).astype(np.uint8)


def masks_of(stored: np.ndarray) -> np.ndarray:
    return np.where(stored == NOWHERE, np.nan, stored / np.float32(254)).astype(np.float32)


def files(folder: Path) -> list[Path]:
    found = sorted(folder.glob("pack-*.npz"))
    if not found:
        raise DataError(f"there are no packs in {folder}: run the stage `packs` first")
    return found


def answers(pack: Path, teacher: str) -> Path:
    return pack.with_name(f"{pack.stem}.{teacher}.npy")


def teach(folder: Path, recipe: Recipe, encoder: train.nn.Module, part: int = 0, parts: int = 1) -> None:
    """Leaves FOLDER/pack-NNNN.NAME.npy, float32 [pairs, 2]: the encoder's fake-minus-real logit of the first crop of each side."""
    check(folder, recipe)
    for pack in tqdm(files(folder)[part::parts], desc="teach", unit="pack"):
        path = answers(pack, recipe.name)
        if path.is_file():
            continue
        with np.load(pack) as stored:
            crops = stored["crops"][:, :, 0]
        logits = train.encode(encoder, crops.reshape(-1, *crops.shape[2:]), batch=16, fast=True)[1]
        with whole(path) as partial, partial.open("wb") as stream:
            np.save(stream, logits.reshape(-1, 2).astype(np.float32))


def batches(folder: Path, recipe: Recipe, first: int) -> Iterator[train.Batch]:
    """Steps `first` to the recipe's last. Each pass takes the packs that are there when it starts, in an order of its own."""
    check(folder, recipe)
    step, number = 0, 0
    while step < recipe.encoder_steps:
        rng = np.random.default_rng([recipe.seed, number])
        found = files(folder)
        for at in rng.permutation(len(found)):
            order = rng.permutation(PAIRS)
            steps = PAIRS // recipe.encoder_pairs
            if step + steps <= first:
                step += steps
                continue
            with np.load(found[at]) as stored:
                crops, masks, kinds = stored["crops"], stored["masks"], stored["kinds"]
            told = answers(found[at], recipe.teacher)
            taught = np.load(told) if recipe.teacher and told.is_file() else None
            for k in range(steps):
                if first <= step < recipe.encoder_steps:
                    chosen = order[k * recipe.encoder_pairs : (k + 1) * recipe.encoder_pairs]
                    answered = None if taught is None else taught[chosen]
                    yield train.Batch(crops[chosen], masks_of(masks[chosen]), kinds[chosen], answered)
                step += 1
        number += 1
