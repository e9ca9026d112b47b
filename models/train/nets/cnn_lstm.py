"""The CNN + LSTM of the original project: conv 24, 48, 64; 64 LSTM cells over 40 crops; dense 1024, 512; 2 outputs.

Three things are changed. The original could not learn as it was (its first LSTM matrix had 97 million weights for 300
clips), so each convolution is followed by a batch normalisation, and the last map is averaged to a 4 x 4 grid and
normalised before the LSTM sees it, which leaves 0.9 million weights in all. And the LSTM's answer is averaged with the
mean of the single crops' (see head.py).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from .. import features
from ..front import Fronted
from ..recipe import Recipe
from .head import WithFrameMean

FEATURES = 64 * 4 * 4


class Scale(nn.Module):
    """0..255 -> -1..1, inside the graph, so that no caller can get it wrong."""

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return crops / 127.5 - 1.0


def stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


class Encoder(nn.Module):
    """Crops [N, 3, 112, 112] RGB 0..255 -> features [N, 1024] of about unit variance, and logits [N, 2] (real, fake).

    `channels`: those of a feature's picture, which is scaled already, in the crops' place.
    """

    def __init__(self, channels: int | None = None) -> None:
        super().__init__()
        self.scale = nn.Identity() if channels else Scale()
        self.maps = nn.Sequential(stage(channels or 3, 24), stage(24, 48), stage(48, 64))
        self.grid = nn.AvgPool2d(5, stride=3)  # 14 x 14 -> 4 x 4, windows overlapping
        self.normalise = nn.BatchNorm1d(FEATURES, affine=False)
        self.dropout = nn.Dropout(0.3)
        self.frame = nn.Linear(FEATURES, 2)

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.normalise(self.grid(self.maps(self.scale(crops))).flatten(1).float())
        return features, self.frame(self.dropout(features))


class Head(WithFrameMean):
    """Features of a window [N, T, 1024] -> logits [N, 2] (real, fake)."""

    def __init__(self) -> None:
        super().__init__(FEATURES)
        self.dropout = nn.Dropout(0.3)
        self.lstm = nn.LSTM(FEATURES, 64, batch_first=True)
        self.dense = nn.Sequential(
            nn.Linear(64, 1024), nn.ReLU(), nn.Dropout(0.3), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 2)
        )

    def over_time(self, windows: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(self.dropout(windows))
        return self.dense(states[:, -1])


RECIPE = Recipe(
    name="cnn-lstm",
    version="0.2.0",
    description="Small CNN on each face crop, LSTM over 40 crops: the baseline",
    encoder=Encoder,
    head=Head,
    encoder_steps=1000,
    encoder_pairs=16,
    encoder_frames=1,
    feature_rounds=1,
    compact=1,
)


def with_feature(feature: str) -> Recipe:
    """The same net and the same training on another feature of models/features."""

    def encoder() -> Fronted:
        return Fronted(features.path(feature), Encoder(features.channels(feature)))

    return dataclasses.replace(
        RECIPE,
        name=f"cnn-lstm-{feature}",
        description=f"The CNN + LSTM of `cnn-lstm` on the feature `{feature}`",
        encoder=encoder,
        feature=feature,
    )
