"""`stig status` and `stig logs` on a board of its own, and alerts of runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from stigmergy import Task, TaskBoard
from stigmergy.board import open_store
from stigmergy.cli import logs, status
from stigmergy.errors import NotFoundError, UsageError
from stigmergy.monitor import METRICS

HOSTILE = "[red]bad[/red]\x1b[2J\x1b]0;owned\x07\u202e"

app = typer.Typer()
for command in (status.status, logs.logs):
    app.command()(command)


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "140")
    place = f"sqlite:///{tmp_path}/board.db"
    now = [1000.0]
    with TaskBoard(store=open_store(place, clock=lambda: now[0]), lease_s=60) as board:
        board.post(Task(task_type="resize", task_id="a", description=f"Thumbnail {HOSTILE}"))
        board.post(Task(task_type="resize", task_id="b", depends_on=("a",)))
        board.post(Task(task_type="approval", task_id="ship", requires=("person",)))
        for _ in range(2):
            task = board.claim("worker-1")
            assert task is not None
            board.report(task, {"done": 3, "total": 9, "file": HOSTILE})
            now[0] += 100.0
            board.reap()
            now[0] += 100.0
        task = board.claim("worker-2")
        assert task is not None
        board.pause("mail")
    return place


def stig(*words: str) -> str:
    result = CliRunner().invoke(app, words)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_status_of_a_board_tells_tasks_agents_alerts_and_who_is_asked(url: str) -> None:
    said = stig("status", "--board", url)
    assert "3 tasks, 2 pending, 1 claimed (1 of the pending wait for others)" in said
    assert "2 repeated attempts, 2 lost leases" in said
    assert "critical path: a → b" in said
    assert "paused: mail" in said
    assert "the lease of a ran out 2 times" in said
    assert "approve or refuse ship" in said
    assert "worker-2 has said nothing of a for" in said
    lines = [line.split() for line in said.splitlines()]
    assert ["worker-2", "stuck", "a"] in [line[:3] for line in lines]
    assert ["worker-1", "gone"] in [line[:2] for line in lines]
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_status_of_a_board_as_json_has_every_figure(url: str) -> None:
    told = json.loads(stig("status", "--board", url, "--json"))
    assert told["metrics"].keys() == {metric.name for metric in METRICS}
    assert told["metrics"]["tasks_for_person"] == 1
    assert told["metrics"]["cost_usd"] is None
    assert {alert["kind"] for alert in told["alerts"]} == {"silent", "expiring", "person"}
    assert {agent["id"]: agent["state"] for agent in told["agents"]} == {
        "worker-1": "gone",
        "worker-2": "stuck",
    }
    assert told["paused"] == ["mail"]


def test_logs_of_a_board_tell_what_happened_to_whom(url: str) -> None:
    whole = stig("logs", "--board", url)
    assert "a: worker-1 fell silent, tried again" in whole
    assert "tasks of type mail paused" in whole
    of_agent = stig("logs", "worker-2", "--board", url)
    assert "claimed, attempt 3" in of_agent
    assert "worker-1" not in of_agent
    of_task = stig("logs", "a", "--board", url)
    assert "reports done 3, total 9" in of_task
    assert "lost: the agent fell silent" in of_task
    assert "\x1b" not in whole + of_agent + of_task
    events = [json.loads(line) for line in stig("logs", "a", "--board", url, "--json").splitlines()]
    assert {event["task_id"] for event in events} == {"a"}


def test_logs_of_nobody_name_who_there_is(url: str) -> None:
    with pytest.raises(NotFoundError, match=r"'nobody'.* worker-1, worker-2"):
        stig("logs", "nobody", "--board", url)


def test_a_run_and_a_board_are_not_asked_for_together(url: str) -> None:
    for words in (("status", "3fa2"), ("status", "--all"), ("logs", "--run", "3fa2")):
        with pytest.raises(UsageError, match="not both"):
            stig(*words, "--board", url)


def test_no_board_is_made_by_looking(tmp_path: Path) -> None:
    place = tmp_path / "none.db"
    for word in ("status", "logs"):
        with pytest.raises(NotFoundError):
            stig(word, "--board", str(place))
    assert not place.exists()


def test_followed_logs_of_a_board_go_on_as_it_happens(url: str) -> None:
    command = [
        str(Path(sys.executable).with_name("stig")),
        "logs",
        "b",
        "--board",
        url,
        "-f",
        "--json",
    ]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following,
        TaskBoard(url) as board,
    ):
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["kind"] == "posted"
        board.cancel("b")
        assert json.loads(following.stdout.readline())["kind"] == "cancelled"
        following.terminate()
