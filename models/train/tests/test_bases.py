"""The converters against nets built by hand, with random weights: nothing is fetched here."""

import io
import json
import tarfile
import zipfile

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional

from train import archive, bases, data
from train.bases import dlib, javascript, keras


def run(model, crops: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["features"], {"crops": crops})[0]


def layer(kind: str, name: str, sources: list[str], **config) -> dict:
    return {"class_name": kind, "config": {"name": name, **config}, "inbound_nodes": [[[s, 0, 0, {}] for s in sources]]}


def convolution(kind: str, name: str, source: str, size: int, stride: int, pad: str) -> dict:
    more = {"kernel_size": [size, size], "strides": [stride, stride], "dilation_rate": [1, 1], "padding": pad}
    return layer(kind, name, [source], use_bias=False, activation="linear", **more)


LAYERS = [
    {"class_name": "InputLayer", "config": {"name": "in"}, "inbound_nodes": []},
    convolution("Conv2D", "a", "in", 3, 2, "same"),  # "same" pads an even side on one end only
    layer("BatchNormalization", "a_bn", ["a"], scale=False, center=True, epsilon=1e-3),
    layer("Activation", "a_relu", ["a_bn"], activation="relu"),
    convolution("SeparableConv2D", "b", "a_relu", 3, 1, "same"),
    layer("BatchNormalization", "b_bn", ["b"], scale=True, center=True, epsilon=1e-3),
    layer("Add", "sum", ["b_bn", "a_relu"]),
    layer("MaxPooling2D", "pool", ["sum"], pool_size=[3, 3], strides=[2, 2], padding="same"),
    layer("AveragePooling2D", "mean", ["pool"], pool_size=[3, 3], strides=[1, 1], padding="same"),
    layer("Concatenate", "both", ["pool", "mean"]),
    layer("Dropout", "drop", ["both"]),
    layer("Dense", "never reached", ["drop"]),
]


@pytest.fixture(scope="module")
def weights() -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(1)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.4, shape).astype(np.float32)

    return {
        "a": [random(3, 3, 3, 8)],
        "a_bn": [random(8), random(8), random(8) ** 2 + 0.5],
        "b": [random(3, 3, 8, 1), random(1, 1, 8, 8)],
        "b_bn": [random(8), random(8), random(8), random(8) ** 2 + 0.5],
    }


def by_hand(weights, crops: np.ndarray) -> np.ndarray:
    """The same net, written down in PyTorch; 22 pixels in."""
    w = {name: [torch.from_numpy(part) for part in parts] for name, parts in weights.items()}
    x = torch.from_numpy(crops)[:, [2, 1, 0]] / 2 - torch.tensor([3.0, 2.0, 1.0]).reshape(1, 3, 1, 1)
    x = functional.conv2d(functional.pad(x, (0, 1, 0, 1)), w["a"][0].permute(3, 2, 0, 1), stride=2)
    beta, mean, variance = w["a_bn"]
    a = functional.relu(functional.batch_norm(x, mean, variance, None, beta, eps=1e-3))
    x = functional.conv2d(a, w["b"][0].permute(2, 3, 0, 1), padding=1, groups=8)
    x = functional.conv2d(x, w["b"][1].permute(3, 2, 0, 1))
    gamma, beta, mean, variance = w["b_bn"]
    x = functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-3) + a  # 11 x 11
    x = functional.max_pool2d(x, 3, 2, padding=1)
    y = functional.avg_pool2d(x, 3, 1, padding=1, count_include_pad=False)
    return torch.cat([x, y], 1).mean(dim=(2, 3)).numpy()


def test_a_keras_net_computes_what_the_same_net_in_pytorch_does(weights):
    model = keras.backbone(LAYERS, weights, 22, "drop", divide=2, subtract=(1, 2, 3), bgr=True)
    crops = (np.random.default_rng(2).random((3, 3, 22, 22)) * 255).astype(np.float32)
    np.testing.assert_allclose(run(model, crops), by_hand(weights, crops), rtol=1e-4, atol=1e-3)


def test_an_unknown_layer_is_an_error(weights):
    layers = [*LAYERS[:4], layer("LocallyConnected2D", "odd", ["a_relu"])]
    with pytest.raises(keras.Unknown, match="`odd` is a LocallyConnected2D"):
        keras.backbone(layers, weights, 22, "odd")


