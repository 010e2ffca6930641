"""The agents of a board as its journal tells them: what each holds, does, and has used.

An agent that holds nothing writes nothing, so nobody can tell from a journal whether it still
lives: it is `idle`, whatever came of its latest task. It is `gone` when its lease ran out and
nothing was heard of it since, or its run has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from stigmergy.board import Event, TaskType
from stigmergy.monitor.attempts import Attempt
from stigmergy.monitor.reading import amount, text
from stigmergy.monitor.tasks import APPROVAL, TaskRow

__all__ = ["AgentBook", "AgentRow", "AgentState", "Failure"]

AgentState = Literal["idle", "working", "waiting", "stuck", "gone"]

_ERROR_CHARS: Final = 200
REMEMBERED: Final = 5000
"""Agents that hold nothing are forgotten beyond so many, the longest silent first."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt of an agent that failed."""

    at: float
    task_id: str
    error: str


@dataclass(slots=True)
class AgentRow:
    """One agent."""

    name: str
    held: dict[str, None] = field(default_factory=dict[str, None])
    """Its tasks, in the order in which it took them."""
    task_type: str = ""
    since: float = 0.0
    """Since when it has had its latest task, or none."""
    doing: str = ""
    waiting: bool = False
    """For a model's answer."""
    finished: int = 0
    failed: int = 0
    tokens: int | None = None
    cost_usd: float | None = None
    last_seen: float = 0.0
    last_failure: Failure | None = None
    """Its latest attempt that failed; None once it has completed another."""
    gone: bool = False
    expirations: int = 0
    """Leases of it that ran out, one after another."""
    stuck: bool = False
    """As the alerts have it."""
    lost: bool = False
    """The process of its run is gone."""

    @property
    def task_id(self) -> str | None:
        """What it works on; None while it holds nothing."""
        return next(reversed(self.held), None)

    @property
    def is_lander(self) -> bool:
        """It is a run's merge queue."""
        return self.task_type == TaskType.LAND

    @property
    def state(self) -> AgentState:
        """In one word."""
        if self.held and not self.lost:
            return "stuck" if self.stuck else "waiting" if self.waiting else "working"
        return "gone" if self.gone or self.lost else "idle"


class AgentBook:
    """Folds what agents do."""

    def __init__(self) -> None:
        self.rows: dict[str, AgentRow] = {}
        self.changed: set[str] = set()
        self.dropped: set[str] = set()
        self._holders: dict[str, str] = {}

    @property
    def busy(self) -> int:
        """Agents that hold a task, a run's merge queue aside."""
        return sum(bool(row.held) and not row.is_lander for row in self.rows.values())

    def take(self, event: Event, task: TaskRow | None, attempt: Attempt | None) -> None:
        """Go on by one event; `attempt` is the one that it belongs to."""
        if event.kind == "run_ended":
            self._end_all(event)
        handler = _HANDLERS.get(event.kind)
        if handler is None or (task is not None and task.task_type == APPROVAL):
            return  # who decides on an approval is a person
        name = event.agent_id or (attempt.agent_id if attempt else "")
        if event.kind in _ENDS:
            name = self._holders.get(event.task_id, name)
        if not name:
            return
        row = self.rows.get(name)
        if row is None:
            row = self.rows[name] = AgentRow(name, since=event.at)
            self.dropped.discard(name)
            self._forget_some()
        if event.kind != "expired" and event.kind not in _BY_OTHERS:
            row.last_seen, row.gone = event.at, False
        handler(self, row, event, task)
        self.changed.add(name)

    def hold(self, row: AgentRow, event: Event) -> None:
        """It has the task, and nobody else."""
        before = self._holders.get(event.task_id)
        if before is not None and before != row.name:
            self.drop(self.rows[before], event)
            self.changed.add(before)
        self._holders[event.task_id] = row.name
        row.held[event.task_id] = None

    def drop(self, row: AgentRow, event: Event) -> None:
        """It has the task no more."""
        self._holders.pop(event.task_id, None)
        if event.task_id not in row.held:
            return
        del row.held[event.task_id]
        if not row.held:
            row.since, row.doing, row.waiting = event.at, "", False

    def _end_all(self, event: Event) -> None:
        self._holders.clear()
        for row in self.rows.values():
            if row.held:
                row.held.clear()
                row.since, row.doing, row.waiting = event.at, "", False
            row.gone = True
            self.changed.add(row.name)

    def _forget_some(self) -> None:
        if len(self.rows) <= REMEMBERED + REMEMBERED // 10:
            return
        idle = sorted((row.last_seen, row.name) for row in self.rows.values() if not row.held)
        for _, name in idle[: len(self.rows) - REMEMBERED]:
            del self.rows[name]
            self.dropped.add(name)
            self.changed.discard(name)


