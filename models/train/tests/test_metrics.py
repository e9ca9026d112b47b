import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from train import calibrate, metrics


def test_auc_counts_pairs_in_order():
    assert metrics.auc(np.asarray([0, 0, 1, 1]), np.asarray([0.1, 0.4, 0.35, 0.8])) == 0.75


def test_auc_is_scikit_learns_with_ties_too():
    rng = np.random.default_rng(0)
    for steps in (3, 20, 10**6):
        labels, scores = rng.integers(2, size=90), rng.integers(steps, size=90) / 7
        assert metrics.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_auc_of_one_class_is_none_and_of_no_numbers_an_error():
    assert np.isnan(metrics.auc(np.ones(3), np.arange(3.0)))
    with pytest.raises(ValueError, match="diverged"):
        metrics.auc(np.asarray([0, 1]), np.asarray([0.0, np.nan]))


def test_the_interval_is_wider_where_clips_share_a_source():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 60)
    # Six sources: the fakes of three are easy, those of the other three are not to be told.
    scores = labels * np.repeat([0, 0, 0, 3, 3, 3], 20) + rng.normal(0, 1, 120)
    alone = metrics.auc_interval(labels, scores, [str(i // 2) for i in range(120)], rounds=200)
    shared = metrics.auc_interval(labels, scores, [str(i // 20) for i in range(120)], rounds=200)
    assert alone[0] < metrics.auc(labels, scores) < alone[1]
    assert shared[1] - shared[0] > 1.5 * (alone[1] - alone[0])


def test_a_gain_is_judged_on_the_same_clips():
    rng = np.random.default_rng(0)
    labels, groups = np.tile([0, 1], 60), [str(i // 4) for i in range(120)]
    good, bad = labels * 2 + rng.normal(0, 1, 120), rng.normal(0, 1, 120)
    assert metrics.gain_interval(labels, good, bad, groups, rounds=200)[0] > 0
    assert metrics.gain_interval(labels, bad, good, groups, rounds=200)[1] < 0
    assert metrics.gain_interval(labels, good, good, groups, rounds=200) == (0, 0)


def test_calibration_error_is_the_gap_between_said_and_true():
    said = np.full(100, 0.8)
    assert metrics.calibration_error(np.repeat([1, 0], [80, 20]), said, np.ones(100)) == pytest.approx(0)
    assert metrics.calibration_error(np.repeat([1, 0], [50, 50]), said, np.ones(100)) == pytest.approx(0.3)


def test_platt_finds_the_slope_that_made_the_labels():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, 20000)
    labels = (rng.random(20000) < 1 / (1 + np.exp(-(0.7 * logits)))).astype(int)
    slope, bias = calibrate.platt([np.asarray([v]) for v in logits], labels)
    assert slope == pytest.approx(0.7, abs=0.05)
    assert bias == pytest.approx(0, abs=0.06)


def test_long_clips_weigh_no_more_than_short_ones():
    short = [np.asarray([v]) for v in (-1.0, 0.2, -0.3, 1.0)]
    long = [np.repeat(v, 50) if i == 1 else v for i, v in enumerate(short)]
    labels = np.asarray([0, 0, 1, 1])
    assert calibrate.platt(short, labels) == pytest.approx(calibrate.platt(long, labels), abs=1e-3)


def test_no_more_real_clips_than_asked_for_are_over_the_threshold():
    real = np.random.default_rng(2).normal(0, 1, 200)
    for share in (0.01, 0.05):
        assert (real >= calibrate.threshold(real, share)).mean() <= share
    assert (real[:27] >= calibrate.threshold(real[:27], 0.01)).sum() == 0, "of few clips, none"
