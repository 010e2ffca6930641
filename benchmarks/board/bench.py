"""Where a run measures: its sizes, fresh folders, fresh databases."""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from stigmergy.testing.postgres import PostgresServer, find_binaries

__all__ = ["FULL", "QUICK", "Bench", "Kind", "Scale"]

Kind = Literal["folder", "database"]

_POSTGRES_OPTIONS = {"autovacuum": "on", "shared_buffers": "128MB"}
"""PostgreSQL's own defaults, where the test server has others."""
_APPENDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured."""

    tasks: int
    processes: tuple[int, ...]
    rounds: int
    cap_s: float
    """A system that is not done by then is measured by what it did."""
    fill_cap_s: float
    sizes: tuple[int, ...]
    claims: int
    ineligible: int
    crowd: int
    crowd_tasks: int
    wakes: int
    cursor_events: int
    watchers: int
    watch_s: float
    scans: int


FULL = Scale(
    tasks=10_000,
    processes=(1, 2, 4, 8),
    rounds=3,
    cap_s=2.5,
    fill_cap_s=150.0,
    sizes=(1_000, 100_000, 1_000_000),
    claims=300,
    ineligible=100_000,
    crowd=100,
    crowd_tasks=5_000,
    wakes=500,
    cursor_events=100_000,
    watchers=50,
    watch_s=10.0,
    scans=5,
)
QUICK = Scale(
    tasks=1_000,
    processes=(1, 4),
    rounds=1,
    cap_s=1.0,
    fill_cap_s=5.0,
    sizes=(1_000, 10_000),
    claims=100,
    ineligible=10_000,
    crowd=20,
    crowd_tasks=500,
    wakes=100,
    cursor_events=5_000,
    watchers=10,
    watch_s=2.0,
    scans=3,
)


class Bench:
    """Hands out places and removes them. PostgreSQL is started when it is first asked for."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self._home = Path(tempfile.mkdtemp(prefix="bench-board-"))
        self._server: PostgresServer | None = None
        self._numbers = itertools.count()

    @staticmethod
    def why_no_database() -> str | None:
        if find_binaries() is None:
            return "PostgreSQL is not installed"
        return None

    @contextmanager
    def place(self, kind: Kind) -> Generator[str]:
        """An empty folder, or the URL of an empty database."""
        name = f"bench{next(self._numbers)}"
        if kind == "folder":
            folder = self._home / name
            folder.mkdir()
            yield str(folder)
            shutil.rmtree(folder)
            return
        server = self._started()
        yield server.create_database(name)
        server.drop_database(name)

    def settle(self, kind: Kind, place: str) -> None:
        """After many rows came at once: what autovacuum would do within a minute."""
        if kind == "database":
            import psycopg

            with psycopg.connect(place, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")

    def synced_append_ms(self) -> float:
        """The least that a durable change takes on this disk just now, the median of a few."""
        taken: list[float] = []
        descriptor = os.open(self._home / "append", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for _ in range(_APPENDS):
            began = time.perf_counter()
            os.write(descriptor, b"x" * 500)
            os.fdatasync(descriptor)
            taken.append(time.perf_counter() - began)
        os.close(descriptor)
        return 1000 * statistics.median(taken)

    def _started(self) -> PostgresServer:
        if self._server is None:
            # A folder of its own: the server's user cannot get into ours.
            folder = Path(tempfile.mkdtemp(prefix="stig-pg-"))
            self._server = PostgresServer.start(folder, options=_POSTGRES_OPTIONS)
            self._server_folder = folder
        return self._server

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            shutil.rmtree(self._server_folder)
        shutil.rmtree(self._home)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
