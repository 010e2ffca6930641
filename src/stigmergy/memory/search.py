"""A search: by words, by a vector, or by both with the two rankings fused."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from stigmergy.memory.entry import Found, Way
from stigmergy.memory.fulltext import Scope, Scored, TextSearch, load_entries, within
from stigmergy.memory.fusion import fuse
from stigmergy.memory.vectors import Vector, VectorSearch

__all__ = ["Search"]

_CANDIDATES: Final = 50
"""Of each ranking, at least: a fused one is made of more than it gives."""


class Search:
    """Finds entries, and keeps what makes that fast. Under the lock of the connection."""

    def __init__(self) -> None:
        self._words = TextSearch()
        self._vectors = VectorSearch()

    def find(
        self,
        db: sqlite3.Connection,
        text: str,
        vector: Vector | None,
        scope: Scope,
        *,
        limit: int,
    ) -> tuple[Found, ...]:
        """What has words of the text or is near the vector, the best first."""
        if vector is None:
            by_text = self._words.find(db, text, scope, limit=limit)
            return _found(db, by_text, text=by_text, near=())
        size = max(_CANDIDATES, 4 * limit)
        by_text = self._words.find(db, text, scope, limit=size)
        near = self._near(db, vector, scope, size=size)
        rankings = [[row for row, _ in ranking] for ranking in (by_text, near)]
        ranked = fuse(rankings) if by_text else near
        return _found(db, ranked[:limit], text=by_text, near=near)

    def _near(
        self, db: sqlite3.Connection, vector: Vector, scope: Scope, *, size: int
    ) -> Sequence[Scored]:
        nearest = self._vectors.nearest(db, vector, scope.namespaces)
        near: Sequence[Scored] = ()
        for end in (4 * size, len(nearest)):
            inside = within(db, [row for row, _ in nearest[:end]], scope)
            near = [scored for scored in nearest[:end] if scored[0] in inside]
            if len(near) >= size:
                break
        return near[:size]


def _found(
    db: sqlite3.Connection,
    ranked: Sequence[Scored],
    *,
    text: Sequence[Scored],
    near: Sequence[Scored],
) -> tuple[Found, ...]:
    entries = load_entries(db, [row for row, _ in ranked])
    by: dict[int, tuple[Way, ...]] = {}
    ways: tuple[tuple[Way, Sequence[Scored]], ...] = (("text", text), ("vector", near))
    for way, ranking in ways:
        for row, _ in ranking:
            by[row] = (*by.get(row, ()), way)
    return tuple(Found(entry=entries[row], score=score, by=by[row]) for row, score in ranked)
