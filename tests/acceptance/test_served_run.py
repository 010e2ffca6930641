"""The board of a real coding run, served: a worker's token plays no part of the run itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from stigmergy import Task, TaskBoard
from stigmergy.server.auth import Scope
from stigmergy.server.context import ServedRun
from stigmergy.server.serving import ServeOptions
from stigmergy.testing.runs import Ran, item, run_items
from stigmergy.testing.serving import ServedBoard, served

API = "/api/v1"


@pytest.fixture
def ran(make_repository: Callable[[Mapping[str, str | bytes]], Path]) -> Ran:
    return run_items(
        make_repository({"README": "start\n"}),
        [item("F1", "1.txt")],
        agent_command='echo one > "$STIG_PATH"',
        agent_shell=True,
        agents=1,
        gate="true",
    )


@pytest.fixture
def board(ran: Ran) -> Iterator[TaskBoard]:
    with TaskBoard(ran.directory.board_url) as opened:
        yield opened


@pytest.fixture
def server(ran: Ran, board: TaskBoard, tmp_path: Path) -> Iterator[ServedBoard]:
    run = ServedRun(directory=ran.directory, spec=ran.directory.read_spec())
    with served(board, tmp_path / "server", ServeOptions(run=run)) as running:
        yield running


@pytest.fixture
def worker(server: ServedBoard) -> Iterator[httpx.Client]:
    with server.client(Scope.WORKER) as client:
        yield client


def refused(answer: httpx.Response) -> bool:
    return answer.status_code == 403 and answer.json()["type"] == "urn:stigmergy:problem:scope"


def test_a_worker_posts_nothing_as_if_it_were_the_run(
    worker: httpx.Client, server: ServedBoard, board: TaskBoard
) -> None:
    before = board.last_seq()
    own: list[dict[str, Any]] = [
        {"task_type": "land"},
        {"task_type": "approval"},
        {"task_type": "fix"},
        {"task_type": "job", "task_id": "F1.approval2"},
        {"task_type": "job", "task_id": "plan.approval1"},
        {"task_type": "job", "task_id": "F2.land"},
        {"task_type": "job", "task_id": "F1.fix1"},
        {"task_type": "job", "task_id": "sweep1"},
    ]
    good = {"task_type": "job", "task_id": "mine"}
    for one in own:
        assert refused(worker.post(f"{API}/tasks", json=one))
        assert refused(worker.post(f"{API}/tasks/batch", json={"tasks": [good, one]}))
    assert board.last_seq() == before
    assert worker.post(f"{API}/tasks", json=good).status_code == 201
    (held,) = worker.post(
        f"{API}/tasks/claim", json={"agent_id": "a", "task_types": ["job"]}
    ).json()["claimed"]
    for one in own:
        body = {"lease": held["lease"], "post": [one]}
        assert refused(worker.post(f"{API}/tasks/mine/release", json=body))
    with server.client() as admin:
        assert admin.post(f"{API}/tasks", json={"task_type": "land"}).status_code == 201


@pytest.mark.parametrize("task_type", ["code", "fix", "land", "approval", "plan"])
def test_a_worker_takes_nothing_that_the_run_does_itself(
    worker: httpx.Client, server: ServedBoard, board: TaskBoard, task_type: str
) -> None:
    board.post(Task(task_id="own", task_type=task_type, priority=1))
    board.post(Task(task_id="open", task_type="generic", priority=9))
    order = {"agent_id": "a", "task_types": ["generic", task_type]}
    assert refused(worker.post(f"{API}/tasks/claim", json=order))
    whatever = worker.post(f"{API}/tasks/claim", json={"agent_id": "a", "limit": 9}).json()
    assert [held["task"]["task_id"] for held in whatever["claimed"]] == ["open"]
    with server.client() as admin:
        assert len(admin.post(f"{API}/tasks/claim", json=order).json()["claimed"]) == 1


def test_a_worker_does_not_go_by_the_name_of_one_of_the_run_s_agents(
    worker: httpx.Client, ran: Ran
) -> None:
    order = {"agent_id": f"{ran.directory.run_id}/agent-1", "task_types": ["generic"]}
    assert refused(worker.post(f"{API}/tasks/claim", json=order))
