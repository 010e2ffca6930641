"""What is read of a memory by name: a key, its history, a page of entries, what there is."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from stigmergy.errors import UsageError
from stigmergy.memory.entry import Entry, Listing, NamespaceStats
from stigmergy.memory.fulltext import Scope
from stigmergy.memory.rows import COLUMNS, VERSION_COLUMNS, entry_of

__all__ = ["drop_namespace", "get", "history", "namespaces", "page"]

_ENTRY: Final = f"SELECT {COLUMNS} FROM entries e JOIN namespaces n USING (ns)"
_HISTORY: Final = (
    f"SELECT {VERSION_COLUMNS} FROM versions v "
    "JOIN entries e ON e.id = v.entry JOIN namespaces n USING (ns) "
    "WHERE n.name = ? AND e.key = ? AND (v.expires_at IS NULL OR v.expires_at > ?) "
    "ORDER BY v.version DESC"
)
_ALIVE: Final = "(e.expires_at IS NULL OR e.expires_at > ?)"
_NAMESPACES: Final = f"""
    SELECT n.name, e.kind, count(*), sum(length(CAST(e.value AS BLOB))), max(e.updated_at),
      count(json_extract(e.origin, '$.imported_from')), count(v.entry)
    FROM entries e JOIN namespaces n USING (ns) LEFT JOIN vectors v ON v.entry = e.id
    WHERE {_ALIVE} GROUP BY n.name, e.kind ORDER BY n.name, e.kind"""


def get(db: sqlite3.Connection, namespace: str, key: str, *, now: float) -> Entry | None:
    """What a key holds; None if there is nothing, or it has expired."""
    sql = f"{_ENTRY} WHERE n.name = ? AND e.key = ? AND {_ALIVE}"
    row = db.execute(sql, (namespace, key, now)).fetchone()
    return None if row is None else entry_of(row)


def history(db: sqlite3.Connection, namespace: str, key: str, *, now: float) -> tuple[Entry, ...]:
    """The present version and those that are kept, the latest first."""
    present = get(db, namespace, key, now=now)
    if present is None:
        return ()
    return (present, *map(entry_of, db.execute(_HISTORY, (namespace, key, now))))


def page(
    db: sqlite3.Connection, scope: Scope, *, prefix: str, limit: int, after: str | None
) -> Listing:
    """Entries by namespace and key.

    Raises:
        UsageError: `after` is no cursor.
    """
    condition, values = scope.where()
    terms = [condition]
    if prefix:
        terms.append("substr(e.key, 1, ?) = ?")
        values += [len(prefix), prefix]
    if after is not None:
        namespace, slash, key = after.partition("/")
        if not slash:
            raise UsageError(f"{after[:60]!r} is no cursor: give the `next` of the page before")
        terms.append("(n.name, e.key) > (?, ?)")
        values += [namespace, key]
    rows: list[tuple[Any, ...]] = db.execute(
        f"{_ENTRY} WHERE {' AND '.join(terms)} ORDER BY n.name, e.key LIMIT ?",
        [*values, limit + 1],
    ).fetchall()
    entries = tuple(map(entry_of, rows[:limit]))
    more = len(rows) > limit
    return Listing(
        entries=entries, next=f"{entries[-1].namespace}/{entries[-1].key}" if more else None
    )


def namespaces(db: sqlite3.Connection, *, now: float) -> tuple[NamespaceStats, ...]:
    """What each namespace holds, by name; those left out that hold nothing."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for name, *rest in db.execute(_NAMESPACES, (now,)):
        found.setdefault(name, []).append(tuple(rest))
    return tuple(
        NamespaceStats(
            namespace=name,
            entries=sum(row[1] for row in rows),
            kinds={row[0]: row[1] for row in rows},
            size_bytes=sum(row[2] for row in rows),
            updated_at=max(row[3] for row in rows),
            imported=sum(row[4] for row in rows),
            vectors=sum(row[5] for row in rows),
        )
        for name, rows in found.items()
    )


def drop_namespace(db: sqlite3.Connection, namespace: str) -> int:
    """Drop all entries of a namespace; how many."""
    found = db.execute("SELECT ns FROM namespaces WHERE name = ?", (namespace,)).fetchone()
    if found is None:
        return 0
    db.execute("DELETE FROM vectors WHERE ns = ?", found)
    db.execute("UPDATE namespaces SET vector_epoch = vector_epoch + 1 WHERE ns = ?", found)
    return db.execute("DELETE FROM entries WHERE ns = ?", found).rowcount
