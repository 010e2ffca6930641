"""What only a board on PostgreSQL can get wrong."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

from stigmergy.board import TaskBoard
from stigmergy.errors import UsageError


@pytest.mark.needs_postgres
def test_several_may_open_a_new_board_at_once(postgres_url: str) -> None:
    together = threading.Barrier(8)
    faults: list[Exception] = []

    def open_it() -> None:
        together.wait(60)
        try:
            TaskBoard(postgres_url).close()
        except Exception as error:  # noqa: BLE001 - whatever it is
            faults.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


@pytest.mark.needs_postgres
def test_a_board_that_cannot_be_opened_leaves_no_connection_open(
    postgres_url: str,
) -> None:
    TaskBoard(postgres_url).close()
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("UPDATE stigmergy.meta SET value = '999' WHERE key = 'version'")
        with pytest.raises(UsageError, match="use a newer one"):
            TaskBoard(postgres_url)
        ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stigmergy'"
        deadline = time.monotonic() + 30
        while db.execute(ours + " AND datname = current_database()").fetchone() != (0,):
            assert time.monotonic() < deadline, "a connection is still open"
