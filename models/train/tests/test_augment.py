from dataclasses import replace

import numpy as np

from train import augment
from train.augment import ClipAugment, Conversion, plain

RNG = np.random.default_rng(3)
STILL = np.repeat(RNG.integers(0, 256, (1, 12, 12, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2), 6, axis=0)


def test_every_frame_of_a_clip_is_changed_alike():
    """Six equal frames stay equal: nothing flickers that did not flicker (grain apart, which is fresh by nature)."""
    for seed in range(30):
        draw = replace(ClipAugment.draw(np.random.default_rng(seed), 1.3, h264=0), noise=0.0, conversion=None)
        out = draw.apply(STILL, size=64, stored_margin=1.6)[0]
        assert (out == out[0]).all(), draw


def test_both_sides_of_a_pair_are_changed_alike():
    for seed in range(30):
        draw = ClipAugment.draw(np.random.default_rng(seed), 1.3, h264=0)
        one, other = draw.apply(STILL, STILL, size=64, stored_margin=1.6)
        assert (one == other).all(), draw


def test_draws_differ():
    draws = {ClipAugment.draw(np.random.default_rng(seed), 1.3, h264=0.2) for seed in range(20)}
    assert len(draws) == 20


def test_plain_cuts_the_margin_and_does_nothing_else():
    ramp = np.broadcast_to(np.arange(160, dtype=np.uint8)[None, None, :, None], (1, 160, 160, 3))
    out = plain(1.3).apply(ramp, size=130, stored_margin=1.6)[0]
    assert out.shape == (1, 130, 130, 3)
    assert (out[0] == ramp[0, 15:145, 15:145]).all()
    same = plain(1.6).apply(ramp, size=160, stored_margin=1.6)[0]
    assert (same == ramp).all()


def test_growing_keeps_the_middle_in_the_middle():
    dot = np.zeros((1, 33, 33, 3), np.uint8)
    dot[0, 16, 16] = 255
    out = plain(1.3).apply(dot, size=101, stored_margin=1.6)[0][0, ..., 0].astype(float)
    y, x = (np.indices(out.shape) * out).sum(axis=(1, 2)) / out.sum()
    assert abs(x - 50) < 0.1 and abs(y - 50) < 0.1


def test_masks_go_where_the_crops_go():
    mask = np.zeros((2, 96, 96), np.float32)
    mask[:, 30:50, 20:45] = 1
    for seed in range(10):
        draw = replace(plain(1.3), flip=bool(seed % 2), margin=1.2 + 0.02 * seed, shift=(0.02, -0.03))
        crops = draw.apply((mask[..., None] * 255).repeat(3, -1).astype(np.uint8), size=64, stored_margin=1.6)[0]
        assert np.abs(draw.place(mask, size=64, stored_margin=1.6) - crops[..., 0] / 255).max() < 0.01


def test_a_flip_is_a_mirror():
    base = plain(1.3)
    out, flipped = (a.apply(STILL, size=64, stored_margin=1.6)[0] for a in (base, replace(base, flip=True)))
    assert (flipped == out[:, :, ::-1]).all()


def test_worse_jpeg_is_farther_from_the_original():
    crop = STILL[0]
    errors = [np.abs(augment.jpeg(crop, quality).astype(int) - crop).mean() for quality in (95, 60, 20)]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_h264_gives_each_frame_back_in_its_place():
    clip = np.stack([np.full((35, 47, 3), 20 * t, np.uint8) for t in range(10)])  # odd sizes too
    back = augment.h264(clip, 23)
    assert back.shape == clip.shape
    assert np.abs(back.astype(int) - clip).max() <= 4


def test_a_conversion_keeps_both_sides_alike_and_moves_levels_little():
    for seed in range(20):
        draw = Conversion.draw(np.random.default_rng(seed))
        once, again = (draw.apply(STILL, 5) for _ in range(2))
        assert (once == again).all()
        assert 0 < np.abs(once.astype(int) - STILL).mean() < 12
        assert draw.grain > 0 or len({tuple(v) for v in np.unique(once.reshape(-1, 3), axis=0)}) <= len(np.unique(STILL.reshape(-1, 3), axis=0))


def test_a_way_through_bytes_is_the_one_that_videoconvert_takes():
    """Grey ramps: darker throughout, and one level more above mid-grey (luma 128, grey 130)."""
    ramp = np.repeat(np.arange(4, 252, dtype=np.uint8)[:, None], 3, axis=1)
    for weights in augment.LUMA.values():
        back = augment.through_bytes(ramp, *weights).astype(int)
        assert (back[:, 0] == back[:, 1]).all() and (back[:, 1] == back[:, 2]).all(), "grey stays grey"
        moved = (back - ramp)[:, 0]
        below, above = moved[:120].mean(), moved[132:].mean()
        assert -3 < below < -1 and -1.5 < above - below < -0.5, (below, above)
