"""A board in one SQLite file: the default."""

from stigmergy.board.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
