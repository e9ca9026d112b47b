"""Weights in 8 bits."""

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from train import export
from train.compact import compact, round_weights, rounded


class Net(nn.Module):
    """One of each kind of weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 70, 3)
        self.dense = nn.Linear(70, 80)
        self.lstm = nn.LSTM(80, 40, batch_first=True)
        self.each = nn.Linear(40, 110)  # on three dimensions: exported as a product of matrices, turned

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.dense(self.conv(x).mean(dim=(2, 3)))
        return self.each(self.lstm(features[:, None].expand(-1, 3, -1))[0])


def test_a_compacted_graph_computes_what_the_rounded_net_does(tmp_path):
    torch.manual_seed(0)
    net = Net().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    round_weights(net)
    assert not torch.equal(before["dense.weight"], net.dense.weight)
    assert torch.equal(before["dense.bias"], net.dense.bias)
    x = torch.randn(4, 8, 9, 9)
    export.write(net, x, tmp_path / "net.onnx", {"x": ["n"]}, {"y": ["n"]})
    export.difference(net, tmp_path / "net.onnx", x)
    small = compact(onnx.load(tmp_path / "net.onnx"))
    onnx.save(small, tmp_path / "small.onnx")
    assert export.difference(net, tmp_path / "small.onnx", x) < 1e-5
    assert (tmp_path / "small.onnx").stat().st_size < 0.35 * (tmp_path / "net.onnx").stat().st_size
    again = compact(small)
    assert {i.name for i in again.graph.initializer} == {i.name for i in small.graph.initializer}, "nothing is left to do"


def test_rounding_keeps_each_row_to_half_a_step_and_is_at_rest_after_once():
    weight = np.random.default_rng(0).normal(0, [[0.01], [10.0]], (2, 3000)).astype(np.float32)
    once = rounded(weight)
    assert (np.abs(once - weight) <= np.abs(weight).max(axis=1, keepdims=True) / 254 * 1.001).all()
    np.testing.assert_allclose(rounded(once), once, rtol=1e-6)
    np.testing.assert_array_equal(rounded(np.zeros((2, 3), np.float32)), 0)


def test_onnx_runtime_unpacks_weights_when_it_loads_and_not_for_each_crop(tmp_path):
    torch.manual_seed(0)
    export.write(round_weights(Net().eval()), torch.randn(1, 8, 9, 9), tmp_path / "net.onnx", {"x": ["n"]}, {"y": ["n"]})
    onnx.save(compact(onnx.load(tmp_path / "net.onnx")), tmp_path / "small.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(tmp_path / "small.onnx", options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(tmp_path / "loaded.onnx").graph.node}
    assert "Conv" in kinds and "Cast" not in kinds
