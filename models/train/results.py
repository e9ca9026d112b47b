"""`python -m train.results`: docs/results.md from what `make measure` wrote, so that no figure in it is typed by hand."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

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


ABLATIONS = """\
## What the parts of l40's recipe are worth

`make -C models/train ablations`: the encoder trained once as the recipe says and once without each part.
"""


def section(folder: Path, split: str) -> str:
    comparison = folder / f"measure-{split}" / "comparison.md"
    curves = comparison.with_name("comparison-roc.svg")
    picture = ""
    if curves.is_file():
        name = f"results-{split}-roc.svg"
        shutil.copyfile(curves, DOCS / name)
        picture = f"![ROC curves of all models on {split}]({name})\n\n"
    body = comparison.read_text().split("\n", 2)[2]  # without its own heading
    robustness = "".join(robust(plot, split) for plot in sorted(comparison.parent.glob("robustness-*.svg")))
    return f"{ABOUT[split]}\n{picture}{body}\n{robustness}"


def robust(plot: Path, split: str) -> str:
    name = f"results-{split}-{plot.name}"
    shutil.copyfile(plot, DOCS / name)
    return f"![AUC of clips made worse: {plot.stem.removeprefix('robustness-')}]({name})\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.results", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the measurements")
    options = parser.parse_args()
    splits = [split for split in ABOUT if (options.out / f"measure-{split}" / "comparison.md").is_file()]
    if not splits:
        print(f"error: {options.out} holds no measurements: run `make measure CLIPS=…` first")
        return 1
    sections = [section(options.out, split) for split in splits]
    if (ablations := options.out / "ablations" / "ablations.md").is_file():
        sections.append(f"{ABLATIONS}\n{ablations.read_text()}")
    page = "\n".join([HEAD, *sections])
    (DOCS / "results.md").write_text(page.rstrip() + "\n")
    print(f"{DOCS / 'results.md'}: {', '.join(splits)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
