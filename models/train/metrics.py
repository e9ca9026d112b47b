"""Figures over clips, never over frames; intervals over source groups, because clips of one source are not independent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Chance that a fake scores above a real, a tie counting half. NaN with one class. Raises ValueError for scores that are no numbers.

    In place of scikit-learn's, whose checks take a hundred times as long: an interval asks for thousands.
    """
    if not np.isfinite(scores).all():
        raise ValueError("a score is not a finite number: the net has diverged")
    reals, fakes = np.sort(scores[labels == 0]), scores[labels == 1]
    if not len(reals) or not len(fakes):
        return float("nan")
    below = np.searchsorted(reals, fakes, "left") + np.searchsorted(reals, fakes, "right")
    return float(below.mean() / (2 * len(reals)))


def auc_interval(labels: np.ndarray, scores: np.ndarray, groups: list[str], rounds: int = 1000) -> tuple[float, float]:
    """95 % interval of the AUC."""
    return group_interval(groups, lambda i: auc(labels[i], scores[i]), rounds)


def gain_interval(
    labels: np.ndarray, scores: np.ndarray, others: np.ndarray, groups: list[str], rounds: int = 1000
) -> tuple[float, float]:
    """95 % interval of AUC(scores) - AUC(others) on the same clips; above 0 throughout: `scores` is better."""
    return group_interval(groups, lambda i: auc(labels[i], scores[i]) - auc(labels[i], others[i]), rounds)


def group_interval(groups: list[str], figure: Callable[[np.ndarray], float], rounds: int) -> tuple[float, float]:
    """95 % interval of a figure over clips, by drawing whole groups with replacement."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(np.asarray(groups) == group) for group in sorted(set(groups))]
    draws = (np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))]) for _ in range(rounds))
    values = np.asarray([figure(draw) for draw in draws])
    values = values[np.isfinite(values)]  # a draw of one class says nothing
    return (float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))) if len(values) else (np.nan, np.nan)


def rates(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float]:
    """False-alarm rate, hit rate and their balanced accuracy at "fake from `threshold` up"."""
    called = scores >= threshold
    fpr, tpr = float(called[labels == 0].mean()), float(called[labels == 1].mean())
    return {"fpr": fpr, "tpr": tpr, "balanced_accuracy": (1 - fpr + tpr) / 2}


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, bins: int = 10) -> float:
    """ECE: mean gap between what was said and what was true, over equal-width bins."""
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = 0.0
    for i in range(bins):
        inside = place == i
        weight = weights[inside].sum()
        if weight > 0:
            said = (probabilities[inside] * weights[inside]).sum() / weight
            true = (labels[inside] * weights[inside]).sum() / weight
            gaps += weight * abs(said - true)
    return float(gaps / weights.sum())
