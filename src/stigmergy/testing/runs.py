"""Small real runs, for tests and benchmarks: items given as values, everything else is real.

ran = run_items(repository, [item("F01", "a.txt")], agent_command="...", gate="sh gate.sh")
assert ran.outcome.exit_code == 0
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stigmergy.board import Event, TaskBoard
from stigmergy.coding import preflight
from stigmergy.coding import run as coding_run
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.outcome import Outcome
from stigmergy.coding.preflight import Prepared, Source
from stigmergy.coding.rundir import RunDirectory, StateFolder
from stigmergy.config import load_settings
from stigmergy.monitor import RunView
from stigmergy.swarm import Stop

__all__ = ["Ran", "item", "prepare_items", "prepare_source", "resume_run", "run_items", "start_run"]

OnLine = Callable[[str], None]


@dataclass(slots=True)
class Ran:
    """A run that has ended, with all that it said."""

    repository: Path
    outcome: Outcome
    view: RunView
    lines: list[str] = field(default_factory=list[str])

    @property
    def directory(self) -> RunDirectory:
        """The run's files."""
        return StateFolder(self.repository).find(None)

    @property
    def report(self) -> dict[str, Any]:
        """The report that it left."""
        return json.loads(self.directory.report.read_bytes())

    @property
    def text(self) -> str:
        """Everything that a person who watched has read."""
        return "\n".join(self.lines)

    def events(self, kind: str | None = None) -> list[Event]:
        """The journal, or its events of one kind."""
        with TaskBoard(self.directory.board_url) as board:
            return [e for e in board.events(limit=2**31) if kind in (None, e.kind)]


def item(key: str, *files: str, description: str = "do it", **fields: object) -> dict[str, object]:
    """A feature as it stands in a features file."""
    return {"id": key, "description": description, "files": list(files), **fields}


def prepare_items(
    repository: Path, items: Iterable[dict[str, object]], **settings: object
) -> Prepared:
    """Check a run of these items, as `stig run --features` does."""
    with tempfile.TemporaryDirectory() as folder:
        features = Path(folder) / "FEATURES.json"
        features.write_text(json.dumps({"features": list(items)}, indent=2))
        return prepare_source(repository, Source(kind="features", text=str(features)), **settings)


def prepare_source(repository: Path, source: Source, **settings: object) -> Prepared:
    """Check a run of any source."""
    with Repository(repository) as opened:
        return preflight.prepare(
            opened, source, load_settings(**settings), environ=dict(os.environ), now=time.time()
        )


def run_items(
    repository: Path,
    items: Iterable[dict[str, object]],
    *,
    stop: Stop | None = None,
    on_line: OnLine | None = None,
    **settings: object,
) -> Ran:
    """Run these items to the end, or until `stop` is set.

    `on_line` is called in this thread with each line about the run, as a person would read it.
    """
    prepared = prepare_items(repository, items, **settings)
    return start_run(prepared, stop=stop, on_line=on_line)


def start_run(
    prepared: Prepared, *, stop: Stop | None = None, on_line: OnLine | None = None
) -> Ran:
    """Start what was prepared and see it to its end."""
    watcher = _Watcher(on_line)
    outcome = coding_run.start(prepared, stop=stop or Stop(), watch=watcher)
    return Ran(prepared.spec.repository, outcome, watcher.view, watcher.lines)


def resume_run(
    repository: Path,
    *,
    stop: Stop | None = None,
    on_line: OnLine | None = None,
    retry: bool = False,
) -> Ran:
    """Go on with the latest run of the repository."""
    watcher = _Watcher(on_line)
    state = StateFolder(repository)
    outcome = coding_run.resume(
        state, state.find(None), stop=stop or Stop(), watch=watcher, retry=retry
    )
    return Ran(repository, outcome, watcher.view, watcher.lines)


class _Watcher:
    def __init__(self, on_line: OnLine | None) -> None:
        self.view = RunView()
        self.lines: list[str] = []
        self._on_line = on_line

    def __call__(self, view: RunView, lines: Sequence[str]) -> None:
        self.view = view
        self.lines.extend(lines)
        for line in lines if self._on_line else ():
            assert self._on_line is not None
            self._on_line(line)
