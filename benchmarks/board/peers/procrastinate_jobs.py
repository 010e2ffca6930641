"""procrastinate with psycopg: fetch_job, then finish_job, as its worker calls them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import procrastinate
from procrastinate.jobs import Status

from board.peers.peer import PAYLOAD, Shift, Work, drain_async

__all__ = ["Procrastinate"]

_BATCH = 1_000


class Procrastinate:
    durability: ClassVar = "PostgreSQL, synchronous_commit=on"
    remark: ClassVar = "no result is stored, no fence"
    posts_many: ClassVar = True
    takes_many: ClassVar = False

    def __init__(self, place: str) -> None:
        self.url = place

    @classmethod
    def why_not(cls) -> str | None:
        return None

    def _app(self, connector: Any) -> Any:
        app = procrastinate.App(connector=connector)
        app.task(name="bench")(_handle)
        return app

    def setup(self) -> None:
        with self._app(procrastinate.SyncPsycopgConnector(conninfo=self.url)).open() as app:
            app.schema_manager.apply_schema()

    def post(self, number: int, until: float) -> int:
        with self._app(procrastinate.SyncPsycopgConnector(conninfo=self.url)).open() as app:
            task = app.configure_task("bench")
            for count in range(number):
                if time.monotonic() > until:
                    return count
                task.defer(payload=PAYLOAD)
        return number

    def fill(self, number: int, until: float) -> int:
        with self._app(procrastinate.SyncPsycopgConnector(conninfo=self.url)).open() as app:
            task = app.configure_task("bench")
            for count in range(0, number, _BATCH):
                if time.monotonic() > until:
                    return count
                task.batch_defer(*[{"payload": PAYLOAD}] * min(_BATCH, number - count))
        return number

    def work(self, shift: Shift) -> Work:
        return asyncio.run(self._work(shift))

    async def _work(self, shift: Shift) -> Work:
        app = self._app(procrastinate.PsycopgConnector(conninfo=self.url))
        async with app.open_async():
            manager = app.job_manager
            worker = await manager.register_worker()

            async def take() -> Sequence[Any]:
                job = await manager.fetch_job(None, worker)
                return [] if job is None else [job]

            async def finish(held: Sequence[Any]) -> None:
                await manager.finish_job(held[0], Status.SUCCEEDED, delete_job=False)

            return await drain_async(shift, take, finish)


def _handle(**_: object) -> None:
    pass
