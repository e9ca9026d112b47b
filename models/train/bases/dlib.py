"""dlib's 128-number face network (`dlib_face_recognition_resnet_model_v1.dat`) as ONNX.

The file is dlib's own serialisation, in which layers stand last first and small records precede their weights. Each is found by its
version tag ("con_4", "affine_", "fc_2"). What the layers mean together is not in the file; it is dlib's public
definition of the network (a ResNet of 29 convolutions), written down in `build`.
"""

from __future__ import annotations

import re

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .keras import OPSET

SIZE = 150
MEAN = (122.782, 117.001, 104.298)  # red, green, blue; then everything is divided by 256
# (channels, whether the first block halves the map, further blocks)
STAGES = ((32, False, 3), (64, True, 3), (128, True, 2), (256, True, 2), (256, True, 0))
TAGS = re.compile(rb"\x01[\x04-\x08](con_[0-9]|affine_|fc_[0-9])")


class Reader:
    """dlib's integers are a length byte (bit 7: negative) and that many bytes, little end first."""

    def __init__(self, data: bytes, place: int) -> None:
        self.data, self.place = data, place

    def integer(self) -> int:
        head = self.data[self.place]
        length = head & 0x0F
        value = int.from_bytes(self.data[self.place + 1 : self.place + 1 + length], "little")
        self.place += 1 + length
        return -value if head & 0x80 else value

    def skip_text(self) -> None:
        length = self.integer()
        self.place += length

    def tensor(self) -> np.ndarray:
        if self.integer() != 2:
            raise ValueError("not a tensor of the version this was written for")
        count = int(np.prod([self.integer() for _ in range(4)]))
        values = np.frombuffer(self.data, "<f4", count, self.place)
        self.place += 4 * count
        return values


def read(data: bytes):
    """(convolutions as (weights, filters, rows, columns)), (affines as scale and shift in one), the last matrix [256, 128])."""
    convolutions, affines, matrix = [], [], None
    for match in TAGS.finditer(data):
        reader = Reader(data, match.start())
        reader.skip_text()
        tag = match.group(1)
        if tag.startswith(b"con_"):
            weights = reader.tensor()
            filters, rows, columns = (reader.integer() for _ in range(3))
            convolutions.append((weights, filters, rows, columns))
        elif tag == b"affine_":
            affines.append(reader.tensor())
        else:
            reader.integer(), reader.integer()
            matrix = reader.tensor().reshape(256, 128)
    if len(convolutions) != 29 or len(affines) != 29 or matrix is None:
        raise ValueError(f"{len(convolutions)} convolutions and {len(affines)} affine layers were found, not 29 of each")
    return convolutions, affines, matrix


def build(data: bytes) -> onnx.ModelProto:
    """`crops` [N, 3, 150, 150] RGB 0..255, aligned on five points -> `features` [N, 128]."""
    convolutions, affines, matrix = read(data)
    nodes, constants = [], []

    def constant(value: np.ndarray) -> str:
        name = f"w{len(constants)}"
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind: str, *inputs: str, **attributes) -> str:
        output = f"{kind.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    layers = iter(zip(convolutions, affines, strict=True))

    def convolution(x: str, inputs: int, stride: int, pad: int) -> str:
        (weights, filters, rows, columns), affine = next(layers)
        kernel = weights[: filters * inputs * rows * columns].reshape(filters, inputs, rows, columns)
        bias = weights[kernel.size :] if weights.size > kernel.size else np.zeros(filters, np.float32)
        scale, shift = affine[:filters], affine[filters:]
        kernel, bias = kernel * scale[:, None, None, None], bias * scale + shift
        attributes = {"kernel_shape": [rows, columns], "strides": [stride, stride], "pads": [pad] * 4}
        return node("Conv", x, constant(kernel), constant(bias), **attributes)

    def grow(x: str, channels: int, pixels: int) -> str:
        """dlib adds maps of unequal size by filling the smaller one up with zeros."""
        if not channels and not pixels:
            return x
        return node("Pad", x, constant(np.asarray([0, 0, 0, 0, 0, channels, pixels, pixels], np.int64)))

    x = node("Sub", "crops", constant(np.asarray(MEAN, np.float32).reshape(1, 3, 1, 1)))
    x = node("Mul", x, constant(np.float32(1 / 256)))
    x = node("Relu", convolution(x, 3, 2, 0))
    x = node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    channels, side = 32, ((SIZE - 7) // 2 + 1 - 3) // 2 + 1
    for filters, halved, further in STAGES:
        for stride in ([2] if halved else []) + [1] * further:
            inner = node("Relu", convolution(x, channels, stride, 1 if stride == 1 else 0))
            inner = convolution(inner, filters, 1, 1)
            if stride == 2:
                deep, flat = (side - 3) // 2 + 1, (side - 2) // 2 + 1
                x = node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
                side = max(deep, flat)
                inner, x = grow(inner, 0, side - deep), grow(x, filters - channels, side - flat)
            x = node("Relu", node("Add", inner, x))
            channels = filters
    x = node("Flatten", node("GlobalAveragePool", x), axis=1)
    nodes.append(helper.make_node("MatMul", [x, constant(matrix)], ["features"]))
    if next(layers, None) is not None:
        raise ValueError("not every convolution of the file was used")
    graph = helper.make_graph(
        nodes,
        "base",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 128])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
