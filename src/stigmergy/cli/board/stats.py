"""`stig board stats`: the board in figures. What is not known is called unknown."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from stigmergy.board import Event, TaskBoard, TaskStatus
from stigmergy.cli.board.place import AsJson, BoardUrl, open_board
from stigmergy.cli.board.tail import events_since
from stigmergy.cli.console import amount, data, duration, plural

__all__ = ["stats"]

_SPANS_S: Final = {"minute": 60.0, "hour": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a board holds and does. None is unknown."""

    by_type: Mapping[str, Mapping[TaskStatus, int]]
    oldest_ready_s: float | None
    """How long the task waits that could be claimed the longest; None if none can."""
    held: int
    overdue: int
    throughput: Mapping[str, Mapping[str, int] | None]
    """Of the last minute and hour; None where the journal does not go back so far."""


def stats(*, as_json: AsJson = False, board: BoardUrl = None) -> None:
    """Show the board in figures: tasks by type and status, leases, throughput.

    Throughput is counted in the journal. Unknown means that the journal has
    been pruned since, and is not the same as 0.

    [bold]Example[/bold]

      stig board stats --json
    """
    with open_board(board) as opened:
        now = time.time()
        figures = _measure(opened, now=now)
    if as_json:
        print(json.dumps(_document(figures), indent=2))
    else:
        Console(highlight=False).print(_page(figures))


def _measure(board: TaskBoard, *, now: float) -> Figures:
    by_type: dict[str, Counter[TaskStatus]] = {}
    oldest: float | None = None
    held = overdue = 0
    for task in board.list_all():
        by_type.setdefault(task.task_type, Counter())[task.status] += 1
        if task.lease is not None:
            held += 1
            overdue += task.lease.deadline <= now
        elif task.status is TaskStatus.PENDING and not task.waiting_on and task.not_before <= now:
            since = max(task.created_at, task.not_before)
            oldest = since if oldest is None else min(oldest, since)
    return Figures(
        by_type=by_type,
        oldest_ready_s=None if oldest is None else max(now - oldest, 0.0),
        held=held,
        overdue=overdue,
        throughput=_throughput(board, now=now),
    )


def _throughput(board: TaskBoard, *, now: float) -> dict[str, Mapping[str, int] | None]:
    first = board.events(after=0, limit=1)
    # What was pruned cannot be counted; a journal that begins with the board lacks nothing.
    known_from = first[0].at if first and first[0].seq > 1 else 0.0
    recent = list(events_since(board, now - max(_SPANS_S.values())))
    return {
        name: _count(event for event in recent if event.at >= now - span)
        if known_from <= now - span
        else None
        for name, span in _SPANS_S.items()
    }


def _count(events: Iterable[Event]) -> dict[str, int]:
    counted: dict[str, int] = dict.fromkeys(
        ("posted", "claimed", "completed", "failed", "tried_again"), 0
    )
    for event in events:
        match event.kind:
            case "posted" | "claimed" | "completed":
                counted[event.kind] += 1
            case "failed" | "expired":
                again = event.data.get("status") == TaskStatus.PENDING
                counted["tried_again" if again else "failed"] += 1
            case _:
                pass
    return counted


def _document(figures: Figures) -> dict[str, object]:
    return {
        "by_status": {str(status): _of_status(figures, status) for status in TaskStatus},
        "by_type": {
            kind: {str(status): number for status, number in counts.items()}
            for kind, counts in figures.by_type.items()
        },
        "oldest_ready_s": figures.oldest_ready_s,
        "held": figures.held,
        "overdue": figures.overdue,
        "throughput": dict(figures.throughput),
    }


def _of_status(figures: Figures, status: TaskStatus) -> int:
    return sum(counts.get(status, 0) for counts in figures.by_type.values())


def _page(figures: Figures) -> Group:
    if not figures.by_type:
        return Group(Text("no task"))
    parts: list[RenderableType] = [_tasks(figures), Text()]
    if figures.oldest_ready_s is None:
        parts.append(Text("no task is ready to be taken"))
    else:
        parts.append(Text(f"the oldest ready task waits for {duration(figures.oldest_ready_s)}"))
    late = f", {amount(figures.overdue)} overdue" if figures.overdue else ""
    style = "yellow" if figures.overdue else ""
    parts.append(Text(f"{plural(figures.held, 'task')} held by agents{late}", style=style))
    parts += [Text(), _rates(figures)]
    return Group(*parts)


def _tasks(figures: Figures) -> Table:
    present = [status for status in TaskStatus if _of_status(figures, status)]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("type", no_wrap=True)
    for heading in (*(status.value.replace("_", " ") for status in present), "all"):
        table.add_column(heading, justify="right")
    for kind, counts in sorted(figures.by_type.items()):
        cells = [amount(counts[status]) if status in counts else "" for status in present]
        table.add_row(data(kind), *cells, amount(sum(counts.values())))
    if len(figures.by_type) > 1:
        sums = [_of_status(figures, status) for status in present]
        table.add_row(Text("all", style="dim"), *map(amount, sums), amount(sum(sums)))
    return table


def _rates(figures: Figures) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("in the last", no_wrap=True)
    headings = list(_count(()))
    for heading in headings:
        table.add_column(heading.replace("_", " "), justify="right")
    for name, counts in figures.throughput.items():
        cells = ["unknown" if counts is None else amount(counts[word]) for word in headings]
        table.add_row(name, *cells)
    return table
