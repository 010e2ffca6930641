"""What of a swarm's document stands where in `stig watch`. Pure: documents in, cells out.

Everything from a journal is outside data: it passes `clean`, and is never read as markup.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from stigmergy.board import JsonObject, TaskType
from stigmergy.cli.console import (
    amount,
    clean,
    clock_time,
    duration,
    first_line,
    money,
    plural,
    short_agent,
)

__all__ = [
    "AGENT_HEADINGS",
    "ITEM_HEADINGS",
    "MOST_ROWS",
    "TASK_HEADINGS",
    "Cell",
    "Row",
    "agent_rows",
    "alert_lines",
    "count_agents",
    "heading",
    "item_rows",
    "landing_lines",
    "metric_lines",
    "summary",
    "task_rows",
    "waiting_votes",
]

Cell = tuple[str, str]
"""Text and its style."""

MOST_ROWS: Final = 300
"""Rows that a table shows; `/` finds the others."""
AGENT_HEADINGS: Final = ("agent", "state", "task", "for", "tokens", "doing")
TASK_HEADINGS: Final = ("task", "type", "status", "stands", "what")
ITEM_HEADINGS: Final = ("item", "state", "back", "came to", "what")

_AGENT_ORDER: Final = ("stuck", "working", "waiting", "idle", "gone")
_AGENT_STYLE: Final[Mapping[str, str]] = {
    "stuck": "bold red",
    "working": "cyan",
    "waiting": "blue",
    "idle": "dim",
    "gone": "dim",
}
_STATUS_STYLE: Final[Mapping[str, str]] = {
    "claimed": "cyan",
    "in_progress": "cyan",
    "completed": "green",
    "failed": "bold red",
    "cancelled": "red",
}
_ITEM_STYLE: Final[Mapping[str, str]] = {
    "landed": "green",
    "failed": "bold red",
    "cancelled": "red",
    "fixing": "yellow",
    "coding": "cyan",
    "landing": "cyan",
    "queued": "blue",
}
_ITEM_ORDER: Final = (
    *("fixing", "coding", "landing", "queued", "failed", "waiting", "cancelled", "landed"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: what it stands for, and its cells."""

    key: str
    cells: tuple[Cell, ...]

    def has(self, text: str) -> bool:
        """Whether the text is in one of the cells, whatever its case."""
        wanted = text.casefold()
        return any(wanted in cell.casefold() for cell, _ in self.cells)


def _rows(document: JsonObject, table: str) -> list[JsonObject]:
    return list(cast("dict[str, JsonObject]", document.get(table) or {}).values())


def _text(row: JsonObject, name: str) -> str:
    value = row.get(name)
    return "" if value is None else clean(str(value))


def _at(row: JsonObject, name: str) -> float | None:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) else None


def _since(row: JsonObject, name: str, now: float) -> str:
    at = _at(row, name)
    return "" if at is None else duration(now - at)


# Tables ------------------------------------------------------------------------------------------


def agent_rows(document: JsonObject, now: float) -> list[Row]:
    """The agents: those that need a look first, then those at work, the longest at it first."""
    found = _rows(document, "agents")
    found.sort(key=lambda row: (_place(_AGENT_ORDER, row["state"]), _at(row, "since") or 0.0))
    return [_agent(row, now) for row in found]


def count_agents(document: JsonObject) -> int:
    """How many there are; a run's merge queue is none of them."""
    return sum(row.get("task_type") != TaskType.LAND for row in _rows(document, "agents"))


def _agent(row: JsonObject, now: float) -> Row:
    state = _text(row, "state")
    tokens = _at(row, "tokens")
    return Row(
        str(row["id"]),
        (
            (short_agent(str(row["id"])), "bold"),
            (state, _AGENT_STYLE.get(state, "")),
            (_text(row, "task_id"), ""),
            (_since(row, "since", now) if row.get("task_id") else "", ""),
            ("" if tokens is None else amount(tokens), ""),
            (first_line(_doing(row, now)), "dim"),
        ),
    )


def _doing(row: JsonObject, now: float) -> str:
    failure = cast("JsonObject | None", row.get("last_failure"))
    if row.get("task_id") or not failure:
        return str(row.get("doing") or "")
    return f"{failure['task_id']} failed {_since(failure, 'at', now)} ago: {failure['error']}"


