"""A server that is killed with -9 while agents work over it: nothing lost, nothing done twice."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from stigmergy import SwarmAgent, Task, TaskBoard, TaskStatus
from stigmergy.errors import TransientError
from stigmergy.swarm.remote import RemoteBoard
from stigmergy.testing.serving import ServerProcess

TASKS = 150
KILLS = (40, 90)
AGENTS = 4


@pytest.fixture
def process(tmp_path: Path):
    with TaskBoard(tmp_path / "board.db"):
        pass
    (tmp_path / "server").mkdir()
    with ServerProcess(f"sqlite:///{tmp_path / 'board.db'}", tmp_path / "server") as running:
        yield running


@pytest.mark.slow
def test_agents_survive_a_server_that_is_killed_again_and_again(
    process: ServerProcess, tmp_path: Path
) -> None:
    done: Counter[str] = Counter()
    counting = threading.Lock()
    due = threading.Event()

    def work(task: Task) -> dict[str, object]:
        with counting:
            done[task.task_id] += 1
            if done.total() in KILLS:
                due.set()
        return {"n": task.payload["n"]}

    with TaskBoard(tmp_path / "board.db") as board:
        board.post_many(Task(task_type="job", payload={"n": n}) for n in range(TASKS))
    stop = threading.Event()
    with process.board.remote() as remote:
        agents = [
            SwarmAgent(f"r{n}", remote, handlers={"job": work}, lease_s=6) for n in range(AGENTS)
        ]
        threads = [
            threading.Thread(target=agent.run, args=(stop,), kwargs={"until_idle": True})
            for agent in agents
        ]
        for thread in threads:
            thread.start()
        for _ in KILLS:
            assert due.wait(60)
            due.clear()
            process.kill()
            process.start()
        for thread in threads:
            thread.join(200)
            assert not thread.is_alive()
    with TaskBoard(tmp_path / "board.db") as board:
        tasks = board.list_all()
        assert [task.status for task in tasks] == [TaskStatus.COMPLETED] * TASKS
        assert sorted(task.result["n"] for task in tasks if task.result) == list(range(TASKS))
        events = board.events(limit=100_000)
    completions = Counter(event.task_id for event in events if event.kind == "completed")
    assert set(completions.values()) == {1}
    # A task is handled again only after its lease ran out, which the journal tells.
    expired = Counter(event.task_id for event in events if event.kind == "expired")
    assert all(runs <= 1 + expired[task_id] for task_id, runs in done.items())


def test_what_was_posted_failed_and_released_across_a_kill_happened_once(
    process: ServerProcess, tmp_path: Path
) -> None:
    with process.board.remote() as remote:
        posted = [remote.post(Task(task_type="job")) for _ in range(3)]
        first = remote.claim("r")
        second = remote.claim("r")
        assert first is not None
        assert second is not None
        process.kill()
        answered: list[Task] = []
        threads = [
            threading.Thread(target=lambda: answered.append(remote.fail(first, "x"))),
            threading.Thread(target=lambda: answered.append(remote.release(second))),
        ]
        for thread in threads:
            thread.start()
        process.start()
        for thread in threads:
            thread.join(60)
        assert {task.status for task in answered} == {TaskStatus.PENDING}
    with TaskBoard(tmp_path / "board.db") as board:
        assert len(board.list_all()) == len(posted)
        kinds = Counter(event.kind for event in board.events())
    assert (kinds["failed"], kinds["released"]) == (1, 1)


def test_a_server_that_stays_away_is_told_after_patience(
    process: ServerProcess,
) -> None:
    board = process.board
    process.kill()
    with board.remote(patience_s=0.5) as remote, pytest.raises(TransientError):
        remote.claim("r")


def test_stig_agent_run_does_a_board_s_tasks_over_http(
    process: ServerProcess, tmp_path: Path
) -> None:
    with TaskBoard(tmp_path / "board.db") as board:
        board.post_many(Task(task_type="job", payload={"n": n}) for n in range(4))
    script = tmp_path / "double.py"
    script.write_text(
        "import json, sys\n"
        "task = json.load(sys.stdin)\n"
        "print(json.dumps({'twice': 2 * task['payload']['n']}))\n"
    )
    words = ["agent", "run", "--board", process.board.url, "--token-file"]
    words += [str(process.token_file), "--type", "job", "--until-idle", "--agents", "2"]
    words += ["--command", f"{sys.executable} {script}"]
    program = "from stigmergy.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    with TaskBoard(tmp_path / "board.db") as board:
        results = [task.result for task in board.list_all()]
    assert results == [{"twice": 2 * n} for n in range(4)]


def test_a_server_ends_with_0_when_it_is_asked_to(process: ServerProcess) -> None:
    stream = threading.Event()

    def follow() -> None:
        with process.board.client() as client, client.stream("GET", "/api/v1/journal") as lines:
            stream.set()
            for _ in lines.iter_lines():
                pass

    thread = threading.Thread(target=follow)
    thread.start()
    assert stream.wait(60)
    assert process.stop() == 0
    thread.join(60)
    assert not thread.is_alive()


def test_only_this_user_can_read_what_the_server_keeps(process: ServerProcess) -> None:
    folder = process.token_file.parent
    with process.board.remote() as remote:
        remote.post(Task(task_type="job"))
    secret = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log"]
    assert len(secret) >= 2
    assert {path.stat().st_mode & 0o077 for path in secret} == {0}


def test_the_remote_board_says_whose_server_it_is() -> None:
    assert RemoteBoard("http://127.0.0.1:1/", token="stig_x").url == "http://127.0.0.1:1"
