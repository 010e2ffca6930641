"""Steering in bulk, and what agents report on the way."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from stigmergy.board import Query, Store, Task, TaskBoard, TaskStatus
from stigmergy.errors import LostLeaseError, UsageError
from stigmergy.testing.stores import FakeClock

S = TaskStatus


def task(task_id: str, **fields: object) -> Task:
    return Task(**{"task_type": "work", "task_id": task_id, **fields})  # type: ignore[arg-type] - test data


def claimed(board: TaskBoard, agent: str = "ann") -> Task:
    got = board.claim(agent)
    assert got is not None
    return got


def standing(board: TaskBoard) -> dict[str, TaskStatus]:
    return {each.task_id: each.status for each in board.list_all()}


def names(tasks: list[Task]) -> list[str]:
    return [each.task_id for each in tasks]


# Dead letters ------------------------------------------------------------------------------------


def bury(board: TaskBoard, **errors: str) -> None:
    """Post these tasks and fail each with its error."""
    board.post_many(task(name) for name in errors)
    for held in board.claim_many("ann", len(errors)):
        board.fail(held, errors[held.task_id], retry=False)


def test_all_dead_tasks_begin_anew_or_those_of_one_error(board: TaskBoard) -> None:
    bury(board, a="timeout: no answer", b="syntax", c="timeout: refused", d="syntax")
    assert names(board.retry_all(Query(), error="timeout")) == ["a", "c"]
    assert standing(board) == {"a": S.PENDING, "b": S.FAILED, "c": S.PENDING, "d": S.FAILED}
    assert names(board.retry_all(Query(limit=1))) == ["b"]
    assert names(board.retry_all(Query())) == ["d"]
    assert board.retry_all(Query()) == []
    assert board.progress().pending == 4


def test_bulk_retry_leaves_alone_what_is_not_dead(board: TaskBoard) -> None:
    board.post_many([task("done"), task("held"), task("waiting"), task("dropped")])
    board.complete(claimed(board), {})
    claimed(board)
    board.cancel("dropped")
    assert board.retry_all(Query(statuses=frozenset({S.COMPLETED, S.CLAIMED, S.PENDING}))) == []
    assert names(board.retry_all(Query(statuses=frozenset(S)))) == ["dropped"]
    assert standing(board)["done"] is S.COMPLETED


def test_victims_come_back_with_the_one_that_they_failed_because_of(board: TaskBoard) -> None:
    board.post_many([task("b", depends_on=("a",)), task("c", depends_on=("b",)), task("a")])
    board.fail(claimed(board), "broke", retry=False)
    assert names(board.retry_all(Query())) == ["a"]
    assert standing(board) == dict.fromkeys("bca", S.PENDING)


def test_a_task_that_cannot_begin_anew_is_left_as_it_was(board: TaskBoard) -> None:
    board.post_many([task("root"), task("leaf", task_type="leaf", depends_on=("root",))])
    board.cancel("leaf")
    board.cancel("root")
    before = board.list_all(), board.events()
    assert board.retry_all(Query(task_types=frozenset({"leaf"}))) == []
    assert (board.list_all(), board.events()) == before, "it would wait for the dead for ever"
    assert names(board.retry_all(Query())) == ["root", "leaf"]


class Counted:
    """A store, or a transaction of it, that counts the tasks that transactions read in bulk."""

    def __init__(self, inner: Any, read: list[str]) -> None:
        self._inner, self._read = inner, read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @contextmanager
    def transaction(self) -> Generator[Any]:
        with self._inner.transaction() as tx:
            yield Counted(tx, self._read)

    def select(self, query: Query) -> list[Task]:
        found = self._inner.select(query)
        self._read += names(found)
        return found


def test_retrying_many_does_not_read_them_all_for_each(store: Store) -> None:
    read: list[str] = []
    board = TaskBoard(store=Counted(store, read))  # type: ignore[arg-type] - it delegates
    bury(board, **{f"t{n}": "broke" for n in range(30)})
    assert len(board.retry_all(Query())) == 30
    assert len(read) == 30


def test_everything_unfinished_that_passes_is_cancelled(board: TaskBoard) -> None:
    board.post_many(
        [
            task("done", parent_id="p"),
            task("held", parent_id="p"),
            task("waiting", parent_id="p", depends_on=("held",)),
            task("victim", depends_on=("waiting",)),
            task("other"),
        ]
    )
    board.complete(claimed(board), {})
    held = claimed(board)
    cancelled = board.cancel_all(Query(parent_id="p"), reason="enough")
    assert names(cancelled) == ["held"], "the one that waits failed with it"
    assert [each.error for each in cancelled] == ["enough"]
    assert standing(board) == {
        "done": S.COMPLETED,
        "held": S.CANCELLED,
        "waiting": S.FAILED,
        "victim": S.FAILED,
        "other": S.PENDING,
    }
    with pytest.raises(LostLeaseError, match="enough"):
        board.complete(held, {})
    assert board.cancel_all(Query(statuses=frozenset({S.COMPLETED, S.FAILED}))) == []


# Progress ----------------------------------------------------------------------------------------


def test_a_report_is_shown_journaled_starts_the_task_and_renews(
    board: TaskBoard, clock: FakeClock
) -> None:
    board.post(task("a"))
    held = claimed(board)
    clock.advance(60)
    told = board.report(held, {"done": 3, "of": (1, 2)})
    assert (told.status, told.progress) == (S.IN_PROGRESS, {"done": 3, "of": [1, 2]})
    assert told.lease_until == clock.now + 100
    assert board.get("a") == told
    board.report(held, {"done": 4}, lease_s=5)
    last = board.get("a")
    assert last is not None
    assert (last.progress, last.lease_until) == ({"done": 4}, clock.now + 5)
    assert [(event.kind, event.agent_id) for event in board.history("a")[2:]] == [
        ("started", "ann"),
        ("reported", "ann"),
        ("reported", "ann"),
    ]
    assert board.history("a")[-1].data == {"done": 4}


def test_progress_stays_with_the_attempt_that_told_it(board: TaskBoard, clock: FakeClock) -> None:
    board.post(task("a"))
    board.report(claimed(board), {"done": 3})
    clock.advance(100)
    held = claimed(board)
    assert held.progress is None, "the next attempt has done nothing yet"
    board.report(held, {"done": 1})
    assert board.complete(held, {}).progress == {"done": 1}


def test_a_stale_agents_report_is_refused(board: TaskBoard, clock: FakeClock) -> None:
    board.post(task("a"))
    stale = claimed(board, "dead")
    clock.advance(100)
    claimed(board, "ann")
    before = board.list_all(), board.events()
    with pytest.raises(LostLeaseError, match="'dead'"):
        board.report(stale, {"done": 3})
    assert (board.list_all(), board.events()) == before


@pytest.mark.parametrize("bad", [[1], {"n": float("nan")}, {"n": "\ud800"}, {"n": "x" * 70_000}])
def test_a_report_that_cannot_be_stored_is_refused_by_name(board: TaskBoard, bad: object) -> None:
    board.post(task("a"))
    held = claimed(board)
    with pytest.raises(UsageError, match="progress of task 'a'"):
        board.report(held, bad)  # type: ignore[arg-type] - that is the point
    board.report(held, {"fine": True})


# Looking -----------------------------------------------------------------------------------------


def test_a_list_is_cut_to_its_limit(board: TaskBoard) -> None:
    board.post_many(task(f"t{n}") for n in range(5))
    assert names(board.list_all(limit=2)) == ["t0", "t1"]
    assert board.list_all(limit=0) == []
    with pytest.raises(UsageError, match="limit is -1"):
        board.list_all(limit=-1)


def test_the_journals_end_is_known(board: TaskBoard) -> None:
    assert board.last_seq() == 0
    board.post_many([task("a"), task("b")])
    assert board.last_seq() == board.events()[-1].seq
    assert not board.wait(after=board.last_seq(), timeout_s=0)
