from __future__ import annotations

import _thread
import threading
from collections.abc import Callable

import pytest

from stigmergy import SwarmAgent, Task, TaskBoard, TaskStatus, TaskType
from stigmergy.board import Lease, open_store
from stigmergy.errors import LostLeaseError, TransientError, UsageError
from stigmergy.swarm import Heartbeat, run_agents
from stigmergy.swarm.nursery import Nursery
from stigmergy.testing.stores import FakeClock


@pytest.fixture
def board():
    with TaskBoard("memory:") as opened:
        yield opened


def post(board: TaskBoard, **fields: object) -> str:
    return board.post(Task(**{"task_type": "job", **fields}))


def status(board: TaskBoard, task_id: str) -> TaskStatus:
    task = board.get(task_id)
    assert task is not None
    return task.status


def test_a_handler_s_result_completes_the_task(board: TaskBoard) -> None:
    task_id = post(board, payload={"x": 2})
    agent = SwarmAgent("a", board, handlers={"job": lambda task: {"y": task.payload["x"] * 2}})
    done = agent.work_cycle()
    assert done is not None
    assert (done.task_id, done.status, done.result) == (task_id, TaskStatus.COMPLETED, {"y": 4})


def test_work_cycle_says_none_when_there_is_nothing(board: TaskBoard) -> None:
    assert SwarmAgent("a", board, handlers={"job": lambda _: {}}).work_cycle() is None


def test_an_exception_fails_the_attempt_and_it_is_tried_again(board: TaskBoard) -> None:
    def boom(_: Task) -> None:
        raise RuntimeError("boom")

    task_id = post(board)
    done = SwarmAgent("a", board, handlers={"job": boom}).work_cycle()
    assert done is not None
    assert done.status is TaskStatus.PENDING
    assert done.error == "RuntimeError: boom"
    assert done.not_before > 0
    assert status(board, task_id) is TaskStatus.PENDING


def test_a_usage_error_is_not_tried_again(board: TaskBoard) -> None:
    def refuse(_: Task) -> None:
        raise UsageError("never")

    post(board)
    done = SwarmAgent("a", board, handlers={"job": refuse}).work_cycle()
    assert done is not None
    assert done.status is TaskStatus.FAILED


def test_a_result_that_is_no_json_fails_the_attempt(board: TaskBoard) -> None:
    post(board, max_attempts=1)
    agent = SwarmAgent("a", board, handlers={"job": lambda _: {"x": object()}})
    done = agent.work_cycle()
    assert done is not None
    assert done.status is TaskStatus.FAILED
    assert "JSON" in (done.error or "")


def test_an_agent_takes_only_what_it_can_do(board: TaskBoard) -> None:
    gpu = post(board, requires=("gpu",))
    assert SwarmAgent("plain", board).claim_next_task() is None
    claimed = SwarmAgent("able", board, capabilities=["gpu", "more"]).claim_next_task()
    assert claimed is not None
    assert claimed.task_id == gpu


def test_a_task_type_among_the_capabilities_limits_the_types(board: TaskBoard) -> None:
    post(board)
    review = post(board, task_type=TaskType.REVIEW)
    claimed = SwarmAgent("r", board, capabilities=[TaskType.REVIEW]).claim_next_task()
    assert claimed is not None
    assert claimed.task_id == review


def test_handlers_limit_the_types(board: TaskBoard) -> None:
    post(board, task_type="other")
    assert SwarmAgent("a", board, handlers={"job": lambda _: {}}).claim_next_task() is None


def test_what_a_cancelled_task_s_agent_says_is_not_written(board: TaskBoard) -> None:
    task_id = post(board)

    def work(_: Task) -> dict[str, object]:
        board.cancel(task_id, reason="enough")
        return {"late": True}

    done = SwarmAgent("a", board, handlers={"job": work}).work_cycle()
    assert done is not None
    assert (done.status, done.result) == (TaskStatus.CANCELLED, None)


def test_a_heartbeat_keeps_a_lease_alive_beyond_its_time() -> None:
    """By the board's clock, which is moved here: a pause of the machine is no lost lease."""
    clock = FakeClock()
    with TaskBoard(store=open_store("memory:", clock=clock)) as board:
        post(board)
        task = board.claim("a", lease_s=0.03)
        assert task is not None
        with Heartbeat(board) as heart, heart.holding(task, lease_s=0.03) as held:
            for _ in range(3):
                clock.advance(0.02)
                until(lambda: held.lease.deadline == clock.now + 0.03)
            assert board.claim("b") is None
            assert not held.lost.is_set()
        assert board.complete(held.lease, {}).status is TaskStatus.COMPLETED


def until(holds: Callable[[], bool]) -> None:
    """Within a time that is far more than enough."""
    for _ in range(3000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come to that")


def test_a_heartbeat_learns_of_a_cancel_at_once_when_asked(board: TaskBoard) -> None:
    post(board)
    task = board.claim("a", lease_s=3600)
    assert task is not None
    with Heartbeat(board) as heart, heart.holding(task, lease_s=3600) as held:
        board.cancel(task.task_id)
        heart.check()
        assert held.lost.wait(20)
    with pytest.raises(LostLeaseError, match="cancelled"):
        board.complete(task, {})


def test_a_heartbeat_that_is_asked_while_it_renews_looks_once_more(
    board: TaskBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(board)
    task = board.claim("a", lease_s=3600)
    assert task is not None
    renew, renewed, go = board.renew, threading.Event(), threading.Event()

    def slowly(*args: object, **fields: object) -> Lease:
        lease = renew(*args, **fields)
        renewed.set()
        go.wait(20)
        return lease

    monkeypatch.setattr(board, "renew", slowly)
    with Heartbeat(board) as heart, heart.holding(task, lease_s=3600) as held:
        heart.check()
        assert renewed.wait(20)
        board.cancel(task.task_id)
        heart.check()
        go.set()
        assert held.lost.wait(20)


def test_run_stops_between_tasks_and_leaves_the_rest(board: TaskBoard) -> None:
    stop = threading.Event()

    def work(_: Task) -> None:
        stop.set()

    for _ in range(3):
        post(board)
    assert SwarmAgent("a", board, handlers={"job": work}).run(stop) == 1
    assert board.progress().pending == 2


def test_run_survives_a_busy_board(board: TaskBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    post(board)
    claim, calls = board.claim, []

    def busy_once(*args: object, **fields: object) -> Task | None:
        calls.append(1)
        if len(calls) == 1:
            raise TransientError("busy")
        return claim(*args, **fields)

    monkeypatch.setattr(board, "claim", busy_once)
    agent = SwarmAgent("a", board, handlers={"job": lambda _: {}})
    assert agent.run(threading.Event(), until_idle=True, idle_s=0.01) == 1


def test_until_idle_waits_for_what_a_dependency_will_free(board: TaskBoard) -> None:
    first = post(board)
    post(board, depends_on=(first,))
    run_agents(board, 2, handlers={"job": lambda _: {}})
    assert board.progress().completed == 2


def test_an_agent_needs_a_board() -> None:
    with pytest.raises(UsageError, match="task_board"):
        SwarmAgent("a")


def test_an_interrupt_is_raised_when_the_threads_have_ended() -> None:
    ended: list[bool] = []
    nursery = Nursery()

    def work() -> None:
        _thread.interrupt_main()
        ended.append(nursery.stop.wait(timeout=20))

    with pytest.raises(KeyboardInterrupt), nursery:
        nursery.start(work, name="worker")
    assert ended == [True]
