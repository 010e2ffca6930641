"""`stig logs`: what the journal says of a run, of an agent, of an item or of one task."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from stigmergy.board import Event, TaskBoard
from stigmergy.cli.board.reach import Authority, Place, TokenFile, open_any
from stigmergy.cli.console import clean, day_time, short_agent
from stigmergy.cli.journal import Journal, is_held, open_board, read_journal, state_folder
from stigmergy.cli.standing import read_board
from stigmergy.cli.wording import describe
from stigmergy.coding.rundir import RunDirectory, StateFolder
from stigmergy.errors import NotFoundError, UsageError
from stigmergy.monitor import SwarmView
from stigmergy.swarm import Stop
from stigmergy.swarm.anyboard import AnyBoard

__all__ = ["logs"]

_IDLE_S: Final = 1.0
Picks = Callable[[Event], bool]


def logs(
    *,
    name: Annotated[
        str | None,
        typer.Argument(help="An agent, an item with all its tasks, or one task (`F07.fix1`)."),
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", help="The run; the latest if not given.")
    ] = None,
    board_url: Annotated[
        str | None,
        typer.Option("--board", metavar="URL", help="A board or a server, instead of a run."),
    ] = None,
    token_file: TokenFile = None,
    authority: Authority = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as it happens, until the run ends.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The journal's own events, one JSON object a line.")
    ] = False,
    repo: Annotated[Path, typer.Option("--repo", help="The repository.")] = Path(),
) -> None:
    """Read the journal: of the whole run, or all that an agent did, or that happened to an item.

    [bold]Examples[/bold]

      stig logs --follow

      stig logs agent-3 --follow

      stig logs F07

      stig logs worker-2 --board sqlite:///board.db --follow
    """
    if board_url is not None:
        _of_board(
            Place(board_url, token_file, authority), name, run=run, follow=follow, as_json=as_json
        )
        return
    state = state_folder(repo)
    directory = state.find(run)
    with open_board(directory) as board:
        journal = read_journal(state, directory, board)
        picks = None if name is None else _picker(name, journal, board)
        printer = _Printer(Console(highlight=False), picks, as_json=as_json)
        printer.label(journal.view.label)
        # The journal was folded whole; what is printed is told anew, event by event.
        telling = Journal(directory, journal.holder)
        for event in journal.events:
            printer.tell(event, telling.take(event))
        if follow:
            _follow(state, directory, board, telling, printer)


def _of_board(
    place: Place, name: str | None, *, run: str | None, follow: bool, as_json: bool
) -> None:
    """What the journal of any board says; followed, it goes on until it is interrupted."""
    if run is not None:
        raise UsageError("give --run or --board, not both")
    with open_any(place) as board:
        picks = None if name is None else _picker_of_board(name, board)
        printer = _Printer(Console(highlight=False), picks, as_json=as_json)
        view = SwarmView()
        while events := board.events(after=view.seq):
            for event in events:
                printer.tell(event, view.take([event]))
        if follow:
            for event in board.watch(after=view.seq, stop=Stop()):
                printer.tell(event, view.take([event]))


def _picker_of_board(name: str, board: AnyBoard) -> Picks:
    if board.get(name) is not None or board.history(name):
        return lambda event: event.task_id == name
    agents = read_board(board).agents.rows
    wanted = {agent for agent in agents if name in (agent, short_agent(agent))}
    if wanted:
        return _OfAgents(wanted)
    known = ", ".join(sorted(short_agent(agent) for agent in agents)[:20])
    raise NotFoundError(
        f"the board has no task or agent {name!r}; its agents are {clean(known) or 'none yet'}"
    )


def _follow(
    state: StateFolder,
    directory: RunDirectory,
    board: TaskBoard,
    journal: Journal,
    printer: _Printer,
) -> None:
    """Tell what comes, until the run has ended or nobody runs it any more."""
    while journal.view.ended_at is None:
        alive = is_held(directory, state.holder())
        board.wait(after=journal.view.seq, timeout_s=_IDLE_S)
        events = board.events(after=journal.view.seq)
        for event in events:
            printer.tell(event, journal.take(event))
        if not events and not alive:
            typer.echo("nobody runs this any more; `stig resume` goes on", err=True)
            return


def _picker(name: str, journal: Journal, board: TaskBoard) -> Picks:
    """What belongs to an agent, an item or a task of that name.

    Raises:
        NotFoundError: there is none.
    """
    if name in journal.view.items:
        return lambda event: _is_of_item(event, name)
    if board.get(name) is not None:
        return lambda event: event.task_id == name
    agents = {event.agent_id for event in journal.events if event.agent_id}
    wanted = {agent for agent in agents if name in (agent, short_agent(agent))}
    if wanted:
        return _OfAgents(wanted)
    known = sorted({short_agent(agent) for agent in agents} | journal.view.items.keys())
    raise NotFoundError(
        f"run {journal.directory.run_id} has no agent, item or task {name!r}; "
        f"it has {clean(', '.join(known[:20])) or 'none yet'}"
    )


class _OfAgents:
    """What agents did, in the journal's order; a model's call is of whoever holds its task."""

    def __init__(self, agents: AbstractSet[str]) -> None:
        self._agents = agents
        self._holders: dict[str, str] = {}

    def __call__(self, event: Event) -> bool:
        if event.kind == "claimed":
            self._holders[event.task_id] = event.agent_id
        if event.kind == "model_call":
            return self._holders.get(event.task_id) in self._agents
        return event.agent_id in self._agents


def _is_of_item(event: Event, key: str) -> bool:
    return event.task_id == key or event.task_id.startswith((f"{key}.land", f"{key}.fix"))


class _Printer:
    """Prints events in words or as JSON: those that are picked, or of the run as a whole."""

    def __init__(self, console: Console, picks: Picks | None, *, as_json: bool) -> None:
        self._console = console
        self._picks = picks
        self._as_json = as_json

    def label(self, label: str) -> None:
        """Say first what of the run is not live. JSON has it in the event `run_started`."""
        if label and not self._as_json:
            self._console.print(Text(clean(label), style="black on yellow"))

    def tell(self, event: Event, lines: Iterable[str]) -> None:
        """Print an event, if it is wanted; `lines` are what it means to the run."""
        if self._picks is not None and not self._picks(event):
            return
        if self._as_json:
            print(_as_json(event), flush=True)
            return
        said = [clean(line) for line in lines] if self._picks is None else describe(event)
        for number, line in enumerate(said):
            self._console.print(self._line(event, line, number), soft_wrap=True)

    def _line(self, event: Event, line: str, number: int) -> Text:
        at = day_time(event.at)
        if self._picks is None:
            return Text.assemble((at, "dim"), " ", line)
        who = short_agent(event.agent_id) or "board"
        head = f"{at} {clean(event.task_id)} {who}  "
        shown = head if number == 0 else " " * len(head)
        return Text.assemble((shown, "dim"), line)


def _as_json(event: Event) -> str:
    return json.dumps(
        {
            "seq": event.seq,
            "at": event.at,
            "kind": event.kind,
            "task_id": event.task_id,
            "agent_id": event.agent_id,
            "data": event.data,
        }
    )
