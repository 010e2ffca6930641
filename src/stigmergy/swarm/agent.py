"""An agent in the simplest form: claim a task, handle it, report."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, Protocol, TypeVar, runtime_checkable

from stigmergy.board import DEFAULT_LEASE_S, JsonObject, Task, TaskStatus, TaskType
from stigmergy.board.task import new_task_id
from stigmergy.errors import LostLeaseError, TransientError, UsageError
from stigmergy.swarm.agentboard import AgentBoard
from stigmergy.swarm.heartbeat import Heartbeat

__all__ = ["Handler", "Interruptible", "SwarmAgent"]

Handler = Callable[[Task], JsonObject | None]
"""Does the work of a task and returns its result. What it raises fails the attempt."""


@runtime_checkable
class Interruptible(Protocol):
    """A handler that can end early when its work is void."""

    def __call__(self, task: Task) -> JsonObject | None:
        """As `Handler`."""
        ...

    def work(self, task: Task, lost: threading.Event) -> JsonObject | None:
        """As `Handler`; ends soon when `lost` is set, and what it raises or returns is not used."""
        ...


_ERROR_CHARS: Final = 4000
_COMPLETED: Final = TaskStatus.COMPLETED
_T = TypeVar("_T")


class SwarmAgent:
    """Takes tasks from a board, one at a time. Use one in each thread.

    Args:
        agent_id: its name on the board; a random one if not given. Agents that share a name
            are told apart by their leases.
        task_board: the board; a `RemoteBoard` is as good.
        capabilities: what it can do: it takes a task only if all that the task `requires` is
            here. A `TaskType` among them limits it to the task types named.
        handlers: what to do for a task type. With handlers and no `TaskType` among the
            capabilities, it takes only the types that it has a handler for.
        lease_s: how long a claim holds without a heartbeat.
    """

    def __init__(
        self,
        agent_id: str | None = None,
        task_board: AgentBoard | None = None,
        *,
        capabilities: Iterable[str] = (),
        handlers: Mapping[str, Handler] | None = None,
        lease_s: float = DEFAULT_LEASE_S,
    ) -> None:
        if task_board is None:
            raise UsageError("an agent needs a task_board")
        names = list(capabilities)
        self.agent_id = agent_id or f"agent-{new_task_id()}"
        self._board = task_board
        self._types = frozenset(str(name) for name in names if isinstance(name, TaskType))
        self._capabilities = frozenset(n for n in names if not isinstance(n, TaskType))
        self._handlers: dict[str, Handler] = {str(k): h for k, h in (handlers or {}).items()}
        self._lease_s = lease_s

    def register_handler(self, task_type: str, handler: Handler) -> None:
        """Handle tasks of that type from now on; an earlier handler is replaced."""
        self._handlers[str(task_type)] = handler

    def claim_next_task(self) -> Task | None:
        """The next task that this agent may take, held by it; None when there is none now."""
        return self._board.claim(
            self.agent_id,
            capabilities=self._capabilities,
            task_types=self._types or self._handlers or None,
            lease_s=self._lease_s,
        )

    def complete_task(self, task: Task, result: JsonObject | None = None) -> Task:
        """Hand in the result of a task that this agent holds.

        Raises:
            LostLeaseError: it holds it no longer; nothing was written.
        """
        return self._board.complete(task, result)

    def fail_task(self, task: Task, error: str, *, retry: bool = False) -> Task:
        """Report that the task failed; for good, unless `retry` and attempts are left."""
        return self._board.fail(task, error, retry=retry)

    def execute_task(self, task: Task) -> Task:
        """Run the handler of a task that this agent holds, and report; the task as it then is.

        An exception of the handler fails the attempt: it is tried again while attempts are left,
        unless it is a `UsageError`, which would fail each time. When the lease was lost
        meanwhile nothing is written, and the task is returned as it stands.
        """
        handler = self._handlers.get(task.task_type)
        if handler is None:
            reason = f"agent {self.agent_id!r} has no handler for task type {task.task_type!r}"
            return self._board.fail(task, reason, retry=True)
        try:
            self._board.start(task)
            with (
                Heartbeat(self._board) as heart,
                heart.holding(task, lease_s=self._lease_s) as held,
            ):
                result, error = self._attempt(handler, task, held.lost)
            return self._report(task, result, error)
        except LostLeaseError:
            return self._board.get(task.task_id) or task

    def _report(self, task: Task, result: JsonObject, error: Exception | None) -> Task:
        if error is None:
            try:
                return self._board.complete(task, result)
            except UsageError as refused:  # too large, or no JSON
                error = refused
        return self._board.fail(task, _describe(error), retry=not isinstance(error, UsageError))

    def work_cycle(self) -> Task | None:
        """Claim one task and execute it; the task as it then is, or None when there was none."""
        task = self.claim_next_task()
        return None if task is None else self.execute_task(task)

    def run(self, stop: threading.Event, *, until_idle: bool = False, idle_s: float = 0.25) -> int:
        """Work until `stop` is set; how many tasks this agent completed.

        With `until_idle` it ends as well when nothing is pending that it could take. A board
        that is busy or out of reach is asked again, with the result in hand as long as the lease
        lasts. The task in hand is finished first; a claim made while the stop came in is released.
        """
        completed = 0
        task: Task | None = None
        while not stop.is_set():
            try:
                task = task or self._wait_for_one(idle_s)
                if task is None and until_idle and not self._may_come():
                    break
            except TransientError:
                stop.wait(idle_s)
            if task is None:
                continue
            if stop.is_set():
                break
            done, task = self._execute_and_claim(task, stop, idle_s)
            completed += done
        if task is not None:
            self._board.release(task, reason="the agent was stopped")
        return completed

    def _execute_and_claim(
        self, task: Task, stop: threading.Event, idle_s: float
    ) -> tuple[bool, Task | None]:
        """Execute a task and hand its result in with the claim of the next one.

        Whether it was completed, and the next task, if there is one and no stop came.
        """
        handler = self._handlers.get(task.task_type)
        patient = _Patience(stop, idle_s)
        try:
            if handler is None:
                return patient(lambda: self.execute_task(task)).status is _COMPLETED, None
            patient(lambda: self._board.start(task))
            with (
                Heartbeat(self._board) as heart,
                heart.holding(task, lease_s=self._lease_s) as held,
            ):
                result, error = self._attempt(handler, task, held.lost)
                if error is None and not stop.is_set():
                    return patient(lambda: self._hand_in(task, result))
                return patient(lambda: self._report(task, result, error)).status is _COMPLETED, None
        except LostLeaseError:
            return False, None

    def _hand_in(self, task: Task, result: JsonObject) -> tuple[bool, Task | None]:
        try:
            claimed = self._board.complete_and_claim(
                self.agent_id,
                [(task, result)],
                capabilities=self._capabilities,
                task_types=self._types or self._handlers,
                lease_s=self._lease_s,
            )
        except UsageError as refused:  # too large, or no JSON
            self._board.fail(task, _describe(refused), retry=False)
            return False, None
        return True, claimed[0] if claimed else None

    def _attempt(
        self, handler: Handler, task: Task, lost: threading.Event
    ) -> tuple[JsonObject, Exception | None]:
        try:
            # A payload that was too large for the board is in a file, which may be damaged.
            loaded = replace(task, payload=self._board.load(task.payload))
            if isinstance(handler, Interruptible):
                return handler.work(loaded, lost) or {}, None
            return handler(loaded) or {}, None
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is the attempt's failure
            return {}, error

    def _may_come(self) -> bool:
        open_tasks = self._board.list_all(
            statuses=[TaskStatus.PENDING, TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS]
        )
        types = self._types or frozenset(self._handlers)
        return any(
            (not types or task.task_type in types) and self._capabilities.issuperset(task.requires)
            for task in open_tasks
        )

    def _wait_for_one(self, idle_s: float) -> Task | None:
        """A task, or else None once something happened on the board or the time ran out."""
        return self._board.claim_within(
            self.agent_id,
            wait_s=idle_s,
            capabilities=self._capabilities,
            task_types=self._types or self._handlers or None,
            lease_s=self._lease_s,
        )


class _Patience:
    """Does again what failed because the board was busy, until it goes or a stop has come too."""

    def __init__(self, stop: threading.Event, pause_s: float) -> None:
        self._stop = stop
        self._pause_s = pause_s

    def __call__(self, act: Callable[[], _T]) -> _T:
        while True:
            try:
                return act()
            except TransientError:
                if self._stop.wait(self._pause_s):
                    return act()


def _describe(error: Exception) -> str:
    text = str(error).strip()
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:_ERROR_CHARS]
