"""`stig status`: where a run stands, and what each of its items waits for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from stigmergy.board import Task, TaskType
from stigmergy.board.approvals import waits_for_person
from stigmergy.cli import figures
from stigmergy.cli.board.reach import Authority, Place, TokenFile, open_any
from stigmergy.cli.console import (
    clean,
    clock_time,
    data,
    day_time,
    duration,
    first_line,
    short_agent,
)
from stigmergy.cli.journal import Journal, open_board, read_journal, state_folder, state_line
from stigmergy.cli.standing import alerts_table, board_document, board_page, read_board
from stigmergy.coding.rundir import RunDirectory, StateFolder
from stigmergy.coding.tasks import item_key
from stigmergy.errors import NotFoundError, UsageError
from stigmergy.monitor import ItemView
from stigmergy.monitor.documents import of_agent

__all__ = ["status", "waits_for"]

_LAST_LINES: Final = 8
_STATE_STYLE: Final = {
    "landed": "green",
    "failed": "bold red",
    "cancelled": "red",
    "fixing": "yellow",
    "coding": "cyan",
    "landing": "cyan",
}
_RUN_STYLE: Final = {"running": "green", "crashed": "bold red", "not started": "yellow"}


def status(
    *,
    run: Annotated[
        str | None,
        typer.Argument(help="The run, or the beginning or end of its id; the latest if not given."),
    ] = None,
    all_runs: Annotated[
        bool, typer.Option("--all", help="A line for each run of the repository.")
    ] = False,
    board_url: Annotated[
        str | None,
        typer.Option("--board", metavar="URL", help="A board or a server, instead of a run."),
    ] = None,
    token_file: TokenFile = None,
    authority: Authority = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    repo: Annotated[Path, typer.Option("--repo", help="The repository.")] = Path(),
) -> None:
    """Show where a run stands: who is at work, what has landed, what each item waits for.

    Works from another terminal while the run goes on, and for runs that ended
    or crashed. With --board, for any task board.

    [bold]Examples[/bold]

      stig status

      stig status 3fa2 --json

      stig status --all

      stig status --board sqlite:///board.db

      stig status --board http://127.0.0.1:8420 --token-file tokens
    """
    if board_url is not None:
        place = Place(board_url, token_file, authority)
        _show_board(run, place, all_runs=all_runs, as_json=as_json)
        return
    state = state_folder(repo)
    console = Console()
    if all_runs:
        _show_runs(state, console, as_json=as_json)
        return
    directory = state.find(run)
    with open_board(directory) as board:
        journal = read_journal(state, directory, board)
        waits = waits_for(journal, board.list_all(), now=time.time())
    if as_json:
        print(json.dumps(_document(journal, waits, now=time.time()), indent=2))
    else:
        console.print(_page(journal, waits, now=time.time()))


def _show_board(run: str | None, place: Place, *, all_runs: bool, as_json: bool) -> None:
    if run is not None or all_runs:
        raise UsageError("give a run or --board, not both")
    with open_any(place) as board:
        view, named, now = read_board(board), board.url, time.time()
    if as_json:
        print(json.dumps(board_document(view, url=named, now=now), indent=2))
    else:
        Console().print(board_page(view, url=named, now=now))


def waits_for(journal: Journal, tasks: Iterable[Task], *, now: float) -> dict[str, str]:
    """What each item waits for, in words; outside data in it is clean."""
    by_key: dict[str, list[Task]] = {}
    for task in tasks:
        by_key.setdefault(item_key(task), []).append(task)
    return {
        key: clean(_wait(item, by_key.get(key, []), now=now))
        for key, item in journal.view.items.items()
    }


def _wait(item: ItemView, tasks: list[Task], *, now: float) -> str:
    if item.state in ("landed", "failed", "cancelled"):
        return ""
    # Work comes before its landing, and of the works the latest counts.
    ordered = [t for t in tasks if t.task_type == TaskType.LAND]
    ordered += [t for t in tasks if t.task_type != TaskType.LAND]
    for task in reversed(ordered):
        if task.status.is_final:
            continue
        if waits_for_person(task):
            return "you: approve or refuse"  # the command stands above the table
        if task.lease is not None:
            holder = short_agent(task.lease.agent_id)
            return "the merge queue" if task.task_type == TaskType.LAND else holder
        if task.waiting_on:
            return ", ".join(name.removesuffix(".land") for name in task.waiting_on)
        if task.not_before > now:
            return f"another try in {duration(task.not_before - now)}"
        return "the merge queue" if task.task_type == TaskType.LAND else "a free agent"
    return ""


def _page(journal: Journal, waits: Mapping[str, str], *, now: float) -> RenderableType:
    view = journal.view
    until = view.ended_at or (now if journal.state == "running" else journal.last_at)
    parts: list[RenderableType] = [
        Text.assemble(("run ", "dim"), (clean(journal.directory.run_id), "bold cyan")),
        data(state_line(journal), _RUN_STYLE.get(journal.state, "bold")),
    ]
    if view.label:
        parts.append(data(view.label, "black on yellow"))
    if journal.state in ("running", "crashed"):
        parts += [data(line, "bold black on cyan") for line in figures.calls_for_you(view)]
    if view.started_at is None:
        return Group(*parts)
    after = duration(None if until is None else until - view.started_at)
    gate = figures.gate(view) if not view.facts.get("gate") else f"gate: {figures.gate(view)}"
    parts += [
        Text(f"onto {figures.target(view)}, sandbox: {figures.protection(view)}"),
        Text(f"{figures.counts(view)} after {after}; {gate}"),
        Text(),
    ]
    journal.look(now)
    if alerts := alerts_table(journal.swarm):
        parts += [alerts, Text()]
    parts.append(_items(journal, waits, now=now))
    if figures.agents_at_work(view):
        parts += [Text(), _agents(journal, now=now)]
    if journal.lines:
        parts += [Text(), *_last_lines(journal)]
    return Group(*parts)


def _items(journal: Journal, waits: Mapping[str, str], *, now: float) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("item", "state"):
        table.add_column(heading, no_wrap=True)
    table.add_column("back", justify="right", no_wrap=True)
    # Columns that may wrap are the ones that shrink; their texts are cut, not wrapped.
    table.add_column("waits for / came to", ratio=1)
    table.add_column("what", ratio=1)
    for item in journal.view.items.values():
        table.add_row(
            data(item.key, "bold"),
            Text(item.state, style=_STATE_STYLE.get(item.state, "")),
            str(item.returns) if item.returns else "",
            data(waits.get(item.key) or _came_to(item, now)),
            data(first_line(item.description), "dim"),
        )
    return table


def _came_to(item: ItemView, now: float) -> str:
    if item.error is not None:
        return first_line(item.error)
    if item.landed_at is None:
        return ""
    commit = item.commit[:10] if item.commit else "there already"
    return f"{commit}, {duration(now - item.landed_at)} ago"


def _agents(journal: Journal, *, now: float) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("agent", "task", "for", "doing"):
        table.add_column(heading, no_wrap=heading != "doing")
    gone = journal.state == "crashed"
    for agent in figures.agents_at_work(journal.view):
        table.add_row(
            data(short_agent(agent.name)),
            data(agent.task_id or "", "bold"),
            Text("gone" if gone else duration(now - agent.since)),
            data(agent.doing),
        )
    return table


def _last_lines(journal: Journal) -> list[Text]:
    return [
        Text.assemble((clock_time(at), "dim"), " ", clean(line), no_wrap=True, overflow="ellipsis")
        for at, line in journal.lines[-_LAST_LINES:]
    ]


def _document(journal: Journal, waits: Mapping[str, str], *, now: float) -> dict[str, object]:
    view = journal.view
    journal.look(now)
    return {
        "run_id": journal.directory.run_id,
        "state": journal.state,
        "holder": journal.holder,
        "label": view.label,
        "facts": view.facts,
        "started_at": view.started_at,
        "ended_at": view.ended_at,
        "exit_code": view.exit_code,
        "verdict": view.verdict or None,
        "items": [
            asdict(item) | {"waits_for": waits.get(item.key) or None}
            for item in view.items.values()
        ],
        "agents": [of_agent(agent) for agent in view.agents.values()],
        "alerts": [alert.document() for alert in journal.swarm.alerts.values()],
        "metrics": journal.swarm.metrics(now),
        "critical_path": list(journal.swarm.critical_path),
        "gating": list(view.gating),
        "target_green": view.target_green,
        "paused": sorted(view.paused),
        "agents_wanted": view.agents_wanted,
        "approvals": view.approvals,
        "lines": [{"at": at, "line": line} for at, line in journal.lines[-_LAST_LINES:]],
    }


def _show_runs(state: StateFolder, console: Console, *, as_json: bool) -> None:
    runs = state.runs()
    if not runs:
        raise NotFoundError(f"no run has been started in {state.path.parent}")
    rows = [_run_row(state, directory) for directory in runs]
    if as_json:
        print(json.dumps({"runs": rows}, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("run", "started", "state", "items", "verdict"):
        table.add_column(heading, no_wrap=heading != "verdict")
    for row in rows:
        started = row["started_at"]
        table.add_row(
            Text(str(row["run_id"]), style="bold cyan"),
            day_time(started) if isinstance(started, float) else "",
            Text(str(row["state"]), style=_RUN_STYLE.get(str(row["state"]), "")),
            f"{row['landed']}/{row['items']}",
            data(" ".join(str(text) for text in (row["label"], row["verdict"]) if text)),
        )
    console.print(table)


def _run_row(state: StateFolder, directory: RunDirectory) -> dict[str, object]:
    journal = Journal(directory, directory.holder() or state.holder())
    try:
        with open_board(directory) as board:
            journal = read_journal(state, directory, board)
    except NotFoundError:
        pass  # it has no board, so it never started: that is what the row says
    view = journal.view
    return {
        "run_id": directory.run_id,
        "state": journal.state,
        "label": view.label,
        "started_at": view.started_at,
        "ended_at": view.ended_at,
        "exit_code": view.exit_code,
        "items": len(view.items),
        "landed": view.landed,
        "verdict": view.verdict or None,
    }
