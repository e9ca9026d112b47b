"""The road of a frozen base: crops go through it once, and what stands behind it is trained on its outputs in seconds.

In place of the stages `encoder` and `features` of train.py; head, calibration, export and package are the same.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from .augment import ClipAugment, degraded
from .data import FAKE, REAL, Pairs, Track, windows
from .front import Fronted
from .metrics import auc
from .recipe import Recipe
from .train import Average, at_model_size, learn, mixed, one_cycle, pair_crops, to_tensor, trained_encoder
from .workspace import Workspace, whole

PART = 16  # pairs kept in a file: what a stopped run loses at most
BATCH = 64  # pairs a step
AS_IS = "as is"


class BasePairs(Dataset):
    """Item i is `base_crops` crops of each side of pair i, as one round draws them; whole windows for an LSTM."""

    def __init__(self, pairs: Pairs, work: Workspace, number: int, items: range) -> None:
        self.pairs, self.order, self.recipe, self.number, self.items = pairs, order(pairs, work.recipe), work.recipe, number, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> np.ndarray:
        recipe, item = self.recipe, self.items[index]
        rng = np.random.default_rng([recipe.seed, 1 + self.number, item])
        stride = 1 if recipe.base_crops == recipe.window_frames else int(rng.integers(1, 7))
        return pair_crops(*self.order[item], recipe.base_crops, stride, rng, recipe, self.pairs)


def order(pairs: Pairs, recipe: Recipe) -> list[tuple[Track, Track | None]]:
    """Each pair once, or those of them that the recipe has time for."""
    everything = pairs.each_once()
    chosen = np.random.default_rng(recipe.seed).permutation(len(everything))[: recipe.base_pairs or None]
    return [everything[i] for i in np.sort(chosen)]


def base_of(work: Workspace) -> Fronted:
    torch.manual_seed(work.recipe.seed)
    return work.recipe.encoder()


def through(base: Fronted, crops: np.ndarray, batch: int = 16) -> np.ndarray:
    """Crops [n, S, S, 3] -> the base's outputs [n, C]."""
    parts = [base.fixed(to_tensor(crops[i : i + batch])) for i in range(0, len(crops), batch)]
    return torch.cat(parts).numpy()


def cache_base(work: Workspace, train: list[Track], workers: int) -> None:
    """Leaves base-XXXXXXXX/round-NN-PPPP.npy, float16 [pairs, 2 (real, fake), crops, C]. What is there already stays."""
    recipe = work.recipe
    base = base_of(work)
    pairs = Pairs.of(recipe, train, recipe.base_crops)
    count = len(order(pairs, recipe))
    parts = [(number, first) for number in range(recipe.base_rounds) for first in range(0, count, PART)]
    path = {part: work.path(f"{folder(recipe)}/round-{part[0]:02d}-{part[1]:04d}.npy") for part in parts}
    missing = [part for part in parts if not path[part].is_file()]
    work.room_for(len(missing) * PART * 2 * recipe.base_crops * 2048 * 2)
    bar = tqdm(missing, desc="base", unit="part")
    for number, first in bar:
        items = BasePairs(pairs, work, number, range(first, min(first + PART, count)))
        loader = DataLoader(items, batch_size=None, num_workers=workers, collate_fn=np.asarray)
        sides = [through(base, crops.reshape(-1, *crops.shape[2:])).reshape(2, recipe.base_crops, -1) for crops in loader]
        with whole(path[number, first]) as partial, partial.open("wb") as stream:
            np.save(stream, np.stack(sides).astype(np.float16))


# What the base's outputs hang on. Everything else may be changed without computing them anew.
PIXELS = ("base", "size", "margin", "alignment", "base_crops", "window_frames", "least_frames", "h264_frames", "h264_windows")
PIXELS += ("real_fakes", "partial", "seed", "dev_every", "leave_out", "base_pairs", "unpaired_fakes", "codecs")


def folder(recipe: Recipe) -> str:
    settings = json.dumps([getattr(recipe, name) for name in PIXELS])
    return f"base-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"


def cached(work: Workspace) -> list[np.ndarray]:
    """Each round whole: [pairs, 2, crops, C]."""
    rounds = []
    for number in range(work.recipe.base_rounds):
        files = sorted((work.folder / folder(work.recipe)).glob(f"round-{number:02d}-*.npy"))
        rounds.append(np.concatenate([np.load(file) for file in files]))
    return rounds


