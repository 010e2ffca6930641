"""A busy board: many agents that hold tasks and tell what they do, at a rate of events.

For what watches a swarm: the agents are simulated, the board and its journal are real.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from stigmergy.board import Task, TaskBoard

__all__ = ["Bustle", "bustling"]

_DOINGS: Final = ("reads", "edits", "tests", "searches", "asks the model")
_LATE_S: Final = 0.5
"""Who has fallen behind by more does not try to catch up: the rate is what is asked for."""


@dataclass(slots=True)
class Bustle:
    """What went on."""

    events: int = 0
    began: float = 0.0
    held: dict[str, Task] = field(default_factory=dict[str, Task])

    @property
    def events_per_s(self) -> float:
        """As it was, which may be less than was wanted."""
        return self.events / max(1e-9, time.monotonic() - self.began)


@contextmanager
def bustling(
    board: TaskBoard, *, agents: int, events_per_s: float, seed: int = 0
) -> Generator[Bustle]:
    """Let so many agents hold a task each, and tell so many events a second until the end."""
    bustle = Bustle()
    board.post_many(
        Task(task_type="job", description=f"job {number}", task_id=f"job-{number}")
        for number in range(2 * agents)
    )
    for number in range(agents):
        name = f"agent-{number}"
        if (task := board.claim(name, lease_s=3600.0)) is not None:
            bustle.held[name] = board.start(task)
    stop = threading.Event()
    thread = threading.Thread(
        target=_bustle,
        args=(board, bustle, 1.0 / events_per_s, stop, random.Random(seed)),  # noqa: S311 - which agent is no secret
        name="bustle",
    )
    bustle.began = time.monotonic()
    thread.start()
    try:
        yield bustle
    finally:
        stop.set()
        thread.join()


def _bustle(
    board: TaskBoard, bustle: Bustle, pause_s: float, stop: threading.Event, chance: random.Random
) -> None:
    due = time.monotonic()
    names = list(bustle.held)
    while not stop.is_set():
        bustle.events += _something(board, bustle, chance.choice(names), chance)
        due = max(due + pause_s, time.monotonic() - _LATE_S)
        stop.wait(max(0.0, due - time.monotonic()))


def _something(board: TaskBoard, bustle: Bustle, name: str, chance: random.Random) -> int:
    """One agent goes on, or ends its task and takes another; how many events that made."""
    task = bustle.held[name]
    if chance.random() < 0.95:
        doing = {
            "kind": "tool",
            "name": chance.choice(_DOINGS),
            "brief": f"file-{chance.randrange(1000)}.py",
        }
        board.record("progress", task_id=task.task_id, agent_id=name, data=doing)
        return 1
    board.complete(task, {"ok": True})
    new = f"job-{chance.randrange(10**12)}"
    board.post(Task(task_type="job", description="another", task_id=new))
    claimed = board.claim(name, lease_s=3600.0)
    assert claimed is not None  # one was just posted, and nobody else claims
    bustle.held[name] = board.start(claimed)
    return 4
