"""The schema of a SQLite board, and the way to it from every version that was released.

`NNNN.sql` leads from version NNNN - 1 to NNNN. Append-only: a released step is never changed. A
new board gets `schema.sql`, which a test holds equal to all the steps.
"""

from __future__ import annotations

import sqlite3
from importlib.resources import files
from typing import Final

from stigmergy.errors import UsageError

__all__ = ["SCHEMA_VERSION", "check_version", "migrate"]

SCHEMA_VERSION: Final = 2


def migrate(db: sqlite3.Connection, *, where: str) -> int:
    """Bring a board to this version's schema, in one transaction. Under the board's lock.

    Returns the version that it was of; 0 of a new one.

    Raises:
        UsageError: the board is of a newer version; the text says what to do.
    """
    version = check_version(db, where=where)
    if version == SCHEMA_VERSION:
        return version
    if version == 0:
        steps = [_read("schema.sql")]
    else:
        steps = [_read(f"{step:04}.sql") for step in range(version + 1, SCHEMA_VERSION + 1)]
    # Tables are made anew in steps; what refers to them is checked at the end instead.
    db.execute("PRAGMA foreign_keys = OFF")
    db.execute("PRAGMA legacy_alter_table = ON")
    try:
        db.executescript(
            f"BEGIN IMMEDIATE; {' '.join(steps)} PRAGMA user_version = {SCHEMA_VERSION};"
        )
        if astray := db.execute("PRAGMA foreign_key_check").fetchall():
            raise sqlite3.IntegrityError(f"{len(astray)} rows refer to what is not there")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    finally:
        db.execute("PRAGMA legacy_alter_table = OFF")
        db.execute("PRAGMA foreign_keys = ON")
    return version


def check_version(db: sqlite3.Connection, *, where: str) -> int:
    """The version of a board's schema; 0 of an empty file.

    Raises:
        UsageError: it is newer than what this program knows.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"the board {where} has schema {version}, this version of stigmergy knows "
            f"{SCHEMA_VERSION}: use a newer one"
        )
    return version


def _read(name: str) -> str:
    return files("stigmergy.board.stores.sqlite").joinpath(name).read_text()
