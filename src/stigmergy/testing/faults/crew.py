"""A board at work: posters and agents in processes of their own, to be disturbed and judged."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from stigmergy.board import Event, TaskBoard, TaskStatus
from stigmergy.errors import StigmergyError, UsageError
from stigmergy.testing.faults.checker import Evidence
from stigmergy.testing.faults.forkserver import Child, ForkServer
from stigmergy.testing.faults.ledger import read_ledger
from stigmergy.testing.faults.workload import agent, open_board, poster

__all__ = ["Crew", "Plan", "Role", "gather"]

_ENOUGH: Final = 10**6
_OVERLAP_S: Final = 2.0
"""Where transactions run beside each other, one may begin long before it commits."""
_DEAD: Final = (TaskStatus.FAILED, TaskStatus.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a board is worked on."""

    url: str
    folder: Path
    """For the ledger; outside the board, and never broken."""
    seed: str
    agents: int = 3
    posters: int = 1
    batches: int = _ENOUGH
    """Of each poster; by default it posts until told to stop."""
    clocks: Sequence[Path] = ()
    """Files that say how wrong the clocks of the agents are, in turn."""
    lease_s: float = 0.25
    work_s: float = 0.004

    @property
    def ledger(self) -> Path:
        """What posters and agents write down."""
        return self.folder / "ledger"


@dataclass(frozen=True, slots=True)
class Role:
    """A process, and what it is there for."""

    child: Child
    name: str
    is_poster: bool


class Crew:
    """The processes on one board. A context manager: none survives it."""

    def __init__(self, plan: Plan, servers: Sequence[ForkServer]) -> None:
        self.plan = plan
        self._servers = servers
        self._started = 0
        self.roles: list[Role] = []
        for number in range(plan.posters):
            self._post(f"p{number}")
        for _ in range(plan.agents):
            self.hire()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for role in self.roles:
            role.child.end()

    def hire(self, *, number: int | None = None) -> Role:
        """One more agent, with the server and the clock of that number, or those next in turn."""
        plan, name, clocks = self.plan, f"a{self._started}", self.plan.clocks
        turn = self._started if number is None else number
        child = self._servers[turn % len(self._servers)].spawn(
            agent,
            url=plan.url,
            name=name,
            ledger=str(plan.ledger),
            seed=f"{plan.seed} {name}",
            lease_s=plan.lease_s,
            work_s=plan.work_s,
            clock=str(clocks[turn % len(clocks)]) if clocks else "",
        )
        return self._enrol(Role(child, name, is_poster=False))

    def _post(self, name: str) -> Role:
        plan = self.plan
        child = self._servers[self._started % len(self._servers)].spawn(
            poster,
            url=plan.url,
            name=name,
            ledger=str(plan.ledger),
            seed=plan.seed,
            batches=plan.batches,
        )
        return self._enrol(Role(child, name, is_poster=True))

    def _enrol(self, role: Role) -> Role:
        self._started += 1
        self.roles.append(role)
        return role

    def kill_one(self, rng: random.Random) -> bool:
        """SIGKILL to one of them, and another takes its place; False if it had ended."""
        victim = rng.choice(self.roles)
        self.roles.remove(victim)
        killed = victim.child.kill().was_killed
        if victim.is_poster:
            self._post(victim.name)
        else:
            self.hire()
        return killed

    def settle(self, *, within_s: float = 180.0) -> None:
        """Let the posters come to an end and the agents do all that is left; then stop them.

        Raises:
            StigmergyError: the work did not come to an end in time.
        """
        self.end_posting()
        with open_board(self.plan.url) as board:
            _finish(board, within_s=within_s)
        self._end(posters=False)

    def end_posting(self) -> None:
        """Tell the posters to stop, and wait for them. Idempotent."""
        self._end(posters=True)

    def _end(self, *, posters: bool) -> None:
        leaving = [role for role in self.roles if role.is_poster == posters]
        for role in leaving:
            role.child.signal(signal.SIGTERM)
        for role in leaving:
            role.child.wait()
            self.roles.remove(role)


def _finish(board: TaskBoard, *, within_s: float) -> None:
    """Retry what is dead until all tasks are completed."""
    deadline = time.monotonic() + within_s
    seen = 0
    while (progress := board.progress()).completed < progress.total:
        for task in board.list_all(statuses=_DEAD):
            with suppress(UsageError):  # what it needs is dead too, or brought it back already
                board.retry(task.task_id)
        board.wait(after=seen, timeout_s=0.05)
        seen = max([seen, *(event.seq for event in board.events(after=seen))])
        if time.monotonic() > deadline:
            raise StigmergyError(f"the work did not end within {within_s:.0f} s: {progress}")


def gather(plan: Plan, *, clocks_agree: bool = True) -> Evidence:
    """The evidence, read by a board that is opened anew."""
    overlap = plan.url.startswith("postgres")
    with open_board(plan.url) as board:
        return Evidence(
            tasks=board.list_all(),
            events=_all_events(board),
            entries=read_ledger(plan.ledger),
            clocks_agree=clocks_agree,
            grace_s=_OVERLAP_S if overlap else 0.0,
        )


def _all_events(board: TaskBoard) -> list[Event]:
    events: list[Event] = []
    while batch := board.events(after=events[-1].seq if events else 0, limit=10_000):
        events += batch
    return events
