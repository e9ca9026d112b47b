"""What training never sees, and what it is for."""

import dataclasses
import json

import numpy as np
import pytest

from train import data, leave_out, train

from .test_stages import run


@pytest.fixture(scope="module")
def tracks(crops) -> list[data.Track]:
    """Eight groups of two clips: fakes by two methods, and two sets, one of which holds three groups."""
    named = []
    for track in data.read(crops, "train"):
        number = int(track.group.removeprefix("train-"))
        method = "-" if track.label == data.REAL else ("paint", "paste")[number % 2]
        named.append(dataclasses.replace(track, method=method, dataset="other" if number > 4 else "first"))
    return named


def test_a_method_goes_without_its_reals(tracks):
    kept, out = leave_out.split(tracks, "paste")
    assert {track.method for track in out} == {"paste"} and {track.label for track in out} == {data.FAKE}
    assert sorted(kept + out, key=id) == sorted(tracks, key=id)
    assert "paste" not in {track.method for track in kept} and sum(track.label == data.REAL for track in kept) == 8


def test_a_set_goes_with_every_clip_of_its_people(tracks):
    shared = [dataclasses.replace(track, dataset="first") if track.group == "train-6" and track.label else track for track in tracks]
    kept, out = leave_out.split(shared, "other")
    assert {track.dataset for track in out} == {"other"} and {track.label for track in out} == {data.REAL, data.FAKE}
    assert {track.group for track in kept} == {f"train-{i}" for i in range(5)}, "the fake of a person whose real was left out went too"


@pytest.mark.parametrize(("name", "said"), [("gone", "first, other, paint, paste"), ("-", "no fake"), ("drawn", "no real or no fake")])
def test_a_name_that_leaves_nothing_out_or_nothing_over_is_refused(tracks, name, said):
    if name == "drawn":
        tracks = [dataclasses.replace(track, dataset="drawn") for track in tracks]
    with pytest.raises(data.DataError, match=said):
        leave_out.split(tracks, name)


def test_the_stages_learn_without_it_measure_on_it_and_make_no_package(crops, tmp_path):
    rows = (crops / "manifest.csv").read_text()
    changed = tmp_path / "crops"
    changed.mkdir()
    for part in ("train", "dev"):
        (changed / part).symlink_to(crops / part)
    # Every other fake of train becomes another method's.
    lines = [line.replace(",drawn,", ",other,", 1) if "train/fake/clip-1" in line or "train/fake/clip-3" in line else line for line in rows.splitlines()]
    (changed / "manifest.csv").write_text("\n".join(lines) + "\n")
    work = tmp_path / "work"
    settings = ["--set", "encoder_steps=20"]
    done = run("all", changed, work, *settings, "--leave-out", "other", model="cnn3")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((work / "calibration.json").read_text())["left_out"]
    assert (found["fakes"], found["reals"]) == (2, 4), "two clips of train against the reals of dev"
    assert 0 <= found["auc_low"] <= found["auc"] <= found["auc_high"] <= 1
    assert "without `other`: AUC on it" in done.stdout
    assert not (work / "package").exists() and not (work / "onnx").exists()
    refused = run("package", changed, work, *settings, "--leave-out", "other", model="cnn3")
    assert refused.returncode == 1 and "no package" in refused.stderr
    other = run("calibrate", changed, work, *settings, model="cnn3")
    assert other.returncode == 1 and "other settings" in other.stderr, "never taken for a run on all of train"


def test_mixed_pairs_stay_on_their_side():
    rng = np.random.default_rng(0)
    pairs = np.stack([np.arange(1, 9, dtype=np.float32), -np.arange(1, 9, dtype=np.float32)], axis=1)[:, :, None, None]
    out = train.mixed(pairs, 0.5, rng)
    assert out.shape == pairs.shape and not np.array_equal(out, pairs)
    np.testing.assert_allclose(out[:, 0], -out[:, 1], rtol=1e-6, err_msg="both sides of a pair are mixed with the same other pair")
    assert (out[:, 0] >= 1).all() and (out[:, 0] <= 8).all()
    assert train.mixed(pairs, 0, rng) is pairs
