#!/usr/bin/env python3
"""Writes gather.onnx beside this file: rows of a table by their numbers, which may have any shape.

Needs the Python package `onnx`. The graph is committed, so only a change of this script needs a run:

    python3 src/inference/gather.py
"""

from pathlib import Path

from onnx import TensorProto, helper

# Ranks left open (None) are legal, but onnx.checker does not take them.
graph = helper.make_graph(
    [helper.make_node("Gather", ["table", "rows"], ["gathered"], axis=0)],
    "gather",
    [
        helper.make_tensor_value_info("table", TensorProto.FLOAT, ["capacity", "length"]),
        helper.make_tensor_value_info("rows", TensorProto.INT64, None),
    ],
    [helper.make_tensor_value_info("gathered", TensorProto.FLOAT, None)],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
# Without the producer's version the file is the same whatever release of `onnx` wrote it.
model.producer_name = ""
Path(__file__).with_suffix(".onnx").write_bytes(model.SerializeToString(deterministic=True))
