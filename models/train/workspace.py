"""The folder of one training run: checkpoints that survive a kill at any moment, and plain errors for damaged ones."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import fields
from pathlib import Path

import torch

from .data import DataError
from .recipe import Recipe


class Workspace:
    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder = folder
        self.recipe = recipe
        known = [f for f in fields(recipe) if not f.metadata.get("later") or getattr(recipe, f.name) != f.default]
        settings = {f.name: getattr(recipe, f.name) for f in known}
        settings = {k: v if isinstance(v, (int, float, str)) else getattr(v, "__qualname__", "-") for k, v in settings.items()}
        self.fingerprint = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def save(self, name: str, content: dict) -> None:
        path = self.path(name)
        with whole(path) as partial:
            torch.save(content | {"recipe": self.fingerprint}, partial)

    def load(self, name: str) -> dict | None:
        """None where there is none yet. Raises DataError where it is damaged or belongs to other settings."""
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises anything from EOFError to UnpicklingError here
            raise DataError(f"checkpoint {path} cannot be read ({error}): delete it to start this stage again") from error
        if not isinstance(content, dict) or content.get("recipe") != self.fingerprint:
            raise DataError(f"checkpoint {path} was made with other settings: delete {self.folder} or choose another --work")
        return content

    def need(self, name: str, stage: str) -> dict:
        content = self.load(name)
        if content is None:
            raise DataError(f"{self.folder / name} is missing: run the stage `{stage}` first")
        return content

    def room_for(self, size: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < size * 1.1:
            raise DataError(f"{self.folder} has {free / 1e6:.0f} MB free and {size / 1e6:.0f} MB are needed: choose another --work")


class whole:
    """`with whole(path) as partial`: the file appears under its name complete or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")

    def __enter__(self) -> Path:
        return self.partial

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            os.replace(self.partial, self.path)
        else:
            self.partial.unlink(missing_ok=True)
