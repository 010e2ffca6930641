"""How many workers and readers one server carries: long polls, event streams, a slow reader.

A `stig serve` of its own process serves a SQLite board. Workers (raw HTTP/1.1 connections of this
process) wait in `claim`, complete what they get and wait again; readers follow the journal; some
readers never read. Every task must be completed once, and every reader must see every event once,
in order. The same number of tasks is then done on a board without a server, as the limit.

    python benchmarks/bench_server.py [--workers 1000] [--streams 100] [--tasks 5000] [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stigmergy.board import Task, TaskBoard
from stigmergy.server.auth import Scope
from stigmergy.testing.serving import ServedBoard, ServerProcess

BATCH = 50


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the server is to carry."""

    workers: int = 1000
    streams: int = 100
    slow: int = 5
    tasks: int = 5000
    batch: int = BATCH
    """Tasks of one post."""
    pause_s: float = 0.0
    """Between two posts."""


@dataclass(kw_only=True)
class Seen:
    """What came of it."""

    load: Load
    completed: dict[str, int] = field(default_factory=dict)
    posted_at: dict[str, float] = field(default_factory=dict)
    waited_s: list[float] = field(default_factory=list)
    """From the post of a task to its being in a worker's hands."""
    streamed: list[list[int]] = field(default_factory=list)
    connected_s: float = 0.0
    took_s: float = 0.0
    errors: list[str] = field(default_factory=list)
    server_mib: float = 0.0

    def faults(self, last_seq: int) -> list[str]:
        """What was lost or came twice; nothing of it should be."""
        found = list(self.errors)
        twice = sum(1 for times in self.completed.values() if times != 1)
        if len(self.completed) != self.load.tasks or twice:
            found.append(f"{len(self.completed)} of {self.load.tasks} done, {twice} twice")
        for number, seen in enumerate(self.streamed):
            if seen != list(range(1, last_seq + 1)):
                found.append(f"stream {number} saw {len(seen)} of {last_seq} events")
        return found


class Connection:
    """One kept HTTP/1.1 connection."""

    def __init__(self, server: ServedBoard, scope: Scope) -> None:
        self._address = server.url.removeprefix("http://")
        self._token = server.tokens[scope]
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            host, port = self._address.split(":")
            self._streams = await asyncio.open_connection(host, int(port))
        return self._streams

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        reader, writer = await self.open()
        content = json.dumps(body).encode()
        writer.write(self._head("POST", path, len(content)) + content)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        answer = await reader.readexactly(length)
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
            raise RuntimeError(answer.decode())
        return json.loads(answer)

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        reader, writer = await self.open()
        writer.write(self._head("GET", path, 0))
        await reader.readuntil(b"\r\n\r\n")
        while line := await reader.readline():
            yield line

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            with suppress(OSError):
                await self._streams[1].wait_closed()

    def _head(self, method: str, path: str, length: int) -> bytes:
        return (
            f"{method} /api/v1{path} HTTP/1.1\r\nHost: {self._address}\r\n"
            f"Authorization: Bearer {self._token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n\r\n"
        ).encode()


async def work(server: ServedBoard, name: str, seen: Seen, done: asyncio.Event) -> None:
    connection = Connection(server, Scope.WORKER)
    order = {"agent_id": name, "wait_s": 30}
    try:
        while not done.is_set():
            for held in (await connection.post("/tasks/claim", order))["claimed"]:
                task_id = held["task"]["task_id"]
                seen.waited_s.append(time.monotonic() - seen.posted_at[task_id])
                body = {"lease": held["lease"], "result": {"by": name}}
                await connection.post(f"/tasks/{task_id}/complete", body)
                seen.completed[task_id] = seen.completed.get(task_id, 0) + 1
                if len(seen.completed) == seen.load.tasks:
                    done.set()
    except (OSError, RuntimeError, asyncio.IncompleteReadError) as error:
        if not done.is_set():
            seen.errors.append(f"{name}: {error!r}"[:200])
    finally:
        await connection.close()


async def follow(server: ServedBoard, seen: list[int]) -> None:
    connection = Connection(server, Scope.READ)
    try:
        with suppress(OSError, asyncio.IncompleteReadError):
            async for line in connection.lines("/journal"):
                if b"id: " in line:
                    seen.append(int(line.partition(b"id: ")[2]))  # noqa: PERF401 - as they come
    finally:
        await connection.close()


