"""A board on every store, short cuts and plain path alike, for the tests that state its rules."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from stigmergy.board import Backoff, Store, TaskBoard, open_store
from stigmergy.board.stores.sqlite import SqliteStore
from stigmergy.testing.postgres import PostgresServer
from stigmergy.testing.stores import FakeClock

STORES = [
    "memory",
    "files",
    "sqlite",
    "sqlite, plain",
    pytest.param("postgres", marks=pytest.mark.needs_postgres),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The server starts before a test looks at what it leaves behind.

    It is asked for by one case of `store` alone, so pytest cannot know that from the arguments.
    """
    for item in items:
        is_asked_for = isinstance(item, pytest.Function) and "store" in item.fixturenames
        if is_asked_for and item.get_closest_marker("needs_postgres"):
            item.fixturenames = ["postgres_server", *item.fixturenames]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    """An empty store of each kind, on a clock that the test moves."""
    match request.param:
        case "postgres":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            # A schema is made in a tenth of the time of a database.
            schema = f"unit_{uuid.uuid4().hex[:16]}"
            store = open_store(server.url(board=schema), clock=clock)
        case "sqlite, plain":
            schema = ""
            store = SqliteStore(tmp_path / "plain.db", clock=clock, plain=True)
        case kind:
            schema = ""
            places = {"memory": "memory:", "files": tmp_path / "tasks", "sqlite": tmp_path / "b.db"}
            store = open_store(places[kind], clock=clock)
    yield store
    store.close()
    if schema:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


@pytest.fixture
def board(store: Store) -> TaskBoard:
    return TaskBoard(store=store, lease_s=100.0, backoff=Backoff(first_s=10, most_s=15))
