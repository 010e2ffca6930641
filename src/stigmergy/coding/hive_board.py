"""Hives on a shared board: each is one task there, held while the hive works.

The shared board says which hives there are, how far they are and how they ended, for hives of any
repository and machine; cancelling the task stops its hive. A hive's own items stay on the board of
its run, so hives on one board share no agents and nothing else but what they tell.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from stigmergy.board import JsonObject, Task, TaskBoard
from stigmergy.coding.run import STOP_WANTED, Beside
from stigmergy.coding.rundir import RunDirectory
from stigmergy.coding.spec import RunSpec
from stigmergy.errors import LostLeaseError, TransientError, UsageError
from stigmergy.monitor import SwarmView
from stigmergy.swarm import Heartbeat, Nursery, Stop
from stigmergy.swarm.agentboard import AgentBoard

__all__ = ["SharedBoard", "hives_on", "is_at_work", "on_board"]

HIVE_TYPE: Final = "hive."
"""How the types of hives' tasks begin. Each has its own, since nobody but the hive takes it."""
HIVES: Final = "hives"
"""The parent of all hives' tasks."""

_LEASE_S: Final = 10.0
"""A hive that was killed is known to be gone, and one that is cancelled stops, within this."""
_LOOK_S: Final = 1.0
_OBJECTIVE_CHARS: Final = 2_000


class SharedBoard(AgentBoard, Protocol):
    """A board that hives can be put on: any, over HTTP as well."""

    def post(self, task: Task) -> str:
        """See `TaskBoard.post`."""
        ...


def hives_on(board: AgentBoard) -> list[Task]:
    """The hives that a board knows, in the order in which they came."""
    return [
        task for task in board.list_all(parent_id=HIVES) if task.task_type.startswith(HIVE_TYPE)
    ]


def is_at_work(task: Task, *, now: float) -> bool:
    """Somebody holds it; the lease of a process that was killed runs out."""
    return task.lease is not None and task.lease.deadline > now


def on_board(shared: SharedBoard) -> Beside:
    """Keep a hive's task on a shared board while the hive works."""

    @contextmanager
    def registered(board: TaskBoard, directory: RunDirectory, spec: RunSpec) -> Generator[None]:
        with _Registered(shared, board, directory, spec).held():
            yield

    return registered


@dataclass(slots=True)
class _Registered:
    """One hive with its task on the shared board."""

    shared: SharedBoard
    board: TaskBoard
    directory: RunDirectory
    spec: RunSpec
    view: SwarmView = field(default_factory=SwarmView)
    lost: threading.Event = field(default_factory=threading.Event)
    told: JsonObject = field(default_factory=dict[str, object])

    @contextmanager
    def held(self) -> Generator[None]:
        """Hold the task for as long as the block lasts, and say at its end how the hive ended."""
        task = self._taken()
        with (
            Heartbeat(self.shared) as heart,
            heart.holding(task, lease_s=_LEASE_S, lost=self.lost),
            Nursery(Stop()) as nursery,
        ):
            nursery.start(lambda: self._follow(task, nursery.stop), name="shared-board")
            ended = "it was given up before it began"
            try:
                yield
                ended = ""
            except BaseException as error:
                ended = f"{type(error).__name__}: {error}"
                raise
            finally:
                nursery.stop.set()
                self._say_end(task, ended)

    def _taken(self) -> Task:
        task = _task_of(self.directory.run_id, self.spec)
        name, now = str(task.payload["name"]), time.time()
        if any(
            each.payload.get("name") == name and is_at_work(each, now=now)
            for each in hives_on(self.shared)
        ):
            raise UsageError(f"a hive {name!r} is on that board already; give another --name")
        self.shared.post(task)
        claimed = self.shared.claim(
            f"{self.directory.run_id}/hive",
            task_types=[task.task_type],
            lease_s=_LEASE_S,
        )
        if claimed is None:
            raise UsageError(
                f"the board gives nobody the task {task.task_id!r} now: it is paused or limited"
            )
        self.shared.start(claimed)
        return claimed

    def _follow(self, task: Task, stop: threading.Event) -> None:
        """Tell the shared board how far the hive is, and the hive that it was cancelled there."""
        while not stop.is_set():
            if self.lost.is_set():
                self.board.record(STOP_WANTED, data={"by": "the shared board"})
                return
            self._report(task)
            stop.wait(_LOOK_S)

    def _report(self, task: Task) -> None:
        while events := self.board.events(after=self.view.seq):
            self.view.take(events)
        run = self.view.run
        now: JsonObject = {
            "items": len(run.items),
            "done": run.landed,
            "failed": run.failed,
            "working": sum(each.state == "working" for each in run.agents.values()),
            "last": run.last[:500],
        }
        if now == self.told:
            return
        try:
            self.shared.report(task, now)
            self.told = now
        except LostLeaseError:
            self.lost.set()
        except TransientError:
            return  # told again at the next look

    def _say_end(self, task: Task, error: str) -> None:
        """The hive's own last word, on the shared board; nothing if it was cancelled there."""
        if self.lost.is_set():
            return
        try:
            self._report(task)
            run = self.view.run
            if error or run.exit_code != 0:
                self.shared.fail(task, error or run.verdict, retry=False)
            else:
                self.shared.complete(task, {"verdict": run.verdict, "exit_code": run.exit_code})
        except (LostLeaseError, TransientError) as gone:
            self.board.record("note", data={"text": f"the shared board was not told: {gone}"})


def _task_of(run_id: str, spec: RunSpec) -> Task:
    hive = spec.hive
    assert hive is not None, "only hives are put on a shared board"
    task_id = f"hive.{hive.name}.{run_id}"
    return Task(
        task_id=task_id,
        task_type=f"{HIVE_TYPE}{run_id}",
        description=spec.source_text[:_OBJECTIVE_CHARS],
        payload={
            "name": hive.name,
            "run_id": run_id,
            "strategy": hive.strategy.name,
            "namespaces": list(spec.settings.memory_namespace),
            "agents": spec.settings.agents,
            "parallel": spec.settings.parallel,
            "repository": spec.repository.name,
            "label": spec.label,
        },
        parent_id=HIVES,
        max_attempts=1,
    )
