"""DBOS: workflows on a queue, taken by its own worker threads, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy
from dbos import DBOS, DBOSClient

from board.peers.peer import PAYLOAD, RESULT, Shift, Work

__all__ = ["DbosPostgres", "DbosSqlite"]

_QUEUE = "bench"
_WORKFLOW = "work"
_VERSION = "1"
_OPTIONS: Any = {"workflow_name": _WORKFLOW, "queue_name": _QUEUE, "app_version": _VERSION}
_AT_ONCE = 100
"""Workflows that one worker holds; fewer leave it waiting for its next poll."""
_NOTICED_S = 1.5
"""A worker looks for new queues once a second; that is not counted."""
_POLL_S = 0.01
"""The default is 1 s, which would be all that is measured."""


class DbosSqlite:
    durability: ClassVar = "SQLite rollback journal, synchronous=FULL (SQLite's default)"
    remark: ClassVar = f"holds {_AT_ONCE} at once, polls every {_POLL_S * 1000:.0f} ms"
    posts_many: ClassVar = True
    takes_many: ClassVar = False

    table: ClassVar = "workflow_status"

    def __init__(self, place: str) -> None:
        self.url = f"sqlite:///{Path(place) / 'dbos.db'}"

    @classmethod
    def why_not(cls) -> str | None:
        return None

    def setup(self) -> None:
        self._launch("setup")
        DBOS.destroy()

    def _launch(self, name: str) -> None:
        DBOS(
            config={
                "name": "bench",
                "system_database_url": self.url,
                "application_version": _VERSION,
                "executor_id": name,
                "log_level": "ERROR",
            }
        )
        DBOS.listen_queues([_QUEUE])
        DBOS.launch()

    def post(self, number: int, until: float) -> int:
        client = DBOSClient(system_database_url=self.url)
        try:
            for count in range(number):
                if time.monotonic() > until:
                    return count
                client.enqueue(_OPTIONS, PAYLOAD)
        finally:
            client.destroy()
        return number

    def fill(self, number: int, until: float) -> int:
        client, engine = DBOSClient(system_database_url=self.url), self._engine()
        try:
            with engine.begin() as connection:
                for count in range(number):
                    if time.monotonic() > until:
                        return count
                    client.enqueue_in_transaction(connection, _OPTIONS, PAYLOAD)
        finally:
            client.destroy()
            engine.dispose()
        return number

    def _engine(self) -> sqlalchemy.Engine:
        return sqlalchemy.create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"))

    def _finished(self, worker: str | None = None) -> int:
        """Workflows whose end is in the database; a function that returned is not there yet."""
        where = "status = 'SUCCESS'" + (" AND executor_id = :worker" if worker else "")
        count = sqlalchemy.text(f"SELECT count(*) FROM {self.table} WHERE {where}")
        engine = self._engine()
        with engine.connect() as connection:
            found = connection.execute(count, {"worker": worker} if worker else {}).scalar_one()
        engine.dispose()
        return int(found)

    def work(self, shift: Shift) -> Work:
        """Times run from this worker's first workflow: a queue is noticed once a second."""
        work, lock = Work(), threading.Lock()

        @DBOS.workflow(name=_WORKFLOW)
        def handle(_: dict[str, str]) -> dict[str, bool]:
            with lock:
                work.began = work.began or time.monotonic()
            shift.tally.add()
            return RESULT

        self._launch(shift.name)
        until = shift.begin() + _NOTICED_S
        DBOS.register_queue(_QUEUE, worker_concurrency=_AT_ONCE, polling_interval_sec=_POLL_S)
        wanted = shift.number
        while time.monotonic() < until:
            if shift.tally.count >= wanted and self._finished() >= wanted:
                break
            time.sleep(0.02)
        work.ended = time.monotonic()
        work.done = self._finished(shift.name)
        return work


class DbosPostgres(DbosSqlite):
    durability: ClassVar = "PostgreSQL, synchronous_commit=on"
    table: ClassVar = "dbos.workflow_status"

    def __init__(self, place: str) -> None:
        self.url = place
