import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that holds the package `train`

from .synthetic import write_crops  # noqa: E402


@pytest.fixture(scope="session")
def crops(tmp_path_factory) -> Path:
    """A folder as `deepfake extract` writes it, with drawn faces."""
    folder = tmp_path_factory.mktemp("crops")
    write_crops(folder)
    return folder
