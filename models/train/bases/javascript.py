"""Reads what a bundler wrote: an object literal of JavaScript data, and base64 text, out of a module's source."""

from __future__ import annotations

import base64
import json
import re

TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*")"""
    r"""|(?P<key>[A-Za-z_$][\w$]*)(?=\s*:)"""
    r"""|(?P<flag>![01])"""
    r"""|(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"""
    r"""|(?P<other>[\s\S])"""
)


def literal(source: str, key: str) -> dict:
    """The innermost object literal that holds `key` first, as Python data. Data only: no expressions."""
    start = source.rindex("{", 0, source.index(f"{key}:"))
    parts = []
    for token in TOKEN.finditer(source, start):
        match token.lastgroup:
            case "key":
                parts.append(json.dumps(token.group()))
            case "flag":
                parts.append("true" if token.group() == "!0" else "false")
            case "number":
                whole = re.fullmatch(r"-?\d+", token.group())
                parts.append(token.group() if whole else repr(float(token.group())))
            case _:
                parts.append(token.group())
    return json.JSONDecoder().raw_decode("".join(parts))[0]


def longest_base64(source: str) -> bytes:
    texts = re.findall(r'"([A-Za-z0-9+/]{64,}={0,2})"', source)
    return base64.b64decode(max(texts, key=len))
