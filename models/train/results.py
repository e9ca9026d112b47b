"""`python -m train.results`: docs/results.md from what `make measure`, `robustness`, `rates` and `ablations` wrote, so that no figure in it
is typed by hand."""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from . import metrics
from .package import signed, table

DOCS = Path(__file__).parents[2] / "docs"

HEAD = """\
# What the models were measured to do

Every package of this project, and what it was compared with, on the labelled clips of the project's own splits, through the
live element. Written by `make -C models/train results`; nothing here is typed by hand. Unit: the clip. Intervals: 95 %, bootstrap
over source groups, 2,000 draws; differences are paired. "Caught" and "false alarms" are at the threshold that each package ships.

Measured with `l40` 0.2.0, on the dev split as it was then. `l40` 1.0.0 and `l40-large` have a page
of their own: [results-1.0](results-1.0.md).
"""

ABOUT = {
    "test": """\
## Test: people, sources and forgers that no model has seen

Read for released packages, and again after the program had changed; nothing was chosen by it. It was not read again, nor were the tables of
worse clips and of other grids measured again, since crops follow their boxes by parts of pixels; dev was. Nothing was since clips in 4:4:4, as those
of FaceForensics++, are read without a conversion to RGB. `FF++ c23` holds methods that training knew (on other people); all others are
methods or makers that it did not know.
""",
    "dev": """\
## Dev: other people, methods that training knew

Training step, epochs, calibration and thresholds were chosen on these clips: these figures flatter.
""",
}

ROBUSTNESS = """\
## l40 on clips made worse

`make -C models/train robustness`: dev once more, each clip encoded or shrunk or disturbed before the element sees it. The threshold is the one
that the package ships.
"""

RATES = """\
## l40 at other rates

`make -C models/train rates`: dev, the same weights with 40 crops at another rate, so a window of another length. The head was trained at 15 Hz.
"""

TASK = """\
## The original project's task

FaceForensics++ "Deepfakes" against the real clips of the same set (`FF++ c23`), dev and test together. Accuracy is that of the verdict "fake" at
the threshold that each package ships, which is set to spare real people, not for accuracy. The original project reported up to 82 % on a split
of its own: context, nothing to compare with.
"""

QUESTIONS = """\
## What the original project asked

AUC of the first package less that of the second, over all clips, in pairs. Where the interval holds 0, these clips do not tell. Whether the
LSTM finds more than the mean of single crops does is in the tables "Mean of single crops" above.
"""

ASKED = [
    ("Does the Laplacian say more than the picture?", "cnn-lstm-laplacian", "cnn-lstm"),
    ("", "cnn3-laplacian", "cnn3"),
    ("Does the noise residual?", "cnn-lstm-noise", "cnn-lstm"),
    ("Does a window say more than a frame?", "cnn-lstm", "cnn3"),
    ("Which of ImageNet's networks carries over best?", "xception-dense", "inceptionv3-dense"),
    ("", "xception-dense", "resnet50-rnn"),
    ("", "inceptionv3-dense", "resnet50-rnn"),
    ("Does one that knows faces carry over better?", "facenet-dense", "inceptionv3-dense"),
    ("", "facenet-dense", "xception-dense"),
]

ABLATIONS = """\
## What the parts of l40's recipe are worth

`make -C models/train ablations`: the encoder trained once as the recipe says and once without (or with) each part, briefly. No training
to the end: it says what learns faster, and only hints at what ends up better.
"""


def picture(plot: Path, name: str, what: str) -> str:
    """Copies the plot beside the page and shows it there."""
    shutil.copyfile(plot, DOCS / name)
    return f"![{what}]({name})\n"


def measured(folder: Path, split: str) -> str:
    comparison = folder / "comparison.md"
    body = comparison.read_text().split("\n", 2)[2]  # without its own heading
    pictures = [
        picture(plot, f"results-{split}-{name}.svg", f"{what} on {split}")
        for plot, name, what in [
            (folder / "comparison-roc.svg", "roc", "ROC curves of all models"),
            (folder / "l40" / "reliability.svg", "reliability", "How often a score of l40 is right,"),
        ]
        if plot.is_file()
    ]
    return "\n".join([ABOUT[split], *pictures, body])


def interval(auc: float | None, low: float | None, high: float | None) -> str:
    return "–" if auc is None else f"{auc:.3f}" + ("" if low is None or high is None else f" [{low:.3f}, {high:.3f}]")


