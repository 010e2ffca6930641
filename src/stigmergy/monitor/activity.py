"""What happens to a task or a board, in a line for people. Pure.

What belongs to the items of a coding run `run.py` words; this is for all else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from stigmergy.board import Event
from stigmergy.monitor.reading import amount, first_line, text
from stigmergy.monitor.tasks import APPROVAL, TaskRow

__all__ = ["Line", "line_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Something that happened, for people. `text` holds outside data as it came."""

    seq: int
    at: float
    text: str
    task_id: str
    agent_id: str


def line_of(event: Event, row: TaskRow | None) -> str | None:
    """The line, if the event is worth one."""
    handler = _LINES.get(event.kind)
    return handler(event, row) if handler else None


def _completed(event: Event, row: TaskRow | None) -> str:
    if row is not None and row.task_type == APPROVAL:
        return f"{event.task_id} approved by {event.agent_id}{_why(event, 'reason')}"
    return f"{event.task_id} completed by {event.agent_id}"


def _failed(event: Event, row: TaskRow | None) -> str:
    if row is not None and row.task_type == APPROVAL and event.data.get("approved") is False:
        return f"{event.task_id} refused by {event.agent_id}{_why(event, 'reason')}"
    if text(event, "status") == "pending":
        attempt = int(amount(event, "attempt") or 0)
        return f"{event.task_id}: attempt {attempt} failed, tried again{_why(event, 'error')}"
    return f"{event.task_id} failed{_why(event, 'error')}"


def _expired(event: Event, _row: TaskRow | None) -> str:
    then = "tried again" if text(event, "status") == "pending" else "given up"
    return f"{event.task_id}: {event.agent_id} fell silent, {then}"


def _released(event: Event, _row: TaskRow | None) -> str:
    return f"{event.task_id} given back by {event.agent_id}{_why(event, 'reason')}"


def _of_task(words: str) -> Callable[[Event, TaskRow | None], str]:
    return lambda event, _: f"{event.task_id} {words}{_why(event, 'error')}"


def _prioritized(event: Event, _: TaskRow | None) -> str:
    return f"{event.task_id} has priority {text(event, 'priority')} now"


def _of_type(word: str) -> Callable[[Event, TaskRow | None], str]:
    def line(event: Event, _: TaskRow | None) -> str:
        kind = text(event, "task_type")
        return f"all tasks {word}" if kind == "*" else f"tasks of type {kind} {word}"

    return line


def _asked(event: Event, row: TaskRow | None) -> str | None:
    if row is None or not row.needs_person:
        return None
    return f"{event.task_id} waits for a person: {row.title or 'no title'}"


def _pruned(event: Event, _: TaskRow | None) -> str:
    return f"{text(event, 'tasks')} finished tasks dropped from the board"


def _acted(event: Event, _: TaskRow | None) -> str:
    return f"{event.task_id}: attempt ended by the monitor{_why(event, 'reason')}"


def _clock(event: Event, _: TaskRow | None) -> str:
    return f"the machine's clock was set by {text(event, 'by_s')} s"


def _why(event: Event, name: str) -> str:
    reason = first_line(text(event, name))
    return f": {reason}" if reason else ""


_LINES: Final[Mapping[str, Callable[[Event, TaskRow | None], str | None]]] = {
    "posted": _asked,
    "completed": _completed,
    "failed": _failed,
    "expired": _expired,
    "released": _released,
    "cancelled": _of_task("cancelled"),
    "retried": _of_task("begun anew"),
    "removed": _of_task("removed by hand"),
    "edited": _of_task("edited by hand"),
    "prioritized": _prioritized,
    "paused": _of_type("paused"),
    "resumed": _of_type("resumed"),
    "pruned": _pruned,
    "stuck_ended": _acted,
    "clock_set": _clock,
}
