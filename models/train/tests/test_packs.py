import dataclasses

import numpy as np
import onnx
import pytest
import torch

from train import data, export, packs, train, vae
from train.data import DataError
from train.nets import beside, l40
from train.workspace import Workspace

RECIPE = dataclasses.replace(
    l40.RECIPE, size=64, encoder_pairs=4, begin_with="", still_share=0.0, h264_frames=0.0, encoder_steps=5
)


@pytest.fixture(scope="module")
def tracks(crops) -> list[data.Track]:
    return data.read(crops, "train")


@pytest.fixture
def folder(tracks, tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "PAIRS", 8)
    packs.draw(tmp_path, RECIPE, tracks, [], count=3, part=0, parts=1)
    return tmp_path


def test_a_pack_is_the_same_whoever_draws_it(folder, tracks, tmp_path):
    again = tmp_path / "again"
    packs.draw(again, RECIPE, tracks, [], count=3, part=1, parts=2)
    assert [path.name for path in packs.files(again)] == ["pack-0001.npz"]
    with np.load(folder / "pack-0001.npz") as one, np.load(again / "pack-0001.npz") as other:
        assert (one["crops"] == other["crops"]).all() and one["crops"].shape == (8, 2, 1, 64, 64, 3)


def test_each_pass_shows_every_pair_once_and_a_stopped_run_goes_on(folder):
    recipe = dataclasses.replace(RECIPE, encoder_steps=6)
    whole = list(packs.batches(folder, recipe, 0))
    assert len({crops.tobytes() for batch in whole for crops in batch.crops}) == 24
    late = list(packs.batches(folder, recipe, 4))
    assert len(late) == 2 and (late[0].crops == whole[4].crops).all()


def test_packs_of_other_pixels_are_refused(folder):
    with pytest.raises(DataError, match="another margin"):
        next(packs.batches(folder, dataclasses.replace(RECIPE, margin=1.1), 0))
    with pytest.raises(DataError, match="run the stage `packs` first"):
        packs.files(folder / "nowhere")


def test_masks_survive_the_way_to_the_disk_and_back():
    masks = np.zeros((2, 1, 64, 64), np.float32)
    masks[0, :, :32] = 1
    masks[1] = np.nan
    back = packs.masks_of(packs.small_masks(masks))
    assert back.shape == (2, 1, packs.CELLS, packs.CELLS) and np.isnan(back[1]).all()
    assert back[0, 0, : packs.CELLS // 2].mean() > 0.9 and back[0, 0, -4:].max() == 0


def test_a_teachers_answers_pull_the_loss_towards_them(folder):
    encoder = l40.Encoder().eval()
    teacher = dataclasses.replace(RECIPE, name="teacher")
    packs.teach(folder, teacher, encoder)
    recipe = dataclasses.replace(RECIPE, teacher="teacher", teaching=1.0)
    batch = next(packs.batches(folder, recipe, 0))
    assert batch.taught.shape == (4, 2)
    with torch.no_grad():
        agreeing = train.encoder_loss(encoder, encoder.with_mask, batch, recipe, 0)
        against = train.encoder_loss(encoder, encoder.with_mask, batch._replace(taught=batch.taught + 5), recipe, 0)
    assert agreeing < against


def test_the_encoder_learns_from_packs(folder, tracks, crops, tmp_path):
    dev = data.read(crops, "dev")
    work = Workspace(tmp_path / "work", RECIPE)
    train.train_encoder(work, tracks, [], dev[:1] + dev[-1:], 0, drawn=lambda step: packs.batches(folder, RECIPE, step))
    assert work.load("encoder.pt")["step"] == 5


def test_weights_come_back_out_of_a_package(tracks, tmp_path):
    """Norms that were folded into convolutions are taken apart again: the same answers, and statistics to go on from."""
    crops = train.to_tensor(np.concatenate([track.frames(slice(0, 2)) for track in tracks]))[:, :, :64, :64]
    before = l40.Encoder()
    torch.manual_seed(0)
    for norm in (m for m in before.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.running_mean, -0.2, 0.2)
    before.eval()
    # As `export` writes it: by another method than forward, for which it wraps the net.
    torch.onnx.export(
        export.Answers(before, "with_where").eval(), (crops,), str(tmp_path / "encoder.onnx"), opset_version=17, dynamo=False, input_names=["crops"]
    )
    onnx.checker.check_model(onnx.load(tmp_path / "encoder.onnx"))
    after = l40.Encoder()
    after.take_over(tmp_path, crops)
    with torch.no_grad():
        for one, other in zip(before(crops), after.eval()(crops)):
            assert torch.allclose(one, other, atol=1e-3)


def test_a_package_made_whole_has_no_best_weights():
    """`large.py` has only those that shipped."""
    recipe = dataclasses.replace(RECIPE, encoder_weights="last")
    assert train.kept_weights({"average": {"w": 1}}, recipe) == {"w": 1}


def test_a_small_net_is_added_to_a_large_one(tmp_path):
    small = l40.Encoder().eval()
    crops = torch.rand(4, 3, 64, 64) * 255
    torch.onnx.export(export.Answers(small, "with_where").eval(), (crops,), str(tmp_path / "encoder.onnx"), opset_version=17, dynamo=False)
    large = l40.Encoder().eval()
    both = beside.Beside(large, tmp_path, 0.5, 64)
    with torch.no_grad():
        assert torch.allclose(both(crops)[1], large(crops)[1] + 0.5 * small(crops)[1], atol=1e-3)


def test_a_round_trip_keeps_the_size():
    picture = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        hidden = vae.encoder()(picture)
        assert hidden.shape == (1, 32, 8, 12) and vae.decoder()(hidden).shape == picture.shape
