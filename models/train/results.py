"""`python -m train.results`: docs/results.md from what `make measure`, `robustness`, `rates` and `ablations` wrote, so that no figure in it
is typed by hand."""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from .package import table

DOCS = Path(__file__).parents[2] / "docs"

HEAD = """\
# What the models were measured to do

Every package of this project, and what it was compared with, on the labelled clips of the project's own splits, through the
live element. Written by `make -C models/train results`; nothing here is typed by hand. Unit: the clip. Intervals: 95 %, bootstrap
over source groups, 2,000 draws; differences are paired. "Caught" and "false alarms" are at the threshold that each package ships.
"""

ABOUT = {
    "test": """\
## Test: people, sources and forgers that no model has seen

Read once for this release; nothing was chosen by it. `FF++ c23` holds methods that training knew (on other people); all others are methods
or makers that it did not know.
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
    plots = sorted(folder.glob("robustness-*.svg"))
    pictures = [picture(plot, f"results-{plot.name}", f"AUC of clips made worse: {plot.stem.removeprefix('robustness-')}") for plot in plots]
    return "\n".join([ROBUSTNESS, table(["clips", "AUC", "caught", "false alarms", "abstained"], rows) + "\n", *pictures])


def rates(folder: Path) -> str:
    comparison = json.loads((folder / "comparison.json").read_text())
    everything = comparison["parts"][0]
    rows = []
    for told, metrics, less in zip(comparison["models"], everything["metrics"], [None, *everything["first_less_other"]], strict=True):
        difference = "–" if less is None else f"{-less['auc_difference']:+.3f} [{-less['high']:+.3f}, {-less['low']:+.3f}]"
        first = told["timing"]["first_score"]
        rows.append([told["model"], interval(*(metrics[name] for name in ("auc", "auc_low", "auc_high"))), difference, f"{first[0]:.1f} s" if first else "–"])
    return f"{RATES}\n{table(['package', 'AUC', 'less that at 15 Hz', 'first score after'], rows)}\n"


def ablations(folder: Path) -> str:
    return f"{ABLATIONS}\n{(folder / 'ablations.md').read_text()}"


def sections(out: Path) -> Iterator[str]:
    """Of what has been measured."""
    for split in ABOUT:
        if (folder := out / f"measure-{split}").joinpath("comparison.md").is_file():
            yield measured(folder, split)
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
