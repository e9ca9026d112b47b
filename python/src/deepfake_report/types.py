"""The dataclasses, and how a mapping of names to values becomes one.

A field without a value is `None`, whether it was left out (structures) or `null` (JSON). What this version does
not know goes into `extra`, so that a newer plugin is still read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Optional

#: Version of the report's form that this package reads. A changed meaning raises it, a new field does not.
SCHEMA = 1


class ReportError(ValueError):
    """What was read is no report: a field is missing, or holds something else than it should."""


class UnknownSchema(ReportError):
    """The report is of a newer form, in which a field has changed its meaning."""


def _build(cls: type, values: Mapping[str, Any], what: str) -> Any:
    """An instance of `cls`. Only fields without a default must be there."""
    known = {entry.name: entry for entry in fields(cls) if entry.name != "extra"}
    # `null` and a field that is left out are the same.
    given = {name: value for name, value in values.items() if name in known and value is not None}
    missing = [name for name, entry in known.items() if name not in given and _is_required(entry)]
    if missing:
        raise ReportError(f"{what} has no {', '.join(missing)}")
    extra = {name: value for name, value in values.items() if name not in known}
    return cls(**given, extra=extra)


def _is_required(entry: Any) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


@dataclass
class Face:
    """One followed face. Coordinates are 0..1 of the frame, times nanoseconds."""

    track_id: int
    x: float
    y: float
    width: float
    height: float
    #: `warming`, `authentic`, `uncertain`, `fake`, `rejected`, or a word of a newer version.
    state: str
    #: Confidence of the face detector, 0..1.
    detection: Optional[float] = None
    reason: Optional[str] = None
    #: Calibrated probability that the face is fake; `None` is "not judged", never "authentic".
    score: Optional[float] = None
    frame_score: Optional[float] = None
    certainty: Optional[float] = None
    window_fill: Optional[int] = None
    window_size: Optional[int] = None
    window_start: Optional[int] = None
    window_end: Optional[int] = None
    #: Whether the face was found in this frame; if not, its box is where it is expected.
    seen: bool = True
    #: Several crops in a row look fake each by itself, while the window does not.
    spike: bool = False
    #: How likely each kind of manipulation is (`swap`, `lips`, `generated`), should the face be a fake.
    kind: Optional[dict] = None
    #: Where in the box the model sees it, in rows from top to bottom.
    where: Optional[list] = None
    extra: dict = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Face:
        return _build(cls, values, "a face")

    @property
    def judged(self) -> bool:
        """Whether there is a verdict: neither `warming` nor `rejected`, nor a state that is not known here."""
        return self.state in ("authentic", "uncertain", "fake") and self.score is not None


@dataclass
class Report:
    """What the analysis says of one frame."""

    schema: int
    #: PTS of the newest analysed frame in nanoseconds; `None` in a line for a buffer without one.
    pts: Optional[int] = None
    running_time: Optional[int] = None
    #: Wall clock when the frame reached the element, as text of RFC 3339.
    utc: Optional[str] = None
    #: Name of the stream: the element's property of that name.
    stream: Optional[str] = None
    #: Random id of this start of the element; tracks and alerts are unique within it.
    run: Optional[str] = None
    #: Name of the `deepfakedetect` that made the report.
    element: Optional[str] = None
    #: `name@version`; `None` in a line for a buffer that was not analysed.
    model: Optional[str] = None
    device: Optional[str] = None
    #: Of the buffer that carried the report; in lines only.
    buffer_pts: Optional[int] = None
    faces: list[Face] = field(default_factory=list)
    extra: dict = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Report:
        schema = values.get("schema")
        if not isinstance(schema, int) or isinstance(schema, bool):
            raise ReportError("a report without a schema")
        if schema > SCHEMA:
            raise UnknownSchema(f"the report's schema is {schema}, this package knows {SCHEMA}: update deepfake-report")
        faces = values.get("faces")
        if not isinstance(faces, (list, tuple)) or not all(isinstance(face, Mapping) for face in faces):
            raise ReportError("a report without a list of faces")
        return _build(cls, {**values, "faces": [Face.from_mapping(face) for face in faces]}, "a report")

    def face(self, track_id: int) -> Optional[Face]:
        """The face of that id, or `None`."""
        return next((face for face in self.faces if face.track_id == track_id), None)


@dataclass
class Alert:
    """A face looks fake, or no longer does. Each `raised` is followed by one `cleared` of the same `id`."""

    #: `raised`, `updated`, `cleared`, or a word of a newer version.
    action: str
    kind: str
    track_id: int
    id: Optional[int] = None
    #: Running time in nanoseconds since when the score has been over the threshold.
    since: Optional[int] = None
    #: The highest score since then.
    peak: Optional[float] = None
    #: The face as it is now; `None` once it is gone.
    face: Optional[Face] = None
    report: Optional[Report] = None
    #: Name of the element that posted it.
    source: Optional[str] = None
    extra: dict = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Alert:
        values = dict(values)
        if isinstance(values.get("report"), Mapping):
            values["report"] = Report.from_mapping(values["report"])
        if isinstance(values.get("face"), Mapping):
            values["face"] = Face.from_mapping(values["face"])
        return _build(cls, values, "an alert")


@dataclass
class Stats:
    """What `deepfakedetect` counts. Times are in nanoseconds; those of stages are in `extra`, by their names."""

    state: str
    frames: int
    analysed: int
    shed: int
    failed: int
    model: Optional[str] = None
    device: Optional[str] = None
    faces: Optional[int] = None
    tracks: Optional[int] = None
    alerts: Optional[int] = None
    queue_depth: Optional[int] = None
    analysis_time_mean: Optional[int] = None
    analysis_time_max: Optional[int] = None
    #: Name of the element that posted it.
    source: Optional[str] = None
    extra: dict = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Stats:
        return _build(cls, {name.replace("-", "_"): value for name, value in values.items()}, "statistics")
