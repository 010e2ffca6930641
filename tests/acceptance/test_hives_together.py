"""Several hives on one shared board, from several repositories: how far they are, and stopping."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stigmergy.board import Task, TaskBoard, TaskStatus
from stigmergy.cli.hive.shared import row_of
from stigmergy.coding.hive_board import hives_on
from stigmergy.server.auth import Scope
from stigmergy.testing.model_server import Call, Held, Say, ScriptedModelServer
from stigmergy.testing.serving import served

STIG = Path(sys.executable).with_name("stig")
GATE = ("--gate", "sh gate.sh")
START = {"gate.sh": "true\n", "README": "start\n"}
WRITE = ("--agent-shell", "--agent-command", "echo new > new.txt")
MakeRepository = Callable[[Mapping[str, str]], Path]


def stig(folder: Path, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [STIG, *args],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"} | more,
    )


def held_planner() -> dict[str, Any]:
    plan = Say(calls=(Call("submit_plan", {"items": [], "done": True, "reason": "none"}),))
    return {"submit_plan": (Held(plan),)}


def start(repository: Path, server: ScriptedModelServer, *args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [STIG, "hive", "spawn", "Go on", "--json", "--model", f"{server.base_url}#m", *args],
        cwd=repository,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ.copy(),
    )


def rows(url: str) -> dict[str, dict[str, Any]]:
    told = json.loads(stig(Path.cwd(), "hive", "status", "--board", url, "--json").stdout)
    return {row["name"]: row for row in told["hives"]}


def test_hives_of_several_repositories_stand_on_one_board(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    url = str(tmp_path / "hives.db")
    one, other = make_repository(START), make_repository(START)
    with ScriptedModelServer(held_planner()) as server:
        first = start(one, server, *GATE, "--name", "one", "--board", url)
        second = start(other, server, *GATE, "--name", "two", "--board", url)
        server.wait_for_requests(2, timeout_s=60)
        alive = rows(url)
        assert {name: row["state"] for name, row in alive.items()} == {
            "one": "running",
            "two": "running",
        }
        assert alive["one"]["namespaces"] == ["one"]
        assert alive["two"]["repository"] == other.name
        taken = stig(
            make_repository(START), "hive", "spawn", "x", "--plain", "--name", "one", *GATE,
            *WRITE, "--board", url,
        )  # fmt: skip
        assert taken.returncode == 2
        assert "a hive 'one' is on that board already" in taken.stderr

        stopped = stig(tmp_path, "hive", "stop", "one", "--board", url, "--by", "ann")
        assert stopped.returncode == 0, stopped.stderr
        assert first.wait(timeout=60) == 130
        assert second.poll() is None  # the other goes on
        with TaskBoard(url) as board:
            (task,) = [each for each in board.list_all() if each.payload["name"] == "one"]
        assert task.status is TaskStatus.CANCELLED
        assert "stopped by ann" in (task.error or "")
        nobody = stig(tmp_path, "hive", "stop", "one", "--board", url)
        assert nobody.returncode == 2
        second.terminate()
        assert second.wait(timeout=60) == 143
    ended = rows(url)
    assert ended["two"]["state"] == "ended"
    assert "stopped" in ended["two"]["verdict"]


def test_a_hive_that_was_killed_is_called_crashed_when_its_lease_has_run_out(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    url = str(tmp_path / "hives.db")
    with ScriptedModelServer(held_planner()) as server:
        hive = start(make_repository(START), server, *GATE, "--name", "one", "--board", url)
        server.wait_for_requests(1, timeout_s=60)
        hive.kill()
        hive.wait()
    with TaskBoard(url) as board:
        (task,) = hives_on(board)
    assert task.lease is not None
    until = task.lease.deadline
    assert row_of(task, now=until - 1)["state"] == "running"
    assert row_of(task, now=until + 1)["state"] == "crashed"


def test_how_a_hive_ended_is_on_the_shared_board(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    url = str(tmp_path / "hives.db")
    done = stig(
        make_repository(START), "hive", "spawn", "Write", "--plain", "--name", "good", *GATE,
        *WRITE, "--board", url,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bad = stig(
        make_repository(START), "hive", "spawn", "Fail", "--plain", "--name", "bad", *GATE,
        "--agent-command", "false", "--board", url,
    )  # fmt: skip
    assert bad.returncode == 1
    red = stig(
        make_repository(START), "hive", "spawn", "Red", "--plain", "--name", "red",
        "--gate", "false", *WRITE, "--board", url,
    )  # fmt: skip
    assert red.returncode == 2
    told = rows(url)
    assert (told["good"]["exit_code"], told["good"]["done"]) == (0, 1)
    assert "the target is green" in told["good"]["verdict"]
    assert (told["bad"]["failed"], told["bad"]["items"]) == (1, 1)
    assert "the gate is red" in told["red"]["verdict"]
    page = stig(tmp_path, "hive", "status", "--board", url).stdout
    assert "good  development  ended  1 of 1 items" in page


def test_other_tasks_of_the_board_are_none_of_a_hives_business(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    url = str(tmp_path / "hives.db")
    with TaskBoard(url) as board:
        board.post(Task(task_id="mine", task_type="code", description="somebody's"))
        board.post(Task(task_id="theirs", task_type="hive", description="no hive of ours"))
    done = stig(
        make_repository(START), "hive", "spawn", "Write", "--plain", *GATE, *WRITE,
        "--board", url,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with TaskBoard(url) as board:
        left = [task.task_id for task in board.list_all(statuses=[TaskStatus.PENDING])]
    assert left == ["mine", "theirs"]
    assert list(rows(url)) == ["write"]


def test_a_board_without_hives_says_so(tmp_path: Path) -> None:
    url = str(tmp_path / "hives.db")
    assert stig(tmp_path, "hive", "status", "--board", url).returncode == 2
    with TaskBoard(url):
        pass
    empty = stig(tmp_path, "hive", "status", "--board", url)
    assert "no hive was put on that board" in empty.stderr


def test_a_hive_may_stand_on_a_board_over_http(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    with TaskBoard(tmp_path / "hives.db") as board, served(board, tmp_path) as server:
        token = server.tokens[Scope.WORKER]
        done = stig(
            make_repository(START), "hive", "spawn", "Write", "--plain", *GATE, *WRITE,
            "--board", server.url, STIG_TOKEN=token,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (task,) = board.list_all()
        assert task.status is TaskStatus.COMPLETED
        seen = stig(tmp_path, "hive", "status", "--board", server.url, STIG_TOKEN=token)
        assert "write  development  ended  1 of 1 items" in seen.stdout
        untold = stig(tmp_path, "hive", "status", "--board", server.url)
        assert untold.returncode == 2
        assert "asks for a token" in untold.stderr
        stop = ("hive", "stop", "other", "--board", server.url)
        nobody = stig(tmp_path, *stop, STIG_TOKEN=token)
        assert nobody.returncode == 2
        assert "no hive 'other' is there" in nobody.stderr
        other = Task(task_type="hive.other", parent_id="hives", payload={"name": "other"})
        name = board.post(other)
        refused = stig(tmp_path, *stop, STIG_TOKEN=token)
        assert refused.returncode == 2
        assert "scope admin" in refused.stderr
        stopped = stig(tmp_path, *stop, STIG_TOKEN=server.tokens[Scope.ADMIN])
        assert stopped.returncode == 0, stopped.stderr
        cancelled = board.get(name)
        assert cancelled is not None
        assert cancelled.status is TaskStatus.CANCELLED
