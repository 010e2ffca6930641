"""Processes that die: killed at random, killed at every step of a transaction, stopped too long."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from stigmergy.board import Task, TaskBoard, TaskStatus, open_store
from stigmergy.board.stores import journal as journal_module
from stigmergy.board.stores.files import FilesStore
from stigmergy.board.stores.journal import Journal
from stigmergy.board.stores.progress import ProgressFile
from stigmergy.board.stores.taskfiles import TaskFiles

WORKER = """
import os, sys, threading
from stigmergy.board import TaskBoard
from stigmergy.errors import LostLeaseError

url, name, ledger, lease_s, work_s = sys.argv[1:]
pause = threading.Event()
def work(state):
    if work_s != "told":
        pause.wait(float(work_s) if state == "holds" else 0.02)
        return
    print(state, flush=True)
    sys.stdin.readline()
with TaskBoard(url, lease_s=float(lease_s)) as board:
    accepted = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    print("ready", flush=True)
    sys.stdin.readline()
    while True:
        if (task := board.claim(name)) is None:
            if board.progress().is_complete:
                break
            work("idle")  # until a lease of the dead runs out
            continue
        work("holds")
        try:
            board.complete(task, {"by": name, "fence": task.fence})
        except LostLeaseError:
            continue
        os.write(accepted, f"{task.task_id} {task.fence} {name}\\n".encode())
