"""The thirty-line workers of examples/http-workers do a served board's tasks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stigmergy import Task, TaskBoard, TaskStatus
from stigmergy.server.auth import Scope
from stigmergy.testing.serving import served

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "http-workers"
TEXTS = ["to be or not to be", "", "  one  two\tthree\n", 'quotes " and $dollars `and` \\']


def missing(program: str) -> None:
    if shutil.which(program) is None:
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(f"{program} is missing, and a skipped test proves nothing")
        pytest.skip(f"{program} is missing")


each_worker = pytest.mark.parametrize(
    ("argv", "needs"),
    [
        ([sys.executable, "worker.py"], []),
        (["node", "worker.mjs"], ["node"]),
        (["./worker.sh"], ["curl", "jq"]),
    ],
    ids=["python", "javascript", "shell"],
)


@each_worker
def test_a_worker_without_our_library_does_the_tasks(
    argv: list[str], needs: list[str], tmp_path: Path
) -> None:
    for program in needs:
        missing(program)
    with TaskBoard(tmp_path / "board.db") as board:
        ids = [board.post(Task(task_type="words", payload={"text": text})) for text in TEXTS]
        bad = board.post(Task(task_type="words", payload={"no": "text"}))
        other = board.post(Task(task_type="other"))
        with served(board, tmp_path / "server") as server:
            done = work(argv, server.url, server.tokens[Scope.WORKER])
        assert done.returncode == 0, done.stderr
        results = [board.get(task_id) for task_id in ids]
        assert [task.result for task in results if task] == [
            {"words": len(text.split())} for text in TEXTS
        ]
        failed, untouched = board.get(bad), board.get(other)
    assert failed is not None
    assert failed.status is TaskStatus.FAILED
    assert untouched is not None
    assert untouched.status is TaskStatus.PENDING


@each_worker
def test_a_worker_that_is_refused_or_finds_no_server_ends_and_says_why(
    argv: list[str], needs: list[str], tmp_path: Path
) -> None:
    for program in needs:
        missing(program)
    with TaskBoard(tmp_path / "board.db") as board, served(board, tmp_path / "server") as server:
        refused = work(argv, server.url, "stig_no_such_token")
    alone = work(argv, server.url, "stig_no_such_token")
    assert refused.returncode != 0
    assert "401" in refused.stderr
    assert alone.returncode != 0
    assert alone.stderr


def work(argv: list[str], url: str, token: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "STIG_URL": url,
        "STIG_TOKEN": token,
        "WAIT_S": "0.5",
    }
    return subprocess.run(
        argv, cwd=EXAMPLES, env=environment, capture_output=True, text=True, timeout=60
    )
