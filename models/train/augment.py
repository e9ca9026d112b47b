"""What happens to a clip on its way to the detector, drawn once per clip and replayed on every frame.

Drawn per frame, the flicker itself would tell the classes apart. A real clip and its fake get the very same draw, so
that nothing in here can become a label.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import av
import cv2
import numpy as np

# A process of its own for each clip's worker: threads inside would only fight.
cv2.setNumThreads(1)


@dataclass(frozen=True)
class Conversion:
    """What a player's way to RGB does to the levels: quick arithmetic leaves colours a few levels off and rounds them anew.
    A net that lives by the finest grain would otherwise take one player's pixels for another face."""

    gain: tuple[float, float, float]
    offset: tuple[float, float, float]  # in grey levels
    grain: float  # sigma in grey levels
    bytewise: str = ""  # the matrix, bt601 or bt709, of a way through YUV that computes in bytes

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Conversion:
        levels = tuple(rng.uniform(0.96, 1.04, 3)), tuple(rng.uniform(-4, 4, 3)), rng.choice([0.0, rng.uniform(0.2, 1.5)])
        return cls(*levels, bytewise=str(rng.choice(["", *LUMA], p=[0.6, 0.25, 0.15])))

    def apply(self, clip: np.ndarray, seed: int) -> np.ndarray:
        if self.bytewise:
            clip = through_bytes(clip, *LUMA[self.bytewise])
        levels = clip * np.asarray(self.gain, np.float32) + np.asarray(self.offset, np.float32)
        if self.grain > 0:
            levels += np.random.default_rng(seed).normal(0, self.grain, clip.shape).astype(np.float32)
        return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


# Weights of red and blue in the luma.
LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}


def through_bytes(clip: np.ndarray, red: float, blue: float) -> np.ndarray:
    """[..., 3] uint8 RGB to YUV (limited range) and back as videoconvert's vector code comes back: in 16-bit products of doubled
    bytes, whose lower half is missing for what is below mid-grey. All is 2 to 4 levels darker, by one more above mid-grey, so that
    an edge of one level runs across each face where it passes mid-grey."""
    green = 1 - red - blue
    rgb = clip.astype(np.float32) / 255
    y = rgb @ np.asarray([red, green, blue], np.float32)
    u, v = (rgb[..., 2] - y) / (2 * (1 - blue)), (rgb[..., 0] - y) / (2 * (1 - red))
    doubled = (np.rint(levels).astype(np.int32) for levels in (219 * y + 16 - 128, 224 * u, 224 * v))
    y, u, v = (levels * 256 + (levels & 255) for levels in doubled)

    def times(levels: np.ndarray, factor: float) -> np.ndarray:
        return levels * round(256 * factor) >> 16

    light = times(y, 255 / 219)
    wide, colour = 2 * 255 / 224, light.copy()
    colour += times(u, -wide * (1 - blue) * blue / green) + times(v, -wide * (1 - red) * red / green)
    back = [light + times(v, wide * (1 - red)), colour, light + times(u, wide * (1 - blue))]
    return (np.clip(np.stack(back, axis=-1), -128, 127) + 128).astype(np.uint8)


@dataclass(frozen=True)
class ClipAugment:
    """One draw. `apply` turns stored crops [T, S, S, 3] into the model's crops [T, size, size, 3], all uint8 RGB."""

    flip: bool = False
    colour: tuple[float, float, float, float] = (1.0, 0.0, 1.0, 0.0)  # contrast, brightness, saturation, hue (degrees)
    blur: float = 0.0  # sigma in stored pixels
    denoise: float = 0.0  # of an edge-keeping filter over the whole picture, in grey levels: what cameras and editors do
    sharpen: float = 1.0  # gain of an unsharp mask over the whole picture
    scale: float = 1.0  # the network that sent the clip small
    noise: float = 0.0  # sigma in grey levels; the same strength on each frame, fresh grains
    jpeg: int | None = None  # quality
    h264: int | None = None  # constant rate factor
    conversion: Conversion | None = None  # between the codec and the detector
    margin: float = 1.3  # what the crop is cut down to
    shift: tuple[float, float] = (0.0, 0.0)  # of the crop's centre, in units of its side
    seed: int = 0  # of the noise

    @classmethod
    def draw(cls, rng: np.random.Generator, margin: float, h264: float) -> ClipAugment:
        """`h264`: share of draws that go through x264, which is slow; the cheap codec, JPEG, keeps its share beside it."""
        chance = rng.random
        codec = chance()
        use_h264 = codec < h264
        return cls(
            flip=bool(chance() < 0.5),
            colour=(
                rng.uniform(0.8, 1.2),
                rng.uniform(-20, 20),
                rng.uniform(0.7, 1.3),
                rng.uniform(-6, 6),
            )
            if chance() < 0.5
            else (1.0, 0.0, 1.0, 0.0),
            blur=rng.uniform(0.4, 1.6) if chance() < 0.15 else 0.0,
            denoise=rng.uniform(8, 30) if chance() < 0.08 else 0.0,
            sharpen=rng.uniform(1.2, 2.0) if chance() < 0.1 else 1.0,
            scale=rng.uniform(0.4, 0.9) if chance() < 0.3 else 1.0,
            noise=rng.uniform(1, 6) if chance() < 0.15 else 0.0,
            jpeg=int(rng.integers(35, 96)) if not use_h264 and codec < h264 + 0.55 else None,
            h264=int(rng.integers(18, 39)) if use_h264 else None,
            conversion=Conversion.draw(rng) if chance() < 0.7 else None,
            margin=margin * rng.uniform(0.885, 1.115),
            shift=(rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03)),
            seed=int(rng.integers(2**31)),
        )

    def apply(self, *clips: np.ndarray, size: int, stored_margin: float) -> list[np.ndarray]:
        """Several clips at once only so that they share the encoder's process and its every decision."""
        prepared = [self._before_codec(clip) for clip in clips]
        if self.h264 is not None:
            # Side by side in one picture: one after the other, only the first would begin with a key frame.
            beside = h264(np.concatenate(prepared, axis=2), self.h264)
            prepared = np.split(beside, len(clips), axis=2)
        placed = [self.place(clip, size=size, stored_margin=stored_margin) for clip in prepared]
        return [self.conversion.apply(clip, self.seed) for clip in placed] if self.conversion else placed

    def place(self, clip: np.ndarray, size: int, stored_margin: float) -> np.ndarray:
        """Only what moves pixels: for masks, [T, S, S], too."""
        clip = np.stack([cut(crop, self.margin / stored_margin, self.shift, size) for crop in clip])
        return clip[:, :, ::-1] if self.flip else clip

    def _before_codec(self, crops: np.ndarray) -> np.ndarray:
        side = crops.shape[1]
        small = max(16, round(side * self.scale))
        rng = np.random.default_rng(self.seed)
        out = []
        for crop in crops:
            if self.colour != (1.0, 0.0, 1.0, 0.0):
                crop = recolour(crop, *self.colour)
            if self.blur > 0:
                crop = cv2.GaussianBlur(crop, (0, 0), self.blur)
            if self.denoise > 0:
                crop = cv2.bilateralFilter(crop, 5, self.denoise, 2)
            if self.sharpen > 1:
                crop = cv2.addWeighted(crop, self.sharpen, cv2.GaussianBlur(crop, (0, 0), 1.2), 1 - self.sharpen, 0)
            if small != side:
                crop = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
            if self.noise > 0:
                crop = np.clip(crop + rng.normal(0, self.noise, crop.shape), 0, 255).astype(np.uint8)
            if self.jpeg is not None:
                crop = jpeg(crop, self.jpeg)
            out.append(crop)
        return np.stack(out)


