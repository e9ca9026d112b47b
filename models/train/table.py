"""`python -m train.table WORK…`: a row for each trained model: how well on dev, how large, how fast on one core of this machine."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime

from .data import DataError
from .package import table

HEAD = ["model", "AUC on dev", "mean of frames", "gain of the LSTM", "ms per crop", "ms per window", "MB"]


def row(work: Path) -> list[str]:
    measured_file, encoder, head = work / "calibration.json", work / "onnx" / "encoder.onnx", work / "onnx" / "head.onnx"
    if not measured_file.is_file() or not encoder.is_file():
        raise DataError(f"{work} has no calibration.json or no onnx/encoder.onnx: run the stages up to `export` first")
    m = json.loads(measured_file.read_text())
    sequence = head.is_file()
    return [
        work.resolve().name,
        f"{m['auc']:.2f} [{m['auc_low']:.2f}, {m['auc_high']:.2f}]",
        f"{m['frame_mean_auc']:.2f}" if sequence else "–",
        f"[{m['gain_low']:+.2f}, {m['gain_high']:+.2f}]" if sequence else "–",
        f"{milliseconds(encoder, {}):.1f}",
        f"{milliseconds(head, {'n': 1, 't': 40}):.2f}" if sequence else "–",
        f"{sum(path.stat().st_size for path in (encoder, head) if path.is_file()) / 1e6:.1f}",
    ]


def milliseconds(graph: Path, free: dict[str, int], least: float = 0.5) -> float:
    """Of processor time, the median run, one thread: what else runs on the machine hardly counts."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    shape = [side if isinstance(side, int) else free.get(side, 1) for side in given.shape]
    # Grey with a little grain: noise alone makes some nets compute with numbers so small that processors stumble.
    x = (128 + np.random.default_rng(0).normal(0, 10, shape)).astype(np.float32)
    runs, end = [], time.process_time() + least
    while time.process_time() < end or len(runs) < 5:
        start = time.process_time()
        session.run(None, {given.name: x})
        runs.append(time.process_time() - start)
    return float(np.median(runs)) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.table", description=__doc__)
    parser.add_argument("work", type=Path, nargs="+", help="folders that were given to --work")
    try:
        print(table(HEAD, [row(work) for work in parser.parse_args().work]))
    except DataError as error:
        parser.exit(1, f"error: {error}\n")
    return 0


if __name__ == "__main__":
    main()
