"""A Keras network (its configuration and its weights) as ONNX, channels first; batch normalisations folded into convolutions.

Only what image backbones are made of: convolutions, separable ones too, pooling, addition, concatenation. A layer that
is not known is an error, never skipped.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import defaultdict

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class Unknown(Exception):
    """The network holds something that this converter was not written for."""


def backbone(
    layers: list[dict],
    weights: dict[str, list[np.ndarray]],
    size: int,
    last: str,
    divide: float = 1.0,
    subtract: tuple[float, float, float] = (0.0, 0.0, 0.0),
    bgr: bool = False,
) -> onnx.ModelProto:
    """`crops` [N, 3, size, size] RGB 0..255 -> `features` [N, C]: the layer `last`, averaged over its map.

    `layers` is the configuration's list; `weights` has each layer's arrays in Keras' order, by layer name. Pixels are
    divided, then `subtract` (red, green, blue) is taken away. `bgr`: the network was trained on BGR.
    """
    return Graph(weights, size, divide, subtract, bgr).build(layers, last)


class Graph:
    def __init__(self, weights, size, divide, subtract, bgr) -> None:
        self.weights, self.size, self.bgr = weights, size, bgr
        self.nodes, self.constants = [], {}
        self.value: dict[str, str] = {}  # Keras layer -> ONNX value
        self.shape: dict[str, tuple[int, int, int]] = {}
        self.conv_of: dict[str, str] = {}  # ONNX value -> name of the convolution that made it
        scaled = self.node("Mul", "crops", self.constant("divide", np.float32(1 / divide)))
        mean = np.asarray(subtract, np.float32).reshape(1, 3, 1, 1)
        self.input = self.node("Sub", scaled, self.constant("subtract", mean))
        self.first_convolution = True

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def node(self, kind: str, *inputs: str, **attributes) -> str:
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def build(self, layers: list[dict], last: str) -> onnx.ModelProto:
        used = consumers(layers)
        for layer in layers:
            name, config = layer["config"]["name"], layer["config"]
            sources = inbound(layer)
            if layer["class_name"] == "InputLayer":
                self.value[name], self.shape[name] = self.input, (3, self.size, self.size)
            else:
                inputs = [self.value[source] for source in sources]
                shapes = [self.shape[source] for source in sources]
                single = all(used[source] == 1 for source in sources)
                self.value[name], self.shape[name] = self.layer(layer["class_name"], config, inputs, shapes, single)
            if name == last:
                break
        else:
            raise Unknown(f"the network has no layer `{last}`")
        pooled = self.node("GlobalAveragePool", self.value[last])
        self.nodes.append(helper.make_node("Flatten", [pooled], ["features"], axis=1))
        graph = helper.make_graph(
            self.nodes,
            "base",
            [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", 3, self.size, self.size])],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", self.shape[last][0]])],
            [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model

    def layer(self, kind: str, config: dict, inputs: list[str], shapes: list[tuple], single: bool):
        weights = self.weights.get(config["name"], [])
        x, shape = inputs[0], shapes[0]
        match kind:
            case "Conv2D":
                kernel = weights[0].transpose(3, 2, 0, 1)
                bias = weights[1] if config["use_bias"] else None
                x, shape = self.convolution(x, shape, kernel, bias, config, 1)
                return self.activation(x, config["activation"]), shape
            case "SeparableConv2D":
                deep = weights[0].transpose(2, 3, 0, 1).reshape(-1, 1, *weights[0].shape[:2])
                x, shape = self.convolution(x, shape, deep, None, config, shape[0])
                point = {"padding": "valid", "strides": [1, 1], "dilation_rate": [1, 1]}
                kernel, bias = weights[1].transpose(3, 2, 0, 1), weights[2] if config["use_bias"] else None
                x, shape = self.convolution(x, shape, kernel, bias, point, 1)
                return self.activation(x, config["activation"]), shape
            case "BatchNormalization" | "BatchNormalizationV1":
                self.fold(x, weights, config, single)
                return x, shape
            case "Activation":
                return self.activation(x, config["activation"]), shape
            case "MaxPooling2D" | "AveragePooling2D":
                pads, size = padding(shape, config["pool_size"], config["strides"], [1, 1], config["padding"])
                operator = "MaxPool" if kind == "MaxPooling2D" else "AveragePool"
                x = self.node(operator, x, kernel_shape=config["pool_size"], strides=config["strides"], pads=pads)
                return x, (shape[0], *size)
            case "ZeroPadding2D":
                (top, bottom), (left, right) = config["padding"]
                pads = self.constant(f"{config['name']}_pads", np.asarray([0, 0, top, left, 0, 0, bottom, right], np.int64))
                return self.node("Pad", x, pads), (shape[0], shape[1] + top + bottom, shape[2] + left + right)
            case "Add":
                for other in inputs[1:]:
                    x = self.node("Add", x, other)
                return x, shape
            case "Concatenate":
                return self.node("Concat", *inputs, axis=1), (sum(s[0] for s in shapes), *shape[1:])
            case "Dropout":
                return x, shape
        raise Unknown(f"layer `{config['name']}` is a {kind}")

    def convolution(self, x, shape, kernel, bias, config, groups):
        if self.first_convolution:  # what pixels see; turning its kernel saves turning the picture
            kernel, self.first_convolution = kernel[:, ::-1] if self.bgr else kernel, False
        pads, size = padding(shape, kernel.shape[2:], config["strides"], config["dilation_rate"], config["padding"])
        name = f"w{len(self.nodes)}"
        bias = np.zeros(len(kernel)) if bias is None else bias
        weight = self.constant(name, kernel.astype(np.float32))
        constant = self.constant(f"{name}_b", bias.astype(np.float32))
        attributes = {"strides": config["strides"], "dilations": config["dilation_rate"], "pads": pads, "group": groups}
        x = self.node("Conv", x, weight, constant, kernel_shape=list(kernel.shape[2:]), **attributes)
        self.conv_of[x] = name
        return x, (len(kernel), *size)

    def activation(self, x: str, kind: str) -> str:
        if kind == "linear":
            return x
        if kind != "relu":
            raise Unknown(f"activation `{kind}`")
        return self.node("Relu", x)

    def fold(self, x: str, weights: list[np.ndarray], config: dict, single: bool) -> None:
        name = self.conv_of.get(x)
        if name is None or not single:
            raise Unknown(f"batch normalisation `{config['name']}` does not follow a convolution of its own")
        rest = list(weights)
        gamma = rest.pop(0) if config["scale"] else 1.0
        beta = rest.pop(0) if config["center"] else 0.0
        mean, variance = rest
        scale = gamma / np.sqrt(variance.astype(np.float64) + config["epsilon"])
        kernel, bias = self.constants[name].astype(np.float64), self.constants[f"{name}_b"].astype(np.float64)
        self.constants[name] = (kernel * scale[:, None, None, None]).astype(np.float32)
        self.constants[f"{name}_b"] = ((bias - mean) * scale + beta).astype(np.float32)


def inbound(layer: dict) -> list[str]:
    """Names of the layers that feed this one, in the forms of Keras 2 and 3."""
    nodes = layer.get("inbound_nodes") or []
    if not nodes:
        return []
    if isinstance(nodes[0], dict):
        names: list[str] = []

        def collect(value) -> None:
            if isinstance(value, dict):
                if value.get("class_name") == "__keras_tensor__":
                    names.append(value["config"]["keras_history"][0])
                else:
                    for inner in value.values():
                        collect(inner)
            elif isinstance(value, list):
                for inner in value:
                    collect(inner)

        collect(nodes[0]["args"])
        return names
    return [node[0] for node in nodes[0]]


def consumers(layers: list[dict]) -> dict[str, int]:
    count: dict[str, int] = defaultdict(int)
    for layer in layers:
        for source in inbound(layer):
            count[source] += 1
    return count


def padding(shape, kernel, strides, dilation, kind: str) -> tuple[list[int], tuple[int, int]]:
    """ONNX pads and the size after it. Keras' "same" pads more at the bottom and right, as the size asks."""
    before, after, size = [], [], []
    for length, k, stride, wide in zip(shape[1:], kernel, strides, dilation):
        reach = (k - 1) * wide + 1
        out = -(-length // stride) if kind == "same" else (length - reach) // stride + 1
        total = max((out - 1) * stride + reach - length, 0) if kind == "same" else 0
        before.append(total // 2)
        after.append(total - total // 2)
        size.append(out)
    return before + after, (size[0], size[1])


ORDER = ["depthwise_kernel", "pointwise_kernel", "kernel", "gamma", "bias", "beta", "moving_mean", "moving_variance"]


def tfjs_weights(manifest: list[dict], raw: bytes) -> dict[str, list[np.ndarray]]:
    """The weights of a TensorFlow.js layers model by layer, from its manifest and its shards joined."""
    layers: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    place = 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        packed = entry.get("quantization")
        kind = np.dtype(packed["dtype"] if packed else entry["dtype"])
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(raw, kind, count, place).astype(np.float32)
        place += count * kind.itemsize
        if packed:
            values = values * np.float32(packed["scale"]) + np.float32(packed["min"])
        layer, part = entry["name"].split("/")[-2:]
        layers[layer][part] = values.reshape(entry["shape"])
    if place != len(raw):
        raise Unknown(f"the manifest speaks of {place} bytes of weights, the files have {len(raw)}")
    return {layer: [parts[part] for part in ORDER if part in parts] for layer, parts in layers.items()}


def keras3(file: bytes, inner: str) -> tuple[list[dict], dict[str, list[np.ndarray]]]:
    """Layers and weights of the network named `inner` inside a `.keras` file.

    Keras 3 files weights under a running name of each layer's class, not under the layer's own name.
    """
    import h5py  # only this form of file needs it

    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        config = json.loads(archive.read("config.json"))
        store = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    layers = next(layer for layer in config["config"]["layers"] if layer["config"]["name"] == inner)["config"]["layers"]
    folder = store["layers/functional/layers"]
    seen: dict[str, int] = defaultdict(int)
    weights = {}
    for layer in layers:
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", layer["class_name"]).lower()
        snake = snake.replace("conv2_d", "conv2d").replace("pooling2_d", "pooling2d").replace("padding2_d", "padding2d")
        running = snake if seen[snake] == 0 else f"{snake}_{seen[snake]}"
        seen[snake] += 1
        if layer["class_name"] == "InputLayer":
            continue
        variables = folder[running]["vars"]
        weights[layer["config"]["name"]] = [np.asarray(variables[str(i)]) for i in range(len(variables))]
    return layers, weights
