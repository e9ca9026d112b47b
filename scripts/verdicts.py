#!/usr/bin/env python3
"""Prints a table with the verdict on each clip, from the files that deepfakelog wrote.

    verdicts.py FILE.jsonl...

Each analysed frame is a line, and windows are counted once, however many lines carry them. The verdict
is the state that the clip's scored windows were in most often; the mean score is over the same windows.
"""

import json
import sys
from collections import Counter
from pathlib import Path

HEAD = ("clip", "analysed", "faces", "windows", "mean score", "authentic", "uncertain", "fake", "verdict")
STATES = ("authentic", "uncertain", "fake")


def row(path: Path) -> tuple[str, ...]:
    frames = 0
    tracks = set()
    windows = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        report = json.loads(line)
        frames += 1
        for face in report["faces"]:
            tracks.add(face["track_id"])
            if face["score"] is not None and face["state"] in STATES:
                windows[face["track_id"], face["window_end"]] = (face["score"], face["state"])

    counted = (path.stem, str(frames), str(len(tracks)), str(len(windows)))
    if not windows:
        return (*counted, "-", "-", "-", "-", "none: no face could be judged")
    mean = sum(score for score, _ in windows.values()) / len(windows)
    states = Counter(state for _, state in windows.values())
    shares = [f"{100 * states[state] / len(windows):.0f} %" for state in STATES]
    return (*counted, f"{mean:.3f}", *shares, states.most_common(1)[0][0])


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    rows = [HEAD, *(row(Path(name)) for name in sys.argv[1:])]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(HEAD))]
    for index, cells in enumerate(rows):
        # Words to the left, numbers to the right.
        texts = [
            cell.ljust(width) if column in (0, len(HEAD) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths))
        ]
        print("  " + "  ".join(texts).rstrip())
        if index == 0:
            print("  " + "  ".join("-" * width for width in widths))


if __name__ == "__main__":
    main()
