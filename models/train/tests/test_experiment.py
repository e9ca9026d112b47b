"""A researcher adds a feature by adding a file: the same nets on any feature."""

import dataclasses
import subprocess
import sys
import tomllib
from pathlib import Path

import onnxruntime
import pytest
import torch

from train import data, export, features, nets
from train.workspace import Workspace

from .test_stages import run


@pytest.mark.parametrize("name", ["cnn3-canny"])
def test_a_feature_is_trained_on_and_ships_inside_the_encoder(name, crops, tmp_path):
    done = run("all", crops, tmp_path, "--set", "encoder_steps=6", model=name)
    assert done.returncode == 0, done.stderr[-3000:]
    toml = tomllib.loads((tmp_path / "package/model.toml").read_text())
    feature = name.split("-")[-1]
    assert toml["input"]["feature"] == feature and toml["model"]["name"] == name
    size = toml["input"]["width"]
    session = onnxruntime.InferenceSession(tmp_path / "package/encoder.onnx")
    assert session.get_inputs()[0].shape[1:] == [3, size, size]
    text = (tmp_path / "package/README.md").read_text()
    assert f"features/{feature}.onnx" in text and "$" not in text
    table = subprocess.run(
        [sys.executable, "-m", "train.table", str(tmp_path)], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert table.returncode == 0 and len(table.stdout.splitlines()) == 3, table.stderr


def test_every_net_computes_in_onnx_what_it_does_in_pytorch(tmp_path):
    """Untrained: features in front, for cnn3 and cnn-lstm. The frozen bases have tests of their own."""
    for name in ("cnn3", "cnn3-laplacian", "cnn-lstm-noise"):
        recipe = nets.recipe(name)
        work = Workspace(tmp_path / name, recipe)
        torch.manual_seed(1)
        best = {"net": recipe.encoder().state_dict(), "step": 0}
        work.save("encoder.pt", {"best": best})
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
