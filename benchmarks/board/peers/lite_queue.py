"""litequeue: pop locks a message, done marks it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from litequeue import LiteQueue

from board.peers.peer import PAYLOAD, Shift, Work, drain

__all__ = ["LiteQueuePeer"]

_BATCH = 10_000


class LiteQueuePeer:
    durability: ClassVar = "SQLite WAL, synchronous=NORMAL: a power cut may lose the last commits"
    remark: ClassVar = "no lease: what a killed worker held stays locked; no result is stored"
    posts_many: ClassVar = True
    takes_many: ClassVar = False

    def __init__(self, place: str) -> None:
        self.file = str(Path(place) / "lite.db")

    @classmethod
    def why_not(cls) -> str | None:
        return None

    def setup(self) -> None:
        LiteQueue(self.file).close()

    def post(self, number: int, until: float) -> int:
        queue, text = LiteQueue(self.file), json.dumps(PAYLOAD)
        for count in range(number):
            if time.monotonic() > until:
                return count
            queue.put(text)
        return number

    def fill(self, number: int, until: float) -> int:
        queue, text = LiteQueue(self.file), json.dumps(PAYLOAD)
        for count in range(0, number, _BATCH):
            if time.monotonic() > until:
                return count
            with queue.transaction():
                for _ in range(min(_BATCH, number - count)):
                    queue.put(text)
        return number

    def work(self, shift: Shift) -> Work:
        queue = LiteQueue(self.file)

        def take() -> Sequence[Any]:
            message = queue.pop()
            return [] if message is None else [message]

        def finish(held: Sequence[Any]) -> None:
            queue.done(held[0].message_id)

        return drain(shift, take, finish, busy=(sqlite3.OperationalError,))
