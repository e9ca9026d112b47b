"""Three stages: the encoder on single crops, the features of whole windows, the head on those.

An encoder step on 40 nearly equal crops teaches little more than one on two of them and costs twenty times as much, so the
encoder learns from single crops of many clips. Its features are then computed once and kept, and the head, which is
cheap, learns time from them. Each stage goes on from its last checkpoint.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from . import align, synth
from .augment import ClipAugment, Conversion, plain
from .compact import round_weights
from .data import FAKE, KINDS, REAL, DataError, Pairs, Track, main_track, windows
from .metrics import auc
from .nets.beside import Beside
from .recipe import Recipe
from .synth import partial
from .synth.pair import Source
from .twins import changed
from .workspace import Workspace, whole

PACKAGES = Path(__file__).resolve().parent.parent
# bfloat16 is up to twice as fast on CPUs that have it (where the recipe's net gains by it) and is slower on all others.
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BF16 = DEVICE.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def pair_crops(
    real: Track, fake: Track | None, count: int, stride: int, rng: np.random.Generator, recipe: Recipe, pairs: Pairs
) -> np.ndarray:
    """[2, count, size, size, 3] uint8: real and fake crops, every `stride`-th, through the same augmentation."""
    return draw_sample(real, fake, count, stride, rng, recipe, pairs).crops


class Sample(NamedTuple):
    """Real and fake crops through the same augmentation."""

    crops: np.ndarray  # [2, count, size, size, 3] uint8
    masks: np.ndarray  # [count, size, size] of 0..1: where the fake was changed; NaN where only its maker knows
    kind: int  # what was done: index into data.KINDS


def draw_sample(
    real: Track, fake: Track | None, count: int, stride: int, rng: np.random.Generator, recipe: Recipe, pairs: Pairs
) -> Sample:
    """`stride` between crops is shortened where the clip is too short for it."""
    aligned = recipe.alignment == "five-point"  # there both sides are brought onto their own landmarks
    twins = pairs.twins.get(fake)
    crops = twins.crops if twins else min(real.crops, fake.crops) if fake else real.crops
    stride = max(1, min(stride, (crops - 1) // max(count - 1, 1)))
    start = rng.integers(crops - (count - 1) * stride)
    index = start + stride * np.arange(count)
    kind = fake.kind if fake else None
    if fake and twins and not aligned:
        one, other, mesh = twins.frames(index)
        where = changed(one, other)
        if rng.random() < recipe.partial:
            made = partial.draw(Source(one, synth.smooth(mesh)), other, where, KINDS[kind], rng)
            *sides, masks = made.arrays()
        else:
            sides, masks = (one, other), where
    elif fake:
        at = twins.at[:, index] if twins else (index, index)
        sides, masks = (real.frames(at[0]), fake.frames(at[1])), None
    else:
        if count == 1 and recipe.vae_share and real.vae_file.is_file() and rng.random() < recipe.vae_share:
            made = decoded(real, rng)
        else:
            source = Source(real.frames(index), real.mesh(index))
            made = synth.draw(source, lambda mesh, rng: pairs.donor(mesh, count, real, rng), rng)
        *sides, masks = made.arrays()
        kind = KINDS.index(made.kind)
    h264 = recipe.h264_windows if count == recipe.window_frames else recipe.h264_frames
    augment = ClipAugment.draw(rng, recipe.margin, h264)
    if not recipe.codecs:
        augment = replace(augment, jpeg=None, h264=None)
    place = {"size": recipe.size, "stored_margin": real.margin}
    if masks is None:
        masks = np.full((count, recipe.size, recipe.size), np.nan, np.float32)
    else:
        masks = augment.place(masks, **place)
    if aligned:
        points = [real.landmarks()[at[0]], fake.landmarks()[at[1]]] if fake else [real.landmarks()[index]] * 2
        return Sample(np.stack(align.apply(augment, sides, points, **place)), masks, kind)
    return Sample(np.stack(augment.apply(*sides, **place)), masks, kind)


def decoded(real: Track, rng: np.random.Generator) -> synth.Pair:
    """One of the crops that the stage `vae` drew anew."""
    with np.load(real.vae_file) as stored:
        index = stored["index"]
        at = int(rng.integers(len(index)))
        before, after = stored["real"][at : at + 1], stored["fake"][at : at + 1]
    return synth.redraw.decoded(Source(before, real.mesh(index[at : at + 1])), before, after, rng)


class FramePairs(Dataset):
    """Item i is the same pair in every run: its draw is seeded by i alone, so a resumed run sees what it would have seen."""

    def __init__(self, pairs: Pairs, recipe: Recipe, first: int, count: int) -> None:
        self.pairs, self.recipe, self.first, self.count = pairs, recipe, first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: int) -> Sample:
        rng = np.random.default_rng([self.recipe.seed, self.first + item])
        sample = self.draw(rng)
        if self.recipe.paired:
            return sample
        return sample._replace(crops=np.stack([self.draw(rng).crops[REAL], sample.crops[FAKE]]))

    def draw(self, rng: np.random.Generator) -> Sample:
        real, fake = self.pairs.draw(rng)
        stride = int(rng.integers(1, 7))
        return draw_sample(real, fake, self.recipe.encoder_frames, stride, rng, self.recipe, self.pairs)


class Batch(NamedTuple):
    """Samples beside each other: the shapes of Sample with a first dimension of pairs."""

    crops: np.ndarray
    masks: np.ndarray
    kinds: np.ndarray
    taught: np.ndarray | None = None  # [pairs, 2] fake-minus-real logits that a teacher gave real and fake


def collate(items: list[Sample]) -> Batch:
    return Batch(*(np.stack(parts) for parts in zip(*items)))


def converted(batch: np.ndarray, seed: int) -> np.ndarray:
    """Crops [pairs, 2, frames, H, W, 3] as another player would bring them, both sides of a pair by the same."""
    rng = np.random.default_rng(seed)
    return np.stack([Conversion.draw(rng).apply(pair, int(rng.integers(2**31))) for pair in batch])


def mask_loss(maps: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Where was it changed? `maps`: logits [pairs * 2 * frames, 1, h, w]; `masks` of the fakes: [pairs, frames, H, W], NaN: unknown.

    Only helps training: a net that must say where cannot get away with knowing the clip.
    """
    pairs, frames = masks.shape[:2]
    target = functional.adaptive_avg_pool2d(masks.flatten(0, 1)[:, None], maps.shape[-2:]).view(pairs, 1, frames, *maps.shape[-2:])
    target = torch.cat([torch.zeros_like(target), target], dim=1).flatten(0, 2)[:, None]
    known = ~target.isnan()
    losses = functional.binary_cross_entropy_with_logits(maps, target.nan_to_num(), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def device_of(net: nn.Module) -> torch.device:
    return next(net.parameters()).device


def to_tensor(crops: np.ndarray, device: torch.device | None = None) -> torch.Tensor:
    """[..., H, W, 3] uint8 -> [N, 3, H, W] float, 0..255."""
    flat = torch.from_numpy(np.ascontiguousarray(crops)).flatten(0, -4).to(device)
    return flat.permute(0, 3, 1, 2).float()  # a view of channels-last memory, which is what the CPU likes best


def one_cycle(step: int, steps: int, top: float) -> float:
    """Learning rate: up over the first twentieth, then down along a cosine."""
    warm = max(1, steps // 20)
    if step < warm:
        return top * (step + 1) / warm
    return top * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class Average:
    """Exponential moving average of a net's weights and statistics; steadier than the net itself."""

    def __init__(self, net: nn.Module, keep: float = 0.995) -> None:
        self.net, self.keep, self.steps = copy.deepcopy(net).eval().requires_grad_(False), keep, 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        self.steps += 1
        keep = min(self.keep, self.steps / (self.steps + 9))  # forgets its random start at once
        for mine, theirs in zip(self.net.state_dict().values(), net.state_dict().values()):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, 1 - keep)
            else:
                mine.copy_(theirs)


def learn(loss: torch.Tensor, net: nn.Module, average: Average, optimiser: torch.optim.Optimizer, rate: float) -> None:
    """One step down the slope of `loss`, which `average` follows."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimiser.step()
    average.update(net)


def train_encoder(
    work: Workspace,
    train: list[Track],
    stills: list[Track],
    dev: list[Track],
    workers: int,
    compiled: bool = False,
    drawn: Callable[[int], Iterable[Batch]] | None = None,
) -> None:
    """Stage `encoder`. Leaves encoder.pt: the state to go on from, and the averaged weights best on dev (frame mean).

    `drawn`: gives the batches from a step on (`packs.py`), in place of drawing each pair now.
    """
    recipe = work.recipe
    torch.manual_seed(recipe.seed)
    net = recipe.encoder().to(DEVICE, memory_format=torch.channels_last)
    average = Average(net, recipe.encoder_keep)
    learnt = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=recipe.encoder_rate, weight_decay=recipe.weight_decay)
    answer = net.with_mask if recipe.mask_weight else net
    if compiled:
        answer = torch.compile(answer)
    step, best = 0, {"auc": -1.0, "step": 0, "net": average.net.state_dict()}
    if state := work.load("encoder.pt"):
        net.load_state_dict(state["net"])
        average.net.load_state_dict(state["average"])
        average.steps = state["step"]
        optimiser.load_state_dict(state["optimiser"])
        step, best = state["step"], state["best"]
    elif recipe.begin_with:
        crops = [t.frames(slice(0, 1)) for t in main_track(train)[:: max(1, len(train) // 96)]]
        augment, place = plain(recipe.margin), {"size": recipe.size, "stored_margin": train[0].margin}
        seen = to_tensor(np.concatenate([augment.apply(crop, **place)[0] for crop in crops]))
        net.take_over(PACKAGES / recipe.begin_with, seen.to(DEVICE))
    if drawn:
        batches = drawn(step)
    else:
        if recipe.encoder_frames > 1:
            stills = []  # one picture makes no clip
        pairs = Pairs.of(recipe, train, recipe.encoder_frames, stills)
        start = step * recipe.encoder_pairs
        items = FramePairs(pairs, recipe, start, recipe.encoder_steps * recipe.encoder_pairs - start)
        batches = DataLoader(items, batch_size=recipe.encoder_pairs, num_workers=workers, collate_fn=collate)

    def save() -> None:
        work.save(
            "encoder.pt",
            {
                "net": net.state_dict(),
                "average": average.net.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": step,
                "best": best,
            },
        )

    bar = tqdm(batches, total=recipe.encoder_steps, initial=step, desc="encoder", unit="step", mininterval=2)
    try:
        for batch in bar:
            torch.manual_seed(recipe.seed + step)  # dropout, too, is the same in a run that was stopped
            net.train()
            loss = encoder_loss(net, answer, batch, recipe, step)
            learn(loss, net, average, optimiser, one_cycle(step, recipe.encoder_steps, recipe.encoder_rate))
            step += 1
            if step % recipe.check_every == 0 or step == recipe.encoder_steps:
                value = frame_auc(average.net, dev, recipe, recipe.check_crops)
                if value > best["auc"]:
                    best = {"auc": value, "step": step, "net": copy.deepcopy(average.net.state_dict())}
                save()
                bar.write(f"step {step}: loss {loss.item():.3f}, dev AUC of frame means {value:.3f} (best {best['auc']:.3f})")
            bar.set_postfix(loss=f"{loss.item():.3f}")
    except KeyboardInterrupt:
        save()
        raise
    finally:
        bar.close()


def encoder_loss(net: nn.Module, answer: Callable, batch: Batch, recipe: Recipe, step: int) -> torch.Tensor:
    """What one batch asks of the encoder. `answer`: crops -> features, logits and, where masks are asked for, their maps."""
    pairs, sides, frames = batch.crops.shape[:3]
    device = device_of(net)
    labels = torch.tensor([REAL, FAKE], device=device).repeat_interleave(frames).repeat(pairs)
    crops = to_tensor(batch.crops, device)
    again = to_tensor(converted(batch.crops[::2], recipe.seed + step), device) if recipe.agreement else crops[:0]
    with torch.autocast(device.type, torch.bfloat16, enabled=BF16 and bool(recipe.bfloat16)):
        features, logits, *maps = answer(torch.cat([crops, again]))
    logits, logits_again = logits.float().split([len(crops), len(again)])
    if batch.taught is None:
        loss = functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    else:
        # The teacher's doubts are worth as much as its answers: it knows which fakes can hardly be told.
        fake = torch.from_numpy(batch.taught).to(device)[:, :, None].sigmoid().expand(-1, -1, frames).flatten()
        smooth = recipe.label_smoothing
        fake = recipe.teaching * fake + (1 - recipe.teaching) * (labels * (1 - smooth) + smooth / 2)
        loss = functional.cross_entropy(logits, torch.stack([1 - fake, fake], dim=1))
    difference = logits.diff(dim=1).view(pairs, sides, frames)
    if recipe.rank_weight:
        # Sources differ more than forgeries: what counts is to stand above the very clip that was forged.
        loss = loss + recipe.rank_weight * functional.softplus(difference[:, REAL] - difference[:, FAKE]).mean()
    if recipe.kind_weight:
        forged = features[: len(crops)].float().view(pairs, sides, frames, -1)[:, FAKE].flatten(0, 1)
        kinds = torch.from_numpy(batch.kinds).to(device).repeat_interleave(frames)
        loss = loss + recipe.kind_weight * functional.cross_entropy(net.kinds(forged), kinds)
    if recipe.mask_weight:
        loss = loss + recipe.mask_weight * mask_loss(maps[0][: len(crops)].float(), torch.from_numpy(batch.masks).to(device))
    if recipe.agreement:
        first = logits.view(pairs, sides, frames, 2)[::2].flatten(0, 2).diff(dim=1)
        # As a share of what crops differ by, through which the slope goes too: else the cheapest way to agree is to say little.
        loss = loss + recipe.agreement * functional.mse_loss(logits_again.diff(dim=1), first) / first.var().clamp(min=1e-3)
    return loss


@torch.no_grad()
def encode(encoder: nn.Module, crops: np.ndarray, batch: int = 8, fast: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Crops [n, size, size, 3] -> features [n, F] and the fake-minus-real logit of each crop [n]. `fast`: as while training.

    The maps of eight crops stay in the processor's cache, which takes a third of the time that 128 at once do.
    """
    device = device_of(encoder)
    with torch.autocast(device.type, torch.bfloat16, enabled=fast and BF16):
        parts = [encoder(to_tensor(crops[i : i + batch], device)) for i in range(0, len(crops), batch)]
    features, logits = (torch.cat(part).float().cpu() for part in zip(*parts))
    return features.numpy(), logits.diff(dim=1)[:, 0].numpy()


def at_model_size(track: Track, index: np.ndarray | slice, augment: ClipAugment, recipe: Recipe) -> np.ndarray:
    """Crops [n, size, size, 3] of one track."""
    if recipe.alignment == "five-point":
        points = [track.landmarks()[index]]
        return align.apply(augment, [track.frames(index)], points, size=recipe.size, stored_margin=track.margin)[0]
    return augment.apply(track.frames(index), size=recipe.size, stored_margin=track.margin)[0]


def frame_auc(encoder: nn.Module, tracks: list[Track], recipe: Recipe, frames: int = 8) -> float:
    """AUC of the mean logit over a few crops of each clip: quick, and what an LSTM has to beat."""
    labels = np.asarray([track.label for track in tracks])
    return auc(labels, mean_logits(encoder, tracks, plain(recipe.margin), recipe, frames))


def mean_logits(encoder: nn.Module, tracks: list[Track], augment: ClipAugment, recipe: Recipe, frames: int) -> np.ndarray:
    """Mean fake-minus-real logit over a few crops of each clip."""
    means = []
    for track in tracks:
        index = np.linspace(0, track.crops - 1, min(frames, track.crops)).astype(int)
        _, logits = encode(encoder, at_model_size(track, index, augment, recipe))
        means.append(logits.mean())
    return np.asarray(means)


def kept_weights(state: dict, recipe: Recipe) -> dict[str, torch.Tensor]:
    """Of the averages kept while training: the one best on dev, the last, or the mean of both, which is flatter ground than
    either (Izmailov et al., arXiv:1803.05407). Dev is small: where training ends calmly, the last is the honest choice."""
    last = state["average"]
    match recipe.encoder_weights:
        case "best":
            return state["best"]["net"]
        case "last":
            return last
        case "mean":
            best = state["best"]["net"]
            return {k: (w + last[k]) / 2 if w.is_floating_point() else last[k] for k, w in best.items()}
        case other:
            raise DataError(f"encoder_weights is `{other}`: it must be best, last or mean")


def trained_encoder(work: Workspace) -> nn.Module:
    encoder = work.recipe.encoder().to(memory_format=torch.channels_last)
    encoder.load_state_dict(kept_weights(work.need("encoder.pt", "encoder"), work.recipe))
    encoder = (round_weights(encoder) if work.recipe.compact else encoder).eval()
    if work.recipe.beside:
        return Beside(encoder, PACKAGES / work.recipe.beside, work.recipe.beside_weight, work.recipe.size)
    return encoder


class WindowPairs(Dataset):
    """Item i is a window of each side of pair i, as one round draws it."""

    def __init__(self, pairs: Pairs, recipe: Recipe, number: int) -> None:
        self.pairs, self.order, self.recipe, self.number = pairs, pairs.each_once(), recipe, number
        if recipe.feature_pairs:
            chosen = np.random.default_rng(recipe.seed).permutation(len(self.order))[: recipe.feature_pairs]
            self.order = [self.order[i] for i in chosen]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, item: int) -> np.ndarray:
        rng = np.random.default_rng([self.recipe.seed, 1 + self.number, item])
        return pair_crops(*self.order[item], self.recipe.window_frames, 1, rng, self.recipe, self.pairs)


