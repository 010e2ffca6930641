"""The fourteen proofs of the swarm seed, in substance, by its own names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stigmergy import SwarmAgent, SwarmCoordinator, Task, TaskBoard, TaskStatus, TaskType

# In step with others it says that it holds a task, and works on it until it is told to go on.
WORKER = """
import sys
from stigmergy import SwarmAgent, TaskBoard

storage, name, most, in_step = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "True"
with TaskBoard(storage_path=storage) as board:
    agent = SwarmAgent(agent_id=name, task_board=board)
    print("READY", flush=True)
    sys.stdin.readline()
    completed = 0
    while completed < most and (task := agent.claim_next_task()):
        if in_step:
            print("HOLDS", flush=True)
            sys.stdin.readline()
        agent.complete_task(task, {"by": name})
        completed += 1
    print(completed)
"""


@pytest.fixture(params=["tasks", "board.db"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / request.param)


@pytest.fixture
def board(storage: str):
    with TaskBoard(storage_path=storage) as opened:
        yield opened


def post(board: TaskBoard, count: int) -> list[str]:
    return board.post_many(
        Task(task_type=TaskType.CODE_ANALYSIS, description=f"Task {i}", payload={"index": i})
        for i in range(count)
    )


def run_workers(storage: str, count: int, *, most: int = 1000, in_step: bool = False) -> list[int]:
    """How many tasks each of `count` processes completed; they begin together.

    In step, each task takes as long as those of the others: all that hold one end it together.
    """
    argv = [sys.executable, "-c", WORKER, storage]
    processes = [
        subprocess.Popen(
            [*argv, f"worker-{number}", str(most), str(in_step)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "READY\n"
    told = dict.fromkeys(processes, "HOLDS\n")
    while at_work := [process for process in processes if told[process] == "HOLDS\n"]:
        for process in at_work:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        told |= {process: read_line(process) for process in at_work}
    for process in processes:
        process.communicate(timeout=60)
    assert all(process.returncode == 0 for process in processes)
    return [int(told[process]) for process in processes]


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


class TestParallelIsolation:
    def test_agents_that_claim_at_once_never_get_the_same_task(self, board: TaskBoard) -> None:
        post(board, 10)
        together = threading.Barrier(5)

        def claim(agent_id: str) -> str:
            agent = SwarmAgent(agent_id=agent_id, task_board=board)
            together.wait()
            task = agent.claim_next_task()
            assert task is not None
            agent.complete_task(task, {"done": True})
            return task.task_id

        with ThreadPoolExecutor(max_workers=5) as pool:
            claimed = list(pool.map(claim, [f"agent-{i}" for i in range(5)]))
        assert len(set(claimed)) == 5

    def test_results_stay_with_their_tasks(self, board: TaskBoard) -> None:
        post(board, 6)

        def work(agent_id: str) -> list[tuple[str, int]]:
            agent = SwarmAgent(agent_id=agent_id, task_board=board)
            done: list[tuple[str, int]] = []
            while task := agent.claim_next_task():
                agent.complete_task(task, {"result": task.payload["index"]})
                done.append((task.task_id, task.payload["index"]))
            return done

        with ThreadPoolExecutor(max_workers=3) as pool:
            done = [pair for part in pool.map(work, "abc") for pair in part]
        assert len(done) == 6
        for task_id, expected in done:
            stored = board.get(task_id)
            assert stored is not None
            assert stored.result == {"result": expected}

    def test_ten_agents_race_for_one_task_and_one_wins(self, board: TaskBoard) -> None:
        post(board, 1)
        together = threading.Barrier(10)

        def race(agent_id: str) -> bool:
            agent = SwarmAgent(agent_id=agent_id, task_board=board)
            together.wait()
            task = agent.claim_next_task()
            if task is not None:
                agent.complete_task(task, {"winner": agent_id})
            return task is not None

        with ThreadPoolExecutor(max_workers=10) as pool:
            assert sum(pool.map(race, [f"agent-{i}" for i in range(10)])) == 1


class TestProcesses:
    def test_processes_coordinate_through_the_board(self, storage: str, board: TaskBoard) -> None:
        post(board, 3)
        assert run_workers(storage, 3, most=1) == [1, 1, 1]
        assert board.get_pending() == []

    def test_processes_share_nothing_but_the_board(self, storage: str, board: TaskBoard) -> None:
        post(board, 4)
        run_workers(storage, 2)
        reopened = TaskBoard(storage_path=storage)
        assert [task.status for task in reopened.list_all()] == [TaskStatus.COMPLETED] * 4
        assert {task.claimed_by for task in reopened.list_all()} <= {"worker-0", "worker-1"}
        reopened.close()

    def test_many_workers_complete_each_task_once(self, storage: str, board: TaskBoard) -> None:
        post(board, 9)
        assert sum(run_workers(storage, 3)) == 9
        completions = [event for event in board.events() if event.kind == "completed"]
        assert len(completions) == len({event.task_id for event in completions}) == 9

    def test_equal_work_is_shared_fairly_by_processes(self, storage: str, board: TaskBoard) -> None:
        post(board, 100)
        assert run_workers(storage, 10, in_step=True) == [10] * 10


class TestFaultTolerance:
    def test_the_task_of_an_agent_that_died_an_hour_ago_is_claimed_by_another(
        self, tmp_path: Path
    ) -> None:
        with TaskBoard(storage_path=str(tmp_path / "tasks")) as board:
            post(board, 1)
            claimed = SwarmAgent(agent_id="crashy", task_board=board).claim_next_task()
            assert claimed is not None
            file = tmp_path / "tasks" / f"{claimed.task_id}.json"
            data = json.loads(file.read_text())
            data["claimed_at"] = time.time() - 3600
            file.write_text(json.dumps(data))
            recovered = SwarmAgent(agent_id="recovery", task_board=board).claim_next_task()
            assert recovered is not None
            assert recovered.task_id == claimed.task_id

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_a_corrupted_task_file_is_moved_aside_and_the_rest_goes_on(
        self, tmp_path: Path
    ) -> None:
        folder = tmp_path / "tasks"
        with TaskBoard(storage_path=str(folder)) as board:
            (good,) = post(board, 1)
            corrupted = folder / "corrupted-task-id.json"
            corrupted.write_text("not valid json {{{")
            # What is that young may be a file that somebody is still writing.
            os.utime(corrupted, (time.time() - 60, time.time() - 60))
            assert [task.task_id for task in board.get_pending()] == [good]
            board.get_pending()
            reports = [event for event in board.events() if event.kind == "quarantined"]
            assert len(reports) == 1
            assert not corrupted.exists()
            assert any("not valid json" in p.read_text() for p in folder.rglob("corrupted*"))

    def test_a_failed_task_says_so_and_why(self, board: TaskBoard) -> None:
        (task_id,) = post(board, 1)
        agent = SwarmAgent(agent_id="failing", task_board=board)
        claimed = agent.claim_next_task()
        assert claimed is not None
        agent.fail_task(claimed, error="Something went wrong")
        updated = board.get(task_id)
        assert updated is not None
        assert updated.status == TaskStatus.FAILED
        assert updated.result is not None
        assert "Something went wrong" in updated.result["error"]

    def test_missing_folders_are_made(self, tmp_path: Path) -> None:
        with TaskBoard(storage_path=str(tmp_path / "not" / "there" / "tasks")) as board:
            post(board, 1)
            assert len(board.get_pending()) == 1


class TestScale:
    def test_agents_that_take_turns_get_ten_of_a_hundred_each(self, board: TaskBoard) -> None:
        coordinator = SwarmCoordinator(task_board=board)
        coordinator.map(
            task_type=TaskType.PARALLEL_SEARCH,
            description="Search",
            subtask_payloads=[{"query": f"pattern-{i}"} for i in range(100)],
        )
        agents = [SwarmAgent(agent_id=f"agent-{i}", task_board=board) for i in range(10)]
        counts = dict.fromkeys((agent.agent_id for agent in agents), 0)
        for _ in range(15):
            for agent in agents:
                if task := agent.claim_next_task():
                    agent.complete_task(task, {"found": True})
                    counts[agent.agent_id] += 1
        assert set(counts.values()) == {10}

    def test_a_thousand_tasks_with_progress(self, board: TaskBoard) -> None:
        coordinator = SwarmCoordinator(task_board=board)
        parent = coordinator.map(
            task_type=TaskType.PARALLEL_SEARCH,
            description="Many",
            subtask_payloads=[{"i": i} for i in range(1000)],
        )
        assert coordinator.get_progress(parent)["total"] == 1000
        for task in board.claim_many("bulk", 500):
            board.complete(task, {"done": True})
        progress = coordinator.get_progress(parent)
        assert (progress["completed"], progress["progress_pct"]) == (500, 50.0)
        assert not progress["is_complete"]

    def test_a_claim_takes_less_than_ten_milliseconds(self, board: TaskBoard) -> None:
        post(board, 100)
        agent = SwarmAgent(agent_id="latency", task_board=board)
        latencies_ms: list[float] = []
        for _ in range(50):
            began = time.perf_counter()
            task = agent.claim_next_task()
            latencies_ms.append((time.perf_counter() - began) * 1000)
            assert task is not None
            agent.complete_task(task, {"done": True})
        # The quickest: what it takes when nothing else is at work on the machine.
        assert min(latencies_ms) < 10

    def test_memory_stays_bounded(self, board: TaskBoard) -> None:
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for i in range(500):
                board.post(Task(task_type="x", description=f"{i}", payload={"data": "x" * 100}))
            growth = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
        assert growth < 10 * 1024 * 1024
