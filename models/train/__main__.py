"""`python -m train STAGE --model NAME --crops DIR --work DIR`: one stage of the road, or `all` of them."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from functools import partial
from pathlib import Path

import torch

from . import calibrate, data, export, faces, frozen, leave_out, package, packs, stills, train, vae
from .nets import RECIPES, recipe as recipe_of
from .workspace import Workspace

STAGES = ["faces", "encoder", "features", "head", "calibrate", "export", "package"]
EXTRA = ["vae", "packs", "teach"]  # only when asked for by name


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    parser.add_argument("stage", choices=[*STAGES, *EXTRA, "all"])
    parser.add_argument("--model", required=True, help=f"{', '.join(RECIPES)}; or cnn-lstm-FEATURE, cnn3-FEATURE")
    parser.add_argument("--crops", type=Path, required=True, help="folder written by `deepfake extract`")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints; a later run goes on from them")
    parser.add_argument("--stills", type=Path, help="CSV of photographs for pseudo-fakes (stage `faces`; file, dataset, group)")
    parser.add_argument("--vae", type=Path, help="folder of taef2_encoder.pth and taef2_decoder.pth (stage `vae`)")
    parser.add_argument("--packs", type=Path, help="folder of pairs drawn ahead: the stages `packs` and `teach` write it, `encoder` reads it")
    parser.add_argument("--count", type=int, default=100, help="packs in all (stage `packs`)")
    parser.add_argument("--part", default="0/1", help="which packs this process draws or answers, as 0/2 and 1/2")
    parser.add_argument("--package", type=Path, help="folder of the model package to write (default: models/NAME)")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--compile", action="store_true", help="let PyTorch compile the encoder: faster, needs a C++ compiler")
    parser.add_argument("--workers", type=int, default=1, help="processes that make crops beside it")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a number of the recipe")
    parser.add_argument("--leave-out", default="", metavar="NAME", help="a method or data set of train: learn without it, then measure on it; no package is made")
    parser.add_argument("--note", default="", help="what else the model card must say about how this one was trained")
    return parser.parse_args()


def overridden(recipe, settings: list[str]):
    kinds = {field.name: type(getattr(recipe, field.name)) for field in dataclasses.fields(recipe)}
    changes = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if kinds.get(key) not in (int, float, str):
            raise data.DataError(f"--set {setting}: the recipe has no number `{key}`")
        changes[key] = kinds[key](value)
    return dataclasses.replace(recipe, **changes)


def run(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    recipe = overridden(recipe_of(options.model), options.set)
    stages = STAGES if options.stage == "all" else [options.stage]
    if options.leave_out:
        recipe = dataclasses.replace(recipe, leave_out=options.leave_out)
        stages = [stage for stage in stages if stage not in ("export", "package")]
        if not stages:
            raise data.DataError("what learnt from a part of train becomes no package: leave --leave-out away")
    work = Workspace(options.work, recipe)
    folder = options.package or Path(__file__).parent.parent / recipe.name
    dev = data.main_track(data.read(options.crops, "dev"))
    tracks, left_out = leave_out.train(options.crops, recipe)
    for stage in stages:
        print(f"== {recipe.name}: {stage}", flush=True)
        match stage:
            case "faces":
                if options.stills:
                    stills.import_stills(options.stills, options.crops)
                real = [track for track in tracks if track.label == data.REAL]
                faces.find_meshes(real + data.read_stills(options.crops))
            case "vae":
                if not options.vae:
                    raise data.DataError("the stage `vae` needs --vae, the folder of the autoencoder's weights")
                real = [track for track in data.main_track(tracks) if track.label == data.REAL]
                vae.redraw(real + data.read_stills(options.crops), options.vae)
            case "packs":
                packs.draw(folder_of_packs(options), recipe, tracks, data.read_stills(options.crops), options.count, *part_of(options))
            case "teach":
                packs.teach(folder_of_packs(options), recipe, train.trained_encoder(work), *part_of(options))
            case "encoder" if recipe.base:
                frozen.train_encoder(work, tracks, dev, options.workers)
            case "features" if recipe.base and recipe.head:
                frozen.cache_features(work)
            case "features" | "head" if not recipe.head:
                print("a frame model has none")
            case "head" if recipe.base:
                train.train_head(work, dev, frozen.dev_windows(work, dev))
            case "encoder":
                photographs = data.read_stills(options.crops)
                drawn = partial(packs.batches, options.packs, recipe) if options.packs else None
                train.train_encoder(work, tracks, photographs, dev, options.workers, compiled=options.compile, drawn=drawn)
            case "features":
                train.cache_features(work, tracks, options.workers)
            case "head":
                train.train_head(work, dev)
            case "calibrate":
                calibrate.calibrate(work, dev, options.workers, data.main_track(left_out))
            case "export":
                export.export(work)
            case "package":
                package.package(work, options.crops, folder, options.note)


def folder_of_packs(options: argparse.Namespace) -> Path:
    if not options.packs:
        raise data.DataError(f"the stage `{options.stage}` needs --packs, a folder")
    return options.packs


def part_of(options: argparse.Namespace) -> tuple[int, int]:
    part, _, parts = options.part.partition("/")
    return int(part), int(parts)


def main() -> int:
    try:
        run(arguments())
    except data.DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