def open_slow(server: ServedBoard) -> socket.socket:
    """A reader that asks for the journal and never reads."""
    host, port = server.url.removeprefix("http://").split(":")
    link = socket.create_connection((host, int(port)))
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    token = server.tokens[Scope.READ]
    link.sendall(
        f"GET /api/v1/journal HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    return link


async def carry(server: ServedBoard, load: Load, pid: int) -> Seen:
    seen = Seen(load=load)
    done = asyncio.Event()
    began = time.monotonic()
    seen.streamed = [[] for _ in range(load.streams)]
    readers = [asyncio.create_task(follow(server, each)) for each in seen.streamed]
    slow = [open_slow(server) for _ in range(load.slow)]
    workers = []
    for number in range(load.workers):
        workers.append(asyncio.create_task(work(server, f"w{number}", seen, done)))
        if number % 50 == 49:
            await asyncio.sleep(0.02)
    await asyncio.sleep(1.0)
    seen.connected_s = time.monotonic() - began
    began = time.monotonic()
    poster = Connection(server, Scope.WORKER)
    for first in range(0, load.tasks, load.batch):
        ids = [f"t{number}" for number in range(first, min(first + load.batch, load.tasks))]
        for task_id in ids:
            seen.posted_at[task_id] = time.monotonic()
        tasks = [{"task_type": "job", "task_id": task_id} for task_id in ids]
        await poster.post("/tasks/batch", {"tasks": tasks})
        if load.pause_s:
            await asyncio.sleep(load.pause_s)
    with suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), 300)
    seen.took_s = time.monotonic() - began
    last = await last_seq(server)
    until = time.monotonic() + 30
    while (  # noqa: ASYNC110 - no reader knows which event is the last
        any(len(each) < last for each in seen.streamed) and time.monotonic() < until
    ):
        await asyncio.sleep(0.05)
    seen.server_mib = memory_mib(pid)
    for link in slow:
        link.close()
    await poster.close()
    for each in (*workers, *readers):
        each.cancel()
    await asyncio.gather(*workers, *readers, return_exceptions=True)
    return seen


async def last_seq(server: ServedBoard) -> int:
    def ask() -> int:
        with server.client(Scope.READ) as client:
            return int(client.get("/api/v1/events?limit=1").json()["last_seq"])

    return await asyncio.to_thread(ask)


def memory_mib(pid: int) -> float:
    """The most that a process had in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def without_server(folder: Path, tasks: int) -> float:
    """Tasks a second of one agent on a board of its own process: one claim, one completion each."""
    with TaskBoard(folder / "direct.db") as board:
        for first in range(0, tasks, BATCH):
            batch = range(first, min(first + BATCH, tasks))
            board.post_many(Task(task_type="job", task_id=f"t{n}") for n in batch)
        began = time.monotonic()
        while (task := board.claim("a")) is not None:
            board.complete(task, {"by": "a"})
        return tasks / (time.monotonic() - began)


def measure(folder: Path, load: Load) -> tuple[Seen, list[str]]:
    """Carry a load; what was seen, and what was lost."""
    _allow_files(4 * (load.workers + load.streams) + 500)
    folder.mkdir(exist_ok=True)
    with TaskBoard(folder / "board.db"):
        pass
    own = folder / "server"
    own.mkdir()
    with ServerProcess(f"sqlite:///{folder / 'board.db'}", own) as process:
        seen = asyncio.run(carry(process.board, load, process.pid))
        with TaskBoard(folder / "board.db") as board:
            last = board.last_seq()
            progress = board.progress()
    faults = seen.faults(last)
    if progress.completed != load.tasks:
        faults.append(f"the board has {progress.completed} completed tasks")
    return seen, faults


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def _allow_files(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    given = parser.parse_args()
    share = 10 if given.quick else 1
    load = Load(
        workers=given.workers // share,
        streams=given.streams // share,
        tasks=given.tasks // share,
    )
    calm = replace(load, tasks=200, batch=1, pause_s=0.05)
    with tempfile.TemporaryDirectory(prefix="bench-server-") as name:
        folder = Path(name)
        seen, faults = measure(folder / "flood", load)
        few, more = measure(folder / "calm", calm)
        faults += more
        direct = without_server(folder, load.tasks)
    rate = load.tasks / seen.took_s
    print(f"{load.workers:,} workers in long polls, {load.streams} streams, {load.slow} never read")
    print(
        f"  tasks claimed and completed   {rate:8.0f} /s  ({load.tasks:,} in {seen.took_s:.1f} s)"
    )
    print(f"  events to all streams         {3 * rate * load.streams:8.0f} /s")
    print(f"  one agent without a server    {direct:8.0f} /s  (ratio {rate / direct:.2f})")
    for what, each in (("all posted at once", seen), ("20 a second", few)):
        waited = [1000 * seconds for seconds in each.waited_s]
        print(f"  from post to a worker's hands {percentile(waited, 0.5):8.0f} ms p50, "
              f"{percentile(waited, 0.99):.0f} ms p99 ({what})")  # fmt: skip
    print(f"  memory of the server          {seen.server_mib:8.0f} MiB at most")
    print(f"  lost or twice                 {'nothing' if not faults else '; '.join(faults[:9])}")
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
