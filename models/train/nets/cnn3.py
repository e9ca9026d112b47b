"""The smallest system of the original project: conv 64, conv 32, dense 2, one crop at a time.

Ours: a batch normalisation behind each convolution, and the last map averaged to 4 x 4 before the dense layer, which leaves
20 thousand weights that a few hundred clips can fit.
"""

from __future__ import annotations

import torch
from torch import nn

from .. import features
from ..front import Fronted
from ..recipe import Recipe
from .cnn_lstm import stage

SIZE = 96


class Net(nn.Module):
    """A feature's picture [N, channels, 96, 96] -> the averaged map [N, 512], and logits [N, 2] (real, fake)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.maps = nn.Sequential(stage(channels, 64), stage(64, 32), nn.AvgPool2d(SIZE // 16), nn.Flatten())
        self.dropout = nn.Dropout(0.3)
        self.frame = nn.Linear(32 * 4 * 4, 2)

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.maps(picture).float()
        return maps, self.frame(self.dropout(maps))


def recipe(feature: str) -> Recipe:
    def encoder() -> Fronted:
        return Fronted(features.path(feature), Net(features.channels(feature)))

    return Recipe(
        name="cnn3" if feature == "rgb" else f"cnn3-{feature}",
        version="0.1.0",
        description=f"Two convolutions and a dense layer on each face crop ({feature})",
        encoder=encoder,
        head=None,
        kind="frame",
        feature=feature,
        size=SIZE,
        encoder_steps=300,
        encoder_rate=3e-3,
        encoder_pairs=16,
        encoder_frames=1,
        dev_every=5,
    )
