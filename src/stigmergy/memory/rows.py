"""Entries as rows of SQLite, both ways."""

from __future__ import annotations

import json
from typing import Any, Final

from stigmergy.board.task import Json, encode_json
from stigmergy.errors import CorruptError
from stigmergy.memory.entry import KINDS, Entry, Origin

__all__ = ["COLUMNS", "VERSION_COLUMNS", "entry_of", "json_of", "origin_of", "to_text"]

Row = tuple[Any, ...]

COLUMNS: Final = (
    "n.name, e.key, e.kind, e.value, e.tags, e.version, e.created_at, e.updated_at, e.expires_at, "
    "e.origin"
)
"""In the order of `entry_of`; `e` is the entry and `n` its namespace."""
VERSION_COLUMNS: Final = (
    "n.name, e.key, v.kind, v.value, v.tags, v.version, e.created_at, v.updated_at, v.expires_at, "
    "v.origin"
)
"""Likewise of an earlier version `v`."""


def entry_of(row: Row) -> Entry:
    """The entry in a row of `COLUMNS` or `VERSION_COLUMNS`.

    Raises:
        CorruptError: it can be none. SQLite has no checksums: a flipped bit comes as it is.
    """
    what = f"entry {row[1]!r} of {row[0]!r}"
    kind = row[2]
    if kind not in KINDS:
        raise CorruptError(f"{what} is damaged: its kind is {kind!r}", where=what)
    return Entry(
        namespace=row[0],
        key=row[1],
        kind=kind,
        value=json_of(row[3], what=what),
        tags=tuple(json_of(row[4], what=what)),
        version=row[5],
        created_at=row[6],
        updated_at=row[7],
        expires_at=row[8],
        origin=origin_of(row[9], what=what),
    )


def origin_of(text: str, *, what: str) -> Origin:
    """An origin as `to_text` wrote it."""
    fields = json_of(text, what=what)
    try:
        return Origin(
            agent_id=fields["agent_id"],
            task_id=fields["task_id"],
            run_id=fields["run_id"],
            imported_from=fields["imported_from"],
            via=tuple(fields["via"]),
        )
    except (KeyError, TypeError) as error:
        raise CorruptError(f"{what} is damaged: {error}", where=what) from error


def json_of(text: str, *, what: str) -> Json:
    """What a column of JSON holds.

    Raises:
        CorruptError: it is none.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise CorruptError(f"{what} is damaged: {error}", where=what) from error


def to_text(origin: Origin) -> str:
    """An origin as a column of JSON."""
    return encode_json(origin.to_json(), what="an origin")
