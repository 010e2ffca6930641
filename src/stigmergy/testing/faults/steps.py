"""A death at every step of a transaction: before each statement, and in the middle of each write.

The store knows nothing of it: in the child that is to die, the functions that it calls of `os`
and `sqlite3` count their calls, and the one that was chosen is the last. One death for each step,
until the verb comes to its end: no step is left out.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from stigmergy.board import TaskBoard
from stigmergy.board.task import task_to_json
from stigmergy.errors import StigmergyError
from stigmergy.testing.faults.checker import Violation
from stigmergy.testing.faults.forkserver import ForkServer
from stigmergy.testing.faults.table import Row, Setting
from stigmergy.testing.faults.verbs import VERBS, open_at, prepare

__all__ = ["Steps", "snapshot", "steps"]

Snapshot = tuple[list[Any], list[Any]]

_MOST: Final = 2000
"""Steps of one verb; beyond it the counting itself is broken."""


def steps(setting: Setting) -> Row:
    """Every verb, every step, and the same while the store tidies up."""
    violations: list[Violation] = []
    deaths, verbs, befores, afters = 0, 0, 0, 0
    with ForkServer() as server:
        cases = [(name, tidying) for name in VERBS for tidying in (False, True)]
        for name, tidying in cases:
            if setting.short and tidying and name != "complete":
                continue
            case = _Case(setting, server, name, tidying=tidying)
            case.run()
            violations += case.violations
            deaths += case.deaths
            befores += case.befores
            afters += case.afters
            verbs += 1
    if not befores or not afters:
        raise StigmergyError(f"{befores} deaths before a commit, {afters} after: proves nothing")
    notes = f"{verbs} verbs; {befores} deaths left nothing of the transaction, {afters} all of it"
    return Row(injected=deaths, violations=violations, notes=notes)


def snapshot(board: TaskBoard) -> Snapshot:
    """All that a board says, to be compared."""
    tasks = [task_to_json(task) for task in board.list_all()]
    return tasks, [asdict(event) for event in board.events(limit=10**6)]


class _Case:
    """One verb on one store."""

    def __init__(self, setting: Setting, server: ForkServer, verb: str, *, tidying: bool) -> None:
        self._server = server
        self._verb = verb
        self._tidying = tidying
        self._name = f"{verb}, tidying up" if tidying else verb
        self._home = setting.folder / self._name.replace(" ", "-").replace(",", "")
        self._board = Path(setting.url).name
        self.violations: list[Violation] = []
        self.deaths, self.befores, self.afters = 0, 0, 0

    def run(self) -> None:
        """A death at each step; then the verb is done again, as whoever called it would."""
        template, done = self._home / "template", self._home / "done"
        template.mkdir(parents=True)
        self._server.call(prepare, url=str(template / self._board), verb=self._verb)
        before = self._look(template)
        shutil.copytree(template, done, symlinks=True)
        self._server.call(
            act, url=str(done / self._board), verb=self._verb, at=0, tidy=self._tidying
        )
        after = self._look(done)
        for at in range(1, _MOST):
            place = self._home / f"{at}"
            shutil.copytree(template, place, symlinks=True)
            if not self._die(place, before, after, at=at):
                return
            shutil.rmtree(place)
        raise StigmergyError(f"{self._name}: more than {_MOST} steps")

    def _look(self, place: Path) -> Snapshot:
        if self._verb == "open" and place.name == "template":
            return [], []
        with open_at(place / self._board) as board:
            return snapshot(board)

    def _die(self, place: Path, before: Snapshot, after: Snapshot, *, at: int) -> bool:
        """False when the verb came to its end before that step."""
        url = str(place / self._board)
        with ExitStack() as open_boards:
            witness = None
            if self._verb != "open":
                witness = open_boards.enter_context(open_at(url))
                snapshot(witness)
            ending = self._server.spawn(
                act, url=url, verb=self._verb, at=at, tidy=self._tidying
            ).wait()
            if not ending.was_killed:
                return False
            self.deaths += 1
            try:
                self._judge(url, witness, before, after, at=at)
            except StigmergyError as error:
                self._object(at, f"the board is unusable: {error}")
        return True

    def _judge(
        self, url: str, witness: TaskBoard | None, before: Snapshot, after: Snapshot, *, at: int
    ) -> None:
        with open_at(url) as fresh:
            first = witness if witness and at % 2 else fresh  # whoever looks first finds the dead
            standing = snapshot(first)
            if snapshot(fresh) != standing or (witness and snapshot(witness) != standing):
                self._object(at, "two handles see different boards")
        if standing not in (before, after):
            self._object(at, "a part of the transaction stands")
        elif standing == before != after:
            self.befores += 1
            self._server.call(act, url=url, verb=self._verb, at=0, tidy=False)
            with open_at(url) as again:
                if snapshot(again) != after:
                    self._object(at, "done again, it came to something else")
        else:
            self.afters += 1

    def _object(self, at: int, what: str) -> None:
        self.violations.append(
            Violation(
                rule="all or nothing", harm="other", task_id=f"{self._name}, step {at}", what=what
            )
        )


# In the child -------------------------------------------------------------------------------------


def act(*, url: str, verb: str, at: int, tidy: bool) -> int:
    """Do the verb, and die at that step; how many steps it takes when it does not."""
    if tidy:
        _tidy_always()
    planted = Steps(deadly=at)
    planted.plant()
    if verb == "open":
        with planted.counted(), open_at(url):
            pass
        return planted.taken
    board = open_at(url)  # not closed: that is no part of the verb
    prepared = VERBS[verb].bind(board)
    with planted.counted():
        prepared()
    return planted.taken


def _tidy_always() -> None:
    """Every transaction ends with what a store does from time to time."""
    from stigmergy.board.stores import files, sqlite

    for module, name in ((files, "_JOURNAL_BYTES"), (sqlite, "_CHECKPOINT_PAGES")):
        if not hasattr(module, name):
            raise StigmergyError(f"{module.__name__} has no {name} any more")
        setattr(module, name, 0)


_CALLS: Final = (
    *("open", "close", "write", "fsync", "fdatasync", "ftruncate", "mkdir"),
    *("rename", "replace", "unlink", "link"),
)


class Steps:
    """Counts calls, and ends the process at the chosen one. Planted once, for good."""

    def __init__(self, *, deadly: int) -> None:
        self._deadly = deadly
        self._counting = False
        self.taken = 0

    def plant(self) -> None:
        """Put the counting into `os` and `sqlite3`."""
        for name in _CALLS:
            setattr(os, name, self._counted_call(getattr(os, name)))
        os.pwrite = self._torn_write(os.pwrite)
        connect = sqlite3.connect
        step, is_counting = self._step, self._is_counting

        class Connection(sqlite3.Connection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                step()
                return super().execute(*arguments)

            def executemany(self, *arguments: Any) -> sqlite3.Cursor:
                step()
                return super().executemany(*arguments)

            def executescript(self, script: str) -> sqlite3.Cursor:
                step()
                if is_counting():  # many statements in one call: die within them too
                    self.set_progress_handler(step, 500)
                try:
                    return super().executescript(script)
                finally:
                    self.set_progress_handler(None, 0)

        def deadly_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
            return connect(*arguments, factory=Connection, **options)

        sqlite3.connect = deadly_connect

    def counted(self) -> ExitStack:
        """Count while it is open."""
        self._counting = True
        stack = ExitStack()
        stack.callback(self._stop)
        return stack

    def _stop(self) -> None:
        self._counting = False

    def _is_counting(self) -> bool:
        return self._counting

    def _step(self) -> int:
        if self._counting:
            self.taken += 1
            if self.taken == self._deadly:
                os.kill(os.getpid(), signal.SIGKILL)
        return 0  # for SQLite: go on

    def _counted_call(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._step()
            return real(*arguments, **options)

        return call

    def _torn_write(self, real: Callable[..., int]) -> Callable[..., int]:
        def pwrite(fd: int, data: bytes, offset: int) -> int:
            self._step()
            if self._counting and self.taken + 1 == self._deadly:
                real(fd, bytes(data)[: len(data) // 2], offset)
            self._step()
            return real(fd, data, offset)

        return pwrite
