"""A graph that is not trained, in front of one that is: a feature of models/features, or a frozen base."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import compose
from torch import nn


@lru_cache(maxsize=8)
def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Fronted(nn.Module):
    """Crops [N, 3, S, S] RGB 0..255 -> front (ONNX Runtime computes it, here as live) -> net."""

    def __init__(self, front: Path, net: nn.Module) -> None:
        super().__init__()
        self.front, self.net = front, net

    @property
    def frame(self) -> nn.Module:
        """What gives a single crop's logits."""
        return self.net.frame

    def fixed(self, crops: torch.Tensor) -> torch.Tensor:
        """What the front makes of the crops."""
        run = session(self.front, torch.get_num_threads())
        values = run.run(None, {run.get_inputs()[0].name: np.ascontiguousarray(crops.numpy())})[0]
        return torch.from_numpy(values)

    def forward(self, crops: torch.Tensor):
        values = self.fixed(crops)
        if values.ndim == 4:
            values = values.contiguous(memory_format=torch.channels_last)
        return self.net(values)


def joined(front: Path, net: onnx.ModelProto) -> onnx.ModelProto:
    """One graph of both; its input has the net's name and the front's shape."""
    first, second = onnx.load(front), copy.deepcopy(net)
    name, inner = second.graph.input[0].name, first.graph.output[0].name
    # Both exporters call their first value "crops"; within one graph each name may stand once.
    first = compose.add_prefix(first, "front/")
    second = compose.add_prefix(second, "net/")
    both = compose.merge_models(first, second, io_map=[(f"front/{inner}", f"net/{name}")])
    renamed = {both.graph.input[0].name: name}
    renamed |= {output.name: output.name.removeprefix("net/") for output in both.graph.output}
    for node in both.graph.node:
        node.input[:] = [renamed.get(value, value) for value in node.input]
        node.output[:] = [renamed.get(value, value) for value in node.output]
    for value in (*both.graph.input, *both.graph.output):
        value.name = renamed[value.name]
    both.graph.name = second.graph.name
    # A feature takes any size; the net behind it does not.
    wanted = net.graph.input[0].type.tensor_type.shape.dim
    given = both.graph.input[0].type.tensor_type.shape.dim
    if len(wanted) == len(given):
        for place in (2, 3):
            given[place].CopyFrom(wanted[place])
    # Shapes inside were told for any size too, and are found anew by whoever loads the graph.
    del both.graph.value_info[:]
    onnx.checker.check_model(both, full_check=True)
    return both
