import dataclasses
import json
import shutil

import numpy as np
import pytest

from train import data

from .synthetic import read_manifest, write_manifest


@pytest.fixture
def copy(crops, tmp_path):
    return shutil.copytree(crops, tmp_path / "crops")


def test_tracks_have_pixels_landmarks_and_margin(crops):
    track = data.read(crops, "train")[0]
    assert track.frames(slice(3, 7)).shape == (4, 96, 96, 3)
    assert track.landmarks().shape == (track.crops, 5, 2)
    assert track.margin == 1.6


def test_coasted_crops_take_the_nearest_landmarks(copy):
    track = data.read(copy, "train")[0]
    known = track.landmarks()
    text = track.json.read_text()
    content = json.loads(text)
    content["crops"][10]["landmarks_crop"] = None
    other = track.json.with_name("other.json")
    other.write_text(json.dumps(content))
    filled = data._sidecar(other).landmarks
    assert np.array_equal(filled[10], known[9])
    assert np.array_equal(filled[11], known[11])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [row | {"label": "synthetic"} for row in rows], "must be `real` or `fake`"),
        (lambda rows: [row | {"group": "one"} for row in rows], "in split"),
        (lambda rows: [row for row in rows if row["label"] == "real"], "has no fake clip"),
        (lambda rows: [row | {"npy": "gone.npy"} for row in rows], "is missing"),
    ],
)
def test_a_manifest_that_would_train_something_false_is_refused(copy, change, said):
    write_manifest(copy, change(read_manifest(copy)))
    with pytest.raises(data.DataError, match=said):
        data.read(copy, "train")


def test_an_empty_or_missing_manifest_is_refused(tmp_path):
    with pytest.raises(data.DataError, match="missing"):
        data.read(tmp_path, "train")
    (tmp_path / "manifest.csv").write_text("npy,json,file,split,label\n")
    with pytest.raises(data.DataError, match="no rows"):
        data.read(tmp_path, "train")


def test_a_fake_is_only_ever_beside_a_real_of_its_group(crops):
    pairs = data.Pairs(data.read(crops, "train"), 10, real_fakes=0.7)
    rng = np.random.default_rng(1)
    drawn = [pairs.draw(rng) for _ in range(300)]
    assert all(fake.group == real.group for real, fake in drawn if fake)
    share = np.mean([fake is not None for _, fake in drawn])
    assert 0.6 < share < 0.8
    assert {real.group for real, _ in drawn} == {f"train-{i}" for i in range(8)}


def test_a_fake_without_a_real_of_its_own_is_if_wanted_beside_one_of_its_data_set_or_else_any(crops):
    tracks = [track for track in data.read(crops, "train") if not (track.label == data.REAL and track.group == "train-0")]
    rng = np.random.default_rng(1)

    def beside(*page):
        """Groups of the reals beside the fake of train-0, whose data set holds these groups."""
        moved = [dataclasses.replace(track, dataset="page") if track.group in page else track for track in tracks]
        pairs = data.Pairs(moved, 10, real_fakes=1.0, unpaired_fakes=True)
        assert any(fake.group == "train-0" for _, fake in pairs.each_once() if fake)
        return {real.group for real, fake in (pairs.draw(rng) for _ in range(300)) if fake.group == "train-0"}

    assert "train-0" not in {fake.group for fake in data.Pairs(tracks, 10, real_fakes=1.0).partners}
    assert beside("train-0", "train-1") == {"train-1"}
    assert beside("train-0") == {f"train-{i}" for i in range(1, 8)}


def test_the_longest_and_largest_face_of_a_clip_stands_for_it(crops):
    track = data.read(crops, "train")[0]
    short, small = dataclasses.replace(track, crops=5), dataclasses.replace(track, face=0.3)
    assert data.main_track([small, short, track]) == [track]


def test_windows_cover_long_tracks_and_leave_out_short_ones():
    assert data.windows(19, 40, 20, 20) == []
    assert data.windows(33, 40, 20, 20) == [slice(0, 33)]
    assert data.windows(85, 40, 20, 20) == [slice(0, 40), slice(20, 60), slice(40, 80)]
