"""Full text ranked by bm25, within namespaces, kinds and tags.

The index holds namespaces, kinds and tags as words of a column of its own. Few entries with such
a label narrow the index's own look; where many have it, what the index found is filtered
afterwards, for bm25 counts all entries of each word that it is asked for.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from stigmergy.memory import query
from stigmergy.memory.entry import Entry
from stigmergy.memory.rows import COLUMNS, entry_of
from stigmergy.memory.writing import label_of_kind

__all__ = ["Scope", "Scored", "TextSearch", "load_entries", "scope_of", "within"]

Scored = tuple[int, float]
"""An entry's row and its score."""

_BUDGET: Final = 1000
"""Entries that a look ranks if there are enough good ones among them: a millisecond."""
_COMMON: Final = 10_000
"""A word that so many entries have tells nothing: they are not ranked by it."""
_NARROWING: Final = 2000
"""A label that no more entries have narrows the look."""
_MANY: Final = 500
_MOST_KEPT: Final = 50_000
_FIRST_LOOK: Final = 64

_RANKED: Final = (
    "SELECT rowid, rank FROM words WHERE words MATCH ? AND rowid >= ? ORDER BY rank LIMIT ?"
)
_LATEST: Final = (
    "SELECT rowid, 0.0 FROM words WHERE words MATCH ? AND rowid >= ? ORDER BY rowid DESC LIMIT ?"
)
_BOUND: Final = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid DESC LIMIT 1 OFFSET ?"
_COUNT: Final = "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Where a search looks."""

    namespaces: tuple[int, ...]
    everywhere: bool
    """These are all that there are."""
    kinds: tuple[str, ...]
    tags: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    """Groups of labels; an entry in scope has one of each."""
    now: float

    def where(self) -> tuple[str, list[Any]]:
        """The condition on entries `e`, and its values."""
        terms = ["(e.expires_at IS NULL OR e.expires_at > ?)"]
        values: list[Any] = [self.now]
        if not self.everywhere:
            terms.append("e.ns IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(self.namespaces))
        if self.kinds:
            terms.append("e.kind IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(self.kinds))
        for tag in self.tags:
            terms.append("EXISTS (SELECT 1 FROM json_each(e.tags) WHERE value = ?)")
            values.append(tag)
        return " AND ".join(terms), values


def scope_of(
    db: sqlite3.Connection,
    *,
    namespaces: Sequence[str] | None,
    kinds: Sequence[str],
    tags: Sequence[str],
    now: float,
) -> Scope | None:
    """Where to look; None where there is nothing."""
    known = dict(db.execute("SELECT name, ns FROM namespaces"))
    wanted = known if namespaces is None else [name for name in namespaces if name in known]
    if not wanted:
        return None
    numbers = tuple(sorted({known[name] for name in wanted}))
    everywhere = len(numbers) == len(known)
    labels: list[tuple[str, ...]] = []
    if not everywhere:
        labels.append(tuple(f"n{ns}" for ns in numbers))
    if kinds:
        labels.append(tuple(label_of_kind(kind) for kind in kinds))
    for tag in tags:
        found = db.execute("SELECT tag FROM tags WHERE name = ?", (tag,)).fetchone()
        if found is None:
            return None
        labels.append((f"t{found[0]}",))
    return Scope(
        namespaces=numbers,
        everywhere=everywhere,
        kinds=tuple(kinds),
        tags=tuple(tags),
        labels=tuple(labels),
        now=now,
    )


class TextSearch:
    """Finds by words, and remembers how often they come. Under the lock of the connection."""

    def __init__(self) -> None:
        self._many: dict[str, int] = {}
        """Counts that a few entries more or less do not change much."""
        self._few: dict[str, int] = {}
        """Counts as of the last change of the memory: a word that nobody had may be new."""
        self._rows = 0
        self._stamp = (0, 0)

    def find(self, db: sqlite3.Connection, text: str, scope: Scope, *, limit: int) -> list[Scored]:
        """Rows of entries with words of the text, the best first, each with its score."""
        words = query.significant_words(text)
        if not words:
            return []
        self._forget_if_old(db)
        labels = [query.any_label(g) for g in scope.labels if self._narrows(db, g)]

        def count(word: str) -> int:
            return self._count(db, query.any_of(query.exactly([word])))

        def look(terms: Sequence[str], sql: str = _RANKED, since: int = 0) -> list[Scored]:
            if not terms:
                return []
            return _look(db, sql, query.any_of(terms, labels), scope, since=since, limit=limit)

        chosen = query.choose(words, count, budget=_BUDGET, most=_COMMON)
        first = query.exactly(chosen.first)
        since = _since(db, query.any_of(first, labels)) if chosen.cost > 2 * _BUDGET else 0
        found = look(first, since=since)
        if len(found) < limit and (chosen.then or since):
            found = look([*first, *query.exactly(chosen.then)])
        if not found:
            found = look(query.beginning(words[: query.MAX_CHOSEN]) if not chosen.common else [])
        if not found:
            found = look(query.exactly(chosen.common), _LATEST)
        return found

    def _narrows(self, db: sqlite3.Connection, labels: Sequence[str]) -> bool:
        return self._count(db, query.any_label(labels)) <= _NARROWING

    def _count(self, db: sqlite3.Connection, match: str) -> int:
        known = self._many.get(match, self._few.get(match))
        if known is None:
            known = int(db.execute(_COUNT, (match, _COMMON)).fetchone()[0])
            (self._many if known >= _MANY else self._few)[match] = known
        return known

    def _forget_if_old(self, db: sqlite3.Connection) -> None:
        stamp = (db.execute("PRAGMA data_version").fetchone()[0], db.total_changes)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        self._few.clear()
        (last,) = db.execute("SELECT coalesce(max(id), 0) FROM entries").fetchone()
        if abs(last - self._rows) > self._rows // 20 or len(self._many) > _MOST_KEPT:
            self._many.clear()
            self._rows = last


def _since(db: sqlite3.Connection, match: str) -> int:
    """Of more entries than are worth ranking, the latest: the row they begin at."""
    found = db.execute(_BOUND, (match, _BUDGET)).fetchone()
    return 0 if found is None else int(found[0])


def _look(
    db: sqlite3.Connection, sql: str, match: str, scope: Scope, *, since: int, limit: int
) -> list[Scored]:
    """What the index finds and is in scope. More is asked for until that is enough."""
    size = max(_FIRST_LOOK, 4 * limit)
    while True:
        ranked = db.execute(sql, (match, since, size)).fetchall()
        inside = within(db, [row for row, _ in ranked], scope)
        found = [(row, -rank) for row, rank in ranked if row in inside]
        if len(found) >= limit or len(ranked) < size:
            return found[:limit]
        size *= 8


def within(db: sqlite3.Connection, ids: Sequence[int], scope: Scope) -> set[int]:
    """Those of the entries that are in scope."""
    condition, values = scope.where()
    rows = db.execute(
        f"SELECT e.id FROM entries e WHERE e.id IN (SELECT value FROM json_each(?)) "
        f"AND {condition}",
        [json.dumps(ids), *values],
    )
    return {row for (row,) in rows}


def load_entries(db: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Entry]:
    """The entries of these ids."""
    rows = db.execute(
        f"SELECT {COLUMNS}, e.id FROM entries e JOIN namespaces n USING (ns) "
        "WHERE e.id IN (SELECT value FROM json_each(?))",
        (json.dumps(ids),),
    )
    return {row[-1]: entry_of(row) for row in rows}
