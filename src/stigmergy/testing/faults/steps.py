"""A death at every step of a transaction: before each statement, and in the middle of each write.

The store knows nothing of it: in the child that is to die, the functions that it calls of `os`
and `sqlite3` count their calls, and the one that was chosen is the last. One death for each step,
until the verb comes to its end: no step is left out.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from stigmergy.board import TaskBoard
from stigmergy.board.task import task_to_json
from stigmergy.errors import StigmergyError
from stigmergy.testing.faults.checker import Violation
from stigmergy.testing.faults.forkserver import ForkServer
from stigmergy.testing.faults.table import Row, Setting
from stigmergy.testing.faults.verbs import VERBS, open_at, prepare, tune

__all__ = ["Snapshot", "Steps", "seen", "snapshot", "steps"]

Snapshot = tuple[list[Any], list[Any]]

_MOST: Final = 2000
"""Steps of one verb; beyond it the counting itself is broken."""


def steps(setting: Setting) -> Row:
    """Every verb, every step, and the same while the store tidies up."""
    violations: list[Violation] = []
    deaths, verbs, befores, afters = 0, 0, 0, 0
    with ForkServer() as server:
        cases = [(name, tidying) for name in VERBS for tidying in (False, True)]
        for name, tidying in cases if not setting.short else _short(setting.store):
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


def _short(store: str) -> list[tuple[str, bool]]:
    if store == "postgres":  # a board is 0.2 s there: the paths that differ, once each
        return [("open", False), ("complete and claim", False), ("fail", False)]
    like_another = {"start", "renew", "fail and retry", "release all", "record"}
    return [*((name, False) for name in VERBS if name not in like_another), ("complete", True)]


def snapshot(board: TaskBoard) -> Snapshot:
    """All that a board says, to be compared."""
    tasks = [task_to_json(task) for task in board.list_all()]
    return tasks, [asdict(event) for event in board.events(limit=10**6)]


class _Case:
    """One verb on one store."""

    def __init__(self, setting: Setting, server: ForkServer, verb: str, *, tidying: bool) -> None:
        self._setting = setting
        self._server = server
        self._verb = verb
        self._tidying = tidying
        self._name = f"{verb}, tidying up" if tidying else verb
        self._slug = re.sub(r"\W+", "_", self._name)
        self.violations: list[Violation] = []
        self.deaths, self.befores, self.afters = 0, 0, 0

    def run(self) -> None:
        """A death at each step; then the verb is done again, as whoever called it would."""
        before, after = self._expected()
        for at in range(1, _MOST):
            if not self._die(self._ready(f"{at}"), before, after, at=at):
                return
        raise StigmergyError(f"{self._name}: more than {_MOST} steps")

    def _expected(self) -> tuple[Snapshot, Snapshot]:
        """What the board says before the verb and after it, when nobody dies."""
        url = self._ready("done")
        before: Snapshot = ([], [])
        if self._verb != "open":
            with open_at(url) as board:
                before = seen(board)
        self._server.call(act, url=url, verb=self._verb, at=0, tidy=self._tidying)
        with open_at(url) as board:
            return before, seen(board)

    def _ready(self, name: str) -> str:
        """The URL of a board on which the verb can be done: each time another, and the same."""
        url = self._setting.another(f"{self._slug}_{name}")
        if self._setting.server:
            self._server.call(prepare, url=url, verb=self._verb)
            return url
        template, place = self._setting.folder / self._slug, self._setting.folder / "place"
        board = Path(self._setting.url).name
        if not template.exists():
            template.mkdir()
            self._server.call(prepare, url=str(template / board), verb=self._verb)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(template, place)
        return str(place / board)

    def _die(self, url: str, before: Snapshot, after: Snapshot, *, at: int) -> bool:
        """False when the verb came to its end before that step."""
        with ExitStack() as open_boards:
            witness = None
            if self._verb != "open":
                witness = open_boards.enter_context(open_at(url))
                seen(witness)
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
            standing = seen(first)
            if seen(fresh) != standing or (witness and seen(witness) != standing):
                self._object(at, "two handles see different boards")
        if standing not in (before, after):
            self._object(at, "a part of the transaction stands")
        elif standing == before != after:
            self.befores += 1
            self._server.call(act, url=url, verb=self._verb, at=0, tidy=False)
            with open_at(url) as again:
                if seen(again) != after:
                    self._object(at, "done again, it came to something else")
        else:
            self.afters += 1

    def _object(self, at: int, what: str) -> None:
        where = f"{self._name}, step {at}"
        self.violations.append(
            Violation(rule="all or nothing", harm="other", task_id=where, what=what)
        )


def seen(board: TaskBoard) -> Snapshot:
    """What can be compared among boards: a server gives events numbers that it gave no other."""
    tasks, events = snapshot(board)
    numbers = [event["seq"] for event in events]
    places = {number: place for place, number in enumerate(sorted(set(numbers)))}
    return tasks, [event | {"seq": places[event["seq"]]} for event in events]


# In the child -------------------------------------------------------------------------------------


def act(*, url: str, verb: str, at: int, tidy: bool) -> int:
    """Do the verb, and die at that step; how many steps it takes when it does not."""
    if tidy:
        tune(journal_bytes=0, log_pages=0)  # every transaction ends with it
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
        with suppress(ImportError):
            self._plant_in_psycopg()

    def _plant_in_psycopg(self) -> None:
        import psycopg

        for name in ("execute", "executemany"):
            setattr(psycopg.Cursor, name, self._answered(getattr(psycopg.Cursor, name)))

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

    def _answered(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Somebody else does it: one may die before it, or when only the answer is missing."""

        def call(*arguments: Any, **options: Any) -> Any:
            self._step()
            done = real(*arguments, **options)
            self._step()
            return done

        return call

    def _torn_write(self, real: Callable[..., int]) -> Callable[..., int]:
        def pwrite(fd: int, data: bytes, offset: int) -> int:
            self._step()
            if self._counting and self.taken + 1 == self._deadly:
                real(fd, bytes(data)[: len(data) // 2], offset)
            self._step()
            return real(fd, data, offset)

        return pwrite
