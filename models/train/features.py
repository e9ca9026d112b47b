"""The feature graphs of models/features, by name."""

from __future__ import annotations

from pathlib import Path

import onnx

from .data import DataError

FOLDER = Path(__file__).resolve().parents[1] / "features"


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.onnx"))


def path(name: str) -> Path:
    if name not in names():
        raise DataError(f"there is no feature `{name}`: models/features has {', '.join(names())}; its make.py says how to add one")
    return FOLDER / f"{name}.onnx"


def channels(name: str) -> int:
    return onnx.load(path(name)).graph.output[0].type.tensor_type.shape.dim[1].dim_value