def cache_features(work: Workspace, train: list[Track], workers: int) -> None:
    """Stage `features`. Leaves features/round-NN.npy, float16 [pairs, 2 (real, fake), window, F], a file a round."""
    recipe = work.recipe
    encoder = trained_encoder(work)
    pairs = Pairs.of(recipe, train, recipe.window_frames)
    count = len(WindowPairs(pairs, recipe, 0))
    width = encode(encoder, np.zeros((1, recipe.size, recipe.size, 3), np.uint8))[0].shape[1]
    shape = (count, 2, recipe.window_frames, width)
    missing = [r for r in range(recipe.feature_rounds) if not work.path(f"features/round-{r:02d}.npy").is_file()]
    work.room_for(len(missing) * math.prod(shape) * 2)
    for number in missing:
        features = np.zeros(shape, np.float16)
        items = DataLoader(WindowPairs(pairs, recipe, number), batch_size=None, num_workers=workers, collate_fn=np.asarray)
        for i, crops in enumerate(tqdm(items, desc=f"features {number + 1}/{recipe.feature_rounds}", unit="pair")):
            for side in (REAL, FAKE):
                features[i, side] = encode(encoder, crops[side], fast=bool(recipe.bfloat16))[0]
        with whole(work.path(f"features/round-{number:02d}.npy")) as partial, partial.open("wb") as stream:
            np.save(stream, features)