def plain(margin: float) -> ClipAugment:
    """Nothing but the model's margin: what is measured and calibrated on."""
    return ClipAugment(margin=margin)


def degraded(margin: float) -> dict[str, ClipAugment]:
    """Fixed, named qualities for calibration: the same clip as a worse line would bring it."""
    base = plain(margin)
    return {
        "as is": base,
        "half size, jpeg 60": replace(base, scale=0.5, jpeg=60),
        "h264 crf 32": replace(base, h264=32),
    }


def recolour(crop: np.ndarray, contrast: float, brightness: float, saturation: float, hue: float) -> np.ndarray:
    levels = np.clip((np.arange(256) - 128) * contrast + 128 + brightness, 0, 255).astype(np.uint8)
    hsv = cv2.cvtColor(cv2.LUT(crop, levels), cv2.COLOR_RGB2HSV)
    turned = ((np.arange(256) + round(hue / 2)) % 180).astype(np.uint8)  # OpenCV counts hue in half degrees
    stronger = np.clip(np.arange(256) * saturation, 0, 255).astype(np.uint8)
    table = np.stack([turned, stronger, np.arange(256, dtype=np.uint8)], axis=-1)[None]
    return cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB)


def jpeg(crop: np.ndarray, quality: int) -> np.ndarray:
    done, data = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("OpenCV could not write a JPEG")
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def h264(frames: np.ndarray, rate_factor: int) -> np.ndarray:
    """Through x264 and back: [T, H, W, 3] in, the same shape out."""
    count, height, width = frames.shape[:3]
    tall, wide = height + height % 2, width + width % 2  # 4:2:0 has no odd sizes
    padded = np.pad(frames, ((0, 0), (0, tall - height), (0, wide - width), (0, 0)), mode="edge")
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.thread_count = wide, tall, "yuv420p", 1
    encoder.time_base = Fraction(1, 15)
    # Scene cuts off: between far frames of one clip it would make key frames where a live encoder makes none.
    encoder.options = {"preset": "veryfast", "crf": str(rate_factor), "bf": "0", "sc_threshold": "0", "g": "250"}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    back = []
    for number, frame in enumerate(padded):
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")
        picture.pts = number
        for packet in encoder.encode(picture):
            back += decoder.decode(packet)
    for packet in encoder.encode(None):
        back += decoder.decode(packet)
    back += decoder.decode(None)
    if len(back) != count:
        raise RuntimeError(f"x264 gave {len(back)} of {count} frames back")
    return np.stack([picture.to_ndarray(format="rgb24") for picture in back])[:, :height, :width]


def cut(crop: np.ndarray, share: float, shift: tuple[float, float], size: int) -> np.ndarray:
    """The middle `share` of the crop, moved by `shift` of its side, at size x size."""
    side = crop.shape[0]
    length = side * share
    left = (side - length) / 2 + shift[0] * length
    top = (side - length) / 2 + shift[1] * length
    if length >= size:  # shrinking: cut on whole pixels, then average, as the live cropper does
        n = min(round(length), side)
        x = int(np.clip(round(left), 0, side - n))
        y = int(np.clip(round(top), 0, side - n))
        return cv2.resize(crop[y : y + n, x : x + n], (size, size), interpolation=cv2.INTER_AREA)
    k = size / length
    matrix = np.asarray([[k, 0, (0.5 - left) * k - 0.5], [0, k, (0.5 - top) * k - 0.5]])
    return cv2.warpAffine(crop, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