"""

KILLS = 20


@pytest.fixture(params=["files", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / ("tasks" if request.param == "files" else "board.db"))


class Workers:
    """Real processes at work on one board."""

    def __init__(self, url: str, folder: Path, *, lease_s: float, work_s: float | None) -> None:
        """With no `work_s` each says what it comes to, and goes on when it is told to."""
        self._argv = [sys.executable, str(folder / "worker.py"), url]
        work = "told" if work_s is None else str(work_s)
        self._tail = [str(folder / "ledger"), str(lease_s), work]
        (folder / "worker.py").write_text(WORKER)
        self.ledger = folder / "ledger"
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, number: int) -> list[subprocess.Popen[str]]:
        """Start some; they stop at the barrier."""
        fresh = [
            subprocess.Popen(
                [*self._argv, f"w{len(self.processes) + n}", *self._tail],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for n in range(number)
        ]
        self.processes += fresh
        return fresh

    def go_together(self, processes: list[subprocess.Popen[str]]) -> None:
        """Open the barrier when all stand there."""
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        self.go(processes)

    def go(self, processes: list[subprocess.Popen[str]]) -> None:
        """Open the barrier now."""
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

    def accepted(self) -> list[list[str]]:
        return [line.split() for line in self.ledger.read_text().splitlines()]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


def test_workers_killed_at_random_lose_nothing_and_do_nothing_twice(
    url: str, tmp_path: Path, rng: random.Random
) -> None:
    board = TaskBoard(url)
    total, posted = 400, 100
    # Nobody is there who can do it, so the work is not over before all are killed.
    board.post(Task(task_type="end", task_id="last", requires=("end",)))
    post(board, range(posted))
    workers = Workers(url, tmp_path, lease_s=0.5, work_s=0.01)
    try:
        alive = workers.start(8)
        workers.go_together(alive)
        last = board.events(limit=10**6)[-1].seq
        for _ in range(KILLS):
            more = (total - 100) // KILLS
            post(board, range(posted, posted + more))
            posted += more
            board.wait(after=last + rng.randrange(20), timeout_s=2.0)
            last = max([last, *(event.seq for event in board.events(after=last))])
            victim = alive.pop(rng.randrange(len(alive)))
            victim.kill()
            fresh = workers.start(1)
            workers.go(fresh)
            alive += fresh
        end = board.claim("end", capabilities=["end"], task_types=["end"])
        assert end is not None
        board.complete(end)
        for process in alive:
            assert process.wait(60) == 0
    finally:
        workers.close()
    tasks = {task.task_id: task for task in board.list_all() if task.task_id != "last"}
    assert len(tasks) == posted == total, "lost"
    assert {task.status for task in tasks.values()} == {TaskStatus.COMPLETED}
    completions = Counter(e.task_id for e in board.events(limit=10**6) if e.kind == "completed")
    assert set(completions.values()) == {1}, "accepted twice"
    accepted = workers.accepted()
    assert len({line[0] for line in accepted}) == len(accepted), "said to be accepted twice"
    for name, fence, agent in accepted:
        assert tasks[name].result == {"by": agent, "fence": int(fence)}
    assert total - KILLS <= len(accepted) <= total
    killed = [process for process in workers.processes if process.returncode == -signal.SIGKILL]
    assert len(killed) == KILLS, "the work was over before all these were killed"
    board.close()


def post(board: TaskBoard, numbers: range) -> None:
    board.post_many(Task(task_type="work", task_id=f"t{n}", max_attempts=10**6) for n in numbers)


def test_ten_processes_share_a_hundred_equal_tasks_evenly(url: str, tmp_path: Path) -> None:
    board = TaskBoard(url)
    board.post_many(Task(task_type="work", task_id=f"t{n}") for n in range(100))
    # Equal work ends for all at the same time, however the machine divides itself among them.
    workers = Workers(url, tmp_path, lease_s=600, work_s=None)
    try:
        crew = workers.start(10)
        workers.go_together(crew)
        while at_work := [process for process in crew if told(process) != ""]:
            workers.go(at_work)
        for process in crew:
            assert process.wait(60) == 0
    finally:
        workers.close()
    shares = Counter(agent for _, _, agent in workers.accepted())
    assert sum(shares.values()) == 100
    assert len(shares) == 10
    assert max(shares.values()) - min(shares.values()) <= 2, shares
    board.close()


def told(process: subprocess.Popen[str]) -> str:
    """What it comes to next; nothing when it ends."""
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_process_stopped_beyond_its_lease_is_refused(url: str, tmp_path: Path) -> None:
    board = TaskBoard(url)
    board.post(Task(task_type="work", task_id="a"))
    workers = Workers(url, tmp_path, lease_s=60, work_s=None)
    later = TaskBoard(store=open_store(url, clock=lambda: time.time() + 3600))
    try:
        (sleeper,) = workers.start(1)
        workers.go_together([sleeper])
        assert told(sleeper) == "holds\n"
        os.kill(sleeper.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED)
        taken = later.claim("heir")
        assert taken is not None
        later.complete(taken, {"by": "heir"})
        os.kill(sleeper.pid, signal.SIGCONT)
        workers.go([sleeper])
        assert sleeper.wait(60) == 0
    finally:
        workers.close()
        later.close()
    got = board.get("a")
    assert got is not None
    assert got.result == {"by": "heir"}
    assert workers.accepted() == []
    board.close()


# A death at every step of a transaction on files ------------------------------------------------


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after_calls(number: int, real: Callable[..., object]) -> Callable[..., object]:
    """The real function, until it is called once too often."""
    calls = iter(range(number))

    def counted(*args: object, **kwargs: object) -> object:
        if next(calls, None) is None:
            die()
        return real(*args, **kwargs)

    return counted


def half_a_line(fd: int, data: bytes, offset: int) -> None:
    os.pwrite(fd, data[: len(data) // 2], offset)
    die()


STEPS: dict[str, tuple[object, str, Callable[..., object]]] = {
    "before the journal": (Journal, "append", die),
    "in half a journal line": (journal_module, "_write_all", half_a_line),
    "before the sync": (os, "fdatasync", die),
    "after the sync": (TaskFiles, "write", die),
    "between two files": (TaskFiles, "write", after_calls(1, TaskFiles.write)),
    "in half a file": (os, "fstat", after_calls(8, os.fstat)),
    "before the note": (ProgressFile, "write", die),
    "while the journal begins anew": (Path, "replace", die),
    "after the archive": (Path, "replace", after_calls(1, Path.replace)),
    "after it began anew": (
        journal_module,
        "_replace_file",
        after_calls(2, journal_module._replace_file),
    ),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("looks_first", ["another handle", "a new one"])
def test_a_death_at_any_step_leaves_all_of_a_transaction_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, looks_first: str
) -> None:
    folder = tmp_path / "tasks"
    board = TaskBoard(folder)
    names = ["a", "b", "after"]
    board.post_many(
        [
            Task(task_type="work", task_id="a"),
            Task(task_type="work", task_id="b"),
            Task(task_type="work", task_id="after", depends_on=("a", "b")),
        ]
    )
    held = board.claim_many("ann", 2)
    before = board.list_all()
    pid = os.fork()
    if pid == 0:
        _complete_and_die(folder, held, step)
    died = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    fresh = TaskBoard(folder)
    first = board if looks_first == "another handle" else fresh
    standing = first.list_all()
    done = [task.status is TaskStatus.COMPLETED for task in standing]
    assert done in ([False, False, False], [True, True, False])
    assert done[0] or standing == before
    assert fresh.list_all() == board.list_all() == standing
    for name in names:
        on_disk = json.loads((folder / f"{name}.json").read_text())
        task = board.get(name)
        assert task is not None
        assert (on_disk["status"], on_disk["result"]) == (task.status.value, task.result)
    assert not (folder / ".board" / "quarantine").exists()
    seqs = [event.seq for event in fresh.events()]
    assert seqs == list(range(1, len(seqs) + 1))
    assert [e.kind for e in fresh.events()].count("completed") == (2 if done[0] else 0)
    assert died == -signal.SIGKILL
    first.complete_many([(task, {"n": 1}) for task in held])
    assert fresh.claim("bob") is not None
    board.close()
    fresh.close()


def _complete_and_die(folder: Path, held: list[Task], step: str) -> None:
    """In the child: the transaction, with a death planted in it."""
    try:
        store = FilesStore(folder, clock=time.time)
        board = TaskBoard(store=store)
        owner, name, deadly = STEPS[step]
        if "anew" in step or "archive" in step:
            FilesStore._begin_anew_if_due = FilesStore._begin_anew  # type: ignore[method-assign] - the child dies
        setattr(owner, name, deadly)
        board.complete_many([(task, {"n": 1}) for task in held])
        if step == "after it began anew":
            board.complete_many([(task, {"n": 1}) for task in held])
            board.record("another")
    finally:
        os._exit(99)
