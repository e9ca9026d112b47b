"""From logits to probabilities and a three-way verdict, fitted on dev clips only.

Slope and bias (Platt) are fitted over windows, because the live element shows the score of a window; each clip weighs the
same, and so does each class. The clips are also shown as a worse line would bring them, or the probabilities would hold
for clean files only. The thresholds come from real clips alone. Live, one window over the threshold is already an alarm, so
a real clip is counted by its highest window: "fake" begins where 2.5 % of them would be called so at any time, and below the
score that 20 % of them reach at any time a face passes as authentic, if that score is below one half: what looks rather fake
than real is never called authentic. Between the two the honest answer is "uncertain".
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from . import data, frozen, metrics
from .archive import checksum
from .augment import ClipAugment, degraded, plain
from .data import FAKE, LABELS, REAL, DataError, Track, windows
from .recipe import Recipe
from .train import PACKAGES, at_model_size, encode, to_tensor, trained_encoder, trained_head, window_logits
from .twins import changed
from .workspace import Workspace, whole

AS_IS = "as is"
# Shares of real clips that reach the two thresholds in any window. With some thirty real clips 1 % could not be measured.
FAKE_AT, AUTHENTIC_BELOW = 0.025, 0.20


class Clips(Dataset):
    """The crops that one clip's windows cover, or every n-th of them, at the model's size."""

    def __init__(self, tracks: list[Track], augment: ClipAugment, recipe: Recipe) -> None:
        self.augment, self.recipe = augment, recipe
        length, every = recipe.window_frames, recipe.crops_every
        spans = [(track, windows(track.crops // every, length, length // 2, recipe.least_frames)) for track in tracks]
        self.entries = [(track, spans) for track, spans in spans if spans]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, item: int) -> np.ndarray:
        track, spans = self.entries[item]
        every = self.recipe.crops_every
        index = slice(0, spans[-1].stop * every, every)
        return at_model_size(track, index, self.augment, self.recipe)[:: self.recipe.dev_every]


Scored = list[tuple[Track, np.ndarray, float]]  # clip, logits of its windows, mean frame logit


def score(work: Workspace, clips: list[Track], quality: str, workers: int) -> Scored:
    """At one of the named qualities; clips too short for a window are left out."""
    recipe = work.recipe
    head = trained_head(work) if recipe.head else None
    scored = []
    for track, spans, features, frame_logits in encoded(work, clips, quality, degraded(recipe.margin)[quality], workers):
        if head is None:
            logits = np.asarray([frame_logits[span].mean() for span in spans], np.float64)
        else:
            logits = window_logits(head, [features[span] for span in spans])
        scored.append((track, logits, float(frame_logits.mean())))
    return scored


Encoded = tuple[Track, list[slice], np.ndarray, np.ndarray]  # its windows; features [n, F] and logits [n] of its crops


def encoded(work: Workspace, dev: list[Track], quality: str, augment: ClipAugment, workers: int) -> Iterator[Encoded]:
    if work.recipe.base:
        yield from frozen.encoded_dev(work, dev, quality, augment)
        return
    encoder = trained_encoder(work)
    clips = Clips(dev, augment, work.recipe)
    loader = DataLoader(clips, batch_size=None, num_workers=workers, collate_fn=np.asarray)
    for (track, spans), crops in zip(clips.entries, tqdm(loader, desc=f"dev, {quality}", unit="clip")):
        yield track, frozen.thinned(spans, work.recipe.dev_every), *encode(encoder, crops)


def platt(logits: list[np.ndarray], labels: np.ndarray) -> tuple[float, float]:
    """Slope and bias over windows; every clip weighs the same, and both classes together do."""
    weight = np.where(labels == FAKE, 0.5 / (labels == FAKE).sum(), 0.5 / (labels == REAL).sum())
    lengths = [len(values) for values in logits]
    fit = LogisticRegression(C=1e6, max_iter=1000).fit(
        np.concatenate(logits)[:, None],
        np.repeat(labels, lengths),
        sample_weight=np.repeat(weight / lengths, lengths) * len(labels),
    )
    return float(fit.coef_[0, 0]), float(fit.intercept_[0])


def probability(logit: np.ndarray | float, slope: float, bias: float) -> np.ndarray:
    return 1 / (1 + np.exp(-(slope * np.asarray(logit) + bias)))


def threshold(real_logits: np.ndarray, false_alarms: float) -> float:
    """Just above the logit that the given share of real clips exceeds; never between two clips on the lenient side."""
    return float(np.quantile(real_logits, 1 - false_alarms, method="higher")) + 1e-6


def held_out_error(logits: list[np.ndarray], labels: np.ndarray, groups: np.ndarray) -> float:
    """Calibration error of clip scores where each group is judged by a fit that never saw it."""
    said = np.zeros(len(labels))
    for group in set(groups.tolist()):
        inside = groups == group
        if len(set(labels[~inside].tolist())) < 2:
            return float("nan")
        slope, bias = platt([v for v, hide in zip(logits, inside) if not hide], labels[~inside])
        said[inside] = probability([logits[i].mean() for i in np.flatnonzero(inside)], slope, bias)
    weight = np.where(labels == FAKE, 0.5 / (labels == FAKE).sum(), 0.5 / (labels == REAL).sum())
    return metrics.calibration_error(labels, said, weight)


def calibrate(work: Workspace, dev: list[Track], workers: int, left_out: list[Track] | None = None) -> None:
    """Stage `calibrate`. Leaves calibration.json and scores.csv (a row a dev clip). `left_out`: further clips, only measured on."""
    scored = {quality: score(work, dev, quality, workers) for quality in degraded(work.recipe.margin)}
    everything = [entry for entries in scored.values() for entry in entries]
    labels = np.asarray([track.label for track, _, _ in everything])
    logits = [values for _, values, _ in everything]
    if set(labels.tolist()) != {REAL, FAKE}:
        raise DataError("no dev clip of one class is long enough for a window: longer dev clips are needed")
    slope, bias = platt(logits, labels)
    if slope <= 0:
        raise DataError("on dev the model takes real for fake more often than not: it has learnt nothing; train longer")
    real = np.asarray([values.max() for values, label in zip(logits, labels) if label == REAL])
    even = -bias / slope  # the logit of P(fake) = one half
    fake_from, authentic_to = threshold(real, FAKE_AT), min(threshold(real, AUTHENTIC_BELOW), even)

    clips = scored[AS_IS]
    labels = np.asarray([track.label for track, _, _ in clips])
    means = np.asarray([values.mean() for _, values, _ in clips])
    frame_means = np.asarray([frame_mean for _, _, frame_mean in clips])
    groups = [track.group for track, _, _ in clips]
    highest = np.asarray([values.max() for _, values, _ in clips])
    encoder = work.need("encoder.pt", "encoder")
    low, high = metrics.auc_interval(labels, means, groups)
    frame_low, frame_high = metrics.auc_interval(labels, frame_means, groups)
    gain_low, gain_high = metrics.gain_interval(labels, means, frame_means, groups)
    result = {
        "slope": slope,
        "bias": bias,
        "fake_threshold": float(probability(fake_from, slope, bias)),
        "authentic_threshold": float(probability(authentic_to, slope, bias)),
        "real_clips": int((labels == REAL).sum()),
        "fake_clips": int((labels == FAKE).sum()),
        "groups": len(set(groups)),
        "abstained": len(dev) - len(clips),
        "auc": metrics.auc(labels, means),
        "auc_low": low,
        "auc_high": high,
        "frame_mean_auc": metrics.auc(labels, frame_means),
        "frame_mean_auc_low": frame_low,
        "frame_mean_auc_high": frame_high,
        "gain_low": gain_low,
        "gain_high": gain_high,
        "ece_held_out": held_out_error([values for _, values, _ in clips], labels, np.asarray(groups)),
        "at_fake_threshold": metrics.rates(labels, means, fake_from),
        "at_authentic_threshold": metrics.rates(labels, means, authentic_to),
        "ever_fake": metrics.rates(labels, highest, fake_from),
        "ever_above_authentic": metrics.rates(labels, highest, authentic_to),
        "by_quality": {quality: quality_auc(entries) for quality, entries in scored.items()},
        "by_dataset": by(clips, lambda track: track.dataset, own_reals=True),
        "by_family": by_family(clips),
        "by_method": by(clips, lambda track: track.method, own_reals=False),
        "encoder_step": encoder["best"]["step"] if work.recipe.encoder_weights == "best" else encoder["step"],
        "head_epoch": work.need("head.pt", "head")["best"]["epoch"] if work.recipe.head else 0,
    }
    if map_figures := pointing(work, dev):
        result["where"] = map_figures
        print("map: points at the forgery on {hits:.0%} of {crops} crops (chance {chance:.0%}), IoU {iou:.2f}".format(**map_figures))
    if work.recipe.beside:
        result["beside_sha256"] = checksum_of_beside(work.recipe)
    if left_out:
        result["left_out"] = by_others(clips, score(work, left_out, AS_IS, workers), fake_from)
    with whole(work.path("calibration.json")) as partial:
        partial.write_text(json.dumps(result, indent=2))
    names = {index: name for name, index in LABELS.items()}
    with whole(work.path("scores.csv")) as partial, partial.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", "label", "method", "dataset", "group", "score", "frame_mean_logit", "windows"])
        for track, values, frame_mean in clips:
            score_ = float(probability(values.mean(), slope, bias))
            row = [track.file, names[track.label], track.method, track.dataset, track.group]
            rows.writerow([*row, f"{score_:.6f}", f"{frame_mean:.6f}", len(values)])
    print(f"dev AUC {result['auc']:.3f} [{low:.3f}, {high:.3f}], frame mean {result['frame_mean_auc']:.3f}")
    for family, row in result["by_family"].items():
        print(f"  {family}: {{auc:.3f}} [{{auc_low:.3f}}, {{auc_high:.3f}}], {{fakes}} fakes, {{reals}} reals".format(**row))
    if left_out:
        print("without `{}`: AUC on it {auc:.3f} [{auc_low:.3f}, {auc_high:.3f}]".format(work.recipe.leave_out, **result["left_out"]))


CHANGED = 0.25  # of a cell of the map: from here on it counts as changed


@torch.no_grad()
def pointing(work: Workspace, dev: list[Track]) -> dict[str, float] | None:
    """Does the map point at what was forged? On crops of fakes whose original is there too, so that what differs is known.

    `hits`: how often the map's highest cell is a changed one (the pointing game of Zhang et al., arXiv:1608.00507), `chance`: how
    often any cell is; `iou`: of the cells that the map calls changed and those that are. None where the net says no map.
    """
    recipe = work.recipe
    if not recipe.mask_weight or recipe.beside:
        return None
    encoder, augment, place = trained_encoder(work), plain(recipe.margin), {"size": recipe.size, "stored_margin": dev[0].margin}
    found = []
    for twins in data.Pairs.of(recipe, dev, 1).twins.values():
        real, fake, _ = twins.sides(np.linspace(0, twins.crops - 1, min(4, twins.crops)).astype(int))
        masks = torch.from_numpy(augment.place(changed(real, fake), **place)).float()[:, None]
        maps = encoder.with_mask(to_tensor(augment.apply(fake, **place)[0]))[2].float().sigmoid()
        truth = functional.adaptive_avg_pool2d(masks, maps.shape[-2:]).flatten(1) >= CHANGED
        said = maps.flatten(1)
        for cells, values in zip(truth, said):
            share = cells.float().mean().item()
            if 0.01 <= share <= 0.8:  # else there is nothing to point at, or nothing to miss
                both, either = (cells & (values >= 0.5)).sum().item(), (cells | (values >= 0.5)).sum().item()
                found.append((float(cells[values.argmax()]), share, both / either))
    if not found:
        return None
    hits, chance, iou = np.mean(found, axis=0)
    return {"crops": len(found), "hits": float(hits), "chance": float(chance), "iou": float(iou)}


def checksum_of_beside(recipe: Recipe) -> str:
    """Of the net whose logits were added while these figures were measured: with another one they do not hold."""
    return checksum(PACKAGES / recipe.beside / "encoder.onnx")


def by_others(dev: Scored, left_out: Scored, fake_from: float) -> dict[str, float]:
    """Figures on the fakes that were left out, against the reals left out with them or, where a method alone was, those of dev."""
    own = [entry for entry in left_out if entry[0].label == REAL]
    entries = [entry for entry in left_out if entry[0].label == FAKE] + (own or [entry for entry in dev if entry[0].label == REAL])
    labels = np.asarray([track.label for track, _, _ in entries])
    means = np.asarray([values.mean() for _, values, _ in entries])
    low, high = metrics.auc_interval(labels, means, [track.group for track, _, _ in entries])
    counts = {"fakes": int((labels == FAKE).sum()), "reals": int((labels == REAL).sum())}
    return {"auc": metrics.auc(labels, means), "auc_low": low, "auc_high": high} | metrics.rates(labels, means, fake_from) | counts


def quality_auc(entries: Scored) -> float:
    labels = np.asarray([track.label for track, _, _ in entries])
    return metrics.auc(labels, np.asarray([values.mean() for _, values, _ in entries]))


def by_family(clips: Scored) -> dict[str, dict]:
    """AUC of each family of fakes against the real clips of the sets that it comes from (of all, where those have none)."""
    table = {}
    for family in data.FAMILIES:
        fakes = [entry for entry in clips if entry[0].label == FAKE and entry[0].family == family]
        if not fakes:
            continue
        sets = {track.dataset for track, _, _ in fakes}
        every = [entry for entry in clips if entry[0].label == REAL]
        entries = fakes + ([entry for entry in every if entry[0].dataset in sets] or every)
        labels = np.asarray([track.label for track, _, _ in entries])
        means = np.asarray([values.mean() for _, values, _ in entries])
        low, high = metrics.auc_interval(labels, means, [track.group for track, _, _ in entries])
        counts = {"fakes": len(fakes), "reals": int((labels == REAL).sum())}
        table[family] = {"auc": metrics.auc(labels, means), "auc_low": low, "auc_high": high} | counts
    return table


def by(clips, key, own_reals: bool) -> dict[str, dict]:
    """AUC of each kind of fake against the real clips of its own dataset, or against all real clips."""
    table = {}
    for name in sorted({key(track) for track, _, _ in clips if track.label == FAKE}):
        chosen = [
            (track.label, values.mean())
            for track, values, _ in clips
            if (key(track) == name if track.label == FAKE or own_reals else True)
        ]
        labels = np.asarray([label for label, _ in chosen])
        table[name] = {
            "auc": metrics.auc(labels, np.asarray([value for _, value in chosen])),
            "fakes": int((labels == FAKE).sum()),
            "reals": int((labels == REAL).sum()),
        }
    return table