def task_rows(document: JsonObject, now: float) -> list[Row]:
    """The tasks: what waits for a person, what is held, what failed, what waits, what is done."""
    found = _rows(document, "tasks")
    found.sort(key=_task_place)
    paused = set(cast("list[str]", document.get("paused") or []))
    return [_task(row, paused, now) for row in found]


def _task_place(row: JsonObject) -> tuple[int, float]:
    status = str(row["status"])
    finished = -(_at(row, "finished_at") or 0.0)
    posted = _at(row, "posted_at") or 0.0
    if row.get("waits_for_person"):
        return 0, posted
    if status in ("claimed", "in_progress"):
        return 1, _at(row, "claimed_at") or 0.0
    if status == "failed":
        return 2, finished
    return (3, posted) if status == "pending" else (4, finished)


def _task(row: JsonObject, paused: set[str], now: float) -> Row:
    status = _text(row, "status")
    stands, style = _stands(row, paused, now)
    return Row(
        str(row["id"]),
        (
            (_text(row, "id"), "bold"),
            (_text(row, "type"), ""),
            (status.replace("_", " "), _STATUS_STYLE.get(status, "")),
            (stands, style),
            (first_line(str(row.get("title") or "")), "dim"),
        ),
    )


def _stands(row: JsonObject, paused: set[str], now: float) -> Cell:
    match str(row["status"]):
        case "claimed" | "in_progress":
            held = _since(row, "claimed_at", now)
            attempt = int(row.get("attempts") or 0)
            again = f", attempt {attempt}" if attempt > 1 else ""
            return f"{short_agent(str(row.get('claimed_by') or '?'))}, {held}{again}", ""
        case "failed" | "cancelled":
            return first_line(str(row.get("error") or "")), "red"
        case "completed":
            return f"{_since(row, 'finished_at', now)} ago", "dim"
        case _ if row.get("waits_for_person"):
            return "you: a yes, x no", "bold black on cyan"
        case _ if row.get("waits"):
            return "waits for others", "dim"
        case _ if paused & {"*", str(row.get("type"))}:
            return "paused", "yellow"
        case _:
            return f"ready for {_since(row, 'posted_at', now)}", ""


def item_rows(document: JsonObject, now: float) -> list[Row]:
    """The work items of a run: those at work first, those that landed last."""
    found = _rows(document, "items")
    found.sort(key=lambda row: (_place(_ITEM_ORDER, row["state"]), -(_at(row, "landed_at") or 0.0)))
    asked = {_text(vote, "id").rpartition(".approval")[0] for vote in waiting_votes(document)}
    open_items = {_text(row, "key") for row in found if row.get("landed_at") is None}
    return [_item(row, asked, open_items, now) for row in found]


def _item(row: JsonObject, asked: set[str], open_items: set[str], now: float) -> Row:
    state, key = _text(row, "state"), _text(row, "key")
    came_to: Cell = (first_line(str(row.get("error") or "")), "red")
    if key in asked:
        came_to = ("you: a yes, x no", "bold black on cyan")
    elif row.get("landed_at") is not None:
        commit = _text(row, "commit")[:10] or "there already"
        came_to = (f"{commit}, {_since(row, 'landed_at', now)} ago", "")
    elif state == "waiting":
        needed = cast("list[object]", row.get("depends_on") or [])
        unmet = [str(name) for name in needed if str(name) in open_items]
        came_to = (clean(f"after {', '.join(unmet)}" if unmet else ""), "dim")
    returns = row.get("returns") or 0
    return Row(
        str(row["key"]),
        (
            (key, "bold"),
            (state, _ITEM_STYLE.get(state, "")),
            (str(returns) if returns else "", "yellow"),
            came_to,
            (first_line(str(row.get("title") or "")), "dim"),
        ),
    )


def _place(order: tuple[str, ...], name: object) -> int:
    return order.index(str(name)) if name in order else len(order)


