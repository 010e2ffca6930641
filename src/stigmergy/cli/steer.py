"""`stig steer`: a person's hand on a run, from another terminal than the one in which it runs.

Each command writes one wish onto the run's board, which the run follows at once if it is alive,
and when it is resumed if it is not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from stigmergy.board import Task, TaskBoard, TaskStatus, TaskType
from stigmergy.board.approvals import is_approval, waits_for_person
from stigmergy.board.rules import ALL
from stigmergy.board.task import MAX_PRIORITY, MIN_PRIORITY, task_to_json
from stigmergy.cli.board.deciding import By, table_of_waiting, who
from stigmergy.cli.board.place import AsJson
from stigmergy.cli.board.steering import each, say
from stigmergy.cli.console import clean, plural
from stigmergy.cli.journal import is_held, open_board, state_folder
from stigmergy.coding.asking import waiting_for
from stigmergy.coding.crew import MOST_AGENTS
from stigmergy.coding.rundir import RunDirectory
from stigmergy.coding.tasks import item_key
from stigmergy.errors import NotFoundError, UsageError

__all__ = ["lift_pause", "steer"]

steer: Final = typer.Typer(
    name="steer",
    help="Pause a run and let it go on, change its agents, approve what waits for you.",
    no_args_is_help=True,
    add_completion=False,  # `stig` has it for all
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Repo = Annotated[Path, typer.Option("--repo", help="The repository.")]
RunName = Annotated[
    str | None,
    typer.Option("--run", help="The run, or the beginning or end of its id; the latest one."),
]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="Approvals, or the items they are for.")
]
Every = Annotated[bool, typer.Option("--all", help="Whatever waits.")]
_DEAD: Final = (TaskStatus.FAILED, TaskStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class _Steered:
    """A run that has not ended, and its board."""

    directory: RunDirectory
    board: TaskBoard
    is_alive: bool

    @property
    def when(self) -> str:
        """When a wish will be followed, if that is not now."""
        return "" if self.is_alive else " (once you `stig resume` it: no process runs it now)"


@contextmanager
def _run(repo: Path, run: str | None) -> Generator[_Steered]:
    state = state_folder(repo)
    directory = state.find(run)
    if directory.report.exists():
        raise UsageError(f"run {directory.run_id} has ended: `stig report` shows it")
    with open_board(directory) as board:
        yield _Steered(directory, board, is_held(directory, state.holder()))


def lift_pause(directory: RunDirectory) -> bool:
    """Let a paused run go on; False if it is not paused."""
    with open_board(directory) as board:
        if ALL not in board.rules().paused:
            return False
        board.resume(None)
        return True


@steer.command()
def pause(*, run: RunName = None, repo: Repo = Path()) -> None:
    """Let agents finish what they hold and take nothing new. The run stays alive.

    It stays paused over a crash and `stig resume` as well, until `stig steer go`.

    [bold]Example[/bold]

      stig steer pause
    """
    with _run(repo, run) as steered:
        steered.board.pause(None)
        held = len(steered.board.list_all(statuses=[TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS]))
        goes_on = f"; {plural(held, 'task')} in hand will be finished" if held else ""
        typer.echo(f"paused {steered.directory.run_id}{goes_on}{steered.when}")


@steer.command()
def go(*, run: RunName = None, repo: Repo = Path()) -> None:
    """Let a paused run go on.

    [bold]Example[/bold]

      stig steer go
    """
    with _run(repo, run) as steered:
        was_paused = lift_pause(steered.directory)
        said = "goes on" if was_paused else "is not paused"
        typer.echo(f"{steered.directory.run_id} {said}{steered.when}")


@steer.command()
def agents(
    *,
    count: Annotated[
        int, typer.Argument(metavar="N", min=1, max=MOST_AGENTS, help="So many from now on.")
    ],
    by: By = None,
    run: RunName = None,
    repo: Repo = Path(),
) -> None:
    """Let more or fewer agents work. Those too many finish what they hold first.

    [bold]Example[/bold]

      stig steer agents 8
    """
    with _run(repo, run) as steered:
        steered.board.record("agents_wanted", data={"count": count, "by": who(by)})
        wanted = plural(count, "agent")
        typer.echo(f"{steered.directory.run_id} works with {wanted}{steered.when}")


@steer.command()
def waiting(*, as_json: AsJson = False, run: RunName = None, repo: Repo = Path()) -> None:
    """List what waits for you: plans and landings of a run with --approve.

    With --json, all that there is to judge by: for a landing the branch, the
    commits, the paths and the lines.

    [bold]Example[/bold]

      stig steer waiting
    """
    with _run(repo, run) as steered:
        found = _waiting(steered.board)
    if as_json:
        print(json.dumps({"tasks": [task_to_json(task) for task in found]}, indent=2))
        return
    console = Console(highlight=False)
    if not found:
        console.print("nothing waits for you")
        return
    console.print(table_of_waiting(found, now=time.time()))
    landings = [task for task in found if task.payload.get("commit")]
    if landings:
        first = landings[0].payload
        base, commit = str(first["base"])[:12], str(first["commit"])[:12]
        console.print(f"\nto look at one: git diff {base} {commit}", style="dim", markup=False)


@steer.command()
def approve(
    *,
    names: Names = None,
    every: Every = False,
    reason: Annotated[str, typer.Option(help="For the journal.")] = "",
    by: By = None,
    as_json: AsJson = False,
    run: RunName = None,
    repo: Repo = Path(),
) -> None:
    """Say yes to a plan or a landing that waits.

    [bold]Examples[/bold]

      stig steer approve F07

      stig steer approve --all
    """
    name = who(by)
    with _run(repo, run) as steered:
        board = steered.board
        done, failed = _decide(
            board, names, every, lambda one: board.approve(one, by=name, reason=reason)
        )
    say("approved", done, failed, keys=("approved", "errors"), as_json=as_json)


@steer.command()
def refuse(
    *,
    names: Names = None,
    every: Every = False,
    reason: Annotated[str, typer.Option(help="For the journal, and for a planner.")] = "",
    by: By = None,
    as_json: AsJson = False,
    run: RunName = None,
    repo: Repo = Path(),
) -> None:
    """Say no to a plan or a landing that waits: its items fail with the reason.

    [bold]Example[/bold]

      stig steer refuse F07 --reason 'this belongs into the parser'
    """
    name = who(by)
    with _run(repo, run) as steered:
        board = steered.board
        done, failed = _decide(
            board, names, every, lambda one: board.refuse(one, by=name, reason=reason)
        )
    say("refused", done, failed, keys=("refused", "errors"), as_json=as_json)


@steer.command()
def retry(
    *,
    items: Annotated[list[str], typer.Argument(metavar="ITEM...", help="Items that failed.")],
    as_json: AsJson = False,
    run: RunName = None,
    repo: Repo = Path(),
) -> None:
    """Begin failed or cancelled items anew, with those that failed because of them.

    [bold]Example[/bold]

      stig steer retry F07
    """
    with _run(repo, run) as steered:
        board = steered.board
        done, failed = each(items, lambda item: _retry(board, item))
    say("retried", done, failed, noun="item", as_json=as_json)


@steer.command()
def priority(
    *,
    number: Annotated[
        int,
        typer.Argument(
            metavar="N", min=MIN_PRIORITY, max=MAX_PRIORITY, help="1 is the most urgent."
        ),
    ],
    items: Annotated[list[str], typer.Argument(metavar="ITEM...", help="The items.")],
    as_json: AsJson = False,
    run: RunName = None,
    repo: Repo = Path(),
) -> None:
    """Let items be worked on and landed earlier or later.

    [bold]Example[/bold]

      stig steer priority 1 F07
    """
    with _run(repo, run) as steered:
        board = steered.board
        done, failed = each(items, lambda item: _prioritize(board, item, number))
    keys = ("prioritized", "refused")
    say(f"priority {number} for", done, failed, keys=keys, noun="item", as_json=as_json)


def _waiting(board: TaskBoard) -> list[Task]:
    pending = board.list_all(statuses=[TaskStatus.PENDING], task_types=[TaskType.APPROVAL])
    return [task for task in pending if waits_for_person(task)]


def _decide(
    board: TaskBoard,
    names: list[str] | None,
    every: bool,
    act: Callable[[str], object],
) -> tuple[list[str], dict[str, str]]:
    if bool(names) == every:
        raise UsageError("name what waits, as `stig steer waiting` lists it, or give --all")
    found = _waiting(board)
    if not names:
        return each((task.task_id for task in found), act)
    by_item = {waiting_for(task): task.task_id for task in found}
    return each(names, lambda name: act(by_item.get(name) or _approval(board, name)))


def _approval(board: TaskBoard, name: str) -> str:
    task = board.get(name)
    if task is None or not is_approval(task):
        raise UsageError(f"nothing waits for you at {clean(name)!r}: see `stig steer waiting`")
    return name


def _tasks_of(board: TaskBoard, item: str) -> list[Task]:
    tasks = [task for task in board.list_all() if item_key(task) == item]
    if not tasks:
        raise NotFoundError(f"the run has no item {clean(item)!r}")
    return tasks


def _retry(board: TaskBoard, item: str) -> None:
    """Begin anew what of the item failed by itself; the rest comes back with it."""
    dead = [task for task in _tasks_of(board, item) if task.status in _DEAD]
    if not dead:
        raise UsageError(f"item {clean(item)!r} has not failed: there is nothing to retry")
    roots = [task for task in dead if not (task.result or {}).get("dependency")]
    for task in roots or dead:
        current = board.get(task.task_id)
        if current is not None and current.status in _DEAD:
            board.retry(task.task_id)


def _prioritize(board: TaskBoard, item: str, number: int) -> None:
    unfinished = [task for task in _tasks_of(board, item) if not task.status.is_final]
    if not unfinished:
        raise UsageError(f"item {clean(item)!r} is finished")
    for task in unfinished:
        board.set_priority(task.task_id, number)
