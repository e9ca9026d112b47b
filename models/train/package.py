"""The folder that `deepfakedetect model=…` loads: model.toml with checksums, the ONNX files and the model card."""

from __future__ import annotations

import datetime
import json
import shutil
from collections import Counter
from pathlib import Path
from string import Template

import numpy as np
import onnx

from . import bases, data, leave_out
from .archive import checksum
from .calibrate import AUTHENTIC_BELOW, FAKE_AT
from .nets import clip
from .train import trained_encoder
from .workspace import Workspace, whole

LICENCE = "Weights: for research only, as the terms of their training data ask; see README.md"
HYSTERESIS = 0.03
MODELS = Path(__file__).resolve().parent.parent
MEASURED = "calibration.json"  # of packages whose weights the repository does not hold: what `large.py` writes model.toml from

# What the cards of models that are meant to be used begin with; all others are there to be compared with.
LEADS = {"l40": "The default of `deepfakedetect`", "l40-large": "`l40` for files and GPUs", "l40-fast": "`l40` on smaller crops, for machines or channels that want half its cost"}
UNPAIRED = "Generated heads, which have no original, were shown beside real clips of their set or, where it has none, of any."
WATCHING = "To point people who watch feeds to faces that deserve a second look."
COMPARING = "To show and test the pipeline; as one of several systems that are compared with one another; to teach."


