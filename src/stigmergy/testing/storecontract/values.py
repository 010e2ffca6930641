"""What the rules of the store contract are stated with."""

from __future__ import annotations

from stigmergy.board.store import Match, Store
from stigmergy.board.task import Event, Json, Task, TaskStatus

__all__ = ["ANYBODY", "WAKE_S", "FakeClock", "ids", "leased", "put", "restored", "task"]


ANYBODY = Match()
WAKE_S = 20.0
"""Far more than any wake-up takes; reached only by a store that does not wake."""


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move it, backwards too."""
        self.now += seconds


def task(task_id: str, **fields: Json) -> Task:
    """A task as the board would put it."""
    known: dict[str, Json] = {"task_type": "work", "task_id": task_id, "created_at": 1.0}
    return Task(**{**known, **fields})


def leased(task_id: str, *, until: float, by: str = "ann") -> Task:
    """A task that somebody holds."""
    return task(
        task_id,
        status=TaskStatus.CLAIMED,
        claimed_by=by,
        claimed_at=1.0,
        lease_until=until,
        attempts=1,
        fence=1,
    )


def put(store: Store, *tasks: Task) -> None:
    """Write tasks in one transaction."""
    with store.transaction() as tx:
        for each in tasks:
            tx.put(each)


def ids(tasks: list[Task]) -> list[str]:
    """Their ids, in their order."""
    return [each.task_id for each in tasks]


def restored(*seqs: int) -> list[Event]:
    """Events of another board."""
    return [
        Event(seq=seq, at=seq / 8, kind="told", task_id=f"t{seq}", agent_id="ann", data={"n": seq})
        for seq in seqs
    ]
