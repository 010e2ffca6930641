"""Agents as processes: stopped by signals, killed without warning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stigmergy import Task, TaskBoard, TaskStatus
from stigmergy.board import open_store
from stigmergy.errors import StigmergyError
from stigmergy.swarm import Nursery, run_agents

POOL = """
import os, sys, threading, time
from stigmergy import TaskBoard
from stigmergy.swarm import run_agents, stop_on_signals

def work(task):
    os.write(1, b"working\\n")  # print lets another thread between word and line end
    time.sleep(float(task.payload["s"]))
    return {}

if __name__ == "__main__":
    stop = threading.Event()
    with stop_on_signals(stop), TaskBoard(sys.argv[1]) as board:
        run_agents(board, 2, handlers={"job": work}, kind=sys.argv[2], until_idle=False, stop=stop)
    print("clean", flush=True)
"""


def handle(task: Task) -> dict[str, object]:
    if task.payload.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"pid": os.getpid()}


@pytest.fixture
def board(tmp_path: Path):
    with TaskBoard(tmp_path / "board.db") as opened:
        yield opened


@pytest.mark.parametrize("kind", ["threads", "processes"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_task_in_hand_and_leaves_no_lease(
    board: TaskBoard, tmp_path: Path, kind: str, number: signal.Signals
) -> None:
    board.post_many(Task(task_type="job", payload={"s": 0.3}) for _ in range(200))
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    pool = subprocess.Popen(
        [sys.executable, str(script), board.url, kind], stdout=subprocess.PIPE, text=True
    )
    assert pool.stdout is not None
    assert pool.stdout.readline() == "working\n"
    pool.send_signal(number)
    output, _ = pool.communicate(timeout=60)
    assert pool.returncode == 0
    assert output.endswith("clean\n")
    states = {task.status for task in board.list_all()}
    assert states == {TaskStatus.COMPLETED, TaskStatus.PENDING}


def test_a_second_signal_forces(board: TaskBoard, tmp_path: Path) -> None:
    board.post(Task(task_type="job", payload={"s": 60}))
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    pool = subprocess.Popen(
        [sys.executable, str(script), board.url, "threads"], stdout=subprocess.PIPE, text=True
    )
    assert pool.stdout is not None
    assert pool.stdout.readline() == "working\n"
    pool.send_signal(signal.SIGTERM)
    while pool.poll() is None:
        pool.send_signal(signal.SIGTERM)
        try:
            pool.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    pool.stdout.close()
    assert pool.returncode == 128 + signal.SIGTERM


WAITS = """
import sys
from stigmergy.swarm import Stop, stop_on_signals
stop = Stop()
with stop_on_signals(stop):
    print("waits", flush=True)
    while not stop.wait(0.0):
        pass
"""


def test_a_signal_is_heeded_wherever_it_comes() -> None:
    """Half of the time of such a wait its thread has the lock that setting the event takes."""
    waiting = [
        subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE) for _ in range(8)
    ]
    try:
        for process in waiting:
            assert process.stdout is not None
            with process.stdout as said:
                assert said.readline() == b"waits\n"
            process.terminate()
        assert [process.wait(60) for process in waiting] == [0] * len(waiting)
    finally:
        for process in waiting:
            process.kill()
            process.wait()


def test_processes_work_a_board_off(board: TaskBoard) -> None:
    board.post_many(Task(task_type="job") for _ in range(10))
    run_agents(board, 2, handlers={"job": handle}, kind="processes")
    results = [task.result for task in board.list_all()]
    assert all(result is not None and result["pid"] != os.getpid() for result in results)


def test_a_killed_process_is_told_and_its_task_comes_back(board: TaskBoard) -> None:
    board.post(Task(task_type="job", payload={"die": True}, max_attempts=2))
    with pytest.raises(StigmergyError, match="ended with code -9"):
        run_agents(board, 1, handlers={"job": handle}, kind="processes", lease_s=60)
    with TaskBoard(store=open_store(board.url, clock=lambda: time.time() + 61)) as later:
        assert later.claim("next") is not None


def test_the_first_failure_stops_the_others_and_is_raised() -> None:
    def fail() -> None:
        raise ValueError("first")

    def run() -> None:
        with Nursery() as nursery:
            nursery.start(lambda: nursery.stop.wait(30), name="waits")
            nursery.start(fail, name="fails")

    with pytest.raises(ValueError, match="first"):
        run()
