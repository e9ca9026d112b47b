"""Frozen image networks with dense layers behind them, one crop at a time: three systems of the original project.

Widths and activations are the original's. Dropout, the normalisation in front and the two logits at the end are ours.
"""

from __future__ import annotations

import torch
from torch import nn

from .. import bases
from ..front import Fronted
from ..recipe import Recipe


class Dense(nn.Module):
    """The base's outputs [N, inputs] -> the narrow layer's [N, narrow], and logits [N, 2] (real, fake)."""

    def __init__(self, inputs: int, wide: int, narrow: int) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm1d(inputs, affine=False)
        self.wide = nn.Sequential(nn.Dropout(0.5), nn.Linear(inputs, wide), nn.ReLU(), nn.Dropout(0.5))
        self.narrow = nn.Sequential(nn.Linear(wide, narrow), nn.Sigmoid())
        self.frame = nn.Linear(narrow, 2)

    def forward(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.narrow(self.wide(self.normalise(values.float())))
        return features, self.frame(features)


def inceptionv3() -> Fronted:
    return Fronted(bases.build("inceptionv3", 144), Dense(2048, 2048, 12))


def xception() -> Fronted:
    return Fronted(bases.build("xception", 144), Dense(2048, 2048, 12))


def facenet() -> Fronted:
    return Fronted(bases.build("face128", 150), Dense(128, 128, 10))


# More, and they know the clips: on dev these bases were best within a few epochs.
FEW_EPOCHS = 10


def recipe(name: str, version: str, base: str, size: int, description: str, encoder, base_epochs: int = FEW_EPOCHS, **more) -> Recipe:
    return Recipe(
        name=name,
        version=version,
        description=description,
        encoder=encoder,
        head=None,
        kind="frame",
        base=base,
        size=size,
        encoder_rate=3e-4,
        base_epochs=base_epochs,
        dev_every=5,
        base_rounds=1,
        base_crops=4,  # of one clip they say nearly the same
        weight_decay=0.1,
        compact=1,
        **more,
    )


# 144 pixels instead of 299: a quarter of the work, and no more than what crops of this margin hold in the training data.
INCEPTIONV3 = recipe(
    "inceptionv3-dense",
    "0.1.0",
    "inceptionv3",
    144,
    "InceptionV3 (fine-tuned by nsfwjs), frozen, and dense layers, on each crop",
    inceptionv3,
)
XCEPTION = recipe(
    "xception-dense",
    "0.1.0",
    "xception",
    144,
    "Xception of ImageNet, frozen, and dense layers, on each crop",
    xception,
    base_epochs=120,  # after 10 it still takes real for fake more often than not
)
FACENET = recipe(
    "facenet-dense",
    "0.2.0",
    "face128",
    150,
    "A face recognition network's 128 numbers (dlib, equivalent to FaceNet), and dense layers, on each aligned crop",
    facenet,
    alignment="five-point",
)
