"""Everything that decides what one package becomes: a net, the pixels it sees and how long it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn


def later(default):
    """A setting that checkpoints made before it existed know nothing of: they stay valid while it keeps its default."""
    return field(default=default, metadata={"later": True})


@dataclass(frozen=True)
class Recipe:
    name: str
    version: str
    description: str
    encoder: Callable[[], nn.Module]  # [N, 3, size, size] RGB 0..255 -> (features [N, F], logits of the crop [N, 2])
    # [N, T, F] -> logits [N, 2]: real, fake; start_from(encoder) takes over what it wants. None: kind is "frame".
    head: Callable[[], nn.Module] | None

    # What the live element must give the encoder; all of it lands in model.toml.
    size: int = 112  # pixels, square
    margin: float = 1.3  # side of the crop in units of the longer side of the face box
    window_frames: int = 40
    rate_hz: float = 15.0
    least_frames: int = 20  # a shorter window gives no score

    # Encoder: single crops, real and fake of the same clip side by side.
    encoder_steps: int = 1500
    encoder_pairs: int = 24  # pairs a step
    encoder_frames: int = 2  # crops taken from each side of a pair
    encoder_rate: float = 1e-3
    encoder_keep: float = 0.995  # of the moving average of the weights
    encoder_weights: str = later("best")  # of the averages kept: the one "best" on dev, the "last", or the "mean" of both
    check_every: int = later(250)  # steps between looks at dev
    check_crops: int = later(8)  # of each dev clip then
    begin_with: str = later("")  # the package in models/ whose encoder's weights the encoder starts from
    still_share: float = 0.0  # share of pseudo-fakes that are made from photographs; needs encoder_frames = 1
    mask_weight: float = 0.0  # of the loss that asks where a pseudo-fake was changed; the encoder then has `with_mask`

    # Head: windows of cached features.
    feature_rounds: int = 2  # differently augmented windows cached for each pair
    feature_pairs: int = later(0)  # only so many of the pairs, drawn once; 0: all
    head_epochs: int = 12
    head_batch: int = 64
    head_rate: float = 4e-4
    head_mixup: float = 0.5  # of the Beta distribution that draws how two pairs are mixed; 0 mixes none

    head_seed: int = 0  # the head's result depends on it; say in the card how many were tried

    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    # Share of draws that go through x264.
    h264_frames: float = 0.25
    h264_windows: float = 0.35
    leave_out: str = later("")  # a method or data set of train that is not shown, to be measured on (leave_out.py)
    paired: int = later(1)  # 0: real and fake of different clips, each augmented on its own; only to see what pairs are worth
    codecs: int = later(1)  # 0: nothing is encoded and decoded; only to see what that is worth
    agreement: float = later(0.0)  # of the loss that asks for the same logit however a crop's colours were converted
    unpaired_fakes: int = later(0)  # 1: show fakes too that have no real of their own, as generated heads
    real_fakes: float = 0.5  # share of pairs whose fake is a real deepfake; the rest are pseudo-fakes
    partial: float = later(0.5)  # share of the real deepfakes with a twin of which only a part is blended in
    vae_share: float = later(0.0)  # share of pseudo-fakes that went through an autoencoder, where `vae.py` made such
    rank_weight: float = later(0.0)  # of the loss that asks for a fake above its own real, whatever the source
    kind_weight: float = later(0.0)  # of the loss that asks what was done to a fake; the encoder then has `kinds`
    beside: str = later("")  # the package in models/, an l40, whose crops' logits are added to the trained encoder's
    beside_weight: float = later(1.0)  # of those logits
    teacher: str = later("")  # the model whose answers on the same packs the encoder also learns from
    teaching: float = later(0.5)  # how far the target is the teacher's answer and not the label
    bfloat16: int = later(1)  # 0: nets of depthwise convolutions are faster in float32
    seed: int = 40

    kind: str = later("sequence")  # or "frame": a window's logit is the mean of its crops' logits, without a head
    feature: str = later("rgb")  # the graph of models/features that stands in front of the encoder
    alignment: str = later("box")  # or "five-point": eyes, nose and mouth brought to fixed places (align.py)
    compact: int = later(0)  # 1: the weights ship in 8 bits (compact.py)

    # A frozen base (bases/), whose outputs are computed once; the encoder is what is learnt behind it (frozen.py).
    base: str = later("")
    base_rounds: int = later(2)  # differently augmented rounds over all pairs
    base_crops: int = later(8)  # crops of each side of a pair in a round
    base_pairs: int = later(0)  # only so many of the pairs, drawn once; 0: all
    base_epochs: int = later(30)

    crops_every: int = later(1)  # live, only every n-th point of the 15 Hz grid is judged: `rate_hz` says the same

    # On dev only every n-th crop is looked at: for models without a head, whose mean over eight crops is near the one over forty.
    dev_every: int = later(1)
