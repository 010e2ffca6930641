"""What only a board on PostgreSQL can get wrong."""

from __future__ import annotations

import threading

import pytest

from stigmergy.board import TaskBoard


@pytest.mark.needs_postgres
def test_several_may_open_a_new_board_at_once(postgres_url: str) -> None:
    together = threading.Barrier(8)
    faults: list[Exception] = []

    def open_it() -> None:
        together.wait(30)
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
