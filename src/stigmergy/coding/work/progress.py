"""Reading what a program in a sandbox says on stdout. Nothing in it is trusted."""

from __future__ import annotations

import json
import re
from typing import Final, cast

from stigmergy.board import JsonObject
from stigmergy.coding.work.inside.text import clip

__all__ = ["ProgressReader", "parse_line"]

_LINE_CHARS: Final = 16_384
_TEXT_CHARS: Final = 2_000
_FIELDS: Final = 16
_LINES: Final = 50_000
_KIND: Final = re.compile(r"[a-z][a-z_]{0,31}")
_LARGEST: Final = 2**53
"""Beyond it numbers do not survive a reader of JSON in another language."""


class ProgressReader:
    """Takes lines of one attempt, and counts those that it refuses."""

    def __init__(self) -> None:
        self.refused = 0
        """Lines that were no progress, or came after fifty thousand."""
        self._seen = 0

    def read(self, line: str) -> JsonObject | None:
        """The progress in a line, or None."""
        self._seen += 1
        told = parse_line(line) if self._seen <= _LINES else None
        self.refused += told is None
        return told


def parse_line(line: str) -> JsonObject | None:
    """The progress in a line: a flat object with a `kind`, its texts cut; None if it is none."""
    if len(line) > _LINE_CHARS:
        return None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    fields = cast("dict[str, object]", said)
    kind = fields.get("kind")
    if not isinstance(kind, str) or _KIND.fullmatch(kind) is None:
        return None
    told: JsonObject = {"kind": kind}
    for name, value in list(fields.items())[:_FIELDS]:
        if _KIND.fullmatch(name) is not None and _is_plain(value):
            told[name] = _clean(value) if isinstance(value, str) else value
    return told


def _is_plain(value: object) -> bool:
    if isinstance(value, float | int):
        return abs(value) < _LARGEST  # false for NaN as well
    return value is None or isinstance(value, str)


def _clean(text: str) -> str:
    # A lone surrogate is valid JSON, and cannot be written to a file or a terminal.
    return clip(text.encode(errors="replace").decode(), _TEXT_CHARS)
