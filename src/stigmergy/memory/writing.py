"""What a write does to the rows of a memory, within one transaction of its caller.

A key's earlier version is kept when it changes, the latest few of them; a write that changes
nothing writes nothing. What has expired is dropped in passing.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace
from typing import Final

from stigmergy.board.task import Json
from stigmergy.errors import TransientError
from stigmergy.memory.entry import Entry, readable
from stigmergy.memory.rows import COLUMNS, entry_of, to_text
from stigmergy.memory.vectors import Vector

__all__ = [
    "Draft",
    "StaleVersionError",
    "drop",
    "drop_expired",
    "find",
    "label_of_kind",
    "put",
    "put_history",
]


class StaleVersionError(TransientError):
    """A key has another version than the writer took for granted: somebody wrote it meanwhile."""


_PURGED_BY_A_WRITE: Final = 200

_FIND: Final = (
    f"SELECT {COLUMNS}, e.id FROM entries e JOIN namespaces n USING (ns) "
    "WHERE n.name = ? AND e.key = ?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is to be written, checked and cleaned."""

    entry: Entry
    value: str
    """The entry's value as JSON."""
    vector: Vector | None = None


def find(db: sqlite3.Connection, namespace: str, key: str) -> tuple[Entry, int] | None:
    """What a key holds, expired or not, and its row's id."""
    row = db.execute(_FIND, (namespace, key)).fetchone()
    return None if row is None else (entry_of(row), row[-1])


def put(
    db: sqlite3.Connection,
    draft: Draft,
    *,
    now: float,
    history_limit: int,
    if_version: int | None = None,
) -> Entry:
    """Write an entry as the next version of its key; the entry as it stands then.

    Args:
        db: in a transaction that may write.
        draft: its `version` and `created_at` count only where the key is new.
        now: the time.
        history_limit: earlier versions to keep.
        if_version: the version that the key must have; 0 for none.

    Raises:
        StaleVersionError: it has another one.
    """
    drop_expired(db, now=now, limit=_PURGED_BY_A_WRITE)
    wanted = draft.entry
    found = find(db, wanted.namespace, wanted.key)
    if found is not None and _is_expired(found[0], now):
        _drop_row(db, found[1])
        found = None
    have = 0 if found is None else found[0].version
    if if_version is not None and have != if_version:
        raise StaleVersionError(
            f"{wanted.namespace}/{wanted.key} has version {have}, not {if_version}: somebody wrote "
            "it meanwhile. Read it again, and try again"
        )
    if found is None:
        return _insert(db, draft)
    entry, row = found
    if _is_same(entry, wanted):
        if draft.vector is not None:
            _set_vector(db, row, _namespace(db, wanted.namespace), draft.vector)
        return entry
    return _update(db, draft, entry, row, history_limit=history_limit)


def put_history(db: sqlite3.Connection, entry: Entry, value: str, row: int) -> None:
    """Write an earlier version of the entry in that row."""
    db.execute(
        "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row,
            entry.version,
            entry.kind,
            value,
            json.dumps(entry.tags, ensure_ascii=False),
            entry.updated_at,
            entry.expires_at,
            to_text(entry.origin),
        ),
    )


def drop(db: sqlite3.Connection, namespace: str, key: str, *, now: float) -> bool:
    """Drop a key with its history; whether it was there and had not expired."""
    found = find(db, namespace, key)
    if found is None:
        return False
    _drop_row(db, found[1])
    return not _is_expired(found[0], now)


def drop_expired(db: sqlite3.Connection, *, now: float, limit: int) -> int:
    """Drop entries whose time has passed, so many at most; how many it were."""
    rows = db.execute("SELECT id FROM entries WHERE expires_at <= ? LIMIT ?", (now, limit))
    expired = rows.fetchall()
    for (row,) in expired:
        _drop_row(db, row)
    return len(expired)


def label_of_kind(kind: str) -> str:
    """How the index calls a kind."""
    return f"k{kind}"


def _is_expired(entry: Entry, now: float) -> bool:
    return entry.expires_at is not None and entry.expires_at <= now