def robustness(folder: Path) -> str:
    def number(text: str) -> float | None:
        return float(text) if text else None

    with (folder / "robustness.csv").open() as stream:
        rows = [
            [
                "as they are" if row["kind"] == "none" else f"{row['kind']} {float(row['value']):g}",
                interval(*(number(row[name]) for name in ("auc", "auc_low", "auc_high"))),
                *(interval(number(row[name]), None, None) for name in ("tpr", "fpr")),
                row["abstained"],
            ]
            for row in csv.DictReader(stream)
        ]
    steps = Counter(row[0].split()[0] for row in rows)
    plots = {plot: plot.stem.removeprefix("robustness-") for plot in sorted(folder.glob("robustness-*.svg"))}
    pictures = [
        picture(plot, f"results-{plot.name}", f"AUC of clips made worse: {kind}") for plot, kind in plots.items() if steps[kind] > 2
    ]
    return "\n".join([ROBUSTNESS, table(["clips", "AUC", "caught", "false alarms", "abstained"], rows) + "\n", *pictures])


def rates(folder: Path) -> str:
    comparison = json.loads((folder / "comparison.json").read_text())
    everything = comparison["parts"][0]
    rows = []
    for told, figures, less in zip(comparison["models"], everything["metrics"], [None, *everything["first_less_other"]], strict=True):
        difference = "–" if less is None else signed(-less["auc_difference"], -less["high"], -less["low"])
        first = told["timing"]["first_score"]
        rows.append([told["model"], interval(*(figures[name] for name in ("auc", "auc_low", "auc_high"))), difference, f"{first[0]:.1f} s" if first else "–"])
    return f"{RATES}\n{table(['package', 'AUC', 'less that at 15 Hz', 'first score after'], rows)}\n"


def scored(folder: Path) -> dict[str, dict[str, str]]:
    """The clips of scores.csv that have a score, by file."""
    with (folder / "scores.csv").open() as stream:
        return {row["file"]: row for row in csv.DictReader(stream) if row["score"]}


def gain(first: Path, second: Path) -> str:
    """AUC of the first less that of the second, with its interval, over the clips that both scored."""
    if not all((folder / "scores.csv").is_file() for folder in (first, second)):
        return "–"
    ours, theirs = scored(first), scored(second)
    both = [row for file, row in ours.items() if file in theirs]
    labels = np.asarray([row["label"] == "fake" for row in both]).astype(int)
    scores, others = (np.asarray([float(of[row["file"]]["score"]) for row in both]) for of in (ours, theirs))
    difference = metrics.auc(labels, scores) - metrics.auc(labels, others)
    return signed(difference, *metrics.gain_interval(labels, scores, others, [row["group"] for row in both]))


def original_task(folders: list[Path]) -> str:
    """Of each model, over those of these splits on which it was measured."""
    rows = []
    for name in sorted(path.parent.name for path in folders[0].glob("*/scores.csv")):
        clips = [clip for folder in folders if (folder / name / "scores.csv").is_file() for clip in scored(folder / name).values()]
        clips = [clip for clip in clips if clip["dataset"] == "FF++ c23" and (clip["label"] == "real" or clip["method"] == "Deepfakes")]
        labels = np.asarray([clip["label"] == "fake" for clip in clips]).astype(int)
        if len(set(labels.tolist())) < 2:
            continue
        scores = np.asarray([float(clip["score"]) for clip in clips])
        auc = interval(metrics.auc(labels, scores), *metrics.auc_interval(labels, scores, [clip["group"] for clip in clips]))
        right = np.mean([(clip["state"] == "fake") == (clip["label"] == "fake") for clip in clips])
        rows.append([name, f"{(labels == 0).sum()} / {(labels == 1).sum()}", auc, f"{right:.3f}"])
    return f"{TASK}\n{table(['package', 'real / fake', 'AUC', 'accuracy'], rows)}\n" if rows else ""


def questions(out: Path, splits: list[str]) -> str:
    rows = [
        [question, first, second, *(gain(out / f"measure-{split}" / first, out / f"measure-{split}" / second) for split in splits)]
        for question, first, second in ASKED
    ]
    return f"{QUESTIONS}\n{table(['question', 'first', 'second', *splits], rows)}\n"


def ablations(folder: Path) -> str:
    return f"{ABLATIONS}\n{(folder / 'ablations.md').read_text()}"


def sections(out: Path) -> Iterator[str]:
    """Of what has been measured."""
    splits = [split for split in ABOUT if (out / f"measure-{split}" / "comparison.md").is_file()]
    for split in splits:
        yield measured(out / f"measure-{split}", split)
    if splits:
        yield original_task([out / f"measure-{split}" for split in splits])
        yield questions(out, splits)
    for name, file, section in [
        ("robustness", "robustness.csv", robustness),
        ("rates", "comparison.json", rates),
        ("ablations", "ablations.md", ablations),
    ]:
        if (out / name / file).is_file():
            yield section(out / name)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.results", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the measurements")
    options = parser.parse_args()
    parts = list(sections(options.out))
    if not parts:
        print(f"error: {options.out} holds no measurements: run `make measure CLIPS=…` first")
        return 1
    page = "\n".join([HEAD, *parts])
    (DOCS / "results.md").write_text(page.rstrip() + "\n")
    print(f"{DOCS / 'results.md'}: {len(parts)} parts")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
