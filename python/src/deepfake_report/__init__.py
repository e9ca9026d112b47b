"""Reports, alerts and statistics of gst-plugin-deepfake as dataclasses.

From JSON Lines (`read_lines`, `parse_line`), and from GStreamer's objects (`from_buffer`, `from_message`,
`from_structure`), with and without GStreamer's Python overrides.
"""

from .gst import from_buffer, from_message, from_structure
from .lines import parse_line, read_lines
from .types import SCHEMA, Alert, Face, Report, ReportError, Stats, UnknownSchema

__all__ = [
    "SCHEMA",
    "Alert",
    "Face",
    "Report",
    "ReportError",
    "Stats",
    "UnknownSchema",
    "from_buffer",
    "from_message",
    "from_structure",
    "parse_line",
    "read_lines",
]
