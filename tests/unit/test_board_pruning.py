"""Retention and pruning: what goes, what stays, and what those who knew it see afterwards."""

from __future__ import annotations

import pytest

from stigmergy.board import Event, Query, Retention, Store, Task, TaskBoard, TaskStatus
from stigmergy.board.upkeep import PRUNED_AT_ONCE
from stigmergy.errors import NotFoundError, UsageError
from stigmergy.testing.stores import FakeClock

S = TaskStatus


def task(task_id: str, **fields: object) -> Task:
    return Task(task_type="work", task_id=task_id, **fields)  # type: ignore[arg-type] - test data


def names(board: TaskBoard) -> list[str]:
    return [each.task_id for each in board.list_all()]


def complete(board: TaskBoard, *wanted: str) -> None:
    held = {each.task_id: each for each in board.claim_many("ann", 99)}
    for name, each in held.items():
        if name in wanted:
            board.complete(each, {"of": name})
        else:
            board.release(each)


def one_of_each(board: TaskBoard) -> None:
    """A task of every status, named after it; the finished ones finished now."""
    board.post_many(task(status.value) for status in S)
    for held in board.claim_many("ann", 9):
        match held.task_id:
            case "completed":
                board.complete(held, {})
            case "failed":
                board.fail(held, "broke", retry=False)
            case "in_progress":
                board.start(held)
            case "pending":
                board.release(held)
            case _:
                pass
    board.cancel("cancelled")


# By hand -----------------------------------------------------------------------------------------


def test_what_is_finished_and_old_enough_goes_and_the_rest_stays(
    board: TaskBoard, clock: FakeClock
) -> None:
    one_of_each(board)
    clock.advance(50)
    assert board.prune(older_than_s=50).tasks == 0, "older than that, and not as old"
    clock.advance(1)
    assert board.prune(older_than_s=50).tasks == 3
    assert names(board) == ["pending", "claimed", "in_progress"]
    assert board.progress().total == 3
    with pytest.raises(NotFoundError):
        board.retry("failed")


def test_unfinished_tasks_are_never_dropped(board: TaskBoard) -> None:
    one_of_each(board)
    assert board.prune(older_than_s=0, statuses=[S.PENDING, S.CLAIMED, S.IN_PROGRESS]).tasks == 0
    assert board.prune(older_than_s=0, statuses=[S.FAILED, S.PENDING]).tasks == 1
    assert len(names(board)) == 5


@pytest.mark.parametrize("back_s", [0, 3600])
def test_an_age_of_0_is_all_whatever_the_clock_says(
    board: TaskBoard, clock: FakeClock, back_s: float
) -> None:
    one_of_each(board)
    clock.advance(-back_s)
    pruned = board.prune(older_than_s=0)
    assert pruned.tasks == 3
    assert pruned.events > 0
    assert len(board.events()) <= 1


@pytest.mark.parametrize("age_s", [-1, float("nan"), float("inf")])
def test_an_age_that_is_none_is_refused(board: TaskBoard, age_s: float) -> None:
    with pytest.raises(UsageError, match="older_than_s"):
        board.prune(older_than_s=age_s)


def test_the_first_posted_go_first_up_to_a_limit(board: TaskBoard) -> None:
    board.post_many(task(f"t{n}") for n in range(5))
    complete(board, *(f"t{n}" for n in range(5)))
    assert board.prune(older_than_s=0, limit=2).tasks == 2
    assert names(board) == ["t2", "t3", "t4"]
    assert board.prune(older_than_s=0, limit=0).tasks == 0


def test_more_than_one_transaction_drops_are_dropped(store: Store) -> None:
    board = TaskBoard(store=store)
    number = 2 * PRUNED_AT_ONCE + 3
    board.post_many(task(f"t{n}") for n in range(number))
    board.complete_many((each, {}) for each in board.claim_many("ann", number))
    assert board.prune(older_than_s=0).tasks == number
    assert names(board) == []


def test_pruning_is_journaled_by_number(board: TaskBoard, clock: FakeClock) -> None:
    one_of_each(board)
    clock.advance(60)
    board.prune(older_than_s=50)
    latest = board.events()[-1]
    assert (latest.kind, latest.data) == ("pruned", {"tasks": 3})
    board.prune(older_than_s=50)
    assert board.events()[-1] == latest, "nothing dropped, nothing said"


# Those who knew it -------------------------------------------------------------------------------


def test_what_depended_on_a_pruned_task_goes_on(board: TaskBoard) -> None:
    board.post_many([task("a"), task("b"), task("c", depends_on=("a", "b"))])
    complete(board, "a")
    board.prune(older_than_s=0)
    assert names(board) == ["b", "c"]
    held = board.claim("ann")
    assert held is not None
    assert held.task_id == "b"
    board.complete(held, {})
    last = board.claim("ann")
    assert last is not None
    assert (last.task_id, last.depends_on) == ("c", ("a", "b"))
    board.fail(last, "broke", retry=False)
    board.prune(older_than_s=0, statuses=[S.COMPLETED])
    assert board.retry("c").waiting_on == (), "what it needed had been done"
    assert board.claim("ann") is not None


