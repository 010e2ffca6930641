"""Which schema a board has, asked without opening it: opening makes a board, and migrates one."""

from __future__ import annotations

import importlib
import sqlite3
from contextlib import closing
from pathlib import Path

from stigmergy.errors import UsageError

__all__ = ["Postgres", "is_postgres", "sqlite_version"]


def sqlite_version(file: Path) -> int | None:
    """The version; 0 where there is no board yet, None where the file cannot be read.

    Raises:
        UsageError: it is another program's database, which opening would fill with our tables.
    """
    if not file.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            (version,) = database.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error:
        return None
    if tables and not {"tasks", "events"} <= tables:
        raise UsageError(f"{file} is a database of another program, not a board")
    return int(version) if tables else 0


def is_postgres(url: str) -> bool:
    """Whether a board of that URL is in PostgreSQL."""
    return url.partition(":")[0] in ("postgres", "postgresql")


class Postgres:
    """A board's place in a PostgreSQL database.

    Raises:
        UsageError: the URL cannot be understood.
        UnsupportedError: psycopg is not installed.
    """

    def __init__(self, url: str) -> None:
        # Its error says how to install psycopg; the address alone can do without.
        importlib.import_module("stigmergy.board.stores.postgres")
        from stigmergy.board.stores.postgres.address import Address

        self._address = Address.of(url)

    @property
    def url(self) -> str:
        """The URL without its password."""
        return self._address.url

    def version(self) -> int | None:
        """The version of its schema; 0 where there is no board yet, None if it cannot be asked."""
        import psycopg

        table = f'"{self._address.schema}".meta'
        try:
            with psycopg.connect(self._address.conninfo, connect_timeout=10) as connection:
                found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,))
                if found.fetchone() != (True,):
                    return 0
                query = f"SELECT value FROM {table} WHERE key = 'version'"  # noqa: S608 - a checked name
                row = connection.execute(query.encode()).fetchone()
        except psycopg.Error:
            return None  # the store will say why
        return 0 if row is None else int(row[0])
