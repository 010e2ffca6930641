"""Entries as JSON lines: a header, a line for each entry with its history, a closing line.

Lossless: what `lines` reads again is what stood here, but for the marks that an import sets.
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

from stigmergy.board import JsonObject
from stigmergy.board.task import encode_json
from stigmergy.errors import NotFoundError
from stigmergy.memory.entry import Entry, is_reserved
from stigmergy.memory.rows import COLUMNS, VERSION_COLUMNS, entry_of

__all__ = ["FORMAT", "HEADER", "export_entries", "is_export"]

FORMAT: Final = 1
HEADER: Final = "stigmergy_memory"


def export_entries(
    db: sqlite3.Connection,
    write: Callable[[bytes], object],
    *,
    memory_id: str,
    namespaces: Sequence[str] | None,
    now: float,
) -> int:
    """Write entries as lines; how many.

    Raises:
        NotFoundError: a namespace holds nothing.
    """
    alive = "(e.expires_at IS NULL OR e.expires_at > ?)"
    held = db.execute(
        f"SELECT DISTINCT n.name FROM entries e JOIN namespaces n USING (ns) WHERE {alive}",
        (now,),
    )
    known = sorted(name for (name,) in held)
    if missing := sorted(set(namespaces or ()) - set(known)):
        there = ", ".join(known[:20]) or "none"
        raise NotFoundError(f"there is nothing in the namespace {missing[0]!r}; there are {there}")
    wanted = known if namespaces is None else sorted(set(namespaces))
    _put(write, {HEADER: FORMAT, "memory": memory_id, "exported_at": now, "namespaces": wanted})
    count = 0
    for name in wanted:
        rows = db.execute(
            f"SELECT {COLUMNS}, e.id, w.vector FROM entries e JOIN namespaces n USING (ns) "
            f"LEFT JOIN vectors w ON w.entry = e.id WHERE n.name = ? AND {alive} ORDER BY e.key",
            (name, now),
        )
        for row in rows:
            history = [_version(entry_of(v)) for v in _history_rows(db, row[-2], now)]
            _put(write, _entry_line(entry_of(row), row[-1], history))
            count += 1
    _put(write, {"end": count})
    return count


def _history_rows(db: sqlite3.Connection, row: int, now: float) -> list[tuple[Any, ...]]:
    return db.execute(
        f"SELECT {VERSION_COLUMNS} FROM versions v JOIN entries e ON e.id = v.entry "
        "JOIN namespaces n USING (ns) WHERE v.entry = ? "
        "AND (v.expires_at IS NULL OR v.expires_at > ?) ORDER BY v.version",
        (row, now),
    ).fetchall()


def _entry_line(entry: Entry, vector: bytes | None, history: list[JsonObject]) -> JsonObject:
    return {
        "namespace": entry.namespace,
        "key": entry.key,
        **_version(entry),
        "created_at": entry.created_at,
        "vector": None if vector is None else base64.b64encode(vector).decode(),
        "history": history,
    }


def _version(entry: Entry) -> JsonObject:
    return {
        "kind": entry.kind,
        "value": entry.value,
        # Those that an import sets follow from the origin.
        "tags": [tag for tag in entry.tags if not is_reserved(tag)],
        "version": entry.version,
        "updated_at": entry.updated_at,
        "expires_at": entry.expires_at,
        "origin": entry.origin.to_json(),
    }


def _put(write: Callable[[bytes], object], line: JsonObject) -> None:
    write(encode_json(line, what="an entry").encode() + b"\n")


def is_export(line: bytes) -> bool:
    """Whether a file that begins with this line is an export."""
    return line.startswith(f'{{"{HEADER}":'.encode())