def test_a_victim_cannot_begin_anew_once_its_reason_is_gone(board: TaskBoard) -> None:
    board.post_many([task("a"), task("b", depends_on=("a",))])
    board.cancel("a")
    board.prune(older_than_s=0, statuses=[S.CANCELLED])
    before = board.list_all()
    with pytest.raises(UsageError, match=r"'b' depends on \['a'\].*gone"):
        board.retry("b")
    assert board.retry_all(Query()) == []
    assert board.list_all() == before


def test_a_task_that_was_pruned_is_as_if_it_had_never_been(board: TaskBoard) -> None:
    board.post(task("a", unique_key="u", parent_id="p"))
    complete(board, "a")
    board.prune(older_than_s=0)
    assert board.get("a") is None
    assert board.progress("p").total == 0
    assert board.get_results_by_parent("p") == []
    with pytest.raises(UsageError, match="not on the board"):
        board.post(task("b", depends_on=("a",)))
    board.post(task("a", unique_key="u", parent_id="q"))
    assert board.progress("q").pending == 1
    complete(board, "a")


def test_an_agent_whose_task_was_cancelled_and_pruned_is_told_so(board: TaskBoard) -> None:
    board.post(task("a"))
    held = board.claim("ann")
    assert held is not None
    board.cancel("a")
    board.prune(older_than_s=0)
    with pytest.raises(NotFoundError, match="no task 'a'"):
        board.complete(held, {})


# Events ------------------------------------------------------------------------------------------


def test_old_events_go_and_the_latest_stays_so_that_numbers_go_on(
    board: TaskBoard, clock: FakeClock
) -> None:
    board.post_many([task("a"), task("b")])
    clock.advance(60)
    last = board.last_seq()
    board.prune(older_than_s=50)
    assert [event.seq for event in board.events()][-1:] == [last]
    board.post(task("c"))
    assert board.last_seq() > last
    (young,) = board.events(after=last)
    clock.advance(40)
    board.prune(older_than_s=50)
    assert young in board.events(), "not old enough"


def test_who_follows_the_journal_misses_nothing_that_is_young(
    board: TaskBoard, clock: FakeClock
) -> None:
    seen: list[Event] = []
    after = 0
    for n in range(6):
        board.post(task(f"t{n}"))
        board.prune(older_than_s=100)
        for event in board.events(after=after):
            seen.append(event)
            after = event.seq
        clock.advance(60)
    assert [event.task_id for event in seen if event.kind == "posted"] == [
        f"t{n}" for n in range(6)
    ]


# By itself ---------------------------------------------------------------------------------------


def test_retention_drops_as_claims_go_by(board: TaskBoard, clock: FakeClock) -> None:
    board.retain(Retention(completed_s=100, failed_s=1000))
    one_of_each(board)
    clock.advance(101)
    board.claim("bob", task_types=["none"])
    assert set(names(board)) == {"pending", "claimed", "in_progress", "failed", "cancelled"}
    clock.advance(1000)
    board.claim("bob", task_types=["none"])
    assert set(names(board)) == {"pending", "claimed", "in_progress", "cancelled"}


def test_retention_can_be_replaced_and_ended(board: TaskBoard, clock: FakeClock) -> None:
    board.retain(Retention(completed_s=100))
    kept = Retention(completed_s=5000, events_s=9000)
    board.retain(kept)
    assert board.rules().retention == kept
    one_of_each(board)
    clock.advance(1000)
    board.claim("bob", task_types=["none"])
    assert "completed" in names(board)
    board.retain(None)
    assert board.rules().retention is None
    clock.advance(10_000)
    board.claim("bob", task_types=["none"])
    assert "completed" in names(board)


def test_a_claim_drops_no_more_than_so_many_and_the_next_goes_on(
    store: Store, clock: FakeClock
) -> None:
    board = TaskBoard(store=store)
    number = 2 * PRUNED_AT_ONCE + 1
    board.post_many(task(f"t{n}") for n in range(number))
    board.complete_many((each, {}) for each in board.claim_many("ann", number))
    board.retain(Retention(completed_s=100))
    clock.advance(101)
    left = [number]
    for _ in range(3):
        assert board.claim("ann") is None
        left.append(board.progress().total)
        clock.advance(1)
    assert left == [number, number - PRUNED_AT_ONCE, 1, 0], "a second apart, or it never keeps up"


def test_retention_of_events_keeps_the_young_and_the_latest(
    board: TaskBoard, clock: FakeClock
) -> None:
    board.post(task("a"))
    board.retain(Retention(events_s=100))
    clock.advance(60)
    board.post(task("b"))
    clock.advance(60)
    assert board.claim("ann") is not None
    kinds = [(event.kind, event.task_id) for event in board.events()]
    assert ("posted", "b") in kinds
    assert ("claimed", "a") in kinds


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_retention_of_no_time_is_refused(bad: float) -> None:
    with pytest.raises(UsageError, match="completed_s"):
        Retention(completed_s=bad)
