"""A day in the life of a board, for a trace: one step after the other, each acknowledged.

`python -m stigmergy.testing.faults.trail URL ACKS STATES`: a byte goes to ACKS when the board has
acknowledged a step, and then all that the board says to STATES, a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from stigmergy.board import Limits, Task, TaskBoard, open_store
from stigmergy.testing.faults.steps import snapshot
from stigmergy.testing.faults.verbs import tune

__all__ = ["walk"]

_BEGAN_AT: Final = 1_000_000.0
_ROUNDS: Final = 6


def walk(url: str, acks: Path, states: Path) -> None:
    """All steps; the store tidies up more often than it would."""
    tune(journal_bytes=3000, log_pages=40)
    told = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with states.open("w") as lines:
        for round_number in range(_ROUNDS):
            with _open_at(url, _BEGAN_AT + 100 * round_number) as board:
                for step in _steps(round_number):
                    step(board)
                    os.write(told, b".")
                    lines.write(json.dumps(snapshot(board)) + "\n")
                    lines.flush()


def _open_at(url: str, now: float) -> TaskBoard:
    store = open_store(url, clock=lambda: now)
    return TaskBoard(store=store, limits=Limits(payload_bytes=4000))


def _steps(number: int) -> Iterator[Callable[[TaskBoard], object]]:
    names = [f"r{number}-{place}" for place in range(5)]
    yield lambda board: board.record("opened")
    yield lambda board: board.post_many(
        Task(
            task_type="work",
            task_id=name,
            payload={"text": name * 40},
            depends_on=(names[0],) if name == names[-1] else (),
        )
        for name in names
    )
    yield lambda board: board.post(
        Task(task_type="big", task_id=f"big{number}", payload={"text": f"{number}" * 5000})
    )
    yield lambda board: board.claim_many("ann", 4, task_types=["work"], lease_s=50)
    yield lambda board: board.start(_lease(board, 0))
    yield lambda board: board.renew(_lease(board, 0), lease_s=60)
    yield lambda board: board.complete(_lease(board, 0), {"by": "ann"})
    yield lambda board: board.complete_and_claim(
        "ann", [(_lease(board, 0), {"by": "ann"})], 1, task_types=["work"], lease_s=50
    )
    yield lambda board: board.fail(_lease(board, 0), "no")
    yield lambda board: board.release(_lease(board, 0), reason="lunch", delay_s=1000.0)
    yield lambda board: board.cancel(f"big{number}")
    yield lambda board: board.retry(f"big{number}")


def _lease(board: TaskBoard, place: int) -> Task:
    held = [task for task in board.list_all(claimed_by="ann") if task.status.is_leased]
    return held[place]


if __name__ == "__main__":
    walk(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
