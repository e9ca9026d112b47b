from dataclasses import replace

import numpy as np
import pytest

from train import data, synth
from train.synth import masks, reenact, self_blend, swap
from train.synth.change import Change, Shift
from train.synth.masks import REGIONS, Mask
from train.synth.pair import Source


@pytest.fixture(scope="module")
def clips(crops) -> list[Source]:
    reals = [t for t in data.read(crops, "train") if t.label == data.REAL]
    return [Source(t.frames(slice(0, 12)), t.mesh(slice(0, 12))) for t in reals[:2]]


def make(clips: list[Source], kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return synth.draw(clips[0], lambda mesh, rng: clips[1], np.random.default_rng(seed), kind).arrays()


@pytest.mark.parametrize("kind", synth.MIX)
def test_fakes_differ_where_the_mask_says_and_nowhere_else(clips, kind):
    different = 0
    for seed in range(8):
        real, fake, mask = make(clips, kind, seed)
        assert real.shape == fake.shape == clips[0].crops.shape and mask.shape == real.shape[:3]
        change = np.abs(real.astype(int) - fake).max(axis=-1)
        assert change[mask == 0].max(initial=0) == 0, "outside of the mask both are one picture"
        assert 0 <= mask.min() and mask.max() <= 1
        different += (change.reshape(len(change), -1).max(axis=1) > 2).all()
    assert different >= 7, "a fake that is none teaches nothing"


@pytest.mark.parametrize("kind", synth.MIX)
def test_ratio_zero_gives_the_real_back(clips, kind, monkeypatch):
    drawn = Mask.draw
    monkeypatch.setattr(Mask, "draw", lambda *a, **k: replace(drawn(*a, **k), ratio=0.0))
    for seed in range(4):
        real, fake, _ = make(clips, kind, seed)
        assert (real == fake).all()


@pytest.mark.parametrize("kind", synth.MIX)
def test_the_same_draw_gives_the_same_fake(clips, kind):
    assert all((one == other).all() for one, other in zip(make(clips, kind, 3), make(clips, kind, 3)))


def test_without_motion_a_still_clip_gives_a_still_fake(clips):
    """Nothing is drawn per frame. What moves by design (a slide, a mouth) is tested below."""
    still = [Source(np.repeat(c.crops[:1], 6, axis=0), np.repeat(c.mesh[:1], 6, axis=0)) for c in clips]
    for kind in ("swap", "texture"):
        for seed in range(4):
            _, fake, mask = make(still, kind, seed)
            assert (fake == fake[0]).all() and (mask == mask[0]).all(), kind


def test_a_moved_mouth_moves(clips):
    still = [Source(np.repeat(c.crops[:1], 6, axis=0), np.repeat(c.mesh[:1], 6, axis=0)) for c in clips]
    assert sum((fake != fake[0]).any() for _, fake, _ in (make(still, "mouth", seed) for seed in range(6))) >= 5


def test_the_change_goes_on_either_side(clips, monkeypatch):
    """Where a self-blend changes the outer side the real changes with it, or "untouched" would mean real."""
    monkeypatch.setattr(self_blend, "nudge", lambda crop, by: crop)
    changed = [(make(clips, "self-blend", seed)[0] != clips[0].crops).any() for seed in range(40)]
    assert 8 <= sum(changed) <= 32


def test_resampling_alone_tells_nothing(clips, monkeypatch):
    """A copy that is changed in nothing but its place by part of a pixel: its grain is as soft as that of the rest."""
    monkeypatch.setattr(Change, "draw", classmethod(lambda *a, **k: Change()))
    monkeypatch.setattr(Shift, "draw", classmethod(lambda *a: Shift()))
    for seed in range(5):
        real, fake, _ = make(clips, "self-blend", seed)
        assert np.abs(real.astype(int) - fake).max() <= 1


def test_a_swap_brings_the_donor_face(clips):
    """Warped on itself a face stays what it is; warped elsewhere its points follow."""
    crop, mesh = clips[0].crops[0], clips[0].mesh[0]
    same = swap.warp(crop, mesh, mesh)
    assert np.abs(same.astype(int) - crop).mean() < 1.0
    moved = swap.warp(crop, mesh, mesh + [5, -3])
    assert np.abs(moved[10:70, 15:80].astype(int) - crop[13:73, 10:75]).mean() < 1.0


def test_colours_are_taken_over(clips):
    rng = np.random.default_rng(0)
    face, target = (rng.normal(level, 12, (64, 64, 3)).clip(0, 255).astype(np.uint8) for level in (90, 170))
    everywhere = np.ones((64, 64), bool)
    assert np.abs(swap.match_colours(face, target, everywhere).mean(axis=(0, 1)) - target.mean(axis=(0, 1))).max() < 4


def test_a_bump_moves_its_centre_and_leaves_the_rest():
    crop = np.zeros((96, 96, 3), np.uint8)
    crop[46:51, 46:51] = 255
    moved = reenact.bump(crop, np.asarray([48.0, 48.0]), 12.0, np.asarray([0.0, 4.0]))
    rows = np.nonzero(moved[..., 0] > 127)[0]
    assert abs(rows.mean() - 52) < 1
    assert (moved[:12] == crop[:12]).all()


@pytest.mark.parametrize("region", REGIONS)
def test_masks_follow_the_face(clips, region):
    mesh, side = clips[0].mesh[0], clips[0].crops.shape[1]
    mask = Mask(region, grow=1.0, waves=(0, 0, 0), feather=(0.05, 0.03), ratio=1.0)
    here, there = mask.render(mesh, side), mask.render(mesh + [6, 4], side)
    assert here.max() > 0.9 and here.mean() < 0.5
    assert np.abs(there[4:, 6:] - here[:-4, :-6]).max() < 0.05


def test_faces_in_profile_and_out_of_the_picture_do_no_harm(clips):
    for flat in (clips[0].mesh * [0.02, 1] + [40, 0], clips[0].mesh + 500, clips[0].mesh * 0):
        odd = Source(clips[0].crops[:2], flat[:2].astype(np.float32))
        for kind in synth.MIX:
            real, fake, mask = synth.draw(odd, lambda *_: clips[1], np.random.default_rng(0), kind).arrays()
            assert real.shape == fake.shape and np.isfinite(mask).all()


def test_no_change_is_no_change(clips):
    crop = clips[0].crops[0]
    assert (Change().apply(crop) == crop).all()
    assert (Shift().apply(crop, np.zeros(2), np.ones(2)) == crop).all()


def test_the_walk_is_slow_and_of_unit_size():
    walk = masks.ar1(20000, np.random.default_rng(0))
    assert abs(walk.std() - 1) < 0.1
    assert np.corrcoef(walk[1:, 0], walk[:-1, 0])[0, 1] > 0.85
