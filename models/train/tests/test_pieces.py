import numpy as np
import pytest

from train import data, pieces
from train.data import DataError


def test_what_was_packed_trains_elsewhere_as_here(crops, tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "LIMIT", 300_000)  # several pieces, also of drawn faces
    pieces.pack(crops, tmp_path / "pieces")
    assert len(list((tmp_path / "pieces").glob("piece-*.npz"))) > 1
    pieces.unpack(tmp_path / "pieces", tmp_path / "crops")
    for split in ("train", "dev"):
        before = {track.npy.relative_to(crops): track for track in data.read(crops, split)}
        after = {track.npy.relative_to(tmp_path / "crops"): track for track in data.read(tmp_path / "crops", split)}
        assert before.keys() == after.keys()
        for name, there in after.items():
            here = before[name]
            index = np.unique(np.linspace(0, here.crops - 1, pieces.PER_CLIP).round().astype(int))
            assert (there.label, there.group, there.method, there.crops) == (here.label, here.group, here.method, len(index))
            assert (there.sidecar.times == here.sidecar.times[index]).all()
            assert np.abs(there.frames(slice(None)).astype(int) - here.frames(index)).mean() < 4, "JPEG of drawn grain"
            assert np.abs(there.mesh(slice(None)) - here.mesh(index)).max() < 0.1


def test_nothing_to_unpack_is_a_plain_error(tmp_path):
    with pytest.raises(DataError, match="no pieces"):
        pieces.unpack(tmp_path, tmp_path)