def _claimed(book: AgentBook, row: AgentRow, event: Event, task: TaskRow | None) -> None:
    book.hold(row, event)
    row.task_type = task.task_type if task else ""
    row.since, row.waiting = event.at, False
    row.doing = "preparing" if row.task_type in (TaskType.CODE, TaskType.FIX) else ""


def _started(book: AgentBook, row: AgentRow, event: Event, task: TaskRow | None) -> None:
    pass


def _reported(_book: AgentBook, row: AgentRow, event: Event, _task: TaskRow | None) -> None:
    said = [f"{name} {value}" for name, value in event.data.items() if _is_plain(value)]
    row.doing = ", ".join(said)[:200] or row.doing


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _progress(_book: AgentBook, row: AgentRow, event: Event, _task: TaskRow | None) -> None:
    if event.task_id not in row.held:
        return
    row.waiting = False
    match event.data.get("kind"):
        case "tool":
            row.doing = f"{text(event, 'name')} {text(event, 'brief')}".strip()[:200]
        case "step":
            row.doing, row.waiting = "asks the model", True
        case "retry":
            row.doing, row.waiting = "asks the model again", True
        case "commit":
            row.doing = "commits"
        case _:
            row.doing = text(event, "brief")[:200] or row.doing


def _model_call(_book: AgentBook, row: AgentRow, event: Event, _task: TaskRow | None) -> None:
    prompt, completion = amount(event, "prompt_tokens"), amount(event, "completion_tokens")
    if prompt is not None or completion is not None:
        row.tokens = (row.tokens or 0) + int(prompt or 0) + int(completion or 0)
    if (cost := amount(event, "cost_usd")) is not None:
        row.cost_usd = (row.cost_usd or 0.0) + cost


def _completed(book: AgentBook, row: AgentRow, event: Event, _task: TaskRow | None) -> None:
    book.drop(row, event)
    row.finished += 1
    row.expirations = 0
    row.last_failure = None


def _failed(book: AgentBook, row: AgentRow, event: Event, _task: TaskRow | None) -> None:
    if event.task_id not in row.held:
        return  # it failed because of another task
    book.drop(row, event)
    row.failed += 1
    row.last_failure = Failure(event.at, event.task_id, text(event, "error")[:_ERROR_CHARS])


def _expired(book: AgentBook, row: AgentRow, event: Event, _task: TaskRow | None) -> None:
    book.drop(row, event)
    row.failed += 1
    row.expirations += 1
    row.gone = not row.held


def _taken_away(book: AgentBook, row: AgentRow, event: Event, task: TaskRow | None) -> None:
    if task is None or not task.is_held:
        book.drop(row, event)


def _dropped(book: AgentBook, row: AgentRow, event: Event, _task: TaskRow | None) -> None:
    book.drop(row, event)


_BY_OTHERS: Final = frozenset({"edited", "removed"})
_ENDS: Final = _BY_OTHERS | {"completed", "failed", "expired", "released", "cancelled"}
_Handler = Callable[[AgentBook, AgentRow, Event, TaskRow | None], None]
_HANDLERS: Final[Mapping[str, _Handler]] = {
    "claimed": _claimed,
    "started": _started,
    "reported": _reported,
    "progress": _progress,
    "model_call": _model_call,
    "completed": _completed,
    "failed": _failed,
    "expired": _expired,
    "released": _dropped,
    "cancelled": _dropped,
    "edited": _taken_away,
    "removed": _taken_away,
}
