"""A run as the commands that look at it find it: its journal folded, and whether it is alive.

Reads only. The lock is asked before the journal is read, so that a run which ends in between is
seen as ended, never as crashed.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stigmergy.board import Event, TaskBoard
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.rundir import RunDirectory, StateFolder, state_home
from stigmergy.errors import NotFoundError
from stigmergy.monitor import RunView, SwarmView

__all__ = [
    "Journal",
    "RunState",
    "is_held",
    "open_board",
    "read_journal",
    "state_folder",
    "state_line",
]

RunState = Literal["preparing", "running", "ended", "crashed", "not started"]


@dataclass(slots=True)
class Journal:
    """What one run's journal says."""

    directory: RunDirectory
    holder: str | None
    """Who holds the repository's lock, for this run or another."""
    swarm: SwarmView = field(default_factory=SwarmView)
    events: list[Event] = field(default_factory=list[Event])
    lines: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    @property
    def view(self) -> RunView:
        """The run itself."""
        return self.swarm.run

    @property
    def last_at(self) -> float | None:
        """When the latest event was written."""
        return self.events[-1].at if self.events else None

    @property
    def state(self) -> RunState:
        """Where the run stands."""
        held = is_held(self.directory, self.holder)
        if self.view.started_at is None:
            return "preparing" if held else "not started"
        if self.view.ended_at is not None:
            return "ended"
        return "running" if held else "crashed"

    def look(self, now: float) -> None:
        """Let the view know what time it is, and whether somebody runs the run."""
        self.swarm.crashed = self.state == "crashed"
        # Nothing has happened to a run since its process was gone.
        self.swarm.tick((self.last_at or now) if self.swarm.crashed else now)

    def take(self, event: Event) -> list[str]:
        """Go on by one event; the lines that it makes."""
        lines = self.swarm.take([event])
        self.events.append(event)
        self.lines += [(event.at, line) for line in lines]
        return lines


def state_folder(repo: Path) -> StateFolder:
    """The `.stigmergy/` of the repository that holds a path.

    Raises:
        UsageError: there is no repository.
    """
    with Repository(repo) as repository:
        return StateFolder(state_home(repository))


def is_held(directory: RunDirectory, holder: str | None) -> bool:
    """The lock's holder runs this run."""
    if holder is not None and directory.run_id in holder:
        return True
    return directory.holder() is not None


@contextmanager
def open_board(directory: RunDirectory) -> Generator[TaskBoard]:
    """The board of a run that was made before.

    Raises:
        NotFoundError: it has none, so it was given up before it began.
    """
    # Opening would make an empty one where there is none.
    if not (directory.path / "board.db").exists():
        raise NotFoundError(
            f"run {directory.run_id} has no board: it ended while it was prepared. Start anew "
            "with `stig run`"
        )
    with TaskBoard(directory.board_url) as board:
        yield board


def read_journal(state: StateFolder, directory: RunDirectory, board: TaskBoard) -> Journal:
    """The whole journal, and whether somebody is at work on the run."""
    journal = Journal(directory, directory.holder() or state.holder())
    journal.view.run_id = directory.run_id
    while batch := board.events(after=journal.view.seq):
        for event in batch:
            journal.take(event)
    return journal


def state_line(journal: Journal) -> str:
    """One sentence on where the run stands, with what the user can do."""
    view = journal.view
    match journal.state:
        case "preparing":
            return f"being prepared: {journal.holder}"
        case "not started":
            return "never started: what was wrong was said then; start anew with `stig run`"
        case "running":
            return f"running: {journal.holder}"
        case "crashed":
            return "crashed: its process is gone before the end; `stig resume` goes on"
        case "ended":
            return f"ended with exit code {view.exit_code}: {view.verdict}"
