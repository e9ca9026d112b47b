"""Every stage on drawn clips, as a user runs them."""

import dataclasses
import hashlib
import io
import subprocess
import sys
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from train import __main__, data, export, train
from train.nets import RECIPES, cnn_lstm
from train.workspace import Workspace, whole

SMALL = """encoder_steps=40 encoder_pairs=6 feature_rounds=2 head_epochs=12 head_batch=8 head_rate=0.001
    real_fakes=0.8 h264_frames=0.0 h264_windows=0.1""".split()


def command(stage: str, crops: Path, work: Path, *more: str, model: str = "cnn-lstm") -> list[str]:
    settings = [part for setting in SMALL for part in ("--set", setting)]
    line = ["train", stage, "--model", model, "--crops", str(crops), "--work", str(work)]
    return [*line, "--package", str(work / "package"), *settings, *more]


def run(*line, **more) -> subprocess.CompletedProcess:
    """The command line, in this process: PyTorch takes seconds to import."""
    out, error = io.StringIO(), io.StringIO()
    with mock.patch("sys.argv", command(*line, **more)), redirect_stdout(out), redirect_stderr(error):
        code = __main__.main()
    return subprocess.CompletedProcess(sys.argv, code, out.getvalue(), error.getvalue())


@pytest.fixture(scope="module")
def finished(crops, tmp_path_factory) -> Path:
    work = tmp_path_factory.mktemp("work")
    line = [sys.executable, "-m", *command("all", crops, work)]
    done = subprocess.run(line, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return work


def test_all_stages_make_a_package_whose_checksums_hold(finished):
    folder = finished / "package"
    toml = tomllib.loads((folder / "model.toml").read_text())
    for part in ("encoder", "head"):
        assert hashlib.sha256((folder / toml[part]["file"]).read_bytes()).hexdigest() == toml[part]["sha256"]
    assert toml["encoder"]["feature_length"] == cnn_lstm.FEATURES
    assert 0 < toml["calibration"]["authentic_threshold"] <= toml["calibration"]["fake_threshold"] <= 1
    assert "$" not in (folder / "README.md").read_text(), "every placeholder of the card is filled"
    assert not list(finished.rglob("*.partial"))


def test_drawn_fakes_are_told_from_drawn_reals(finished):
    """The fakes are crude; whoever cannot learn these has a broken training loop."""
    toml = tomllib.loads((finished / "package/model.toml").read_text())
    assert toml["metrics"]["auc"] >= 0.7
    assert toml["metrics"]["frame_mean_auc"] >= 0.7


def test_the_packaged_graphs_score_a_clip_like_the_nets(finished, crops):
    recipe = RECIPES["cnn-lstm"]
    encoder = onnxruntime.InferenceSession(finished / "package/encoder.onnx")
    head = onnxruntime.InferenceSession(finished / "package/head.onnx")
    for track in data.read(crops, "dev")[:2]:
        pixels = train.at_model_size(track, slice(0, 40), train.plain(recipe.margin), recipe)
        tensor = np.ascontiguousarray(train.to_tensor(pixels).numpy())
        features, frame_logits = encoder.run(["features", "frame_logits"], {"crops": tensor})
        logits = head.run(["logits"], {"windows": features[None]})[0]
        assert features.shape == (40, 1024) and frame_logits.shape == (40, 2) and logits.shape == (1, 2)
        # One crop at a time gives what forty at once give: the live element may do either.
        alone = np.concatenate([encoder.run(["features"], {"crops": crop[None]})[0] for crop in tensor[:3]])
        assert np.abs(alone - features[:3]).max() < 1e-4


def test_a_second_run_goes_on_where_the_first_ended(finished, crops):
    before = (finished / "encoder.pt").stat().st_mtime_ns
    again = run("encoder", crops, finished)
    assert again.returncode == 0, again.stderr
    assert (finished / "encoder.pt").stat().st_mtime_ns == before, "nothing was left to do"


def test_a_stopped_run_ends_where_an_unbroken_one_does(crops, tmp_path):
    """Checkpoint after 2 of 4 steps, a new process of thought, 2 more: the same weights."""
    recipe = dataclasses.replace(RECIPES["cnn-lstm"], encoder_steps=4, encoder_pairs=2, check_every=1)
    tracks, dev = data.read(crops, "train"), data.read(crops, "dev")[:2] + data.read(crops, "dev")[-2:]
    ends = []
    for name, stop in (("unbroken", None), ("broken", 2)):
        work = Workspace(tmp_path / name, recipe)
        if stop:
            with pytest.raises(KeyboardInterrupt):
                train.train_encoder(InterruptedAfter(work, stop), tracks, [], dev, workers=0)
        train.train_encoder(work, tracks, [], dev, workers=0)
        ends.append(work.load("encoder.pt")["average"])
    assert all(torch.equal(a, b) for a, b in zip(ends[0].values(), ends[1].values(), strict=True))


class InterruptedAfter(Workspace):
    """Ctrl-C right after the given step was saved."""

    def __init__(self, work: Workspace, step: int) -> None:
        super().__init__(work.folder, work.recipe)
        self.step = step

    def save(self, name: str, content: dict) -> None:
        super().save(name, content)
        if content["step"] == self.step:
            self.step = -1
            raise KeyboardInterrupt


def test_damaged_checkpoints_and_other_settings_are_plain_errors(finished, crops, tmp_path):
    (tmp_path / "encoder.pt").write_bytes((finished / "encoder.pt").read_bytes()[:1000])
    damaged = run("features", crops, tmp_path)
    assert damaged.returncode == 1 and "cannot be read" in damaged.stderr and "Traceback" not in damaged.stderr
    other = run("features", crops, finished, "--set", "size=96")
    assert other.returncode == 1 and "other settings" in other.stderr
    early = run("head", crops, tmp_path / "new")
    assert early.returncode == 1 and "run the stage `encoder` first" in early.stderr


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(ValueError), whole(tmp_path / "file") as partial:
        partial.write_text("half")
        raise ValueError
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_computes_something_else_is_not_let_through(tmp_path):
    class Net(nn.Module):
        def __init__(self, add: float) -> None:
            super().__init__()
            self.add = add

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.add

    example = torch.ones(2, 3)
    export.write(Net(1.0), example, tmp_path / "net.onnx", {"x": ["n"]}, {"y": ["n"]})
    assert export.difference(Net(1.0), tmp_path / "net.onnx", torch.ones(5, 3)) == 0
    assert export.difference(Net(1.001), tmp_path / "net.onnx", example) > export.TOLERANCE
