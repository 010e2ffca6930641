"""An agent over HTTP is as good as one beside the board."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from stigmergy import SwarmAgent, Task, TaskBoard, TaskStatus
from stigmergy.board import Lease
from stigmergy.errors import (
    CorruptError,
    LostLeaseError,
    NotFoundError,
    StigmergyError,
    TransientError,
    UsageError,
)
from stigmergy.server import app
from stigmergy.server.auth import Scope
from stigmergy.server.routes import leases
from stigmergy.swarm.command import CommandHandler
from stigmergy.swarm.remote import RemoteBoard
from stigmergy.testing.serving import ServedBoard, served


@pytest.fixture
def board(tmp_path: Path) -> Iterator[TaskBoard]:
    with TaskBoard(tmp_path / "board.db") as opened:
        yield opened


@pytest.fixture
def server(board: TaskBoard, tmp_path: Path) -> Iterator[ServedBoard]:
    with served(board, tmp_path / "server") as running:
        yield running


@pytest.fixture
def remote(server: ServedBoard) -> Iterator[RemoteBoard]:
    with server.remote() as opened:
        yield opened


def test_agents_work_a_board_off_over_http(board: TaskBoard, remote: RemoteBoard) -> None:
    ids = board.post_many(Task(task_type="double", payload={"x": n}) for n in range(20))
    agents = [
        SwarmAgent(f"r{n}", remote, handlers={"double": lambda task: {"y": 2 * task.payload["x"]}})
        for n in range(3)
    ]
    stop = threading.Event()
    threads = [
        threading.Thread(target=agent.run, args=(stop,), kwargs={"until_idle": True})
        for agent in agents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = [board.get(task_id) for task_id in ids]
    assert [task.result for task in found if task] == [{"y": 2 * n} for n in range(20)]


def test_an_idle_agent_takes_what_comes_and_heeds_stop(
    board: TaskBoard, remote: RemoteBoard
) -> None:
    done, stop = threading.Event(), threading.Event()
    agent = SwarmAgent("r", remote, handlers={"job": lambda _: done.set()})
    thread = threading.Thread(target=agent.run, args=(stop,), kwargs={"idle_s": 0.5})
    thread.start()
    board.post(Task(task_type="job"))
    assert done.wait(60)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def test_what_a_handler_raises_fails_the_attempt(board: TaskBoard, remote: RemoteBoard) -> None:
    def boom(_: Task) -> None:
        raise RuntimeError("boom \udcff")

    task_id = board.post(Task(task_type="job", max_attempts=1))
    done = SwarmAgent("r", remote, handlers={"job": boom}).work_cycle()
    assert done is not None
    assert done.status is TaskStatus.FAILED
    task = board.get(task_id)
    assert task is not None
    assert task.error == "RuntimeError: boom \\udcff"


def test_large_payloads_and_results_cross(board: TaskBoard, remote: RemoteBoard) -> None:
    value = {"text": "x" * 3_000_000}
    task_id = board.post(Task(task_type="job", payload=value))
    SwarmAgent("r", remote, handlers={"job": lambda task: dict(task.payload)}).work_cycle()
    task = board.get(task_id)
    assert task is not None
    assert board.load(task.result) == value
    assert remote.load(task.result) == value


def test_a_result_and_the_next_claim_are_one_call(board: TaskBoard, remote: RemoteBoard) -> None:
    board.post_many(Task(task_type="job", task_id=name) for name in ("a", "b", "c"))
    held = remote.claim("r")
    assert held is not None
    (following,) = remote.complete_and_claim("r", [(held, {"n": 1})], lease_s=50.0)
    assert following.task_id == "b"
    kinds = [(event.kind, event.task_id) for event in board.events()][-2:]
    assert kinds == [("completed", "a"), ("claimed", "b")]
    board.cancel("b", reason="enough")
    with pytest.raises(LostLeaseError, match="enough"):
        remote.complete_and_claim("r", [(following, {})])
    assert board.get("c").status == "pending"  # pyright: ignore[reportOptionalMemberAccess]
    assert remote.complete_and_claim("r", [(held, {"n": 1})], 0) == []
    stolen = Lease(task_id="c", agent_id="r", attempt=1, fence=1, deadline=0.0)
    with pytest.raises(UsageError, match="not given out by this server"):
        remote.complete_and_claim("r", [(stolen, {})])


def test_results_too_large_for_one_request_go_one_by_one(
    board: TaskBoard, remote: RemoteBoard
) -> None:
    ids = board.post_many(Task(task_type="job") for _ in range(11))
    held = remote.claim_many("r", 10)
    value = {"text": "x" * 900_000}
    (last,) = remote.complete_and_claim("r", [(task, value) for task in held], 5)
    assert last.task_id == ids[-1]
    assert board.progress().completed == 10


def test_an_older_server_is_asked_in_two_calls(
    board: TaskBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = APIRouter()
    older.routes += [
        route
        for route in leases.router.routes
        if not (isinstance(route, APIRoute) and route.path.endswith("/complete-and-claim"))
    ]
    assert len(older.routes) == len(leases.router.routes) - 1
    newer = [each for each in app.routers() if each is not leases.router]
    monkeypatch.setattr(app, "routers", lambda: [older, *newer])
    board.post_many(Task(task_type="job", task_id=name) for name in ("a", "b"))
    with served(board, tmp_path / "older") as server, server.remote() as remote:
        agent = SwarmAgent("r", remote, handlers={"job": lambda _: {"ok": True}})
        assert agent.run(threading.Event(), until_idle=True) == 2
    assert board.progress().completed == 2


def test_refusals_come_back_as_the_board_s_own_errors(
    board: TaskBoard, remote: RemoteBoard
) -> None:
    board.post(Task(task_type="job", task_id="j"))
    held = remote.claim("r")
    assert held is not None
    board.cancel("j", reason="enough")
    with pytest.raises(LostLeaseError, match="enough") as lost:
        remote.complete(held)
    assert (lost.value.task_id, lost.value.agent_id, lost.value.fence) == ("j", "r", 1)
    with pytest.raises(NotFoundError):
        remote.load({"$blob": "sha256-" + "0" * 64, "bytes": 1})
    with pytest.raises(CorruptError):
        remote.load({"$blob": "nonsense"})
    with pytest.raises(UsageError, match="not on the board"):
        remote.post(Task(task_type="job", depends_on=("nowhere",)))
    with pytest.raises(UsageError, match="JSON"):
        remote.complete(held, {"x": float("nan")})
    assert remote.get("nowhere") is None
    with pytest.raises(LostLeaseError):  # told again, and not taken for a forger
        remote.fail(held, "x")


def test_a_token_that_is_not_good_is_told_at_once(server: ServedBoard) -> None:
    stranger = RemoteBoard(server.url, token="stig_wrong_wrong_wrong")
    with stranger, pytest.raises(UsageError, match="token"):
        stranger.claim("x")
    with server.remote(Scope.READ) as reader, pytest.raises(UsageError, match="worker"):
        reader.claim("x")


def test_a_server_that_is_not_there_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with (
        RemoteBoard("http://127.0.0.1:9", token="stig_x", patience_s=0.5) as nobody,
        pytest.raises(TransientError),
    ):
        nobody.get("t")
    (said,) = caplog.messages
    assert said.startswith("http://127.0.0.1:9 does not answer (ConnectError")
    assert said.endswith("; trying again")


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("http://127.0.0.1:9", False),
        ("http://localhost:9", False),
        ("https://board.example", False),
        ("http://board.example:9", True),
        ("http://127.0.0.1.example", True),
    ],
)
def test_a_token_that_goes_unencrypted_to_another_machine_is_warned_of(
    url: str, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    RemoteBoard(url, token="stig_secret").close()
    assert [("unencrypted" in text) for text in caplog.messages] == [True] * warns
    assert "stig_secret" not in caplog.text


def test_a_server_that_is_not_there_is_transient() -> None:
    nobody = RemoteBoard("http://127.0.0.1:9", token="stig_x", patience_s=0.3)
    with nobody, pytest.raises(TransientError, match="does not answer"):
        nobody.claim("x")


@pytest.mark.parametrize("url", ["board.db", "http://", "ftp://h", "http://u:p@h", "http://h/?x=1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="address"):
        RemoteBoard(url, token="stig_x")


def test_lists_and_progress_are_the_board_s(board: TaskBoard, remote: RemoteBoard) -> None:
    board.post_many(Task(task_type="job", parent_id="p", task_id=f"n{n}") for n in range(7))
    board.claim("x")
    assert remote.list_all() == board.list_all()
    pending = remote.list_all(statuses=[TaskStatus.PENDING], parent_id="p")
    assert pending == board.list_all(statuses=[TaskStatus.PENDING], parent_id="p")
    assert remote.progress("p") == board.progress("p")


def test_release_can_post_what_it_waits_for(board: TaskBoard, remote: RemoteBoard) -> None:
    board.post(Task(task_type="job", task_id="j"))
    held = remote.claim("r")
    assert held is not None
    part = Task(task_type="part", task_id="part")
    waiting = remote.release(held, wait_for=["part"], post=[part], reason="first the part")
    assert waiting.waiting_on == ("part",)
    assert board.get("part") is not None


# --- programs as agents ---


def command(script: str, timeout_s: float = 30.0) -> CommandHandler:
    return CommandHandler(argv=["/bin/sh", "-c", script], timeout_s=timeout_s)


def test_a_command_gets_the_task_and_its_output_is_the_result() -> None:
    task = Task(task_type="job", task_id="j", payload={"x": 1})
    assert command("cat")(task)["payload"] == {"x": 1}
    assert command("echo $STIG_TASK_ID $STIG_TASK_TYPE")(task) == {"output": "j job\n"}
    assert command("exit 0")(task) == {}


def test_a_command_s_exit_code_says_whether_to_try_again() -> None:
    task = Task(task_type="job")
    with pytest.raises(UsageError, match="never"):
        command("echo never >&2; exit 65")(task)
    with pytest.raises(StigmergyError, match="ended with 3: oops") as failed:
        command("echo oops >&2; exit 3")(task)
    assert not isinstance(failed.value, UsageError)


def test_a_command_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(StigmergyError, match="longer than"):
        command(f"(sleep 2; touch {mark}) & sleep 60", timeout_s=0.3)(Task(task_type="job"))
    threading.Event().wait(2.2)
    assert not mark.exists()


def test_a_command_whose_task_was_cancelled_is_killed(board: TaskBoard, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    task_id = board.post(Task(task_type="job"))
    agent = SwarmAgent(
        "r", board, handlers={"job": command(f"touch {begun}; sleep 60", 60.0)}, lease_s=0.9
    )
    thread = threading.Thread(target=agent.work_cycle)
    began = time.monotonic()
    thread.start()
    while not begun.exists():
        assert time.monotonic() - began < 60
        time.sleep(0.01)
    board.cancel(task_id)
    thread.join(30)
    assert not thread.is_alive()
    task = board.get(task_id)
    assert task is not None
    assert task.status is TaskStatus.CANCELLED


def test_a_command_does_not_see_the_board_s_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STIG_TOKEN", "stig_secret_secret")
    assert command("env | grep -c STIG_TOKEN || true")(Task(task_type="j")) == {"output": "0\n"}
