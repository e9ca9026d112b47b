"""A researcher adds a feature by adding a file: the same nets on any feature."""

import dataclasses
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import onnxruntime
import pytest
import torch

from train import data, export, features, nets, table
from train.workspace import Workspace


def make(target: str, *settings: str) -> str:
    line = ["make", "--no-print-directory", "-o", "crops", target, f"PYTHON={sys.executable}", "THREADS=1", *settings]
    done = subprocess.run(line, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_an_experiment_ships_its_feature_inside_the_encoder_and_prints_its_row(crops, tmp_path):
    """As a user runs it, but for the crops, which are there."""
    small = "encoder_steps=12 encoder_pairs=6 feature_rounds=1 head_epochs=6 head_batch=8 real_fakes=1.0 partial=0.0 h264_windows=0.0"
    printed = make("experiment", "FEATURE=canny", f"CROPS={crops}", f"OUT={tmp_path}", f"SET={small}")
    row = printed.splitlines()[-1]
    assert row.startswith("| cnn-lstm-canny | ") and row.count("|") == len(table.HEAD) + 1
    package = tmp_path / "cnn-lstm-canny/package"
    toml = tomllib.loads((package / "model.toml").read_text())
    assert toml["input"]["feature"] == "canny" and toml["model"]["name"] == "cnn-lstm-canny"
    session = onnxruntime.InferenceSession(package / "encoder.onnx")
    assert session.get_inputs()[0].shape[1:] == [3, toml["input"]["width"], toml["input"]["height"]]
    text = (package / "README.md").read_text()
    assert "features/canny.onnx" in text and "$" not in text
    # The table has a row for each model that was trained.
    shutil.copytree(tmp_path / "cnn-lstm-canny", tmp_path / "another")
    rows = make("table", f"OUT={tmp_path}").splitlines()[-4:]
    assert [line.split("|")[1].strip() for line in rows] == ["model", "---", "another", "cnn-lstm-canny"]


def test_each_stage_is_a_target_of_make():
    line = ["make", "-n", "stage-head", "MODEL=cnn3", "WORK=here"]
    done = subprocess.run(line, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert "-m train head --model cnn3 --work here" in done.stdout, done.stderr


def test_every_net_computes_in_onnx_what_it_does_in_pytorch(tmp_path):
    """Untrained: features in front, for cnn3 and cnn-lstm. The frozen bases have tests of their own."""
    for name in ("cnn3", "cnn3-laplacian", "cnn-lstm-noise"):
        recipe = nets.recipe(name)
        work = Workspace(tmp_path / name, recipe)
        torch.manual_seed(1)
        best = {"net": recipe.encoder().state_dict(), "step": 0}
        work.save("encoder.pt", {"best": best, "average": best["net"]})
        if recipe.head:
            work.save("head.pt", {"best": {"net": recipe.head().state_dict(), "epoch": 0}})
        export.export(work)  # raises where they differ


def test_an_unknown_feature_or_model_is_an_error_that_names_those_there_are():
    with pytest.raises(data.DataError, match="canny, gradient"):
        features.path("fourier")
    with pytest.raises(data.DataError, match="resnet50-rnn"):
        nets.recipe("cnn-lstm-fourier")


def test_recipes_that_gained_settings_keep_their_checkpoints(tmp_path):
    """A setting that is new and at its default is no other setting."""
    plain = nets.recipe("cnn-lstm")
    assert Workspace(tmp_path, plain).fingerprint != Workspace(tmp_path, nets.recipe("cnn-lstm-noise")).fingerprint
    assert Workspace(tmp_path, dataclasses.replace(plain, base_epochs=30)).fingerprint == Workspace(tmp_path, plain).fingerprint
