"""JSON Lines as deepfakelog writes them, and as a newer one may."""

import json
from pathlib import Path

import pytest

import deepfake_report
from deepfake_report import Face, ReportError, UnknownSchema

FACE = {
    "track_id": 1,
    "x": 0.25,
    "y": 0.125,
    "width": 0.5,
    "height": 0.5,
    "detection": 0.75,
    "state": "fake",
    "reason": None,
    "score": 0.9375,
    "frame_score": None,
    "certainty": 0.875,
    "window_fill": 40,
    "window_size": 40,
    "window_start": 0,
    "window_end": 2_600_000_000,
}
REPORT = {"schema": 1, "pts": 40_000_000, "model": "l40@1.0.0", "device": "cpu", "faces": [FACE]}


def line(**changes):
    return json.dumps({**REPORT, **changes}) + "\n"


def test_a_line_becomes_a_report_with_its_faces():
    report = deepfake_report.parse_line(line())
    assert (report.pts, report.model, report.device) == (40_000_000, "l40@1.0.0", "cpu")
    assert report.face(1) == Face(**FACE)
    assert report.face(1).judged and report.face(2) is None
    assert not report.extra and not report.face(1).extra


def test_fields_and_words_of_a_newer_version_are_kept_not_refused():
    face = {**FACE, "state": "puzzled", "reason": "under-water", "mood": {"grim": 0.5}}
    report = deepfake_report.parse_line(line(faces=[face], camera="north"))
    assert report.extra == {"camera": "north"}
    [face] = report.faces
    assert (face.state, face.reason, face.extra) == ("puzzled", "under-water", {"mood": {"grim": 0.5}})
    assert not face.judged, "an unknown state must not pass for a verdict"


def test_the_report_of_the_future_that_the_crate_is_tested_with_is_read():
    path = Path(__file__).parents[2] / "crates/report/tests/data/future.json"
    report = deepfake_report.parse_line(path.read_text(encoding="utf-8"))
    assert report.extra and report.faces and report.faces[0].extra
    assert not any(face.judged for face in report.faces if face.state not in ("authentic", "uncertain", "fake"))


def test_a_face_without_a_score_is_not_judged():
    for state in ("warming", "rejected", "authentic"):
        [face] = deepfake_report.parse_line(line(faces=[{**FACE, "state": state, "score": None}])).faces
        assert face.score is None and not face.judged


def test_a_line_for_a_buffer_that_was_not_analysed_is_a_report_without_faces():
    report = deepfake_report.parse_line('{"schema":1,"pts":null,"model":null,"device":null,"faces":[]}')
    assert (report.pts, report.model, report.faces) == (None, None, [])


@pytest.mark.parametrize(
    "text, cause",
    [
        ("", "not a line of JSON"),
        ('{"schema":1,"pts":', "not a line of JSON"),
        ("[]", "no report"),
        ("{}", "without a schema"),
        (line(faces=None), "without a list of faces"),
        (line(faces=[5]), "without a list of faces"),
        (line(faces=[{"x": 0.5}]), "a face has no track_id, y, width, height, state"),
    ],
)
def test_what_is_no_report_says_why(text, cause):
    with pytest.raises(ReportError, match=cause):
        deepfake_report.parse_line(text)


def test_another_schema_is_told_apart_from_damage():
    with pytest.raises(UnknownSchema, match="update deepfake-report"):
        deepfake_report.parse_line(line(schema=2))


def test_a_file_is_read_to_its_last_whole_line(tmp_path):
    path = tmp_path / "reports.jsonl"
    path.write_text(line() + line(pts=80_000_000) + line(pts=120_000_000)[:30])
    assert [report.pts for report in deepfake_report.read_lines(path)] == [40_000_000, 80_000_000]
    with path.open() as file:
        assert len(list(deepfake_report.read_lines(file))) == 2


def test_a_damaged_line_is_named_by_its_number(tmp_path):
    path = tmp_path / "reports.jsonl"
    path.write_text(line() + "nonsense\n")
    reports = deepfake_report.read_lines(path)
    next(reports)
    with pytest.raises(ReportError, match="^line 2: not a line of JSON"):
        next(reports)
