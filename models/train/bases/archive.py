"""Pinned files from PyPI and npm: fetched once, checked by sha256, kept in the repository's ignored `.deps/download`."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..data import DataError
from ..workspace import whole

FOLDER = Path(__file__).resolve().parents[3] / ".deps" / "download"


@dataclass(frozen=True)
class Archive:
    """One file of a package registry, as its maker published it."""

    registry: str  # "pypi" or "npm"
    package: str
    version: str
    file: str
    sha256: str

    def url(self) -> str:
        if self.registry == "npm":
            return f"https://registry.npmjs.org/{self.package}/-/{self.file}"
        # PyPI's files lie under hashed paths, which its index names.
        with urllib.request.urlopen(f"https://pypi.org/pypi/{self.package}/{self.version}/json", timeout=60) as answer:
            for entry in json.load(answer)["urls"]:
                if entry["filename"] == self.file:
                    return entry["url"]
        raise DataError(f"PyPI no longer serves {self.file}")


def fetch(archive: Archive, folder: Path = FOLDER) -> Path:
    """The file's path. Needs the network only where it is not here yet. Raises DataError with what mends it."""
    path = folder / archive.file
    if path.is_file() and checksum(path) == archive.sha256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with whole(path) as partial, partial.open("wb") as file, urllib.request.urlopen(archive.url(), timeout=60) as answer:
            size = int(answer.headers.get("Content-Length") or 0)
            with tqdm(total=size or None, desc=archive.file, unit="B", unit_scale=True) as bar:
                while block := answer.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))
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


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
