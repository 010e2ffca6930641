"""Many processes at once: on one board, and opening one that is not there yet."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from stigmergy.board import Task, TaskBoard
from stigmergy.board.store import Rule
from stigmergy.errors import StigmergyError, TransientError
from stigmergy.testing.faults.checker import Violation, check
from stigmergy.testing.faults.crew import Plan, gather
from stigmergy.testing.faults.forkserver import ForkServer
from stigmergy.testing.faults.ledger import Ledger
from stigmergy.testing.faults.table import Row, Setting
from stigmergy.testing.faults.workload import open_board

__all__ = ["crowd", "newcomers", "open_at_once", "take_all"]

_CROWDS: Final = {"files": 32, "postgres": 60}
_CROWD: Final = 100
_NEWCOMERS: Final = 20
_MOST_UNEVEN: Final = 3.0
"""Between equals, the busiest may have done so many times what the slowest did."""
_STARVED: Final = 10
"""Who got nothing while the others did so many times their share was not only late."""


# Many agents --------------------------------------------------------------------------------------


def crowd(setting: Setting) -> Row:
    """All begin at once and take tasks until each had some: no lock error, and nobody starves."""
    size = _CROWDS.get(setting.store, _CROWD)
    each = 10 if setting.short else 100
    plan = Plan(url=setting.url, folder=setting.folder, seed=setting.seed)
    with ForkServer() as server, open_board(plan.url) as board:
        members = [
            server.spawn(take_all, url=plan.url, name=f"m{number}", ledger=str(plan.ledger))
            for number in range(size)
        ]
        _await_all(board, size)
        with Ledger(plan.ledger, agent_id="poster") as book:
            _post(board, book, range(size * each))
            for more in range(1, _STARVED * each):
                if _work_off(board) == size:
                    break
                _post(board, book, range(size * (each + more - 1), size * (each + more)))
        _over(plan.ledger).touch()
        board.record("over")
        told: list[dict[str, Any]] = [child.wait(timeout_s=600).value for child in members]
    evidence = gather(plan)
    violations = check(evidence)
    violations += _troubles(told)
    shares = sorted(int(one["done"]) for one in told)
    # Of ten tasks each the shares are a matter of luck.
    is_uneven = shares[-1] > _MOST_UNEVEN * shares[0] and not setting.short
    if is_uneven or shares[0] == 0:
        violations.append(_violation("nobody starves", f"shares from {shares[0]} to {shares[-1]}"))
    worst = max(float(one["worst_s"]) for one in told)
    notes = f"worst claim {worst * 1000:.0f} ms; shares {shares[0]} to {shares[-1]}"
    return Row(injected=size, violations=violations, notes=notes)


def _await_all(board: TaskBoard, size: int) -> None:
    ready, seen = 0, 0
    deadline = time.monotonic() + 120.0
    while ready < size:
        events = board.events(after=seen)
        ready += sum(event.kind == "ready" for event in events)
        seen = events[-1].seq if events else seen
        if time.monotonic() > deadline:
            raise StigmergyError(f"{ready} of {size} processes opened the board in time")
        board.wait(after=seen, timeout_s=1.0)


def _post(board: TaskBoard, book: Ledger, numbers: range) -> None:
    names = [f"t{number}" for number in numbers]
    board.post_many(Task(task_type="work", task_id=name) for name in names)
    for name in names:
        book.write("posted", name)


def _work_off(board: TaskBoard) -> int:
    """Wait until all that was posted is done; how many have done some of it."""
    deadline = time.monotonic() + 600.0
    while not _is_over(board):
        if time.monotonic() > deadline:
            raise StigmergyError(f"the crowd did not end its work: {board.progress()}")
        board.wait(after=board.last_seq(), timeout_s=0.2)
    return len({task.claimed_by for task in board.list_all()})


def _over(ledger: Path) -> Path:
    """A file that tells the crowd that no more comes."""
    return ledger.with_name("over")


def take_all(*, url: str, name: str, ledger: str) -> dict[str, Any]:
    """One of the crowd: what it did, how long its worst claim took, what troubled it."""
    done, worst_s = 0, 0.0
    troubles: list[str] = []
    with Ledger(ledger, agent_id=name) as book, open_board(url) as board:
        board.record("ready", agent_id=name)
        while True:
            seen = board.last_seq()
            began = time.perf_counter()
            try:
                held = board.claim(name)
                worst_s = max(worst_s, time.perf_counter() - began)
                if held is not None:
                    book.write("claimed", held.task_id, held.fence)
                    result = {"by": name}
                    board.complete(held, result)
                    book.write("completed", held.task_id, held.fence, result=result)
                    done += 1
                    continue
                if _over(Path(ledger)).exists():
                    break
                board.wait(after=seen, timeout_s=5.0)
            except TransientError as error:
                troubles.append(str(error))
    return {"done": done, "worst_s": worst_s, "troubles": troubles}


def _is_over(board: TaskBoard) -> bool:
    progress = board.progress()
    return progress.total > 0 and progress.is_complete


def _troubles(told: list[dict[str, Any]]) -> Iterator[Violation]:
    for one in told:
        for trouble in one["troubles"]:
            yield _violation("no lock errors", trouble)


# Many that open it --------------------------------------------------------------------------------


def newcomers(setting: Setting) -> Row:
    """A board that is not there is opened by many at once: one makes it, all see the same."""
    rounds = 3 if setting.short else 100
    violations: list[Violation] = []
    with ForkServer() as server:
        for number in range(rounds):
            url = setting.another(f"board{number}")
            violations += _open_together(server, url, setting.folder / f"barrier{number}")
    return Row(injected=rounds * _NEWCOMERS, violations=violations, notes=f"{rounds} new boards")


def _open_together(server: ForkServer, url: str, barrier: Path) -> Iterator[Violation]:
    with barrier.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        children = [
            server.spawn(open_at_once, url=url, name=f"n{number}", barrier=str(barrier))
            for number in range(_NEWCOMERS)
        ]
    told: list[dict[str, Any]] = [child.wait().value for child in children]
    yield from _troubles(told)
    if (made := sum(int(one["made"]) for one in told)) != 1:
        yield _violation("one makes the board", f"{made} of {_NEWCOMERS} did")
    with open_board(url) as board:
        standing = {task.task_id for task in board.list_all()}
        numbers = [event.seq for event in board.events()]
    if standing != {f"n{number}" for number in range(_NEWCOMERS)}:
        yield _violation("all see one board", f"{len(standing)} of {_NEWCOMERS} posts are there")
    if numbers != sorted(set(numbers)):
        yield _violation("all see one board", f"events are numbered {numbers}")


def open_at_once(*, url: str, name: str, barrier: str) -> dict[str, Any]:
    """Open the board when the barrier falls, and post; whether it was this one that made it."""
    with _making_counted() as made:
        with Path(barrier).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        try:
            with open_board(url) as board:
                board.post(Task(task_type="work", task_id=name))
        except Exception as error:  # noqa: BLE001 - whatever it is, it may not happen
            return {"made": made["times"], "troubles": [f"{type(error).__name__}: {error}"]}
    return {"made": made["times"], "troubles": []}


@contextmanager
def _making_counted() -> Generator[Counter[str]]:
    """How often this process, which has but this to do, makes a board."""
    from stigmergy.board.stores.journal import Journal

    made = Counter[str]()
    with suppress(ImportError):
        _count_schemas(made)
    begin_anew, connect = Journal.begin_anew, sqlite3.connect

    def counted_begin(
        self: Journal, tasks: Iterable[Task], rules: Iterable[Rule], *, at: float
    ) -> None:
        made["times"] += self.generation == 0
        begin_anew(self, tasks, rules, at=at)

    class Connection(sqlite3.Connection):
        def executescript(self, script: str) -> sqlite3.Cursor:
            made["times"] += 1
            return super().executescript(script)

    def counted_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return connect(*arguments, factory=Connection, **options)

    Journal.begin_anew = counted_begin
    sqlite3.connect = counted_connect
    yield made


def _count_schemas(made: Counter[str]) -> None:
    from stigmergy.board.stores.postgres import migrations

    install = migrations.install_functions  # the last part of making a schema

    def counted_install(*arguments: Any, **options: Any) -> None:
        install(*arguments, **options)
        made["times"] += 1

    migrations.install_functions = counted_install


def _violation(rule: str, what: str) -> Violation:
    return Violation(rule=rule, harm="other", task_id="", what=f"{rule}: {what}")