def test_tensorflow_js_weights_of_8_bits_and_of_floats_are_read():
    plain = np.arange(6, dtype=np.float32).reshape(2, 3)
    entries = [
        {"name": "net/dense/kernel", "shape": [2, 3], "dtype": "float32"},
        {"name": "dense/bias", "shape": [3], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0}},
    ]
    raw = plain.tobytes() + bytes([0, 2, 255])
    kernel, bias = keras.tfjs_weights([{"weights": entries}], raw)["dense"]
    np.testing.assert_array_equal(kernel, plain)
    np.testing.assert_array_equal(bias, np.float32([-1.0, 0.0, 126.5]))
    with pytest.raises(keras.Unknown, match="27 bytes"):
        keras.tfjs_weights([{"weights": entries}], raw + b"x")


def test_weights_of_a_keras_3_file_are_found_by_their_running_names(tmp_path):
    h5py = pytest.importorskip("h5py", reason="only the Xception base needs h5py")
    kernel = np.ones((3, 3, 3, 2), np.float32)
    store = tmp_path / "w.h5"
    with h5py.File(store, "w") as file:
        file["layers/functional/layers/conv2d/vars/0"] = kernel
        file["layers/functional/layers/separable_conv2d/vars/0"] = kernel * 2
        file["layers/functional/layers/separable_conv2d_1/vars/0"] = kernel * 3
    kinds = [("InputLayer", "in"), ("Conv2D", "first"), ("SeparableConv2D", "second"), ("SeparableConv2D", "third")]
    inner = {"config": {"name": "net", "layers": [{"class_name": k, "config": {"name": n}} for k, n in kinds]}}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as files:
        files.writestr("config.json", json.dumps({"config": {"layers": [inner]}}))
        files.writestr("model.weights.h5", store.read_bytes())
    layers, weights = keras.keras3(packed.getvalue(), "net")
    assert len(layers) == 4
    assert [weights[name][0].max() for name in ("first", "second", "third")] == [1, 2, 3]


def test_data_is_read_out_of_a_bundled_script():
    source = '!function(a){a.exports={modelTopology:{ok:!0,no:!1,none:null,size:[.5,-.25,3,1e-3],"a b":"x:{!0}\\""}}}({1:2})'
    assert javascript.literal(source, "modelTopology") == {
        "modelTopology": {"ok": True, "no": False, "none": None, "size": [0.5, -0.25, 3, 0.001], "a b": 'x:{!0}"'}
    }
    assert javascript.longest_base64('f("AAAA", "' + "QUJD" * 30 + '")') == b"ABC" * 30


# dlib's file, in the order of its layers.


def integer(value: int) -> bytes:
    digits = abs(value).to_bytes((abs(value).bit_length() + 7) // 8 or 1, "little")
    return bytes([len(digits) | (0x80 if value < 0 else 0)]) + digits


def text(value: bytes) -> bytes:
    return integer(len(value)) + value


def tensor(values: np.ndarray) -> bytes:
    return integer(2) + b"".join(integer(v) for v in (values.size, 1, 1, 1)) + values.astype("<f4").tobytes()


def written(rng) -> tuple[bytes, list, np.ndarray]:
    """(file, (kernel, bias, scale, shift) of each convolution, last matrix), with small random weights."""
    file, layers, inputs = b"dlib", [], 3
    shapes = [(32, 7)]
    for filters, halved, further in dlib.STAGES:
        shapes += [(filters, 3)] * (2 * (further + halved))
    for filters, size in shapes:
        kernel = rng.normal(0, (inputs * size * size) ** -0.5, (filters, inputs, size, size)).astype(np.float32)
        bias, scale, shift = (rng.normal(0, 0.2, filters).astype(np.float32) for _ in range(3))
        scale += 1
        layers.append((kernel, bias, scale, shift))
        file += text(b"con_4") + tensor(np.concatenate([kernel.ravel(), bias]))
        file += b"".join(integer(v) for v in (filters, size, size, 1, 1, 0, 0))
        file += text(b"affine_") + tensor(np.concatenate([scale, shift]))
        inputs = filters
    matrix = rng.normal(0, 0.1, (256, 128)).astype(np.float32)
    return file + text(b"fc_2") + integer(128) + integer(256) + tensor(matrix), layers, matrix


def dlib_by_hand(layers, matrix, crops: np.ndarray) -> np.ndarray:
    layers = iter(layers)

    def convolution(x, **how):
        kernel, bias, scale, shift = (torch.from_numpy(part)[...] for part in next(layers))
        x = functional.conv2d(x, kernel, bias, **how)
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)

    def filled(x, like):
        small = torch.zeros_like(like)
        small[:, : x.shape[1], : x.shape[2], : x.shape[3]] = x
        return small

    x = (torch.from_numpy(crops) - torch.tensor(dlib.MEAN).reshape(1, 3, 1, 1)) / 256
    x = functional.max_pool2d(functional.relu(convolution(x, stride=2)), 3, 2)
    for filters, halved, further in dlib.STAGES:
        for stride in ([2] if halved else []) + [1] * further:
            inner = convolution(functional.relu(convolution(x, stride=stride, padding=2 - stride)), padding=1)
            past = functional.avg_pool2d(x, 2) if stride == 2 else x
            largest = torch.zeros(1, filters, *(max(a, b) for a, b in zip(inner.shape[2:], past.shape[2:]))).expand(len(x), -1, -1, -1)
            x = functional.relu(filled(inner, largest) + filled(past, largest))
    return x.mean(dim=(2, 3)).numpy() @ matrix


