"""JSON Lines, as `deepfakelog` writes them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import Union

from .types import Report, ReportError


def parse_line(line: Union[str, bytes]) -> Report:
    """The report of one line. Raises `ReportError` if it is none."""
    try:
        values = json.loads(line)
    except ValueError as error:
        raise ReportError(f"not a line of JSON: {error}") from error
    if not isinstance(values, dict):
        raise ReportError("a line of JSON, but no report")
    return Report.from_mapping(values)


def read_lines(source: Union[str, os.PathLike, Iterable[str]]) -> Iterator[Report]:
    """The reports of a file's path, or of lines: an open file, a pipe, `sys.stdin`.

    A line without its line break at the end of a file is still being written, and left out.
    """
    if isinstance(source, (str, os.PathLike)):
        with open(source, encoding="utf-8") as file:
            yield from read_lines(file)
        return
    for number, line in enumerate(source, start=1):
        if not line.endswith("\n"):
            return
        try:
            report = parse_line(line)
        except ReportError as error:
            raise type(error)(f"line {number}: {error}") from error
        yield report