def package(work: Workspace, crops: Path, folder: Path, note: str) -> None:
    """Stage `package`. Each file appears complete or not at all, model.toml last, since it vouches for the others."""
    measured_file, graphs = work.path("calibration.json"), [work.path(f"onnx/{name}.onnx") for name in parts(work)]
    for path, stage in ((measured_file, "calibrate"), *((graph, "export") for graph in graphs)):
        if not path.is_file():
            raise data.DataError(f"{path} is missing: run the stage `{stage}` first")
    checkpoints = [path for name in ("encoder.pt", "head.pt") if (path := work.path(name)).is_file()]
    for path, stage in ((measured_file, "calibrate"), *((graph, "export") for graph in graphs)):
        if any(path.stat().st_mtime < checkpoint.stat().st_mtime for checkpoint in checkpoints):
            raise data.DataError(f"{path} is older than the nets beside it: run the stage `{stage}` again")
    measured = json.loads(measured_file.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    for graph in graphs:
        with whole(folder / graph.name) as partial:
            shutil.copyfile(graph, partial)
    if hasattr(net := trained_encoder(work), "learnt"):
        with whole(folder / clip.LEARNT) as partial, partial.open("wb") as stream:
            np.savez_compressed(stream, **{name: value.numpy() for name, value in net.learnt().items()})
        with whole(folder / MEASURED) as partial:
            shutil.copyfile(measured_file, partial)
    today = datetime.date.today().isoformat()
    with whole(folder / "README.md") as partial:
        partial.write_text(Template(card(work)).substitute(facts(work, measured, crops, folder, today) | {"note": note}))
    with whole(folder / "model.toml") as partial:
        partial.write_text(model_toml(work, measured, folder, today))
    print(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f} MB")


def parts(work: Workspace) -> list[str]:
    return ["encoder", "head"] if work.recipe.head else ["encoder"]


def card(work: Workspace) -> str:
    """The card's template: cards/NAME.md, or that of the family; `$body` in it is what all cards have in common."""
    folder, name = Path(__file__).parent / "cards", work.recipe.name
    family = name.removesuffix(f"-{work.recipe.feature}").removesuffix("-fast")
    path = next((path for n in (name, f"{family}-feature", family) if (path := folder / f"{n}.md").is_file()), None)
    if path is None:
        raise data.DataError(f"{folder} has no card for `{name}`: write {name}.md, like those beside it")
    body = (folder / "body.md").read_text().rstrip()
    return path.read_text().replace("$body", body)


def text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML string


def model_toml(work: Workspace, measured: dict, folder: Path, today: str) -> str:
    recipe = work.recipe
    clips = f"{measured['real_clips']} real and {measured['fake_clips']} fake clips of {measured['groups']} source groups"
    return f"""\
# Written by models/train; what it was trained on and how weak it is: README.md.

[model]
name = {text(recipe.name)}
version = {text(recipe.version)}
kind = "{recipe.kind}"
licence = {text(LICENCE)}
description = {text(recipe.description)}

[input]
width = {recipe.size}
height = {recipe.size}
color = "rgb"
range = [0.0, 255.0]  # the graph normalises
{f"margin = {recipe.margin}" if recipe.alignment == "box" else "# no margin: the landmarks decide what a crop shows"}
feature = {text(recipe.feature)}  # in the graph
alignment = {text(recipe.alignment)}

[window]
frames = {recipe.window_frames}
rate_hz = {recipe.rate_hz}
least_frames = {recipe.least_frames}

{graph_tables(work, folder)}
[output]
fake_index = 1
softmax = false

[calibration]
slope = {measured["slope"]:.6f}
bias = {measured["bias"]:.6f}
fake_threshold = {measured["fake_threshold"]:.4f}       # {FAKE_AT:.1%} of real dev clips reach it in any window
authentic_threshold = {measured["authentic_threshold"]:.4f}  # {AUTHENTIC_BELOW:.0%} of real dev clips reach it in any window, or one half
hysteresis = {HYSTERESIS}
fitted_on = {text(f"dev, {today}: {clips}, each as it is and recoded")}

[metrics]
measured = "{today}"
on = {text(f"dev, on which epoch, calibration and thresholds were chosen too: {clips}")}
auc = {measured["auc"]:.3f}
auc_low = {measured["auc_low"]:.3f}
auc_high = {measured["auc_high"]:.3f}
frame_mean_auc = {measured["frame_mean_auc"]:.3f}
ece_held_out = {measured["ece_held_out"]:.3f}
fpr_at_fake_threshold = {measured["at_fake_threshold"]["fpr"]:.3f}
tpr_at_fake_threshold = {measured["at_fake_threshold"]["tpr"]:.3f}
abstained = {measured["abstained"]}
"""


def graph_tables(work: Workspace, folder: Path) -> str:
    encoder = f"""\
[encoder]
file = "encoder.onnx"
sha256 = "{checksum(folder / "encoder.onnx")}"
input = "crops"
"""
    if work.recipe.head is None:
        return encoder + 'output = "frame_logits"\n'
    width = onnx.load(folder / "encoder.onnx").graph.output[0].type.tensor_type.shape.dim[1].dim_value
    if not width:
        width = onnx.load(folder / "head.onnx").graph.input[0].type.tensor_type.shape.dim[2].dim_value
    where = 'where_output = "where"\n' if work.recipe.mask_weight else ""
    kinds = f'kinds_output = "kinds"\nkinds = {json.dumps(data.KINDS)}\n' if work.recipe.kind_weight else ""
    return f"""\
{encoder}output = "features"
feature_length = {width}
frame_output = "frame_logits"
{where}
[head]
file = "head.onnx"
sha256 = "{checksum(folder / "head.onnx")}"
input = "windows"
output = "logits"
{kinds}"""


def facts(work: Workspace, measured: dict, crops: Path, folder: Path, today: str) -> dict[str, str]:
    """What the card's template may name."""
    train = data.main_track(leave_out.train(crops, work.recipe)[0])
    pairs = data.Pairs.of(work.recipe, train, work.recipe.window_frames)
    stills = data.read_stills(crops)
    base = bases.BASES[work.recipe.base] if work.recipe.base else None
    count = Counter((track.dataset, track.label) for track in train)
    sets = sorted({dataset for dataset, _ in count})
    numbers = {key: f"{value:.2f}" for key, value in measured.items() if isinstance(value, float)}
    for name in ("at_fake_threshold", "at_authentic_threshold", "ever_fake", "ever_above_authentic"):
        numbers |= {f"{name}_{key}": f"{value:.0%}" for key, value in measured[name].items()}
    return numbers | {
        "name": work.recipe.name,
        "version": work.recipe.version,
        "today": today,
        "size": str(work.recipe.size),
        "margin": str(work.recipe.margin),
        "megabytes": f"{sum((folder / f'{n}.onnx').stat().st_size for n in parts(work)) / 1e6:.1f}",
        "precision": "8-bit weights, computed in float32" if work.recipe.compact else "float32",
        "feature": work.recipe.feature,
        "base_origin": base.origin if base else "",
        "base_terms": base.terms if base else "",
        "real_clips": str(measured["real_clips"]),
        "fake_clips": str(measured["fake_clips"]),
        "groups": str(measured["groups"]),
        "abstained": str(measured["abstained"]),
        "train_reals": str(sum(track.label == data.REAL for track in train)),
        "train_fakes": str(sum(track.label == data.FAKE for track in train)),
        "train_groups": str(len({track.group for track in train})),
        "paired_fakes": str(sum(any(real.group == fake.group for real in reals) for fake, reals in pairs.partners.items())),
        "unpaired_sentence": UNPAIRED if work.recipe.unpaired_fakes else "Fakes without an original are not used.",
        "left_out_sentence": left_out_sentence(work, measured),
        "twin_sentence": twin_sentence(work, len(pairs.twins)),
        "lead": LEADS.get(work.recipe.name, ""),
        "intended_use": WATCHING if work.recipe.name in LEADS else COMPARING,
        "result_sentence": result_sentence(work, measured),
        "training_sentence": training_sentence(work, measured, len(stills)),
        "train_table": table(
            ["set", "real clips", "fake clips"],
            [[name, count[name, data.REAL], count[name, data.FAKE]] for name in sets],
        ),
        "method_table": table(
            ["method", "AUC", "fake clips"],
            [[name, f"{row['auc']:.2f}", row["fakes"]] for name, row in measured["by_method"].items()],
        ),
        "family_table": table(
            ["family", "AUC", "real clips", "fake clips"],
            [
                [name, f"{row['auc']:.2f} [{row['auc_low']:.2f}, {row['auc_high']:.2f}]", row["reals"], row["fakes"]]
                for name, row in measured["by_family"].items()
            ],
        ),
        "dataset_table": table(
            ["set", "AUC", "real clips", "fake clips"],
            [[name, f"{row['auc']:.2f}" if row["reals"] else "–", row["reals"], row["fakes"]] for name, row in measured["by_dataset"].items()],
        ),
        "quality_table": table(["clips", "AUC"], [[k, f"{v:.2f}"] for k, v in measured["by_quality"].items()]),
    }


def training_sentence(work: Workspace, measured: dict, stills: int) -> str:
    recipe, step = work.recipe, measured["encoder_step"]
    if recipe.base:
        pairs = f"{recipe.base_pairs} of the pairs" if recipe.base_pairs else "every pair"
        first = f"{recipe.base_crops} crops of each side of {pairs}, {recipe.base_rounds} time(s) differently augmented, through the base; {step} steps behind it"
    else:
        first = f"{step} steps of {recipe.encoder_pairs} pairs, {recipe.encoder_frames} crop(s) of each side"
        if stills and recipe.encoder_frames == 1:
            first += f", pseudo-fakes taking faces from {stills:,} photographs too"
    return first + (f"; then {measured['head_epoch']} epochs of windows" if recipe.head else "")


def twin_sentence(work: Workspace, count: int) -> str:
    first = f"{count} fakes have their very original among the clips"
    if work.recipe.alignment == "five-point":
        return f"{first} and are shown beside the same moments of it."
    return f"{first}: both are shown on the same frames and pixels, {work.recipe.partial:.0%} of the time with only a part of the forgery blended in."


def left_out_sentence(work: Workspace, measured: dict) -> str:
    if not work.recipe.leave_out:
        return ""
    figures = "AUC {auc:.2f} [{auc_low:.2f}, {auc_high:.2f}], {fakes} fakes against {reals} reals".format(**measured["left_out"])
    return f"Every clip of {work.recipe.leave_out} was kept out of training, to measure on a maker that the model does not know: {figures}."


def result_sentence(work: Workspace, measured: dict) -> str:
    chance = "" if measured["auc_low"] > 0.5 else "The interval reaches chance: that the model tells fakes from reals at all is not shown. "
    return chance + parts_sentence(work, measured)


def parts_sentence(work: Workspace, measured: dict) -> str:
    if work.recipe.head is None:
        every = f" (here of every {ordinal(n)})" if (n := work.recipe.dev_every) > 1 else ""
        return f"Each crop is judged alone; a window's score is the mean of its crops' logits{every}."
    mean = "{frame_mean_auc:.2f} [{frame_mean_auc_low:.2f}, {frame_mean_auc_high:.2f}]".format(**measured)
    return f"The plain mean of the crops' logits, without the LSTM's half: {mean}. {gain_sentence(measured)}{where_sentence(measured)}"


def where_sentence(measured: dict) -> str:
    if "where" not in measured:
        return ""
    return (
        " The map of where: on {hits:.0%} of {crops} crops of paired fakes its highest cell lies on what was forged, where any cell does on"
        " {chance:.0%}; intersection over union {iou:.2f}."
    ).format(**measured["where"])


def ordinal(n: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(n, f"{n}th")


def gain_sentence(measured: dict) -> str:
    low, high = measured["gain_low"], measured["gain_high"]
    interval = f"the paired interval of the difference is [{low:+.2f}, {high:+.2f}]"
    if low > 0:
        return f"The LSTM is better than the plain mean: {interval}."
    if high < 0:
        return f"The LSTM is worse than the plain mean: {interval}."
    return f"That the LSTM finds anything in time is not shown: {interval}."


def signed(difference: float, low: float, high: float) -> str:
    """A difference of two AUCs and its interval."""
    return f"{difference:+.3f} [{low:+.3f}, {high:+.3f}]"


def table(head: list[str], rows: list[list]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
