"""How a swarm stands, for the terminal and as JSON: alerts and figures, of a run or any board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stigmergy.cli.console import (
    amount,
    clean,
    clock_time,
    data,
    duration,
    first_line,
    money,
    plural,
    short_agent,
)
from stigmergy.monitor import AgentRow, SwarmView
from stigmergy.swarm.anyboard import BoardJournal

__all__ = ["alerts_table", "board_document", "board_page", "read_board"]

_PAGE: Final = 10_000
_AGENTS: Final = 20
_LINES: Final = 8
_ASKED: Final = 10
_COUNTS: Final = ("pending", "claimed", "in_progress", "completed", "failed", "cancelled")
_STYLES: Final = {"stuck": "bold red", "gone": "red", "working": "cyan"}


def read_board(board: BoardJournal) -> SwarmView:
    """The whole journal of a board, folded."""
    view = SwarmView()
    while batch := board.events(after=view.seq, limit=_PAGE):
        view.take(batch)
    return view


def alerts_table(view: SwarmView) -> Table | None:
    """The alerts that stand, the worst first; None if there are none."""
    if not view.alerts:
        return None
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("alert", no_wrap=True)
    table.add_column("what, and what to do", overflow="fold")
    for alert in sorted(view.alerts.values(), key=lambda a: (a.severity != "critical", a.since)):
        style = "bold red" if alert.severity == "critical" else "yellow"
        text = Text(f"{clean(alert.text)}\n", style=style)
        text.append(clean(alert.action), style="dim")
        table.add_row(Text(alert.kind.replace("_", " "), style=style), text)
    return table


def board_document(view: SwarmView, *, url: str, now: float) -> dict[str, object]:
    """A board as JSON values. What is not known is null."""
    whole = view.snapshot(now)
    parts = ("seq", "at", "run", "paused", "tasks_total", "metrics", "votes", "critical_path")
    return {
        "board": url,
        **{name: whole[name] for name in parts},
        "agents": list(whole["agents"].values()),
        "alerts": list(whole["alerts"].values()),
        "lines": [
            {"at": line["at"], "line": clean(line["text"])} for line in whole["activity"][-_LINES:]
        ],
    }


def board_page(view: SwarmView, *, url: str, now: float) -> RenderableType:
    """A board for the terminal."""
    view.tick(now)
    figures = view.metrics(now)
    parts: list[RenderableType] = [
        Text.assemble(
            *(("board ", "dim"), _state(view), "  ", (clean(url), "bold cyan")),
            overflow="ellipsis",
            no_wrap=True,
        ),
        Text(_tasks(view, figures)),
        Text(_models(figures)),
    ]
    if view.critical_path:
        path = " → ".join(clean(name) for name in view.critical_path[:_ASKED])
        rest = len(view.critical_path) - _ASKED
        more = f" … {rest} more" if rest > 0 else ""
        parts.append(Text(f"critical path: {path}{more}", overflow="ellipsis", no_wrap=True))
    for table in (alerts_table(view), _asked(view, now), _agents(view, now)):
        if table is not None:
            parts += [Text(), table]
    if view.activity:
        parts.append(Text())
    for line in list(view.activity)[-_LINES:]:
        words = Text.assemble((clock_time(line.at), "dim"), " ", clean(line.text))
        words.no_wrap, words.overflow = True, "ellipsis"
        parts.append(words)
    return Group(*parts)


def _state(view: SwarmView) -> Text:
    if not view.paused:
        return Text(view.state, style="green" if view.state == "running" else "")
    names = "all types" if "*" in view.paused else ", ".join(clean(n) for n in sorted(view.paused))
    return Text(f"{view.state}, paused: {names}", style="yellow")


def _tasks(view: SwarmView, figures: Mapping[str, float | None]) -> str:
    counts = [
        f"{amount(figures[f'tasks_{name}'])} {name.replace('_', ' ')}"
        for name in _COUNTS
        if figures[f"tasks_{name}"]
    ]
    waiting = figures["tasks_waiting"]
    text = ", ".join([plural(view.tasks.total, "task"), *counts])
    return f"{text} ({amount(waiting)} of the pending wait for others)" if waiting else text


def _models(figures: Mapping[str, float | None]) -> str:
    said = [
        plural(int(figures[name] or 0), noun)
        for name, noun in (("retries", "repeated attempt"), ("expired_leases", "lost lease"))
        if figures[name]
    ]
    if figures["calls"]:
        tokens = (figures["tokens_prompt"] or 0) + (figures["tokens_completion"] or 0)
        known = figures["tokens_prompt"] is not None
        said.append(f"{amount(figures['calls'])} calls of models")
        said.append(f"{amount(tokens if known else None)} tokens, {money(figures['cost_usd'])}")
    return ", ".join(said) or "no attempt had to be repeated"


def _asked(view: SwarmView, now: float) -> Table | None:
    if not view.tasks.for_person:
        return None
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("waits for a person", no_wrap=True)
    table.add_column("for", no_wrap=True)
    table.add_column("what", ratio=1)
    for name in sorted(view.tasks.for_person)[:_ASKED]:
        row = view.tasks.rows[name]
        waited = None if row.posted_at is None else now - row.posted_at
        table.add_row(
            data(name, "bold yellow"), duration(waited), Text(first_line(row.title), style="dim")
        )
    return table


def _agents(view: SwarmView, now: float) -> RenderableType | None:
    rows = sorted(view.agents.rows.values(), key=_by_interest)
    if not rows:
        return None
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("agent", "state", "task", "for", "done", "doing"):
        table.add_column(heading, no_wrap=heading != "doing")
    for row in rows[:_AGENTS]:
        table.add_row(
            data(short_agent(row.name)),
            Text(row.state, style=_STYLES.get(row.state, "dim")),
            data(row.task_id or "", "bold"),
            duration(now - row.since),
            str(row.finished),
            data(_doing(row, now)),
        )
    rest = len(rows) - _AGENTS
    return Group(table, Text(f"… and {rest} more", style="dim")) if rest > 0 else table


def _doing(row: AgentRow, now: float) -> str:
    if row.held or row.last_failure is None:
        return row.doing
    failure = row.last_failure
    return f"{failure.task_id} failed {duration(now - failure.at)} ago: {failure.error}"


def _by_interest(row: AgentRow) -> tuple[int, float, str]:
    order = ("stuck", "working", "waiting", "idle", "gone")
    return order.index(row.state), row.since, row.name
