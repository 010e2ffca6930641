"""What the parts of one run share: handed to each, owned by `run.py`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from stigmergy.board import Event, TaskBoard
from stigmergy.board.rules import ALL
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.interrupts import Interrupts
from stigmergy.coding.memory_in_run import RunMemory
from stigmergy.coding.rundir import RunDirectory
from stigmergy.coding.spec import RunSpec
from stigmergy.coding.turns import Turns
from stigmergy.errors import UsageError
from stigmergy.swarm import Heartbeat, Stop

__all__ = ["Pulse", "RunContext", "Target"]


class Target:
    """The branch that the run lands on. It may change once, to a branch of the run's own."""

    def __init__(self, repository: Repository, ref: str) -> None:
        self._repository = repository
        self.ref = ref

    def tip(self) -> str:
        """Where it stands.

        Raises:
            UsageError: somebody deleted it.
        """
        if (tip := self._repository.tip(self.ref)) is None:
            raise UsageError(f"{self.ref} is gone: create it again and resume the run")
        return tip

    @property
    def name(self) -> str:
        """For people: `main`."""
        return self.ref.removeprefix("refs/heads/")


class Pulse:
    """Wakes the threads of a run when the board may have something new for them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.beat = 0

    def tick(self) -> None:
        """Something has happened."""
        with self._changed:
            self.beat += 1
            self._changed.notify_all()

    def wait(self, *, after: int, timeout_s: float) -> None:
        """Sleep until the pulse has gone beyond `after`, at most `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self.beat > after, timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """One run in this process."""

    spec: RunSpec
    directory: RunDirectory
    board: TaskBoard
    repository: Repository
    target: Target
    heart: Heartbeat
    stop: Stop
    """Set to end the run; everything that waits heeds it."""
    pulse: Pulse
    memory: RunMemory | None = None
    """None where the run was given no namespace."""
    turns: Turns | None = None
    """Set: one agent works at a time."""
    interrupts: Interrupts = field(default_factory=Interrupts)

    @property
    def run_id(self) -> str:
        """The run's name; the parent of all its tasks."""
        return self.directory.run_id

    def agent_id(self, name: str) -> str:
        """How an agent of this run is called on the board."""
        return f"{self.run_id}/{name}"

    def is_paused(self) -> bool:
        """A person has paused all of it."""
        return ALL in self.board.rules().paused

    def journal(self) -> Iterator[Event]:
        """The journal from its beginning."""
        after = 0
        while batch := self.board.events(after=after):
            yield from batch
            after = batch[-1].seq

    def note(self, text: str) -> None:
        """A line for people, in the journal."""
        self.board.record("note", data={"text": text})
