import csv

import cv2
import numpy as np
import pytest

from train import data, faces, stills

from .synthetic import mesh


def test_the_five_points_are_found_again_on_the_mesh():
    points = np.asarray([[-11, -8], [11, -8], [0, 3], [-8, 14], [8, 14]]) + 48.0
    assert np.abs(faces.five_points(mesh(points[None]))[0] - points).max() < 0.1


def test_upright_levels_the_eyes():
    points = np.asarray([[-11, -8], [11, -8], [0, 3], [-8, 14], [8, 14]], float)
    for angle in (0, 0.5, -1.2, 3.0):
        turn = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned = points @ turn.T + [200, 90]
        matrix = faces.upright(turned)
        found = turned @ matrix[:, :2].T + matrix[:, 2]
        assert abs(found[0, 1] - found[1, 1]) < 1e-6 and found[0, 0] < found[1, 0] and found[3:, 1].min() > found[0, 1]
        assert (found > 0).all() and (found < faces.SIDE).all()


def test_stills_become_tracks_of_one_crop(tmp_path):
    rows = []
    for number in range(3):
        picture = np.full((90 + 60 * number, 90 + 60 * number, 3), (10, 20, 30), np.uint8)  # BGR
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
        rows.append({"file": f"{number}.png", "dataset": "drawn", "group": str(number)})
    with (tmp_path / "stills.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    stills.import_stills(tmp_path / "stills.csv", tmp_path / "crops")
    tracks = data.read_stills(tmp_path / "crops")
    assert [track.group for track in tracks] == ["0", "1", "2"]
    for track in tracks:
        assert track.frames(slice(None)).shape == (1, 192, 192, 3) and track.margin == 1.6 and track.landmarks() is None
        assert (track.frames(slice(None)) == [30, 20, 10]).all()


def test_a_still_that_is_missing_is_named(tmp_path):
    (tmp_path / "stills.csv").write_text("file,dataset,group\ngone.jpg,drawn,1\n")
    with pytest.raises(data.DataError, match="gone.jpg"):
        stills.import_stills(tmp_path / "stills.csv", tmp_path / "crops")
    assert data.read_stills(tmp_path / "crops") == []
