"""Tasks and events of a board in words. Outside data comes out clean."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

from rich.highlighter import JSONHighlighter
from rich.text import Text

from stigmergy.board import Event, JsonObject, Rules, Task, TaskStatus
from stigmergy.board.approvals import is_approval
from stigmergy.board.rules import ALL
from stigmergy.cli.console import clean, clean_lines, day_time, duration, first_line
from stigmergy.cli.wording import describe

__all__ = [
    "brief",
    "event_line",
    "event_to_json",
    "paused_by",
    "pretty",
    "standing",
    "status_text",
    "tell",
]

_STYLES: Final[Mapping[TaskStatus, str]] = {
    TaskStatus.PENDING: "",
    TaskStatus.CLAIMED: "cyan",
    TaskStatus.IN_PROGRESS: "cyan",
    TaskStatus.COMPLETED: "green",
    TaskStatus.FAILED: "bold red",
    TaskStatus.CANCELLED: "red",
}
_WORDS: Final[Mapping[str, Callable[[JsonObject], str]]] = {
    "started": lambda _: "at work",
    "removed": lambda _: "removed: its file was deleted by hand",
    "reported": lambda data: f"reports {json.dumps(data)}",
    "replaced": lambda _: "what it says was replaced by a later post",
    "paused": lambda data: f"paused: {_paused(data)} not taken",
    "resumed": lambda data: f"resumed: {_paused(data)} taken again",
    "prioritized": lambda data: (
        f"priority {data.get('priority', 'unknown')}, was {data.get('before', 'unknown')}"
    ),
    "limited": lambda data: f"limit {data.get('name', '')} set",
    "unlimited": lambda data: f"limit {data.get('name', '')} dropped",
    "scheduled": lambda data: f"schedule {data.get('name', '')} set",
    "unscheduled": lambda data: f"schedule {data.get('name', '')} dropped",
    "pruned": lambda data: f"pruned {data.get('tasks', 'unknown')} finished tasks",
    "edited": lambda data: f"edited by hand: {', '.join(map(str, data.get('changed', ())))}",
    "mended": lambda data: f"mended: {data.get('what', '')}",
}
_SAID: Final = 300
"""Characters of an event that has no words of its own."""


def status_text(status: TaskStatus) -> Text:
    """The status in its colour."""
    return Text(status.value.replace("_", " "), style=_STYLES[status])


def standing(task: Task, *, now: float, rules: Rules | None = None) -> str:
    """Where the task stands, in a few words: who holds it, what it waits for, how it ended.

    `rules` tell what is paused.
    """
    if (lease := task.lease) is not None:
        left = lease.deadline - now
        until = f"{duration(left)} left" if left > 0 else f"overdue {duration(-left)}"
        return clean(", ".join(filter(None, (lease.agent_id, _done(task), until))))
    match task.status:
        case TaskStatus.COMPLETED:
            return clean(f"{_ago(task.finished_at, now)} by {task.claimed_by or 'unknown'}")
        case TaskStatus.FAILED | TaskStatus.CANCELLED:
            return first_line(task.error or "") or _ago(task.finished_at, now)
        case _ if task.waiting_on:
            first, more = clean(task.waiting_on[0]), len(task.waiting_on) - 1
            return f"waits for {first}" + (f" and {more:,} more" if more else "")
        case _ if task.not_before > now:
            return f"in {duration(task.not_before - now)}"
        case _ if is_approval(task):
            return "waits for a person"
        case _ if rules is not None and (paused := paused_by(rules, task)):
            return paused
        case _:
            return f"ready for {duration(now - max(task.created_at, task.not_before))}"


def paused_by(rules: Rules, task: Task) -> str:
    """That it is not taken because of a pause, in words; empty where it is."""
    if not rules.pauses(task.task_type):
        return ""
    return "its type is paused" if task.task_type in rules.paused else "all is paused"


def brief(task: Task) -> str:
    """What the task is: its description, or else its payload."""
    said = first_line(task.description)
    return said or (clean(json.dumps(task.payload))[:160] if task.payload else "")


def pretty(value: JsonObject) -> Text:
    """JSON over several lines, coloured."""
    lines = clean_lines(json.dumps(value, indent=2, ensure_ascii=False))
    return JSONHighlighter()(Text("\n".join(lines)))


def tell(event: Event) -> list[str]:
    """The event in words, at least one line."""
    if said := describe(event):
        return said
    if words := _WORDS.get(event.kind):
        return [clean(words(event.data))]
    kind = clean(event.kind)
    return [f"{kind}: {clean(json.dumps(event.data))[:_SAID]}" if event.data else kind]


def event_line(event: Event, line: str, *, first: bool, name: str | None = None) -> Text:
    """A line of the journal for the terminal; those after the first are set under it."""
    who = clean(event.agent_id) or "board"
    task = clean(event.task_id) if name is None else name
    head = f"{day_time(event.at)} {task} {who}  " if task else f"{day_time(event.at)} {who}  "
    return Text.assemble((head if first else " " * len(head), "dim"), clean(line))


def event_to_json(event: Event) -> JsonObject:
    """The event as it stands in the journal."""
    return {
        "seq": event.seq,
        "at": event.at,
        "kind": event.kind,
        "task_id": event.task_id,
        "agent_id": event.agent_id,
        "data": event.data,
    }


def _paused(data: JsonObject) -> str:
    """`resize is`, or `all types are`."""
    task_type = data.get("task_type", "")
    return "all types are" if task_type == ALL else f"{task_type} is"


def _done(task: Task) -> str:
    """`3 of 10`, where the agent reports in these words."""
    match task.progress:
        case {"done": int() | float() as done, "total": int() | float() as total}:
            return f"{done:,} of {total:,}"
        case _:
            return ""


def _ago(at: float | None, now: float) -> str:
    return "at an unknown time" if at is None else f"{duration(now - at)} ago"
