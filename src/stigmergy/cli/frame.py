"""One frame of the live table: what of a run fits into so many columns and rows. Pure.

Every part has a known height, so that a frame never grows beyond the terminal: agents come
before old landings, and what is left out is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stigmergy.cli import figures
from stigmergy.cli.console import clean, data, duration, first_line, short_agent
from stigmergy.monitor import AgentRow, Landing, Return, RunView

__all__ = ["Room", "frame", "share_rows"]

_LANDINGS: Final = 5
_RETURNS: Final = 3
_FIXED: Final = 6
"""Two lines of heading, the progress bar, and a line each for gate, models and speed."""
_FACTS: Final = 3
"""Those of them that a very small terminal goes without."""
_GAPS: Final = 3
_LABEL_WIDTH: Final = 9
_WIDE: Final = 100
_ELASTIC: Final = {"doing": 3, "item": 2}
"""Columns that take what is left, or give way; their texts are cut."""
_STATE_STYLE: Final = {"coding": "cyan", "fixing": "yellow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Rows for each part that can shrink."""

    agents: int
    landings: int
    returns: int


def share_rows(rows: int, *, agents: int, landings: int, returns: int) -> Room:
    """Share rows out among parts that want so many: first agents, then landings, then returns.

    Two landings and one return keep their place beside many agents, if there are rows at all.
    """
    landings, returns = min(landings, _LANDINGS), min(returns, _RETURNS)
    kept = min(landings, 2) + min(returns, 1)
    given = max(0, min(agents, max(rows - kept, min(rows, 3))))
    rest = max(0, rows - given)
    shown_landings = min(landings, max(rest - min(returns, 1), 0))
    shown_returns = min(returns, rest - shown_landings)
    return Room(agents=given, landings=shown_landings, returns=shown_returns)


def frame(view: RunView, *, now: float, width: int, height: int) -> RenderableType:
    """The run as it stands, in at most `height` rows of `width` columns."""
    busy = figures.agents_at_work(view)
    idle = figures.idle_agents(view)
    fixed = _FIXED + bool(view.label) + len(figures.calls_for_you(view))
    spaced = height >= fixed + _GAPS + 8
    room = share_rows(
        height - fixed - (_GAPS if spaced else 0),
        agents=1 + len(busy) + bool(idle) if busy else 1,
        landings=len(view.landings),
        returns=len(view.returns),
    )
    gap = [Text()] if spaced else []
    parts: list[RenderableType] = [*_heading(view, now), _progress(view, width), *gap]
    if room.agents:
        parts.append(_agents(view, busy, idle, now=now, width=width, rows=room.agents))
    parts += gap
    if height > fixed - _FACTS:
        parts.append(_facts(view, now, rows=height - (fixed - _FACTS)))
    if room.landings or room.returns:
        parts += [*gap, _history(view, room, now)]
    return Group(*parts[:height])


def _heading(view: RunView, now: float) -> list[RenderableType]:
    since = view.started_at
    elapsed = "" if since is None else duration((view.ended_at or now) - since)
    first = _grid(ratios=(1, None))
    name = Text.assemble(("stigmergy ", "bold"), (clean(view.run_id), "bold cyan"))
    first.add_row(_cut(name), Text(elapsed, style="bold"))
    where = Text.assemble(("onto ", "dim"), figures.target(view), ("   sandbox ", "dim"))
    risky = bool(figures.open_protection(view))
    where.append(figures.protection(view), style="yellow" if risky else "green")
    rows: list[RenderableType] = [first, _cut(where)]
    if view.label:
        rows.append(data(view.label, "black on yellow"))
    rows += [data(line, "bold black on cyan") for line in figures.calls_for_you(view)]
    return rows


def _progress(view: RunView, width: int) -> RenderableType:
    text = data(figures.counts(view))
    bar_width = max(8, min(40, width - text.cell_len - 2))
    bar = ProgressBar(
        total=max(1, len(view.items)),
        completed=view.landed,
        width=bar_width,
        complete_style="red" if view.failed else "green",
        finished_style="green",
    )
    row = _grid(ratios=(None, 1))
    row.add_row(bar, text)
    return row


