"""`stig hive status`, `logs` and `strategies`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Final, cast

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from stigmergy.cli.console import clean
from stigmergy.cli.hive.folder import Hive, find_hive, hives_of, strategy_folders
from stigmergy.cli.hive.shared import Row, SharedUrl, row_of, shared_board
from stigmergy.cli.journal import Journal, open_board, read_journal
from stigmergy.cli.logs import logs as logs_of_run
from stigmergy.cli.status import status as status_of_run
from stigmergy.coding.hive_board import SharedBoard, hives_on
from stigmergy.coding.strategies.strategy import Found, find_strategies, load_strategy
from stigmergy.errors import NotFoundError

__all__ = ["logs", "status", "strategies"]

_LOOK_S: Final = 1.0
_STYLE: Final = {"running": "green", "crashed": "bold red", "preparing": "cyan"}
Repo = Annotated[Path, typer.Option("--repo", help="The repository.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def status(
    *,
    name: Annotated[
        str | None, typer.Argument(help="A hive, to see its items and agents; all hives.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on until no hive is at work.")
    ] = False,
    as_json: AsJson = False,
    board: SharedUrl = None,
    repo: Repo = Path(),
) -> None:
    """Show the hives of a repository: who is at work on what, and how far they are.

    With --board it shows those of all repositories that were put on that board.
    With --watch the picture follows them; where it is no terminal, or with --json,
    each change is a new picture.

    [bold]Examples[/bold]

      stig hive status --watch

      stig hive status csv-export

      stig hive status --json
    """
    with ExitStack() as stack:
        read = partial(_rows, repo, name)
        if board is not None:
            read = partial(_rows_on, stack.enter_context(shared_board(board)), name)
        if watch:
            _watch(read, as_json=as_json)
        elif as_json:
            print(json.dumps({"hives": read()}, indent=2))
        elif name is None or board is not None:
            Console().print(_page(read()), crop=False)
        else:
            status_of_run(run=find_hive(hives_of(repo), name).directory.run_id, repo=repo)


def logs(
    *,
    name: Annotated[str | None, typer.Argument(help="The hive; the latest if not given.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only of this agent, item or task.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as it happens, until the hive ends.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The journal's own events, one JSON object a line.")
    ] = False,
    repo: Repo = Path(),
) -> None:
    """Read the journal of a hive.

    [bold]Example[/bold]

      stig hive logs csv-export --follow
    """
    hive = find_hive(hives_of(repo), name)
    logs_of_run(name=agent, run=hive.directory.run_id, follow=follow, as_json=as_json, repo=repo)


def strategies(
    *,
    name: Annotated[
        str | None, typer.Argument(help="A strategy or a FILE.toml, to see it whole.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the strategies, or show one with its prompts.

    Your own lie in the folder that is named at the end, a TOML file for each.

    [bold]Examples[/bold]

      stig hive strategies

      stig hive strategies testing
    """
    folders = strategy_folders()
    if name is not None:
        _show(load_strategy(name, folders=folders), as_json=as_json)
        return
    found = find_strategies(folders=folders)
    if as_json:
        print(json.dumps({"strategies": [_document(each) for each in found]}, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("strategy", "task types", "lands"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what it does")
    for each in found:
        strategy = each.strategy
        table.add_row(
            Text(strategy.name, style="bold cyan"),
            ", ".join(work.name for work in strategy.types),
            "yes" if strategy.lands else "no",
            Text(clean(strategy.summary)),
        )
    Console().print(table)
    Console().print(Text(f"Your own: {folders[0]}", style="dim"), soft_wrap=True)


def _rows(repo: Path, name: str | None) -> list[Row]:
    hives = hives_of(repo)
    chosen = hives if name is None else [find_hive(hives, name)]
    if not chosen:
        raise NotFoundError("no hive has been spawned here; start one with `stig hive spawn`")
    return [_row(hive) for hive in chosen]


def _rows_on(board: SharedBoard, name: str | None) -> list[Row]:
    rows = [row_of(task, now=time.time()) for task in hives_on(board)]
    chosen = rows if name is None else [row for row in rows if row["name"] == name]
    if not chosen:
        raise NotFoundError(
            f"no hive {name!r} was put on that board" if name else "no hive was put on that board"
        )
    return chosen


def _row(hive: Hive) -> Row:
    journal = Journal(hive.directory, hive.directory.holder() or hive.state.holder())
    try:
        with open_board(hive.directory) as board:
            journal = read_journal(hive.state, hive.directory, board)
    except NotFoundError:
        pass  # it has no board, so it never started: that is what the row says
    view, settings = journal.view, hive.run.settings
    report = hive.directory.findings
    working = [agent for agent in view.agents.values() if agent.state == "working"]
    return {
        "name": hive.spec.name,
        "run_id": hive.directory.run_id,
        "strategy": hive.spec.strategy.name,
        "state": journal.state,
        "objective": hive.run.source_text,
        "namespaces": list(settings.memory_namespace),
        "agents": view.agents_wanted or settings.agents,
        "parallel": settings.parallel,
        "working": len(working) if journal.state == "running" else 0,
        "items": len(view.items),
        "done": view.landed,
        "failed": view.failed,
        "started_at": view.started_at,
        "ended_at": view.ended_at,
        "exit_code": view.exit_code,
        "verdict": view.verdict or None,
        "label": view.label,
        "last": view.last,
        "report": str(report) if report.exists() else None,
    }


def _page(rows: list[Row]) -> RenderableType:
    return Group(*(line for row in rows for line in _lines(row)))


def _lines(row: Row) -> list[Text]:
    state = str(row["state"])
    failed = f", {row['failed']} failed" if row["failed"] else ""
    pace = "" if row["parallel"] else ", in turn"
    namespaces = ", ".join(cast("list[str]", row["namespaces"]))
    head = Text.assemble(
        (clean(str(row["name"])), "bold cyan"),
        f"  {clean(str(row['strategy']))}  ",
        (state, _STYLE.get(state, "")),
        f"  {_figure(row['done'])} of {_figure(row['items'])} items{failed}",
        f"  {_figure(row['working'])} of {_figure(row['agents'])} agents at work{pace}",
        (f"  memory: {clean(namespaces)}", "dim"),
        no_wrap=False,
    )
    if row.get("repository"):
        head.append(f"  in {clean(str(row['repository']))}", "dim")
    last = row["verdict"] or row["last"] or row["objective"]
    now = " ".join(str(text) for text in (row["label"], last) if text)
    told = [head, Text(f"  {clean(now)}", style="dim", overflow="ellipsis", no_wrap=True)]
    if row["report"]:
        # On one line however long, so that it can be copied.
        path = f"  report: {row['report']}"
        told.append(Text(path, style="dim", overflow="ignore", no_wrap=True))
    return told


def _figure(value: object) -> str:
    return "unknown" if value is None else clean(str(value))


def _watch(read: Callable[[], list[Row]], *, as_json: bool) -> None:
    """Show the rows until no hive is at work: in place on a terminal, else each change anew.

    Each hive has a board of its own, so there is no one journal to wait on.
    """
    rows = read()
    if sys.stdout.isatty() and not as_json:
        with Live(_page(rows), auto_refresh=False) as live:
            while _any_at_work(rows):
                time.sleep(_LOOK_S)
                rows = read()
                live.update(_page(rows), refresh=True)
        return
    _tell(rows, as_json=as_json)
    while _any_at_work(rows):
        time.sleep(_LOOK_S)
        before, rows = rows, read()
        if rows != before:
            _tell(rows, as_json=as_json)


def _tell(rows: list[Row], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"hives": rows}), flush=True)
    else:
        Console().print(_page(rows), crop=False)


def _any_at_work(rows: list[Row]) -> bool:
    return any(row["state"] in ("running", "preparing") for row in rows)


def _document(found: Found) -> Row:
    path = None if found.path is None else str(found.path)
    return {**found.strategy.model_dump(mode="json"), "path": path}


def _show(found: Found, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_document(found), indent=2))
        return
    strategy = found.strategy
    console = Console()
    console.print(Text.assemble((strategy.name, "bold cyan"), f": {clean(strategy.summary)}"))
    console.print(Text(f"from {found.path or 'the program'}", style="dim"), soft_wrap=True)
    if strategy.planner:
        console.print(Text("\nThe planner is told:", style="bold"), Markdown(strategy.planner))
    for each in strategy.types:
        leaves = "commits that land" if each.product == "commits" else "findings"
        console.print(
            Text.assemble("\n", (each.name, "bold"), f" leaves {leaves}: {clean(each.summary)}")
        )
        if each.may_change:
            console.print(Text(f"may change {', '.join(each.may_change)}", style="dim"))
        if each.prompt:
            console.print(Markdown(each.prompt))
