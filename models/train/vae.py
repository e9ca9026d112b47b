"""Stage `vae`: faces as a latent generator would draw them, from real crops and without a generator.

Talking heads, avatars and many lip-sync nets end in the decoder of a variational autoencoder. A real crop sent through a
small one and back (TAEF2, MIT) keeps its content and takes on that decoder's texture. Both sides of a pair are shrunk and
enlarged alike first, as such makers work on small faces, so that softness alone is no label.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from .data import DataError, Track
from .workspace import whole

PER_CLIP = 6  # crops of each clip; a photograph has one
SIDES = (96, 128, 160, 192)  # what the face is drawn at, in pixels of the whole crop


class Block(nn.Module):
    def __init__(self, pooled: bool) -> None:
        super().__init__()
        conv = lambda: nn.Conv2d(64, 64, 3, padding=1)
        self.conv = nn.Sequential(conv(), nn.ReLU(), conv(), nn.ReLU(), conv())
        if pooled:
            self.pool = nn.Sequential(
                nn.Conv2d(64, 256, 1, bias=False), nn.GroupNorm(4, 256), nn.ReLU(), nn.Conv2d(256, 64, 1, bias=False)
            )
        self.pooled = pooled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.pool(x) if self.pooled else x
        return functional.relu(self.conv(x) + x)


class Clamp(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x / 3) * 3


def encoder() -> nn.Sequential:
    half = lambda: nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False)
    blocks = lambda pooled: [Block(pooled) for _ in range(3)]
    first = [nn.Conv2d(3, 64, 3, padding=1), Block(False)]
    return nn.Sequential(
        *first, half(), *blocks(False), half(), *blocks(False), half(), *blocks(True), nn.Conv2d(64, 32, 3, padding=1)
    )


def decoder() -> nn.Sequential:
    double = lambda: [nn.Upsample(scale_factor=2), nn.Conv2d(64, 64, 3, padding=1, bias=False)]
    blocks = lambda pooled: [Block(pooled) for _ in range(3)]
    first = [Clamp(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()]
    last = [Block(False), nn.Conv2d(64, 3, 3, padding=1)]
    return nn.Sequential(*first, *blocks(True), *double(), *blocks(False), *double(), *blocks(False), *double(), *last)


class RoundTrip:
    """Pictures through the autoencoder and back. `folder` holds taef2_encoder.pth and taef2_decoder.pth."""

    def __init__(self, folder: Path) -> None:
        self.encoder, self.decoder = encoder(), decoder()
        for net, name in ((self.encoder, "taef2_encoder.pth"), (self.decoder, "taef2_decoder.pth")):
            path = folder / name
            if not path.is_file():
                raise DataError(f"{path} is missing: it is published as madebyollin/taesd; or leave --vae away")
            net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
            net.bfloat16().eval().to(memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """[n, S, S, 3] uint8 RGB, S a multiple of 8, -> the same."""
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).bfloat16() / 255
        back = self.decoder(self.encoder(x)).float().clamp(0, 1) * 255
        return back.permute(0, 2, 3, 1).round().byte().numpy()


def redraw(tracks: list[Track], folder: Path) -> None:
    """Leaves track-NNNN.vae.npz beside each real track: `index` [n] of the crops, and those crops twice, uint8
    [n, S, S, 3]: `real`, shrunk and enlarged, and `fake`, drawn anew in between."""
    missing = [track for track in tracks if not track.vae_file.is_file()]
    if not missing:
        return
    round_trip = RoundTrip(folder)
    for track in tqdm(missing, desc="vae", unit="track"):
        rng = np.random.default_rng(zlib.crc32(track.npy.name.encode() + track.file.encode()))
        index = np.unique(np.linspace(0, track.crops - 1, min(PER_CLIP, track.crops)).round().astype(int))
        crops = track.frames(index)
        stored, side = crops.shape[1], int(rng.choice(SIDES))
        small = np.stack([cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA) for crop in crops])
        large = lambda crops: np.stack([cv2.resize(c, (stored, stored), interpolation=cv2.INTER_CUBIC) for c in crops])
        with whole(track.vae_file) as partial, partial.open("wb") as stream:
            np.savez(stream, index=index, real=large(small), fake=large(round_trip(small)))
