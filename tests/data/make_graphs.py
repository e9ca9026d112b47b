#!/usr/bin/env python3
"""Writes the tiny ONNX graphs beside this file, which the tests of model packages load.

Needs the Python packages `onnx` and `numpy`. The files are committed, so only a change of this script needs a run:

    python3 tests/data/make_graphs.py

Crops are 3x16x16. The "encoder" gives the mean of each channel, so that every test can work out by hand what comes out.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

HERE = Path(__file__).parent
FLOAT, DOUBLE, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64
CROPS = ["n", 3, 16, 16]


def port(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def save(name, nodes, inputs, outputs, constants=None, elsewhere=()):
    tensors = [numpy_helper.from_array(value, key) for key, value in (constants or {}).items()] + list(elsewhere)
    graph = helper.make_graph(nodes, name, inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if not elsewhere:
        checker.check_model(model)
    # Without the producer's version the file is the same whatever release of `onnx` wrote it.
    model.producer_name = ""
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def f32(*values):
    return np.array(values, np.float32)


MEAN = node("ReduceMean", "crops", "features", axes=[2, 3], keepdims=0)

# Mean colour, and for each crop the scores (real, fake) = (green, red).
save(
    "encoder",
    [MEAN, node("Gather", "features order", "frame_scores", axis=1)],
    [port("crops", CROPS)],
    [port("features", ["n", 3]), port("frame_scores", ["n", 2])],
    {"order": np.array([1, 0], np.int64)},
)

# Scores (real, fake) = (mean green, mean red) of the window; both zero where the window is one grey.
HEAD = [node("ReduceMean", "windows", "mean", axes=[1], keepdims=0)]
GATHER = node("Gather", "mean order", "scores", axis=1)
ORDER = {"order": np.array([1, 0], np.int64)}
save("head", [*HEAD, GATHER], [port("windows", ["n", "t", 3])], [port("scores", ["n", 2])], ORDER)

# Also the mean red of each 4x4 pixels: "changed" where the crop is red. Broken weights; a map that turns out not to be square.
WHERE = [
    node("AveragePool", "crops", "cells", kernel_shape=[4, 4], strides=[4, 4]),
    node("Gather", "cells red", "where", axis=1),
]
RED = {"red": np.array(0, np.int64)}
FEATURES = port("features", ["n", 3])
save("encoder-where", [MEAN, *WHERE], [port("crops", CROPS)], [FEATURES, port("where", ["n", 4, 4])], RED)
save(
    "encoder-where-nan",
    [MEAN, *WHERE, node("Mul", "where weight", "broken")],
    [port("crops", CROPS)],
    [FEATURES, port("broken", ["n", 4, 4])],
    RED | {"weight": np.array(np.nan, np.float32)},
)
save(
    "encoder-where-untold",
    [MEAN, *WHERE, node("Compress", "where keep", "part", axis=2)],
    [port("crops", CROPS)],
    [FEATURES, port("part", ["n", "rows", "columns"])],
    RED | {"keep": np.array([True, True, False, True])},
)

# The head's scores, and three kinds: the means of red, green and blue.
save(
    "head-kinds",
    [*HEAD, GATHER, node("Identity", "mean", "kinds")],
    [port("windows", ["n", "t", 3])],
    [port("scores", ["n", 2]), port("kinds", ["n", 3])],
    ORDER,
)

# The same with softmax in the graph.
save(
    "head-softmax",
    [*HEAD, node("Gather", "mean order", "logits", axis=1), node("Softmax", "logits", "scores", axis=1)],
    [port("windows", ["n", "t", 3])],
    [port("scores", ["n", 2])],
    ORDER,
)

# One score, as a sigmoid; one window of four crops at a time.
save(
    "head-fixed",
    [*HEAD, node("Gather", "mean red", "logit", axis=1), node("Sigmoid", "logit", "scores")],
    [port("windows", [1, 4, 3])],
    [port("scores", [1, 1])],
    {"red": np.array([0], np.int64)},
)

# The encoder on a device that is lost at the sight of a bright crop: from the value 1 on, its largest is an index out of bounds.
save(
    "encoder-lost",
    [
        node("ReduceMean", "crops", "mean", axes=[2, 3], keepdims=0),
        node("ReduceMax", "crops", "largest", keepdims=0),
        node("Cast", "largest", "index", to=INT64),
        node("Gather", "nothing index", "zero"),
        node("Add", "mean zero", "features"),
    ],
    [port("crops", CROPS)],
    [port("features", ["n", 3])],
    {"nothing": f32(0.0)},
)

# Crops of a window to scores, as encoder and head together.
save(
    "whole",
    [node("ReduceMean", "windows", "mean", axes=[1, 3, 4], keepdims=0), GATHER],
    [port("windows", ["n", "t", 3, 16, 16])],
    [port("scores", ["n", 2])],
    ORDER,
)

# Broken weights.
save(
    "encoder-nan",
    [MEAN, node("Mul", "features weights", "broken")],
    [port("crops", CROPS)],
    [port("broken", ["n", 3])],
    {"weights": f32(1.0, np.nan, 1.0)},
)

# Another crop size; another layout; a fixed batch.
save("encoder-20", [MEAN], [port("crops", ["n", 3, 20, 20])], [port("features", ["n", 3])])
save(
    "encoder-nhwc",
    [node("ReduceMean", "crops", "features", axes=[1, 2], keepdims=0)],
    [port("crops", ["n", 16, 16, 3])],
    [port("features", ["n", 3])],
)
save("encoder-batch-1", [MEAN], [port("crops", [1, 3, 16, 16])], [port("features", [1, 3])])

# Gives two features and says nothing of their number, which only a run shows.
save(
    "encoder-untold",
    [node("ReduceMean", "crops", "mean", axes=[2, 3], keepdims=0), node("Compress", "mean keep", "features", axis=1)],
    [port("crops", CROPS)],
    [port("features", ["n", "k"])],
    {"keep": np.array([True, True, False])},
)

# Not float32; two inputs.
save("encoder-double", [MEAN], [port("crops", CROPS, DOUBLE)], [port("features", ["n", 3], DOUBLE)])
save(
    "encoder-two-inputs",
    [MEAN, node("Mul", "features factor", "scaled")],
    [port("crops", CROPS), port("factor", [1])],
    [port("scaled", ["n", 3])],
)

# Weights that lie in another file, as large models have them; a test puts other paths of nine letters in the place of this one.
WEIGHTS = TensorProto(name="weights", data_type=FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
for key, value in {"location": "weights.b", "offset": "0", "length": "12"}.items():
    WEIGHTS.external_data.add(key=key, value=value)
save(
    "encoder-external",
    [MEAN, node("Mul", "features weights", "weighted")],
    [port("crops", CROPS)],
    [port("weighted", ["n", 3])],
    elsewhere=[WEIGHTS],
)
