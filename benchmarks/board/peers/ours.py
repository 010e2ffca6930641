"""Stigmergy's own board, on each of its stores, with the plain loop and with the fused one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from board.peers.peer import PAYLOAD, RESULT, Shift, Work, drain
from stigmergy.board import Task, TaskBoard
from stigmergy.errors import StigmergyError, UnsupportedError

__all__ = ["Files", "Ours", "Postgres", "PostgresFused", "Sqlite", "SqliteFused"]

_BATCH = 1_000


def tasks(number: int) -> list[Task]:
    """New tasks like those of the other systems."""
    return [Task(task_type="work", payload=PAYLOAD) for _ in range(number)]


class Ours:
    """Claim, then complete: two transactions a task."""

    posts_many: ClassVar = True
    takes_many: ClassVar = True
    remark: ClassVar = "leases, fences, retries, dependencies and a journal are on"

    def __init__(self, place: str) -> None:
        self.url = place

    @classmethod
    def why_not(cls) -> str | None:
        return None

    def open(self) -> TaskBoard:
        return TaskBoard(self.url)

    def setup(self) -> None:
        with self.open() as board:
            board.progress()

    def post(self, number: int, until: float) -> int:
        with self.open() as board:
            for count, task in enumerate(tasks(number)):
                if time.monotonic() > until:
                    return count
                board.post(task)
        return number

    def fill(self, number: int, until: float) -> int:
        with self.open() as board:
            for count in range(0, number, _BATCH):
                if time.monotonic() > until:
                    return count
                board.post_many(tasks(min(_BATCH, number - count)))
        return number

    def work(self, shift: Shift) -> Work:
        with self.open() as board:
            board.get("none")  # the connection is open

            def finish(held: Sequence[Task]) -> None:
                if shift.batch == 1:
                    board.complete(held[0], RESULT)
                else:
                    board.complete_many([(task, RESULT) for task in held])

            return drain(shift, lambda: board.claim_many(shift.name, shift.batch), finish)


class Fused(Ours):
    """Complete what is held and claim the next: one transaction a task."""

    remark: ClassVar = "as above; its claim times include the completion of the task before"

    def work(self, shift: Shift) -> Work:
        with self.open() as board:
            board.get("none")
            held: list[Task] = []

            def take() -> list[Task]:
                nonlocal held
                results = [(task, RESULT) for task in held]
                held = board.complete_and_claim(shift.name, results, shift.batch)
                return held

            work = drain(shift, take, lambda _: None)
            board.complete_many([(task, RESULT) for task in held])  # when the time was up
            return work


class _OnSqlite:
    durability: ClassVar = "SQLite WAL: each commit synced before anybody is told of it"

    def __init__(self, place: str) -> None:
        self.url = str(Path(place) / "board.db")


class Sqlite(_OnSqlite, Ours):
    pass


class SqliteFused(_OnSqlite, Fused):
    pass


class Files(Ours):
    durability: ClassVar = "journal, fdatasync at each commit"

    def __init__(self, place: str) -> None:
        self.url = str(Path(place) / "tasks")


class _OnPostgres:
    durability: ClassVar = "PostgreSQL, synchronous_commit=on"


class Postgres(_OnPostgres, Ours):
    @classmethod
    def why_not(cls) -> str | None:
        return _no_postgres()


class PostgresFused(_OnPostgres, Fused):
    @classmethod
    def why_not(cls) -> str | None:
        return _no_postgres()


def _no_postgres() -> str | None:
    try:
        TaskBoard("postgresql:///none?host=/nonexistent").close()
    except (ImportError, UnsupportedError) as error:
        return f"this version has no PostgreSQL store here ({error})"
    except StigmergyError:
        return None  # the store is there, that server is not
    return None