def window_features(encoder: nn.Module, track: Track, augment: ClipAugment, recipe: Recipe) -> list[np.ndarray]:
    """Features [T, F] of each window of a track, half a window apart; each crop is encoded once."""
    spans = windows(track.crops, recipe.window_frames, recipe.window_frames // 2, recipe.least_frames)
    if not spans:
        return []
    features, _ = encode(encoder, at_model_size(track, slice(0, spans[-1].stop), augment, recipe))
    return [features[span] for span in spans]


@torch.no_grad()
def window_logits(head: nn.Module, features: list[np.ndarray]) -> np.ndarray:
    """Fake-minus-real logit of each window."""
    values = [head(torch.from_numpy(window)[None])[0] for window in features]
    return np.asarray([float(v[FAKE] - v[REAL]) for v in values], np.float64)


def mixed(pairs: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Features of pairs [n, 2, T, F], each mixed with another's, real with real and fake with fake; `strength` 0 mixes none.

    Of a few hundred pairs a net otherwise learns the clips and not the forgery (mixup: Zhang et al., arXiv:1710.09412).
    """
    if strength == 0:
        return pairs
    share = rng.beta(strength, strength, len(pairs)).astype(np.float32)
    share = np.maximum(share, 1 - share)[:, None, None, None]
    return share * pairs + (1 - share) * pairs[rng.permutation(len(pairs))]


def train_head(work: Workspace, dev: list[Track], scored: list[tuple[int, list[np.ndarray]]] | None = None) -> None:
    """Stage `head`. Leaves head.pt: the state to go on from, and the averaged weights of the epoch best on dev.

    `scored`: label and windows' features of the dev clips, where they are there already.
    """
    recipe = work.recipe
    encoder = trained_encoder(work)
    rounds = [np.load(work.path(f"features/round-{r:02d}.npy"), mmap_mode="r") for r in range(recipe.feature_rounds)]
    torch.manual_seed(recipe.head_seed)
    head = recipe.head()
    head.start_from(encoder)
    average = Average(head)
    optimiser = torch.optim.AdamW([p for p in head.parameters() if p.requires_grad], lr=recipe.head_rate, weight_decay=recipe.weight_decay)
    epoch, best = 0, {"auc": -1.0, "epoch": 0, "net": average.net.state_dict()}
    if state := work.load("head.pt"):
        head.load_state_dict(state["net"])
        average.net.load_state_dict(state["average"])
        average.steps = state["steps"]
        optimiser.load_state_dict(state["optimiser"])
        epoch, best = state["epoch"], state["best"]
    if epoch == recipe.head_epochs:
        return
    if scored is None:
        scored = [(track.label, window_features(encoder, track, plain(recipe.margin), recipe)) for track in tqdm(dev, desc="dev")]
    scored = [(label, spans) for label, spans in scored if spans]
    labels = np.asarray([label for label, _ in scored])

    count = len(rounds[0])
    pairs = recipe.head_batch // 2
    steps = math.ceil(count / pairs)
    bar = tqdm(range(epoch, recipe.head_epochs), total=recipe.head_epochs, initial=epoch, desc="head", unit="epoch")
    for epoch in bar:
        rng = np.random.default_rng([recipe.head_seed, epoch])
        order = rng.permutation(count)
        torch.manual_seed(recipe.head_seed * 1000 + epoch)
        head.train()
        for step in range(steps):
            chosen = np.sort(order[step * pairs : (step + 1) * pairs])
            batch = np.stack([rounds[rng.integers(len(rounds))][i] for i in chosen]).astype(np.float32)
            batch = torch.from_numpy(mixed(batch, recipe.head_mixup, rng))
            # Young windows are scored live too; half of the batches are cut short, both classes alike.
            length = recipe.window_frames
            if rng.random() < 0.5:
                length = int(rng.integers(min(recipe.least_frames, length), length + 1))
            batch = batch.flatten(0, 1)[:, -length:]  # real, fake, real, fake …
            logits = head(batch)
            target = torch.tensor([REAL, FAKE]).repeat(len(chosen))
            loss = functional.cross_entropy(logits, target, label_smoothing=recipe.label_smoothing)
            learn(loss, head, average, optimiser, one_cycle(epoch * steps + step, recipe.head_epochs * steps, recipe.head_rate))
        value = auc(labels, np.asarray([window_logits(average.net, spans).mean() for _, spans in scored]))
        if value > best["auc"]:
            best = {"auc": value, "epoch": epoch + 1, "net": copy.deepcopy(average.net.state_dict())}
        bar.set_postfix(loss=f"{loss.item():.3f}", dev_auc=f"{value:.3f}", best=f"{best['auc']:.3f}")
        work.save(
            "head.pt",
            {
                "net": head.state_dict(),
                "average": average.net.state_dict(),
                "steps": average.steps,
                "optimiser": optimiser.state_dict(),
                "epoch": epoch + 1,
                "best": best,
            },
        )


def trained_head(work: Workspace) -> nn.Module:
    head = work.recipe.head()
    head.load_state_dict(work.need("head.pt", "head")["best"]["net"])
    return (round_weights(head) if work.recipe.compact else head).eval()
