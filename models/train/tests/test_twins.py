import dataclasses
import json

import cv2
import numpy as np
import pytest

from train import data, train, twins
from train.augment import ClipAugment
from train.nets import l40
from train.synth import partial
from train.synth.pair import Source

SIDE, FRAMES = 96, 12


def clip(folder, name, pictures, places, first=0):
    """A track whose crops are cut out of whole pictures at `places`, as `extract` cuts them."""
    crops = [cv2.resize(picture[y : y + s, x : x + s], (SIDE, SIDE)) for picture, (x, y, s) in zip(pictures, places)]
    np.save(folder / f"{name}.npy", np.stack(crops))
    mesh = [(np.asarray([[100, 110]] * 468) - (x, y)) * SIDE / s for x, y, s in places]
    np.save(folder / f"{name}.mesh.npy", np.asarray(mesh, np.float32))
    entries = [{"pts": first + t, "part": [int(v) for v in place]} for t, place in enumerate(places)]
    (folder / f"{name}.json").write_text(json.dumps({"margin": 1.6, "crops": entries}))
    label = data.FAKE if "fake" in name else data.REAL
    return data.Track(folder / f"{name}.npy", folder / f"{name}.json", name, "train", label, "m", "d", "g", len(crops), 100.0)


@pytest.fixture
def scene(tmp_path):
    """A real clip, its forgery cut by another box and begun a frame later, and another person's clip."""
    rng = np.random.default_rng(0)
    here, there = (cv2.resize(rng.integers(0, 255, (30, 30, 3)).astype(np.uint8), (240, 240), interpolation=cv2.INTER_CUBIC) for _ in "ab")
    forged = here.copy()
    forged[95:125, 85:115] = 255 - forged[95:125, 85:115]
    steady = [(30 + t % 2, 40, 144) for t in range(FRAMES)]
    other_box = [(27, 43 - t % 3, 150) for t in range(FRAMES)]
    real = clip(tmp_path, "real", [here] * FRAMES, steady)
    fake = clip(tmp_path, "fake", [forged] * FRAMES, other_box, first=1)
    stranger = clip(tmp_path, "stranger", [there] * FRAMES, steady)
    return real, fake, stranger


def test_the_clip_it_was_made_from_is_found_by_looking(scene):
    real, fake, stranger = scene
    found = twins.twins_of(fake, [stranger, real], 1)
    assert found.real == real and found.crops == FRAMES - 1
    assert (real.sidecar.times[found.at[0]] == fake.sidecar.times[found.at[1]]).all()
    assert twins.twins_of(fake, [stranger], 1) is None
    assert twins.twins_of(fake, [real], FRAMES) is None, "too few moments in common"


def test_twins_lie_on_the_same_pixels(scene):
    real, fake, _ = scene
    found = twins.twins_of(fake, [real], 1)
    one, other, mesh = found.frames(np.arange(found.crops))
    difference = np.abs(one.astype(int) - other).mean(axis=-1)[:, 12:-12, 12:-12]
    outside = difference[:, :16]
    assert outside.mean() < 3 and np.median(difference) < 3
    assert np.abs(real.frames(found.at[0]).astype(int) - fake.frames(found.at[1])).mean() > 5 * outside.mean(), "they did not before"
    # The points moved along: they are still on the middle of what was forged.
    where = twins.changed(one, other)
    rows, columns = np.nonzero(where[0, 10:-10, 10:-10] > 0.5)
    assert np.abs(mesh[0, 0] - [columns.mean() + 10, rows.mean() + 10]).max() < 3


def test_where_it_was_forged_is_known(scene):
    found = twins.twins_of(scene[1], [scene[0]], 1)
    one, other, _ = found.frames(np.arange(3))
    where = twins.changed(one, other)
    assert where.max() == 1 and 0.02 < where[:, 10:-10, 10:-10].mean() < 0.25
    assert twins.changed(one, one).max() == 0


def test_a_part_of_a_forgery_is_a_forgery_where_it_says(crops):
    real = next(t for t in data.read(crops, "train") if t.label == data.REAL)
    source = Source(real.frames(slice(0, 4)), real.mesh(slice(0, 4)))
    forged = source.crops.copy()
    forged[:, 30:66, 30:66] //= 2
    where = np.zeros(forged.shape[:3], np.float32)
    where[:, 30:66, 30:66] = 1
    smaller = 0
    for seed in range(30):
        reals, fakes, masks = partial.draw(source, forged, where, "swap", np.random.default_rng(seed)).arrays()
        assert (reals == source.crops).all()
        assert (np.abs(fakes.astype(int) - reals).max(axis=-1)[masks == 0] == 0).all()
        assert masks.sum() >= partial.SEEN * where.sum() * 0.99
        smaller += masks.sum() < 0.9 * where.sum()
    assert smaller > 10


def test_a_pair_of_twins_differs_by_the_forgery_alone(scene, monkeypatch):
    """The road of training: no codec, no blur; what is left of a difference outside the forgery is resampling."""
    monkeypatch.setattr(ClipAugment, "draw", classmethod(lambda cls, *_: cls(margin=1.3)))
    real, fake, stranger = scene
    pairs = data.Pairs([dataclasses.replace(t, file=str(i)) for i, t in enumerate((stranger, real, fake))], 1, real_fakes=1.0)
    recipe = dataclasses.replace(l40.RECIPE, size=96, partial=0.0)
    drawn = pairs.draw(np.random.default_rng(0))
    sides, masks, _ = train.draw_sample(*drawn, 4, 1, np.random.default_rng(0), recipe, pairs)
    assert drawn[0].npy == real.npy
    difference = np.abs(sides[0].astype(int) - sides[1]).mean(axis=-1)
    assert difference[masks == 0].mean() < 3 < difference[masks > 0.9].mean()
