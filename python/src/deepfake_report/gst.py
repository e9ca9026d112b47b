"""GStreamer's structures, buffers and messages.

Nothing of GStreamer is imported here: the objects bring what is needed.
"""

from __future__ import annotations

import warnings
from typing import Any, Optional, Union

from .types import Alert, Report, Stats

META = "deepfake-meta"
REPORT = "deepfake-report"
ALERT = "deepfake-alert"
STATS = "deepfakedetect-stats"

#: Fields that hold a list of structures. Python without GStreamer's overrides must be told.
_ARRAYS = ("faces", "where")


def from_buffer(buffer: Any) -> Optional[Report]:
    """The report that a `Gst.Buffer` carries, or `None`. Call it where the buffer is at hand, such as in a pad probe.

    Of several detectors' reports it is the first: Python cannot see further ones. They are all on the bus.
    """
    meta = buffer.get_custom_meta(META)
    return None if meta is None else Report.from_mapping(_mapping(meta.get_structure()))


def from_message(message: Any) -> Union[Report, Alert, Stats, None]:
    """What a `Gst.Message` of `deepfakedetect` says, or `None` for any other message."""
    if not any(message.has_name(name) for name in (REPORT, ALERT, STATS)):
        return None
    parsed = from_structure(message.get_structure())
    if isinstance(parsed, (Alert, Stats)) and message.src is not None:
        parsed.source = message.src.get_name()
    return parsed


def from_structure(structure: Any) -> Union[Report, Alert, Stats, None]:
    """The same of a `Gst.Structure`, such as the property `stats`."""
    with _entered(structure) as entered:
        kind = {META: Report, REPORT: Report, ALERT: Alert, STATS: Stats}.get(entered.get_name())
        return None if kind is None else kind.from_mapping(_fields(entered))


class _entered:
    """Newer overrides give some structures out as context managers only."""

    def __init__(self, structure: Any) -> None:
        self._manager = None if hasattr(structure, "n_fields") else structure
        self._structure = structure

    def __enter__(self) -> Any:
        return self._structure if self._manager is None else self._manager.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self._manager is not None:
            self._manager.__exit__(*error)


def _mapping(structure: Any) -> dict:
    with _entered(structure) as entered:
        return _fields(entered)


def _fields(structure: Any) -> dict:
    names = [structure.nth_field_name(index) for index in range(structure.n_fields())]
    values = {}
    for name in names:
        try:
            values[name] = _array(structure, name) if name in _ARRAYS else _value(structure.get_value(name))
        except TypeError:
            # A newer field of a type that this Python cannot show.
            continue
    return values


def _value(value: Any) -> Any:
    """Structures as mappings, and lists of them; anything else as it is."""
    if hasattr(value, "nth_field_name") or hasattr(value, "__enter__"):
        return _mapping(value)
    if type(value).__name__ in ("ValueArray", "ValueList"):
        return [_value(entry) for entry in value]
    return value


def _array(structure: Any, name: str) -> list:
    try:
        return list(_value(structure.get_value(name)))
    except TypeError:
        # Without the overrides, a GstArray is readable in this way only.
        found, array = structure.get_array(name)
        return _entries(array) if found else []


def _entries(array: Any) -> list:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return [_value(array.get_nth(index)) for index in range(array.n_values)]
