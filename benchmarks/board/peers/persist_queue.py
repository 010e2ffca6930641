"""persist-queue's SQLiteAckQueue: get, then ack."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import persistqueue

from board.peers.peer import PAYLOAD, Shift, Work, drain

__all__ = ["PersistQueue"]


class PersistQueue:
    durability: ClassVar = "SQLite WAL, synchronous=FULL (SQLite's default)"
    remark: ClassVar = "made for one process; no result is stored"
    posts_many: ClassVar = False
    takes_many: ClassVar = False

    def __init__(self, place: str) -> None:
        self.place = place

    @classmethod
    def why_not(cls) -> str | None:
        return None

    def _open(self) -> Any:
        # Resuming hands out again what others hold: each worker would start by doing that.
        return persistqueue.SQLiteAckQueue(self.place, auto_commit=True, auto_resume=False)

    def setup(self) -> None:
        self._open().close()

    def post(self, number: int, until: float) -> int:
        queue = self._open()
        for count in range(number):
            if time.monotonic() > until:
                return count
            queue.put(PAYLOAD)
        return number

    def fill(self, number: int, until: float) -> int:
        return self.post(number, until)

    def work(self, shift: Shift) -> Work:
        queue = self._open()

        def take() -> Sequence[Any]:
            try:
                return [queue.get(block=False, raw=True)]
            except persistqueue.Empty:
                return []

        def finish(held: Sequence[Any]) -> None:
            queue.ack(id=held[0]["pqid"])

        return drain(shift, take, finish, busy=(sqlite3.OperationalError,))