def test_dlibs_file_computes_what_the_same_net_in_pytorch_does():
    file, layers, matrix = written(np.random.default_rng(5))
    crops = (np.random.default_rng(6).random((2, 3, 150, 150)) * 255).astype(np.float32)
    have, want = run(dlib.build(file), crops), dlib_by_hand(layers, matrix, crops)
    assert np.abs(want).mean() > 1e-3
    np.testing.assert_allclose(have, want, rtol=1e-3, atol=1e-4)


def test_a_file_that_is_not_dlibs_is_an_error():
    with pytest.raises(ValueError, match="0 convolutions"):
        dlib.build(b"something else" * 100)


# Fetching.


def test_a_file_that_is_here_is_not_fetched_and_a_wrong_one_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.tgz").write_bytes(b"good")
    wanted = archive.Archive("npm", "a", "1", "a.tgz", archive.checksum(tmp_path / "a.tgz"))
    monkeypatch.setattr(archive.urllib.request, "urlopen", lambda *_, **__: pytest.fail("went to the network"))
    assert archive.fetch(wanted, tmp_path).read_bytes() == b"good"

    class Answer(io.BytesIO):
        headers: dict = {}

    monkeypatch.setattr(archive.urllib.request, "urlopen", lambda *_, **__: Answer(b"bad"))
    (tmp_path / "a.tgz").unlink()
    with pytest.raises(data.DataError, match="sha256"):
        archive.fetch(wanted, tmp_path)
    assert list(tmp_path.iterdir()) == [], "nothing half-right stays"


def wheel(folder) -> archive.Archive:
    """A wheel of a package `pinned` that holds nothing, in `folder`."""
    path = folder / "pinned-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as files:
        files.writestr("pinned-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: pinned\nVersion: 1\nRequires-Python: <3\n")
        files.writestr("pinned-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        files.writestr("pinned-1.dist-info/RECORD", "")
    return archive.Archive("pypi", "pinned", "1", path.name, archive.checksum(path))


def test_pip_fetches_the_pinned_file_from_wherever_it_is_set_to_and_no_other(tmp_path, monkeypatch):
    mirror, folder = tmp_path / "mirror", tmp_path / "download"
    mirror.mkdir()
    wanted = wheel(mirror)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(mirror))
    assert archive.fetch(wanted, folder).read_bytes() == (mirror / wanted.file).read_bytes()
    assert [path.name for path in folder.iterdir()] == [wanted.file], "nothing is left beside it"
    (folder / wanted.file).unlink()
    (mirror / wanted.file).write_bytes(b"something else")
    with pytest.raises(data.DataError, match="pip says(?s:.*)put the file into"):
        archive.fetch(wanted, folder)
    assert list(folder.iterdir()) == []


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    def down(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(archive.urllib.request, "urlopen", down)
    with pytest.raises(data.DataError, match="put the file into"):
        archive.fetch(archive.Archive("npm", "a", "1", "a.tgz", "0"), tmp_path)


def test_every_base_that_is_shared_names_its_terms():
    for name, base in bases.BASES.items():
        assert base.origin and base.terms, name
        assert base.may_be_shared == ("none stated" not in base.terms)


def test_an_archive_of_the_wrong_form_is_an_error(tmp_path):
    path = tmp_path / "empty.tgz"
    with tarfile.open(path, "w:gz"):
        pass
    with pytest.raises(KeyError):
        bases.resnet50(path, 112)