def _agents(
    view: RunView,
    busy: Sequence[AgentRow],
    idle: int,
    *,
    now: float,
    width: int,
    rows: int,
) -> RenderableType:
    if not busy:
        return _cut(Text(f"{idle} agents, all idle" if idle else "no agents yet", style="dim"))
    shown = busy if len(busy) + 1 + bool(idle) <= rows else busy[: max(0, rows - 2)]
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    wide = width >= _WIDE
    for name in ("agent", "task", "state", *(["item"] if wide else []), "doing", "for"):
        table.add_column(
            name,
            no_wrap=name not in _ELASTIC,
            overflow="ellipsis",
            ratio=_ELASTIC.get(name),
            justify="right" if name == "for" else "left",
        )
    table.add_row(*(Text(str(column.header), style="dim") for column in table.columns))
    for agent in shown:
        table.add_row(*_agent_row(view, agent, now=now, wide=wide))
    rest = _rest(len(busy) - len(shown), idle)
    return Group(table, _cut(Text(rest, style="dim"))) if rest else table


def _agent_row(view: RunView, agent: AgentRow, *, now: float, wide: bool) -> Iterable[Text]:
    task_id = agent.task_id or ""
    state = "fixing" if ".fix" in task_id else "coding"
    yield data(short_agent(agent.name))
    yield data(task_id, "bold")
    yield Text(state, style=_STATE_STYLE[state])
    if wide:
        item = view.items.get(task_id.partition(".fix")[0])
        yield data(first_line(item.description if item else ""), "dim")
    yield data(agent.doing)
    yield Text(duration(now - agent.since), style="dim")


def _rest(hidden: int, idle: int) -> str:
    parts = [f"{hidden} more at work"] if hidden else []
    parts += [f"{idle} idle"] if idle else []
    return f"… and {', '.join(parts)}" if parts else ""


def _facts(view: RunView, now: float, *, rows: int) -> RenderableType:
    models = [figures.calls(view)]
    if view.model_calls:
        models += [figures.cost(view), figures.tokens(view)]
    facts = [
        ("gate", _gate(view, now)),
        ("models", Text(" · ".join(models))),
        ("speed", Text(figures.rate(view, now))),
    ]
    table = _labelled()
    for label, text in facts[:rows]:
        table.add_row(label, _cut(text))
    return table


def _gate(view: RunView, now: float) -> Text:
    text = Text()
    if view.target_green is False:
        text.append("the target is RED · ", style="bold red")
    if view.gating:
        names = ", ".join(name.removesuffix(".land") for name in view.gating)
        text.append(f"{clean(names)} for {duration(now - view.gate_since)}", style="cyan")
        text.append(" · ")
    text.append(figures.gate(view))
    return text


def _history(view: RunView, room: Room, now: float) -> RenderableType:
    table = _labelled()
    label = "landed"
    for landing in reversed(view.landings[-room.landings :] if room.landings else []):
        table.add_row(label, _landing(landing, now))
        label = ""
    label = "returned"
    for back in reversed(view.returns[-room.returns :] if room.returns else []):
        table.add_row(label, _return(back))
        label = ""
    return table


def _landing(landing: Landing, now: float) -> Text:
    text = Text.assemble(
        (clean(landing.key), "bold green"), " as ", (clean(landing.commit)[:10], "cyan")
    )
    if landing.batch_size > 1:
        text.append(f", in a batch of {landing.batch_size}")
    text.append(f", {duration(now - landing.at)} ago", style="dim")
    return _cut(text)


def _return(back: Return) -> Text:
    text = Text.assemble((clean(back.key), "bold yellow"), f" {clean(back.kind)}")
    mending = f", {clean(back.fix)} mends it" if back.fix else ", given up"
    text.append(mending, style="" if back.fix else "red")
    text.append(f": {first_line(back.detail)}", style="dim")
    return _cut(text)


def _labelled() -> Table:
    table = _grid(ratios=(None, 1))
    table.columns[0].width = _LABEL_WIDTH
    table.columns[0].style = "dim"
    return table


def _grid(*, ratios: Sequence[int | None]) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0), expand=True)
    for ratio in ratios:
        table.add_column(ratio=ratio, no_wrap=True, overflow="ellipsis")
    return table


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
