"""The trained nets as ONNX, and the proof that ONNX Runtime computes what PyTorch computed."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from .compact import compact
from .front import Fronted, joined
from .train import trained_encoder, trained_head
from .workspace import Workspace, whole

OPSET = 17
# Largest difference to PyTorch that is let through: well below what any threshold could notice.
TOLERANCE = 1e-4


class ParityError(Exception):
    """The ONNX file computes something else than the net it was made from. Never ship it."""


def export(work: Workspace) -> None:
    """Stage `export`. Leaves onnx/encoder.onnx ([N, 3, S, S] -> features, frame_logits) and, of a sequence, onnx/head.onnx.

    A frame model's encoder has the logits alone. What stands in front of the encoder (a feature, a frozen base) is in its graph.
    """
    recipe = work.recipe
    size, frames = recipe.size, recipe.window_frames
    rng = torch.Generator().manual_seed(0)
    # Some nets keep frozen weights in bfloat16; what ships computes in float32.
    encoder = trained_encoder(work).float().to(memory_format=torch.contiguous_format)
    outputs = {"features": ["n"], "frame_logits": ["n"]}
    if recipe.head is None:
        encoder, outputs = logits_only(encoder), {"frame_logits": ["n"]}
    elif recipe.mask_weight:
        encoder, outputs = Answers(encoder, "with_where"), outputs | {"where": ["n"]}
    crops = natural(torch.rand(3, 3, size, size, generator=rng))
    path = work.path("onnx/encoder.onnx")
    if isinstance(encoder, Fronted):
        write(encoder.net, encoder.fixed(crops), path, {"crops": ["n"]}, outputs)
        with whole(path) as partial:
            onnx.save(joined(encoder.front, onnx.load(path)), str(partial))
    else:
        write(encoder, crops, path, {"crops": ["n"]}, outputs)
    if recipe.compact:
        shrink(path)

    # Dynamic sizes are tried, not only declared; black and white are where a wrong normalisation shows most.
    flat = torch.tensor([0.0, 255.0]).reshape(2, 1, 1, 1).expand(2, 3, size, size)
    worst = max(difference(encoder, path, batch) for batch in (crops, crops[:1], flat))
    if recipe.head is not None:
        head, path = trained_head(work), work.path("onnx/head.onnx")
        features = encoder(crops)[0].detach().mean(0).expand(2, frames, -1)
        outputs = {"logits": ["n"]}
        if recipe.kind_weight:
            head, outputs = Answers(head, "with_kinds"), outputs | {"kinds": ["n"]}
        write(head, features.clone(), path, {"windows": ["n", "t"]}, outputs)
        if recipe.compact:
            shrink(path)
        for count, length in ((1, frames), (5, frames), (2, recipe.least_frames), (1, 1)):
            windows = torch.randn(count, length, features.shape[2], generator=rng)
            worst = max(worst, difference(head, path, windows))
    if not worst <= TOLERANCE:  # NaN fails too
        raise ParityError(f"ONNX Runtime and PyTorch differ by {worst:.2g}, more than {TOLERANCE:g}")
    print(f"ONNX Runtime and PyTorch differ by at most {worst:.1e}")


class Answers(nn.Module):
    """A net by another of its methods, for an exporter that knows `forward` alone."""

    def __init__(self, net: nn.Module, method: str) -> None:
        super().__init__()
        self.net, self.method = net, method

    def forward(self, x: torch.Tensor):
        return getattr(self.net, self.method)(x)


class LogitsOnly(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)[1]


def logits_only(encoder: nn.Module) -> nn.Module:
    if isinstance(encoder, Fronted):
        return Fronted(encoder.front, LogitsOnly(encoder.net)).eval()
    return LogitsOnly(encoder).eval()


def natural(noise: torch.Tensor) -> torch.Tensor:
    """Soft pictures, 0..255, of noise in 0..1: like crops, and unlike grain, for which no net was made."""
    small = torch.nn.functional.avg_pool2d(noise, 8)
    soft = torch.nn.functional.interpolate(small, noise.shape[-2:], mode="bilinear")
    return ((soft - 0.5) * 5 + 0.5 + (noise - 0.5) * 0.1).clamp(0, 1) * 255


def shrink(path: Path) -> None:
    with whole(path) as partial:
        onnx.save(compact(onnx.load(path)), str(partial))


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
