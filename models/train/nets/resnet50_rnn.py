"""ResNet50, frozen, and an LSTM over its outputs for 40 crops: the original project's `ResNet50 + RNN`.

112 pixels instead of 224: a quarter of the work, and the final map is averaged whatever its size.
"""

from __future__ import annotations

import torch
from torch import nn

from .. import bases
from ..front import Fronted
from ..recipe import Recipe
from .head import WithFrameMean

SIZE, FEATURES = 112, 2048


class Behind(nn.Module):
    """The base's outputs [N, 2048] -> the same at unit variance, and logits [N, 2] (real, fake)."""

    def __init__(self, features: int = FEATURES) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm1d(features, affine=False)
        self.dropout = nn.Dropout(0.5)
        self.frame = nn.Linear(features, 2)

    def forward(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.normalise(values.float())
        return features, self.frame(self.dropout(features))


class Head(WithFrameMean):
    """Features of a window [N, T, 2048] -> logits [N, 2] (real, fake)."""

    def __init__(self) -> None:
        super().__init__(FEATURES)
        self.dropout = nn.Dropout(0.5)
        self.lstm = nn.LSTM(FEATURES, 64, batch_first=True)
        self.dense = nn.Linear(64, 2)

    def over_time(self, windows: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(self.dropout(windows))
        return self.dense(states[:, -1])


def encoder() -> Fronted:
    return Fronted(bases.build("resnet50", SIZE), Behind())


RECIPE = Recipe(
    name="resnet50-rnn",
    version="0.1.0",
    description="ResNet50 of ImageNet, frozen, on each face crop; LSTM over 40 crops",
    encoder=encoder,
    head=Head,
    size=SIZE,
    base="resnet50",
    base_rounds=1,
    base_crops=40,
    base_pairs=64,
    feature_rounds=1,
    weight_decay=0.1,
    compact=1,
)