def dev_base(work: Workspace, dev: list[Track], quality: str, augment: ClipAugment) -> list[tuple[Track, list[slice], np.ndarray]]:
    """(clip, windows over its features, the base's outputs [n, C]), computed once; clips too short for a window are left out."""
    recipe, every = work.recipe, work.recipe.dev_every
    base = base_of(work)
    result = []
    for track in tqdm(dev, desc=f"dev, {quality}", unit="clip"):
        spans = windows(track.crops, recipe.window_frames, recipe.window_frames // 2, recipe.least_frames)
        if not spans:
            continue
        path = work.path(f"{folder(recipe)}/dev {quality}/{track.npy.parent.parent.name}-{track.npy.parent.name}-{track.npy.stem}.npy")
        if not path.is_file():
            crops = at_model_size(track, slice(0, spans[-1].stop), augment, recipe)[::every]
            with whole(path) as partial, partial.open("wb") as stream:
                np.save(stream, through(base, crops))
        result.append((track, thinned(spans, every), np.load(path)))
    return result


def thinned(spans: list[slice], every: int) -> list[slice]:
    """The same windows over every n-th crop."""
    return [slice(math.ceil(span.start / every), math.ceil(span.stop / every)) for span in spans]


def encoded_dev(
    work: Workspace, dev: list[Track], quality: str, augment: ClipAugment
) -> Iterator[tuple[Track, list[slice], np.ndarray, np.ndarray]]:
    """(clip, its windows, features [n, F], logits [n]) as calibrate.py wants them."""
    encoder = trained_encoder(work)
    for track, spans, values in dev_base(work, dev, quality, augment):
        yield track, spans, *behind(encoder.net, values)


@torch.no_grad()
def behind(net: nn.Module, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features, logits = net(torch.from_numpy(values).float())
    return features.numpy(), logits.diff(dim=1)[:, 0].numpy()


def train_encoder(work: Workspace, train: list[Track], dev: list[Track], workers: int) -> None:
    """Stage `encoder`: the base's outputs, then what stands behind it, on single crops. Leaves encoder.pt."""
    recipe = work.recipe
    cache_base(work, train, workers)
    if work.load("encoder.pt"):
        return
    rounds = cached(work)
    as_is = dev_base(work, dev, AS_IS, degraded(recipe.margin)[AS_IS])
    labels = np.asarray([track.label for track, _, _ in as_is])
    encoder = base_of(work)
    net, average = encoder.net, Average(encoder.net, recipe.encoder_keep)
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.encoder_rate, weight_decay=recipe.weight_decay)
    best = {"auc": -1.0, "step": 0, "net": {}}
    count, crops = len(rounds[0]), recipe.base_crops
    steps_an_epoch = math.ceil(count / BATCH)
    steps, step = recipe.base_epochs * steps_an_epoch, 0
    for epoch in (bar := tqdm(range(recipe.base_epochs), desc="encoder", unit="epoch")):
        rng = np.random.default_rng([recipe.seed, epoch])
        torch.manual_seed(recipe.seed + epoch)
        net.train()
        for chosen in np.array_split(rng.permutation(count), steps_an_epoch):
            values = rounds[rng.integers(len(rounds))]
            # Two crops of each side: the crops of one clip say nearly the same.
            frames = rng.integers(crops, size=(len(chosen), 1, min(2, crops)))
            batch = np.take_along_axis(values[np.sort(chosen)], frames[..., None], axis=2).astype(np.float32)
            batch = mixed(batch, recipe.head_mixup, rng)
            target = torch.tensor([REAL, FAKE]).repeat_interleave(batch.shape[2]).repeat(len(chosen))
            _, logits = net(torch.from_numpy(batch).flatten(0, 2))
            loss = functional.cross_entropy(logits, target, label_smoothing=recipe.label_smoothing)
            learn(loss, net, average, optimiser, one_cycle(step, steps, recipe.encoder_rate))
            step += 1
        value = auc(labels, np.asarray([behind(average.net, values)[1].mean() for _, _, values in as_is]))
        if value > best["auc"]:
            best = {"auc": value, "step": step, "net": of_encoder(average)}
        bar.set_postfix(loss=f"{loss.item():.3f}", dev_auc=f"{value:.3f}", best=f"{best['auc']:.3f}")
    work.save("encoder.pt", {"average": of_encoder(average), "step": step, "best": best})


def of_encoder(average: Average) -> dict[str, torch.Tensor]:
    """Its weights, by the names they have in the encoder, whose part behind the base it averages."""
    return {f"net.{name}": weight.clone() for name, weight in average.net.state_dict().items()}


def cache_features(work: Workspace) -> None:
    """Stage `features`: as train.cache_features leaves them, from the base's outputs."""
    encoder = trained_encoder(work)
    for number, values in enumerate(cached(work)):
        path = work.path(f"features/round-{number:02d}.npy")
        if path.is_file():
            continue
        features = behind(encoder.net, values.reshape(-1, values.shape[-1]))[0]
        with whole(path) as partial, partial.open("wb") as stream:
            np.save(stream, features.reshape(*values.shape[:3], -1).astype(np.float16))


def dev_windows(work: Workspace, dev: list[Track]) -> list[tuple[int, list[np.ndarray]]]:
    """Label and the features of each window of the dev clips as they are."""
    augment = degraded(work.recipe.margin)[AS_IS]
    return [(track.label, [f[span] for span in spans]) for track, spans, f, _ in encoded_dev(work, dev, AS_IS, augment)]
