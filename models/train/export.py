"""The trained nets as ONNX, and the proof that ONNX Runtime computes what PyTorch computed."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from .train import trained_encoder, trained_head
from .workspace import Workspace, whole

OPSET = 17
# Largest difference to PyTorch that is let through: well below what any threshold could notice.
TOLERANCE = 1e-4


class ParityError(Exception):
    """The ONNX file computes something else than the net it was made from. Never ship it."""


def export(work: Workspace) -> None:
    """Stage `export`. Leaves onnx/encoder.onnx ([N, 3, S, S] -> features, frame_logits) and onnx/head.onnx."""
    size, frames = work.recipe.size, work.recipe.window_frames
    rng = torch.Generator().manual_seed(0)
    encoder = trained_encoder(work).to(memory_format=torch.contiguous_format)
    head = trained_head(work)
    crops = torch.rand(3, 3, size, size, generator=rng) * 255
    write(encoder, crops, work.path("onnx/encoder.onnx"), {"crops": ["n"]}, {"features": ["n"], "frame_logits": ["n"]})
    features = encoder(crops)[0].detach().mean(0).expand(2, frames, -1)
    write(head, features.clone(), work.path("onnx/head.onnx"), {"windows": ["n", "t"]}, {"logits": ["n"]})

    # Dynamic sizes are tried, not only declared; black and white are where a wrong normalisation shows most.
    flat = torch.tensor([0.0, 255.0]).reshape(2, 1, 1, 1).expand(2, 3, size, size)
    worst = 0.0
    for batch in (crops, crops[:1], flat):
        worst = max(worst, difference(encoder, work.path("onnx/encoder.onnx"), batch))
    for count, length in ((1, frames), (5, frames), (2, work.recipe.least_frames), (1, 1)):
        windows = torch.randn(count, length, features.shape[2], generator=rng)
        worst = max(worst, difference(head, work.path("onnx/head.onnx"), windows))
    if not worst <= TOLERANCE:  # NaN fails too
        raise ParityError(f"ONNX Runtime and PyTorch differ by {worst:.2g}, more than {TOLERANCE:g}")
    print(f"ONNX Runtime and PyTorch differ by at most {worst:.1e}")


def write(net: nn.Module, example: torch.Tensor, path: Path, inputs: dict, outputs: dict) -> None:
    """`inputs` and `outputs`: names, each with the names of its leading free dimensions."""
    free = {name: dict(enumerate(dimensions)) for name, dimensions in (inputs | outputs).items()}
    with whole(path) as partial:
        with warnings.catch_warnings():
            # The exporter that PyTorch would rather see used cannot write opset 17.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net.eval(),
                (example,),
                str(partial),
                opset_version=OPSET,
                dynamo=False,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes=free,
            )
        onnx.checker.check_model(onnx.load(partial), full_check=True)


@torch.no_grad()
def difference(net: nn.Module, path: Path, example: torch.Tensor) -> float:
    """Largest absolute difference over all outputs."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    theirs = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(example.numpy())})
    ours = net(example)
    ours = ours if isinstance(ours, tuple) else (ours,)
    return max(float(np.abs(a.numpy() - b).max()) for a, b in zip(ours, theirs, strict=True))
