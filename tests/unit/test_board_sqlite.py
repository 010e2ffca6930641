"""What only the SQLite store can get wrong."""

from __future__ import annotations

import time
from pathlib import Path

from stigmergy.board import Task, TaskBoard
from stigmergy.board.stores.sqlite import SqliteStore


def claim_steps(folder: Path, number: int) -> int:
    """Steps of SQLite's machine, in hundreds, that a claim takes among so many tasks."""
    store = SqliteStore(folder / f"{number}.db", clock=time.time)
    with TaskBoard(store=store) as board:
        board.post_many(Task(task_type="work", task_id=f"t{n}") for n in range(number))
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        store._db.set_progress_handler(count, 100)
        assert board.claim("ann") is not None
        store._db.set_progress_handler(None, 0)
    return steps


def test_a_claim_takes_no_more_steps_on_a_larger_board(tmp_path: Path) -> None:
    assert claim_steps(tmp_path, 3000) <= claim_steps(tmp_path, 30) + 2
