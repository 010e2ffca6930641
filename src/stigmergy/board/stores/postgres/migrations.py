"""The schema of a board in PostgreSQL, made and brought up to date in one transaction each.

Append-only: `schema.sql` is version 1, `NNNN.sql` leads from version NNNN - 1 to NNNN.
`functions.sql` holds the functions of the present version, whose names end with it, so that a
program of another version does not call them by mistake.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

import psycopg

from stigmergy.board.stores.postgres.address import Address
from stigmergy.board.stores.postgres.connections import Connection
from stigmergy.errors import UsageError

__all__ = ["SCHEMA_VERSION", "check_version", "install_functions", "migrate"]

SCHEMA_VERSION: Final = 1


_FIND: Final = """
    SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = %s AND relname = 'meta'"""


def migrate(connection: Connection, address: Address) -> None:
    """Make the board's schema, or bring it up to date. Processes take turns.

    Raises:
        UsageError: the board is of a newer version, or this user may not make it.
    """
    if _version(connection, address) == SCHEMA_VERSION:
        return
    try:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (address.lock,))
            _migrate(connection, address)
    except psycopg.errors.InsufficientPrivilege as error:
        raise UsageError(
            f"the board {address.url} cannot be made: {str(error).strip()}. Let a user that may "
            "create schemas open it once"
        ) from error


def _migrate(connection: Connection, address: Address) -> None:
    version = _version(connection, address)
    if version == SCHEMA_VERSION:
        return  # another process was first
    if version == 0:
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{address.schema}"'.encode())
        _run(connection, address, "schema.sql")
    else:
        for step in range(version + 1, SCHEMA_VERSION + 1):
            _run(connection, address, f"{step:04}.sql")
    install_functions(connection, address, offset=0)
    connection.execute(
        f"INSERT INTO {address.schema}.meta VALUES ('version', %s) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value".encode(),
        (str(SCHEMA_VERSION),),
    )


def install_functions(connection: Connection, address: Address, *, offset: int) -> None:
    """Put the functions of this version in place; `offset` is added to every `seq`."""
    _run(connection, address, "functions.sql", offset=offset)


def check_version(connection: Connection, address: Address) -> None:
    """See that the board is of this program's version.

    Raises:
        UsageError: it is not.
    """
    version = _version(connection, address)
    if version != SCHEMA_VERSION:
        raise UsageError(
            f"the board {address.url} has schema {version}, this version of stigmergy knows "
            f"{SCHEMA_VERSION}: " + ("use a newer one" if version > SCHEMA_VERSION else "open it")
        )


def _version(connection: Connection, address: Address) -> int:
    # Not to_regclass: within a transaction it goes on believing that there is no such table.
    if connection.execute(_FIND, (address.schema,)).fetchone() is None:
        return 0
    row = connection.execute(
        f"SELECT value FROM {address.schema}.meta WHERE key = 'version'".encode()
    ).fetchone()
    version = 0 if row is None else int(row[0])
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"the board {address.url} has schema {version}, this version of stigmergy knows "
            f"{SCHEMA_VERSION}: use a newer one"
        )
    return version


def _run(connection: Connection, address: Address, name: str, *, offset: int = 0) -> None:
    text = files("stigmergy.board.stores.postgres").joinpath(name).read_text()
    script = text.format(
        s=address.schema, lock=address.lock, channel=address.channel, offset=offset
    )
    connection.execute(script.encode())
