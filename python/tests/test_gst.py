"""GStreamer's own objects, with its Python overrides and without."""

import importlib.util
import subprocess
import sys
from contextlib import contextmanager

import pytest

import deepfake_report
from deepfake_report import Alert, Report, Stats

try:
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import Gst

    Gst.init(None)
except (ImportError, ValueError):
    Gst = None

needs_gst = pytest.mark.skipif(Gst is None, reason="no GStreamer in this Python; apt-get install python3-gi gir1.2-gstreamer-1.0")

FACE = (
    "face, track_id=(uint)7, x=(double)0.5, y=(double)0.25, width=(double)0.125, height=(double)0.125,"
    " state=(string)fake, score=(double)0.75, window_end=(guint64)2600000000, mood=(string)grim, seen=(boolean)false"
)
REPORT = "{name}, schema=(uint)1, pts=(guint64)5, model=(string)\"l40@1.0\", device=(string)cpu, faces=(structure)< {faces} >"


def structure(text):
    parsed = Gst.Structure.from_string(text + ";")
    return parsed[0] if isinstance(parsed, tuple) else parsed


def inside(text):
    """A structure as the value of another one's field."""
    escaped = "".join(char if char.isalnum() else f"\\{char}" for char in text + ";")
    return f'"{escaped}"'


def report_text(name="deepfake-report", faces=(FACE,)):
    return REPORT.format(name=name, faces=", ".join(inside(face) for face in faces))


def element_message(text):
    return Gst.Message.new_element(None, structure(text))


@needs_gst
def test_a_message_becomes_a_report():
    report = deepfake_report.from_message(element_message(report_text()))
    assert isinstance(report, Report)
    assert (report.pts, report.model, len(report.faces)) == (5, "l40@1.0", 1)
    [face] = report.faces
    assert (face.track_id, face.x, face.state, face.score, face.window_end) == (7, 0.5, "fake", 0.75, 2_600_000_000)
    assert face.extra == {"mood": "grim"}
    assert not face.seen
    assert face.frame_score is None


@needs_gst
def test_a_report_without_faces_has_none():
    assert deepfake_report.from_structure(structure(report_text(faces=()))).faces == []


@needs_gst
def test_kinds_and_places_are_read():
    kind = inside("kind, swap=(double)0.5, lips=(double)0.25, relit=(double)0.125")
    face = f"{FACE}, kind=(structure){kind}, where=< < 0.5, 0.25 >, < 0.125, 1.0 > >"
    [face] = deepfake_report.from_message(element_message(report_text(faces=(face,)))).faces
    assert face.kind == {"swap": 0.5, "lips": 0.25, "relit": 0.125}
    # Python without the overrides cannot look into arrays of arrays.
    assert face.where in ([[0.5, 0.25], [0.125, 1.0]], None)


@needs_gst
def test_an_alert_brings_its_report_and_face():
    text = (
        "deepfake-alert, id=(guint64)3, action=(string)raised, kind=(string)sustained, track_id=(uint)7, since=(guint64)3,"
        f" peak=(double)0.875, face=(structure){inside(FACE)}, report=(structure){inside(report_text())}"
    )
    alert = deepfake_report.from_message(element_message(text))
    assert isinstance(alert, Alert)
    assert alert.id == 3
    assert (alert.action, alert.kind, alert.track_id, alert.since, alert.peak) == ("raised", "sustained", 7, 3, 0.875)
    assert alert.face.score == 0.75
    assert alert.report.faces == [alert.face]


@needs_gst
def test_statistics_have_their_stages_in_extra():
    text = (
        "deepfakedetect-stats, state=(string)running, frames=(guint64)9, analysed=(guint64)5, shed=(guint64)1,"
        " failed=(guint64)0, queue-depth=(uint)2, find-time-p50=(guint64)77"
    )
    stats = deepfake_report.from_message(element_message(text))
    assert isinstance(stats, Stats)
    assert (stats.frames, stats.analysed, stats.queue_depth) == (9, 5, 2)
    assert stats.extra == {"find_time_p50": 77}


@needs_gst
def test_messages_of_others_are_none():
    assert deepfake_report.from_message(element_message("level, rms=(double)1")) is None
    assert deepfake_report.from_message(Gst.Message.new_eos(None)) is None


class Buffer:
    """Python cannot write into a custom meta; the applications' test reads real ones."""

    def __init__(self, **metas):
        self.metas = metas

    def get_custom_meta(self, name):
        return self.metas.get(name.replace("-", "_"))

    def get_structure(self):
        return structure(report_text("deepfake-meta"))


@needs_gst
def test_a_buffer_gives_the_report_that_it_carries():
    assert deepfake_report.from_buffer(Buffer()) is None
    report = deepfake_report.from_buffer(Buffer(deepfake_meta=Buffer()))
    assert [face.track_id for face in report.faces] == [7]


@needs_gst
def test_the_other_half_of_the_overrides_is_read_too(request):
    """Runs these tests once more without the overrides where they are installed."""
    if importlib.util.find_spec("gi.overrides.Gst") is None:
        pytest.skip("GStreamer's overrides are not installed; apt-get install python3-gst-1.0")
    code = (
        "import sys, gi.overrides\n"
        "sys.modules['gi.overrides.Gst'] = None\n"
        "import pytest\n"
        f"sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', {__file__!r}, '-k', 'message or alert or without_faces']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=request.config.rootpath)
    assert result.returncode == 0, result.stdout + result.stderr


class Structure:
    """As far as the package looks at one."""

    def __init__(self, name, **fields):
        self.name, self.fields = name, fields

    def get_name(self):
        return self.name

    def n_fields(self):
        return len(self.fields)

    def nth_field_name(self, index):
        return list(self.fields)[index]

    def get_value(self, name):
        value = self.fields[name]
        if value is TypeError:
            raise TypeError("unknown type")
        return value


def test_structures_that_are_context_managers_are_entered():
    left = []

    @contextmanager
    def guarded(structure):
        yield structure
        left.append(structure.name)

    ValueArray = type("ValueArray", (list,), {})
    face = guarded(Structure("face", track_id=7, x=0.5, y=0.5, width=0.1, height=0.1, state="fake"))
    report = guarded(Structure("deepfake-report", schema=1, pts=5, faces=ValueArray([face])))
    assert deepfake_report.from_structure(report).faces[0].track_id == 7
    assert left == ["face", "deepfake-report"]


def test_a_newer_field_of_an_unreadable_type_is_passed_over():
    report = Structure("deepfake-report", schema=1, pts=5, faces=type("ValueArray", (list,), {})(), cloud=TypeError)
    assert deepfake_report.from_structure(report).extra == {}
