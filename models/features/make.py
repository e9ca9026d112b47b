"""Writes the feature graphs beside this file: `python models/features/make.py`.

A feature is what a network sees in place of the bare crop: one ONNX graph, `crops` [N, 3, H, W] RGB 0..255 -> `feature`
[N, C, H, W], float32, mostly within -1..1. Training runs this very graph, and the export joins it to the encoder's, so that
the element needs to know nothing about it. To add one: add a function here (or put an .onnx of this form into the folder)
and run `make experiment FEATURE=its-name` in models/train.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
LUMA = (0.299, 0.587, 0.114)
CANNY_THRESHOLD = 100.0  # of |dx| + |dy|, as OpenCV counts it


class Sketch:
    """Nodes and constants of a graph under construction; every method gives the name of its value."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes) -> str:
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def times(self, x: str, factor: float) -> str:
        return self.op("Mul", x, self.constant(np.float32(factor)))

    def padded(self, x: str, mode: str) -> str:
        """One pixel around. `reflect` is OpenCV's usual border, `edge` the one of its median."""
        return self.op("Pad", x, self.constant(np.asarray([0, 0, 1, 1, 0, 0, 1, 1], np.int64)), mode=mode)

    def filtered(self, x: str, kernel: list[list[float]], channels: int, mode: str = "reflect") -> str:
        """Each channel through the same 3 x 3 kernel."""
        weight = np.broadcast_to(np.asarray(kernel, np.float32), (channels, 1, 3, 3))
        return self.op("Conv", self.padded(x, mode), self.constant(weight.copy()), kernel_shape=[3, 3], group=channels)

    def neighbour(self, padded: str, down: int, right: int) -> str:
        """A padded picture, shifted and cut back to size."""
        start = self.constant(np.asarray([1 + down, 1 + right], np.int64))
        end = self.constant(np.asarray([2**31 if step == 1 else step - 1 for step in (down, right)], np.int64))
        return self.op("Slice", padded, start, end, self.constant(np.asarray([2, 3], np.int64)))

    def luma(self, x: str) -> str:
        return self.op("Conv", x, self.constant(np.asarray(LUMA, np.float32).reshape(1, 3, 1, 1)), kernel_shape=[1, 1])

    def model(self, name: str, output: str, channels: int) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [output], ["feature"]))
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", 3, "h", "w"])],
            [helper.make_tensor_value_info("feature", TensorProto.FLOAT, ["n", channels, "h", "w"])],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def rgb() -> onnx.ModelProto:
    """The colours, -1..1."""
    s = Sketch()
    return s.model("rgb", s.op("Sub", s.times("crops", 1 / 127.5), s.constant(np.float32(1))), 3)


def laplacian() -> onnx.ModelProto:
    """The Laplacian of each colour (OpenCV's, aperture 1), in units of 32 grey levels, cut at 4 of them."""
    s = Sketch()
    edges = s.filtered("crops", [[0, 1, 0], [1, -4, 1], [0, 1, 0]], 3)
    return s.model("laplacian", clipped(s, s.times(edges, 1 / 32)), 3)


def noise() -> onnx.ModelProto:
    """What a 3 x 3 median takes away from each colour: sensor grain, and its lack; in units of 16 grey levels, cut at 4."""
    s = Sketch()
    around = s.padded("crops", "edge")
    median = median_of_nine(s, [s.neighbour(around, down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)])
    return s.model("noise", clipped(s, s.times(s.op("Sub", "crops", median), 1 / 16)), 3)


def gradient() -> onnx.ModelProto:
    """How steep each colour is: length of its Sobel gradient, in units of 128, cut at 4 of them."""
    s = Sketch()
    dx, dy = sobel(s, "crops", 3)
    length = s.op("Sqrt", s.op("Add", s.op("Mul", dx, dx), s.op("Mul", dy, dy)))
    return s.model("gradient", clipped(s, s.times(length, 1 / 128)), 3)


def canny() -> onnx.ModelProto:
    """Edges of the luma, 1 pixel thin, 1 on them and 0 elsewhere: Canny's with one threshold, so without hysteresis."""
    s = Sketch()
    grey = s.op("Round", s.luma("crops"))
    dx, dy = sobel(s, grey, 1)
    across, along = s.op("Abs", dx), s.op("Abs", dy)
    size = s.op("Add", across, along)
    around = s.op("Pad", size, s.constant(np.asarray([0, 0, 1, 1, 0, 0, 1, 1], np.int64)))
    # Largest along its own gradient: to the sides where it is flat, up and down where it is steep, else on a diagonal.
    flat = s.op("Less", along, s.times(across, np.tan(np.pi / 8)))
    steep = s.op("Greater", along, s.times(across, np.tan(3 * np.pi / 8)))
    rising = s.op("Less", s.op("Mul", dx, dy), s.constant(np.float32(0)))

    def peak(down: int, right: int) -> str:
        before, after = s.neighbour(around, -down, -right), s.neighbour(around, down, right)
        # Diagonal neighbours must both be smaller; on the straight ones a tie goes to the first. As OpenCV does it.
        second = "Greater" if down and right else "GreaterOrEqual"
        return s.op("And", s.op("Greater", size, before), s.op(second, size, after))

    def either(condition: str, yes: str, no: str) -> str:
        """`Where`, which ONNX Runtime does not have for truth values."""
        return s.op("Or", s.op("And", condition, yes), s.op("And", s.op("Not", condition), no))

    diagonal = either(rising, peak(1, -1), peak(1, 1))
    largest = either(flat, peak(0, 1), either(steep, peak(1, 0), diagonal))
    strong = s.op("Greater", size, s.constant(np.float32(CANNY_THRESHOLD)))
    return s.model("canny", s.op("Cast", s.op("And", largest, strong), to=TensorProto.FLOAT), 1)


def sobel(s: Sketch, x: str, channels: int) -> tuple[str, str]:
    kernel = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    return s.filtered(x, kernel, channels), s.filtered(x, np.transpose(kernel).tolist(), channels)


def clipped(s: Sketch, x: str) -> str:
    return s.op("Clip", x, s.constant(np.float32(-4)), s.constant(np.float32(4)))


def median_of_nine(s: Sketch, nine: list[str]) -> str:
    """Sort three rows of three; the median is the middle one of (largest low, middle middle, smallest high)."""

    def low(a, b):
        return s.op("Min", a, b)

    def high(a, b):
        return s.op("Max", a, b)

    def middle(a, b, c):
        return high(low(a, b), low(high(a, b), c))

    rows = [nine[i : i + 3] for i in (0, 3, 6)]
    lows = [s.op("Min", *row) for row in rows]
    highs = [s.op("Max", *row) for row in rows]
    middles = [middle(*row) for row in rows]
    return middle(s.op("Max", *lows), middle(*middles), s.op("Min", *highs))


FEATURES = {f.__name__: f for f in (rgb, laplacian, noise, gradient, canny)}

if __name__ == "__main__":
    for name, make in FEATURES.items():
        path = Path(__file__).with_name(f"{name}.onnx")
        onnx.save(make(), str(path))
        print(f"{path.name}: {path.stat().st_size} bytes")
