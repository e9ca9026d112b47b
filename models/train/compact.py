"""Weights in 8 bits: a quarter of the file, the same speed.

Each row (output channel) of a large weight is rounded to 255 steps of its own size. In the file it is then int8 with a
scale a row, followed by Cast and Mul, which ONNX Runtime computes once, when it loads the graph: what runs is float32.
(DequantizeLinear would say the same, but ONNX Runtime keeps it and runs it for each crop.) Weights are rounded before
anything is measured, so that all figures are those of the file that ships.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

LEAST = 4096  # smaller weights stay as they are: nothing to gain


def steps(weight: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """int8 like `weight`, and the scale of each row along `axis`, shaped to multiply with it."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.round(weight / scale).astype(np.int8), scale


def rounded(weight: np.ndarray, axis: int = 0) -> np.ndarray:
    whole, scale = steps(weight, axis)
    return whole.astype(np.float32) * scale


@torch.no_grad()
def round_weights(net: nn.Module) -> nn.Module:
    """Every large weight of two and more dimensions, in place."""
    for value in net.parameters():
        if value.ndim >= 2 and value.numel() >= LEAST:
            value.copy_(torch.from_numpy(rounded(value.numpy())))
    return net


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with its large weights as int8; those already so stay. Exact to float rounding on rounded weights."""
    small = onnx.ModelProto()
    small.CopyFrom(model)
    axes = row_axes(small.graph)
    kept, added = [], []
    for tensor in small.graph.initializer:
        weight = numpy_helper.to_array(tensor)
        if weight.dtype != np.float32 or weight.size < LEAST or tensor.name not in axes:
            kept.append(tensor)
            continue
        whole, scale = steps(weight, axes[tensor.name])
        base = tensor.name
        kept += [numpy_helper.from_array(whole, f"{base}_int8"), numpy_helper.from_array(scale, f"{base}_scale")]
        added.append(helper.make_node("Cast", [f"{base}_int8"], [f"{base}_cast"], to=onnx.TensorProto.FLOAT))
        added.append(helper.make_node("Mul", [f"{base}_cast", f"{base}_scale"], [base]))
    nodes = [*added, *small.graph.node]
    del small.graph.initializer[:], small.graph.node[:]
    small.graph.initializer.extend(kept)
    small.graph.node.extend(nodes)
    onnx.checker.check_model(small, full_check=True)
    return small


def row_axes(graph: onnx.GraphProto) -> dict[str, int]:
    """Which axis of a weight counts its outputs, by the operator that uses it."""
    axes = {}
    for node in graph.node:
        if node.op_type == "Conv":
            axes[node.input[1]] = 0
        elif node.op_type == "Gemm":
            turned = any(a.name == "transB" and a.i for a in node.attribute)
            axes[node.input[1]] = 0 if turned else 1
        elif node.op_type == "MatMul":
            axes[node.input[1]] = 1
        elif node.op_type in ("LSTM", "GRU"):  # [directions, gates x cells, inputs]
            axes |= {node.input[1]: 1, node.input[2]: 1}
    return axes
