import dataclasses

import numpy as np
import pytest
import torch

from train import ablate, data, train
from train.nets import l40
from train.workspace import Workspace


@pytest.fixture(scope="module")
def encoder() -> l40.Encoder:
    return l40.Encoder().eval()


def test_shapes(encoder):
    crops = torch.rand(3, 3, 96, 96) * 255
    features, logits, maps = encoder.with_mask(crops)
    assert features.shape == (3, l40.FEATURES) and logits.shape == (3, 2) and maps.shape == (3, 1, 6, 6)
    head = l40.Head().eval()
    head.start_from(encoder)
    for frames in (1, 20, 40):
        assert head(torch.rand(2, frames, l40.FEATURES)).shape == (2, 2)


def test_it_starts_as_imagenet_left_it(encoder):
    """The Laplacian's stem is nothing at first: the same maps as those of the untouched EfficientNet-Lite0."""
    crops = torch.rand(2, 3, 96, 96) * 255
    with torch.no_grad():
        known = encoder.base.extract_features(l40.levelled(crops))
        assert (encoder.maps(crops)[1] - known).abs().max() < 1e-4


def test_what_befalls_all_pixels_alike_changes_nothing(encoder):
    """Brighter, tinted, with less contrast: the same score. Only a flat crop, where noise is all there is, is not stretched."""
    crops = torch.rand(2, 3, 96, 96) * 120 + 40
    other = crops * torch.tensor([0.9, 1.1, 0.8])[:, None, None] + torch.tensor([4.0, -3.0, 9.0])[:, None, None]
    with torch.no_grad():
        assert (encoder(crops)[1] - encoder(other)[1]).abs().max() < 0.02
    assert l40.levelled(torch.full((1, 3, 8, 8), 77.0) + torch.rand(1, 3, 8, 8)).abs().max() < 0.1


def test_the_laplacian_is_opencvs():
    import cv2

    picture = np.random.default_rng(0).random((1, 3, 20, 30), np.float32)
    grey = (picture[0] * np.asarray([0.299, 0.587, 0.114], np.float32)[:, None, None]).sum(axis=0)
    known = cv2.Laplacian(grey, cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REPLICATE)
    assert np.abs(l40.Laplacian()(torch.from_numpy(picture))[0, 0].numpy() - known).max() < 1e-5


def test_the_mask_loss_asks_only_where_the_answer_is_known():
    maps = torch.zeros(4, 1, 4, 4, requires_grad=True)  # two pairs of one frame: real, fake, real, fake
    masks = torch.zeros(2, 1, 32, 32)
    masks[0, 0, :16] = 1
    masks[1] = float("nan")
    train.mask_loss(maps, masks).backward()
    push = maps.grad[:, 0]
    assert (push[0] > 0).all(), "the real's map goes down"
    assert (push[1, :2] < 0).all() and (push[1, 2:] > 0).all(), "the fake's goes up where it was changed"
    assert (push[2] > 0).all() and (push[3] == 0).all(), "of a real deepfake nobody knows"


def test_steps_with_masks_and_stills_run(crops, tmp_path):
    recipe = dataclasses.replace(l40.RECIPE, size=64, encoder_steps=2, encoder_pairs=4, still_share=1.0, real_fakes=0.2, begin_with="")
    tracks, dev = data.read(crops, "train"), data.read(crops, "dev")
    stills = [dataclasses.replace(track, crops=1) for track in tracks if track.label == data.REAL]
    work = Workspace(tmp_path, recipe)
    train.train_encoder(work, tracks, stills, dev[:1] + dev[-1:], workers=0)
    assert work.load("encoder.pt")["step"] == 2


def test_each_half_can_be_switched_off():
    grey = torch.rand(2, 1, 64, 64) * 255
    crops, brighter = grey.expand(2, 3, 64, 64), (grey + torch.linspace(0, 50, 64)).expand(2, 3, 64, 64)

    def moved(**halves):
        encoder = l40.Encoder(**halves).eval()
        with torch.no_grad():
            return (encoder.maps(crops)[1] - encoder.maps(brighter)[1]).abs().mean()

    assert moved(laplacian=False) > 3 * moved(colours=False), "an even slope of light has no Laplacian"


def test_crops_that_another_player_converted_are_asked_to_agree():
    batch = np.random.default_rng(0).integers(20, 230, (3, 2, 1, 32, 32, 3)).astype(np.uint8)
    again = train.converted(batch, 5)
    assert again.shape == batch.shape and not np.array_equal(again, batch)
    assert np.array_equal(again, train.converted(batch, 5)), "drawn by the step alone"
    assert np.abs(again.astype(int) - batch).mean() < 16


def test_the_table_of_ablations_has_a_row_for_each_recipe(crops, tmp_path, monkeypatch):
    monkeypatch.setattr(ablate, "SMALL", dataclasses.replace(ablate.SMALL, size=64, encoder_pairs=2, leave_out="drawn-too", still_share=0.0))
    rows = (crops / "manifest.csv").read_text()
    for part in ("train", "dev"):
        (tmp_path / part).symlink_to(crops / part)
    changed = [line.replace(",drawn,", ",drawn-too,", 1) if "train/fake/clip-1" in line else line for line in rows.splitlines()]
    (tmp_path / "manifest.csv").write_text("\n".join(changed) + "\n")
    command = ["ablate", "--crops", str(tmp_path), "--out", str(tmp_path / "out"), "--steps", "2", "--only", "no pairs", "--only", "Laplacian only"]
    monkeypatch.setattr("sys.argv", command)
    assert ablate.main() == 0
    table = (tmp_path / "out" / "ablations.md").read_text()
    assert [line.split(" | ")[0] for line in table.splitlines()[4:]] == [
        "| all of it",
        "| all of it, then what the Laplacian says thrown away",
        "| no pairs",
        "| Laplacian only",
    ], table
