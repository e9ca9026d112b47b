"""A source or a method of train that training never sees, and what the model makes of it.

Dev has few people and few methods; whether a choice (a net, an augmentation, a pseudo-fake) carries over to forgeries of another kind
shows on those that were left out. This measures choices; packages are made from all of train.
"""

from __future__ import annotations

from pathlib import Path

from .data import FAKE, REAL, DataError, Track, read
from .recipe import Recipe


def train(crops: Path, recipe: Recipe) -> tuple[list[Track], list[Track]]:
    """Tracks of train that the recipe learns from, and those that it leaves out."""
    tracks = read(crops, "train")
    return split(tracks, recipe.leave_out) if recipe.leave_out else (tracks, [])


def split(tracks: list[Track], name: str) -> tuple[list[Track], list[Track]]:
    """Tracks of train without `name`, and those of it. Raises DataError where there are none, or nothing is left to learn from.

    A data set goes with all clips of its groups, so that no person of it is seen. A method goes alone: its groups hold the other
    methods' fakes too, and nothing would be left.
    """
    if name in {track.dataset for track in tracks}:
        out = [track for track in tracks if track.dataset == name]
        groups = {track.group for track in out}
        kept = [track for track in tracks if track.group not in groups]
    else:
        out = [track for track in tracks if track.method == name and track.label == FAKE]
        kept = [track for track in tracks if track not in out]
    if not any(track.label == FAKE for track in out):
        names = sorted({track.method for track in tracks if track.label == FAKE} | {track.dataset for track in tracks})
        raise DataError(f"train has no fake of a method or data set `{name}` to leave out: there are {', '.join(names)}")
    if {track.label for track in kept} != {REAL, FAKE}:
        raise DataError(f"without `{name}`, train has no real or no fake clip left")
    return kept, out
