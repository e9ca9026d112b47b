"""A large net with a small one's answer added: they are wrong about different clips, so that the sum is better than either."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from . import l40


class Beside(nn.Module):
    """Crops [N, 3, size, size] -> the large net's features, and the logits [N, 2] (real, fake) of both."""

    def __init__(self, large: nn.Module, package: Path, weight: float, size: int) -> None:
        """`package`: of the small net, which is an `l40`; `weight`: of its logits."""
        super().__init__()
        self.large, self.small, self.weight = large, l40.Encoder(), weight
        self.of_large = large.learnt() if hasattr(large, "learnt") else {}  # known by what may still be learnt: before nothing may
        # Its file's norms are folded into its convolutions. Taken apart by any pictures, they compute the same again.
        noise = torch.rand(8, 3, size // 8, size // 8, generator=torch.Generator().manual_seed(0))
        self.small.take_over(package, 255 * functional.interpolate(noise, (size, size), mode="bilinear"))
        self.requires_grad_(False).eval()

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features, logits = self.large(crops)
        return features, logits.float() + self.weight * self.small(crops.float())[1]

    def learnt(self) -> dict[str, torch.Tensor]:
        return self.of_large
