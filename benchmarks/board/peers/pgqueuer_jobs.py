"""pgqueuer with asyncpg: its calls one at a time, and its own worker, which takes ten at once."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.types import QueueExecutionMode
from pgqueuer.ports.repository import EntrypointExecutionParameter
from pgqueuer.queries import Queries

from board.peers.peer import PAYLOAD, Shift, Work, drain_async

__all__ = ["PgQueuerApi", "PgQueuerWorker"]

_KIND = "bench"
_BATCH = 1_000
_TEXT = json.dumps(PAYLOAD).encode()


@asynccontextmanager
async def _open(url: str) -> AsyncGenerator[Any]:
    connection: Any = await asyncpg.connect(url)
    try:
        yield Queries(AsyncpgDriver(connection))
    finally:
        await connection.close()


class PgQueuerApi:
    durability: ClassVar = "PostgreSQL, synchronous_commit=on"
    remark: ClassVar = "dequeue(batch_size=1), then log_jobs; no result is stored, no fence"
    posts_many: ClassVar = True
    takes_many: ClassVar = True

    def __init__(self, place: str) -> None:
        self.url = place

    @classmethod
    def why_not(cls) -> str | None:
        return None

    def setup(self) -> None:
        async def act() -> None:
            async with _open(self.url) as queries:
                await queries.install()

        asyncio.run(act())

    def post(self, number: int, until: float) -> int:
        return asyncio.run(self._post(number, until, batch=1))

    def fill(self, number: int, until: float) -> int:
        return asyncio.run(self._post(number, until, batch=_BATCH))

    async def _post(self, number: int, until: float, *, batch: int) -> int:
        async with _open(self.url) as queries:
            for count in range(0, number, batch):
                if time.monotonic() > until:
                    return count
                size = min(batch, number - count)
                await queries.enqueue([_KIND] * size, [_TEXT] * size, [0] * size)
        return number

    def work(self, shift: Shift) -> Work:
        return asyncio.run(self._work(shift))

    async def _work(self, shift: Shift) -> Work:
        worker = uuid.uuid4()
        kinds = {_KIND: EntrypointExecutionParameter(concurrency_limit=0)}
        async with _open(self.url) as queries:

            async def take() -> Sequence[Any]:
                return await queries.dequeue(
                    batch_size=shift.batch,
                    entrypoints=kinds,
                    queue_manager_id=worker,
                    global_concurrency_limit=None,
                    heartbeat_timeout=timedelta(seconds=300),
                )

            async def finish(held: Sequence[Any]) -> None:
                await queries.log_jobs([(job, "successful", None) for job in held])

            return await drain_async(shift, take, finish)


class PgQueuerWorker(PgQueuerApi):
    remark: ClassVar = "takes 10 at once and notes their ends later, together; no result, no fence"
    takes_many: ClassVar = False

    async def _work(self, shift: Shift) -> Work:
        work = Work()
        async with _open(self.url) as queries:
            manager = QueueManager(queries)
            dequeue = queries.dequeue

            async def timed_dequeue(*args: Any, **named: Any) -> Any:
                asked = time.monotonic()
                jobs = await dequeue(*args, **named)
                work.claims_s.append(time.monotonic() - asked)
                return jobs

            async def handle(_: object) -> None:
                work.done += 1
                work.ended = time.monotonic()
                if work.done >= shift.limit or work.ended > until:
                    manager.shutdown.set()

            queries.dequeue = timed_dequeue
            manager.entrypoint(_KIND, accepts_context=False)(handle)
            until = shift.begin()
            work.began = time.monotonic()
            await manager.run(batch_size=10, mode=QueueExecutionMode.drain)
        return work