def _is_same(one: Entry, other: Entry) -> bool:
    about = (one.kind, one.tags, one.expires_at, one.origin)
    same = about == (other.kind, other.tags, other.expires_at, other.origin)
    return same and _exact(one.value) == _exact(other.value)


def _exact(value: Json) -> str:
    # As text, for 1 and True are equal in Python, and are not the same value.
    return json.dumps(value, sort_keys=True)


def _insert(db: sqlite3.Connection, draft: Draft) -> Entry:
    entry = draft.entry
    ns = _namespace(db, entry.namespace)
    row = db.execute(
        "INSERT INTO entries (ns, key, kind, value, tags, version, created_at, updated_at, "
        "expires_at, origin, text, labels) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "RETURNING id",
        (
            ns,
            entry.key,
            entry.kind,
            draft.value,
            json.dumps(entry.tags, ensure_ascii=False),
            entry.version,
            entry.created_at,
            entry.updated_at,
            entry.expires_at,
            to_text(entry.origin),
            readable(entry.value),
            _labels(db, ns, entry),
        ),
    ).fetchone()[0]
    _set_vector(db, row, ns, draft.vector)
    return entry


def _update(
    db: sqlite3.Connection, draft: Draft, before: Entry, row: int, *, history_limit: int
) -> Entry:
    entry = replace(draft.entry, version=before.version + 1, created_at=before.created_at)
    (old,) = db.execute("SELECT value FROM entries WHERE id = ?", (row,)).fetchone()
    put_history(db, before, old, row)
    db.execute(
        "DELETE FROM versions WHERE entry = ? AND version <= ?",
        (row, before.version - history_limit),
    )
    ns = _namespace(db, entry.namespace)
    db.execute(
        "UPDATE entries SET kind = ?, value = ?, tags = ?, version = ?, updated_at = ?, "
        "expires_at = ?, origin = ?, text = ?, labels = ? WHERE id = ?",
        (
            entry.kind,
            draft.value,
            json.dumps(entry.tags, ensure_ascii=False),
            entry.version,
            entry.updated_at,
            entry.expires_at,
            to_text(entry.origin),
            readable(entry.value),
            _labels(db, ns, entry),
            row,
        ),
    )
    if draft.vector is not None or _exact(before.value) != _exact(entry.value):
        _set_vector(db, row, ns, draft.vector)
    return entry


def _drop_row(db: sqlite3.Connection, row: int) -> None:
    (ns,) = db.execute("SELECT ns FROM entries WHERE id = ?", (row,)).fetchone()
    _set_vector(db, row, ns, None)
    db.execute("DELETE FROM entries WHERE id = ?", (row,))


def _set_vector(db: sqlite3.Connection, row: int, ns: int, vector: Vector | None) -> None:
    """The vector of an entry; a text that changed has none until it is given its own."""
    stored = db.execute("SELECT vector FROM vectors WHERE entry = ?", (row,)).fetchone()
    if stored == (None if vector is None else (vector.data,)):
        return
    db.execute("DELETE FROM vectors WHERE entry = ?", (row,))
    if vector is not None:
        values = (row, ns, vector.dims, vector.data)
        db.execute("INSERT INTO vectors (entry, ns, dims, vector) VALUES (?, ?, ?, ?)", values)
    db.execute("UPDATE namespaces SET vector_epoch = vector_epoch + 1 WHERE ns = ?", (ns,))


def _namespace(db: sqlite3.Connection, name: str) -> int:
    found = db.execute("SELECT ns FROM namespaces WHERE name = ?", (name,)).fetchone()
    if found is None:
        added = "INSERT INTO namespaces (name) VALUES (?) RETURNING ns"
        found = db.execute(added, (name,)).fetchone()
    return int(found[0])


def _labels(db: sqlite3.Connection, ns: int, entry: Entry) -> str:
    tags: list[str] = []
    for name in entry.tags:
        found = db.execute("SELECT tag FROM tags WHERE name = ?", (name,)).fetchone()
        if found is None:
            added = "INSERT INTO tags (name) VALUES (?) RETURNING tag"
            found = db.execute(added, (name,)).fetchone()
        tags.append(f"t{found[0]}")
    return " ".join([f"n{ns}", label_of_kind(entry.kind), *tags])
