"""pgmq through its Python client, which brings the extension's SQL: read, then delete."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

import psycopg
from pgmq import PGMQueue
from pgmq.install import install_pgmq_from_sql
from psycopg_pool import ConnectionPool

from board.peers.peer import PAYLOAD, Shift, Work, drain

__all__ = ["Pgmq"]

_QUEUE = "bench"
_BATCH = 1_000
_LEASE_S = 300


class Pgmq:
    durability: ClassVar = "PostgreSQL, synchronous_commit=on"
    remark: ClassVar = "a message is deleted when it is done; no result is stored, no fence"
    posts_many: ClassVar = True
    takes_many: ClassVar = True

    def __init__(self, place: str) -> None:
        self.url = place

    @classmethod
    def why_not(cls) -> str | None:
        return None

    def _open(self) -> Any:
        # A pool of ours, because the client does not read a socket's folder out of a URL.
        pool: Any = ConnectionPool(self.url, min_size=1, max_size=1, open=True)
        pool.wait()
        return PGMQueue(pool=pool, init_extension=False)

    def setup(self) -> None:
        with psycopg.connect(self.url) as connection:
            install_pgmq_from_sql(conn=connection)
        self._open().create_queue(_QUEUE)

    def post(self, number: int, until: float) -> int:
        queue = self._open()
        for count in range(number):
            if time.monotonic() > until:
                return count
            queue.send(_QUEUE, PAYLOAD)
        return number

    def fill(self, number: int, until: float) -> int:
        queue = self._open()
        for count in range(0, number, _BATCH):
            if time.monotonic() > until:
                return count
            queue.send_batch(_QUEUE, [PAYLOAD] * min(_BATCH, number - count))
        return number

    def work(self, shift: Shift) -> Work:
        queue = self._open()

        def take() -> Sequence[Any]:
            if shift.batch > 1:
                return queue.read_batch(_QUEUE, vt=_LEASE_S, batch_size=shift.batch) or []
            message = queue.read(_QUEUE, vt=_LEASE_S)
            return [] if message is None else [message]

        def finish(held: Sequence[Any]) -> None:
            if shift.batch > 1:
                queue.delete_batch(_QUEUE, [message.msg_id for message in held])
            else:
                queue.delete(_QUEUE, held[0].msg_id)

        return drain(shift, take, finish)
