"""huey on SQLite: a task is deleted when it is taken, and its result is stored when it is done."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from huey import SqliteHuey

from board.peers.peer import PAYLOAD, RESULT, Shift, Work, drain

__all__ = ["HueySqlite"]

_BATCH = 10_000


class HueySqlite:
    durability: ClassVar = "SQLite WAL, fsync=True (synchronous=FULL)"
    remark: ClassVar = "a task whose worker is killed is lost: taking it deletes it"
    posts_many: ClassVar = False
    takes_many: ClassVar = False

    def __init__(self, place: str) -> None:
        self.huey: Any = SqliteHuey(filename=str(Path(place) / "huey.db"), fsync=True)
        self.task = self.huey.task()(_handle)

    @classmethod
    def why_not(cls) -> str | None:
        return None

    def setup(self) -> None:
        self.huey.storage.queue_size()

    def post(self, number: int, until: float) -> int:
        for count in range(number):
            if time.monotonic() > until:
                return count
            self.task(PAYLOAD)
        return number

    def fill(self, number: int, until: float) -> int:
        # It has no call for many: its own row, repeated.
        row = (self.huey.storage.name, self.huey.serialize_task(self.task.s(PAYLOAD)), 0)
        insert = "insert into task (queue, data, priority) values (?, ?, ?)"
        for count in range(0, number, _BATCH):
            if time.monotonic() > until:
                return count
            with self.huey.storage.db(commit=True) as cursor:
                cursor.executemany(insert, [row] * min(_BATCH, number - count))
        return number

    def work(self, shift: Shift) -> Work:
        def take() -> Sequence[Any]:
            task = self.huey.dequeue()
            return [] if task is None else [task]

        def finish(held: Sequence[Any]) -> None:
            self.huey.execute(held[0])

        return drain(shift, take, finish, busy=(sqlite3.OperationalError,))


def _handle(_: object) -> object:
    return RESULT