def waiting_votes(document: JsonObject) -> list[JsonObject]:
    """What waits for a person, the longest waiting first."""
    votes = [row for row in _rows(document, "votes") if row.get("state") == "waiting"]
    tasks = cast("dict[str, JsonObject]", document.get("tasks") or {})
    # What waits for others itself cannot be decided yet.
    ready = [v for v in votes if tasks.get(str(v["id"]), {}).get("waits_for_person", True)]
    return sorted(ready, key=lambda row: _at(row, "asked_at") or 0.0)


# Lines -------------------------------------------------------------------------------------------


def heading(document: JsonObject, now: float) -> list[Cell]:
    """What is watched, its state and for how long."""
    run = cast("JsonObject", document.get("run") or {})
    state = _text(run, "state") or "idle"
    styles = {"paused": "bold black on cyan", "crashed": "bold red", "running": "green"}
    cells: list[Cell] = [
        (_text(run, "run_id") or "board", "bold"),
        (state.upper() if state == "paused" else state, styles.get(state, "bold")),
    ]
    if (began := _at(run, "started_at")) is not None:
        cells.append((duration((_at(run, "ended_at") or now) - began), ""))
    if run.get("target"):
        cells.append((f"onto {_text(run, 'target').removeprefix('refs/heads/')}", "dim"))
    if run.get("verdict"):
        cells.append((_text(run, "verdict"), ""))
    if run.get("label"):
        cells.append((_text(run, "label"), "black on yellow"))
    return cells


def summary(document: JsonObject) -> list[Cell]:
    """The figures that fit on one line; what is unknown is told so or left out."""
    figures = cast("dict[str, float | None]", document.get("metrics") or {})
    cells: list[Cell] = []
    if figures.get("items"):
        cells.append(
            (f"{amount(figures.get('items_landed'))}/{amount(figures['items'])} landed", "")
        )
    if failed := figures.get("items_failed"):
        cells.append((f"{plural(int(failed), 'item')} failed", "red"))
    for name, word, style in (
        ("tasks_for_person", "waiting for you", "bold black on cyan"),
        ("tasks_in_progress", "in progress", "cyan"),
        ("tasks_claimed", "claimed", "cyan"),
        ("tasks_pending", "pending", ""),
        ("tasks_failed", "tasks failed", "red"),
        ("tasks_completed", "completed", "green"),
    ):
        if figures.get(name):
            cells.append((f"{amount(figures[name])} {word}", style))
    if figures.get("calls"):
        prompt, completion = figures.get("tokens_prompt"), figures.get("tokens_completion")
        known = None if prompt is None or completion is None else prompt + completion
        cells.append((f"{amount(known)} tokens", ""))
        cells.append((f"cost {money(figures.get('cost_usd'))}", ""))
    return cells


def metric_lines(document: JsonObject) -> list[Cell]:
    """Every figure by its name; unknown ones are called so."""
    figures = cast("dict[str, float | None]", document.get("metrics") or {})
    return [
        (f"{name.replace('_', ' '):24} {_figure(value)}", "") for name, value in figures.items()
    ]


def _figure(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3f}"


def landing_lines(document: JsonObject) -> list[Cell]:
    """What landed, the latest last."""
    return [(_landing(row), "") for row in cast("list[JsonObject]", document.get("landings") or [])]


def _landing(row: JsonObject) -> str:
    landed = f"{clock_time(float(row['at']))} {_text(row, 'key')} as {_text(row, 'commit')[:10]}"
    return f"{landed} ({_gate_time(row)}, proof: {_text(row, 'proof') or 'unknown'})"


def _gate_time(row: JsonObject) -> str:
    gate_s = _at(row, "gate_s")
    return "no gate" if gate_s is None else f"gate {duration(gate_s)}"


def alert_lines(document: JsonObject) -> list[Cell]:
    """What is wrong, and what to do about it."""
    styles = {"critical": "bold red", "warning": "yellow"}
    lines: list[Cell] = []
    for row in _rows(document, "alerts"):
        style = styles.get(_text(row, "severity"), "")
        lines.append((f"{_text(row, 'subject')}: {_text(row, 'text')}", style))
        lines.append((f"  {_text(row, 'action')}", "dim"))
    return lines


Rows = Callable[[JsonObject, float], list[Row]]
