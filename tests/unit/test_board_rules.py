"""Limits, pauses and fair sharing: what a board as a whole is told about claims."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stigmergy.board import Limit, Store, Task, TaskBoard, TaskStatus
from stigmergy.board.stores.sqlite import SqliteStore
from stigmergy.errors import NotFoundError, UsageError
from stigmergy.testing.stores import FakeClock

S = TaskStatus
LEASE_S = 100.0


def task(task_id: str, key: str | None = None, kind: str = "work", **fields: object) -> Task:
    return Task(task_type=kind, task_id=task_id, limit_key=key, **fields)  # type: ignore[arg-type] - test data


def claim(board: TaskBoard, number: int = 99, **how: object) -> list[Task]:
    return board.claim_many("ann", number, **how)  # type: ignore[arg-type] - test data


def names(tasks: list[Task]) -> list[str]:
    return [each.task_id for each in tasks]


# How many at once --------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once_or_in_turn", ["one call", "one by one"])
def test_no_more_tasks_of_a_type_are_held_than_its_limit(
    board: TaskBoard, at_once_or_in_turn: str
) -> None:
    board.limit(Limit(name="few", task_type="work", at_once=3))
    board.post_many(task(f"t{n}") for n in range(5))
    board.post(task("free", kind="other"))
    if at_once_or_in_turn == "one call":
        held = claim(board)
    else:
        held = [one for _ in range(4) for one in claim(board, 1)]
    assert names(held) == ["t0", "t1", "t2", "free"]
    assert board.claim("bob") is None


def test_tasks_of_a_key_are_limited_whatever_their_type(board: TaskBoard) -> None:
    board.limit(Limit(name="acme", limit_key="acme", at_once=1))
    board.post_many(
        [task("a", "acme"), task("b", "acme", "other"), task("c", "else"), task("d", None)]
    )
    assert names(claim(board)) == ["a", "c", "d"]


def test_every_key_is_limited_by_itself(board: TaskBoard) -> None:
    board.limit(Limit(name="each", limit_key="*", at_once=2))
    board.post_many(task(f"{key}{n}", key) for n in range(4) for key in ("x", "y"))
    board.post_many(task(f"free{n}") for n in range(3))
    held = claim(board)
    assert names(held) == ["x0", "y0", "x1", "y1", "free0", "free1", "free2"]
    board.complete(held[1], {})
    assert names(claim(board)) == ["y2"]


def test_a_key_is_limited_within_a_type(board: TaskBoard) -> None:
    board.limit(Limit(name="fixes", task_type="fix", limit_key="*", at_once=1))
    board.post_many(
        [
            task("x0", "x", "fix"),
            task("x1", "x", "fix"),
            task("x2", "x", "code"),
            task("y0", "y", "fix"),
            task("n0", None, "fix"),
            task("n1", None, "fix"),
        ]
    )
    assert names(claim(board)) == ["x0", "x2", "y0", "n0", "n1"]


def test_several_limits_hold_together(board: TaskBoard) -> None:
    board.limit(Limit(name="all", task_type="work", at_once=3))
    board.limit(Limit(name="each", limit_key="*", at_once=2))
    board.limit(Limit(name="one", limit_key="z", at_once=1))
    board.post_many(task(name, name[0]) for name in ("z0", "z1", "x0", "x1", "x2", "y0"))
    assert names(claim(board)) == ["z0", "x0", "x1"]
    board.unlimit("all")
    assert names(claim(board)) == ["y0"]
    board.unlimit("each")
    assert names(claim(board)) == ["x2"]
    board.unlimit("one")
    assert names(claim(board)) == ["z1"]


ENDS: dict[str, Callable[[TaskBoard, Task, FakeClock], object]] = {
    "complete": lambda board, held, _: board.complete(held, {}),
    "fail": lambda board, held, _: board.fail(held, "broke"),
    "release": lambda board, held, _: board.release(held, delay_s=1),
    "release_all": lambda board, _, __: board.release_all(lambda name: True, reason="dead"),
    "cancel": lambda board, held, _: board.cancel(held.task_id),
    "expiry": lambda _, __, clock: clock.advance(LEASE_S),
}


@pytest.mark.parametrize("end", ENDS)
def test_whatever_ends_a_claim_frees_its_slot(board: TaskBoard, clock: FakeClock, end: str) -> None:
    board.limit(Limit(name="one", task_type="work", at_once=1))
    board.post_many([task("a"), task("b")])
    (held,) = claim(board)
    board.start(held)
    assert claim(board) == []
    ENDS[end](board, held, clock)
    assert len(claim(board)) == 1


def test_handing_in_and_claiming_in_one_call_makes_room_for_the_claim(board: TaskBoard) -> None:
    board.limit(Limit(name="one", task_type="work", at_once=1))
    board.post_many([task("a"), task("b")])
    (held,) = claim(board)
    assert names(board.complete_and_claim("ann", [(held, {})], 9)) == ["b"]


def test_a_limit_that_is_replaced_counts_what_is_held(board: TaskBoard) -> None:
    board.post_many(task(f"t{n}") for n in range(6))
    board.limit(Limit(name="w", task_type="work", at_once=4))
    held = claim(board)
    board.limit(Limit(name="w", task_type="work", at_once=2))
    assert board.rules().limits == (Limit(name="w", task_type="work", at_once=2),)
    for each in held[:2]:
        board.complete(each, {})
        assert claim(board) == [], "there are still two or more"
    board.complete(held[2], {})
    assert len(claim(board)) == 1
    board.limit(Limit(name="w", task_type="work", at_once=9))
    assert len(claim(board)) == 1


def test_a_limit_set_late_lets_what_is_held_go_on(board: TaskBoard) -> None:
    board.post_many(task(f"t{n}") for n in range(3))
    held = claim(board, 2)
    board.limit(Limit(name="one", task_type="work", at_once=1))
    for each in held:
        board.renew(each)
        board.start(each)
    assert claim(board) == []
    board.complete_many((each, {}) for each in held)
    assert names(claim(board)) == ["t2"]


def test_what_a_limit_keeps_back_hides_nothing_that_stands_behind_it(board: TaskBoard) -> None:
    board.limit(Limit(name="each", limit_key="*", at_once=1))
    board.post_many(task(f"x{n}", "x", priority=1) for n in range(300))
    board.post(task("late", "y", priority=10))
    assert names(claim(board, 5)) == ["x0", "late"]


# How many over time ------------------------------------------------------------------------------


def test_a_rate_lets_so_many_through_at_once_and_refills_evenly(
    board: TaskBoard, clock: FakeClock
) -> None:
    board.limit(Limit(name="api", task_type="work", rate=4, per_s=60.0))
    board.post_many(task(f"t{n}") for n in range(20))
    assert len(claim(board)) == 4
    for _ in range(3):
        clock.advance(14.9)
        assert claim(board) == []
        clock.advance(0.1)
        assert len(claim(board)) == 1, "one each 15 s"
    clock.advance(30)
    assert len(claim(board)) == 2
    clock.advance(3600)
    assert len(claim(board)) == 4, "what is not used is not saved up"


def test_a_rate_counts_claims_and_not_what_becomes_of_them(
    board: TaskBoard, clock: FakeClock
) -> None:
    board.limit(Limit(name="api", task_type="work", rate=2, per_s=10.0))
    board.post_many(task(f"t{n}") for n in range(5))
    for held in claim(board):
        board.release(held)
    assert claim(board) == []
    clock.advance(5)
    assert len(claim(board)) == 1


def test_a_rate_of_every_key_is_each_keys_own(board: TaskBoard, clock: FakeClock) -> None:
    board.limit(Limit(name="api", limit_key="*", rate=1, per_s=10.0))
    board.post_many(task(f"{key}{n}", key) for n in range(3) for key in ("x", "y"))
    board.post(task("free"))
    assert names(claim(board)) == ["x0", "y0", "free"]
    clock.advance(9.9)
    assert claim(board) == []
    clock.advance(0.1)
    assert names(claim(board)) == ["x1", "y1"]


def test_a_rate_and_a_number_at_once_hold_together(board: TaskBoard, clock: FakeClock) -> None:
    board.limit(Limit(name="api", task_type="work", at_once=2, rate=3, per_s=30.0))
    board.post_many(task(f"t{n}") for n in range(9))
    held = claim(board)
    assert len(held) == 2
    board.complete_many((each, {}) for each in held)
    assert len(claim(board)) == 1
    clock.advance(30)
    assert len(claim(board)) == 1


def test_a_clock_that_is_set_back_does_not_stop_a_rate(board: TaskBoard, clock: FakeClock) -> None:
    board.limit(Limit(name="api", task_type="work", rate=2, per_s=60.0))
    board.post_many(task(f"t{n}", created_at=1.0) for n in range(9))
    assert len(claim(board)) == 2
    clock.advance(-86_400)
    assert len(claim(board)) == 2
    assert claim(board) == []
    clock.advance(30)
    assert len(claim(board)) == 1


def test_what_a_rate_has_spent_outlasts_its_process(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "b.db"
    with TaskBoard(store=SqliteStore(path, clock=clock)) as board:
        board.limit(Limit(name="api", task_type="work", rate=1, per_s=60.0))
        board.post_many([task("a"), task("b")])
        assert len(claim(board)) == 1
    with TaskBoard(store=SqliteStore(path, clock=clock)) as board:
        assert claim(board) == []
        clock.advance(60)
        assert len(claim(board)) == 1


# What can be no limit ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "no task_type and no limit_key"),
        ({"task_type": "a"}, "needs at_once, or rate and per_s"),
        ({"task_type": "a", "rate": 1}, "belong together"),
        ({"task_type": "a", "at_once": 1, "per_s": 1.0}, "belong together"),
        ({"task_type": "a", "at_once": 0}, "pause it instead"),
        ({"task_type": "a", "at_once": -1}, "pause it instead"),
        ({"task_type": "a", "rate": 0, "per_s": 1.0}, "pause it instead"),
        ({"task_type": "a", "rate": 1, "per_s": 0.0}, "take seconds"),
        ({"task_type": "a", "rate": 1, "per_s": float("inf")}, "take seconds"),
        ({"task_type": "a", "rate": 1, "per_s": float("nan")}, "take seconds"),
    ],
)
def test_what_can_be_no_limit_is_refused_by_name(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=f"'mine'.*{complaint}"):
        Limit(name="mine", **fields)  # type: ignore[arg-type] - test data


def test_a_name_that_cannot_be_stored_is_refused(board: TaskBoard) -> None:
    with pytest.raises(UsageError, match="JSON"):
        board.limit(Limit(name="\ud800", task_type="a", at_once=1))
    with pytest.raises(UsageError, match="JSON"):
        board.pause("\ud800")
    assert board.events() == []


def test_unlimiting_what_is_not_there_is_told(board: TaskBoard) -> None:
    with pytest.raises(NotFoundError, match="no limit 'ghost'"):
        board.unlimit("ghost")


def test_what_a_board_was_told_is_in_its_journal(board: TaskBoard) -> None:
    board.limit(Limit(name="a:b", task_type="x", at_once=1))
    board.unlimit("a:b")
    board.pause("x")
    board.resume("x")
    board.share_fairly()
    board.retain(None)
    assert [(event.kind, event.data) for event in board.events()] == [
        ("limited", {"name": "a:b"}),
        ("unlimited", {"name": "a:b"}),
        ("paused", {"task_type": "x"}),
        ("resumed", {"task_type": "x"}),
        ("shared_fairly", {"on": True}),
        ("retained", {"on": False}),
    ]


# Pausing -----------------------------------------------------------------------------------------


def test_a_paused_type_is_not_claimed_and_what_is_held_goes_on(board: TaskBoard) -> None:
    board.post_many([task("a"), task("b"), task("c", kind="other"), task("d:e", kind="x:y")][:3])
    (held,) = claim(board, 1)
    board.pause("work")
    board.pause("work")
    assert board.rules().paused == ("work",)
    assert names(claim(board)) == ["c"]
    board.renew(held)
    board.start(held)
    board.complete(held, {})
    assert claim(board) == []
    board.resume("work")
    board.resume("work")
    assert names(claim(board)) == ["b"]


def test_a_pause_holds_for_whoever_posts_completes_or_asks_for_the_type(board: TaskBoard) -> None:
    board.pause("work")
    board.post(task("a"))
    assert claim(board, task_types=["work"]) == []
    board.post(task("b", kind="other"))
    (other,) = claim(board)
    assert board.complete_and_claim("ann", [(other, {})], 1) == []


def test_leases_of_a_paused_type_run_out_all_the_same(board: TaskBoard, clock: FakeClock) -> None:
    board.post(task("a"))
    claim(board)
    board.pause("work")
    clock.advance(LEASE_S)
    assert claim(board) == []
    assert board.progress().pending == 1
    board.resume("work")
    assert claim(board)[0].attempts == 2


def test_all_types_are_paused_at_once_those_to_come_included(board: TaskBoard) -> None:
    board.post_many([task("a"), task("b", kind="other")])
    (held,) = claim(board, 1)
    board.pause("other")
    board.pause(None)
    assert set(board.rules().paused) == {"*", "other"}
    board.post(task("c", kind="new"))
    assert claim(board) == []
    assert claim(board, task_types=["new"]) == []
    assert board.complete_and_claim("ann", [(held, {})], 1) == []
    board.resume(None)
    board.resume(None)
    assert names(claim(board)) == ["c"], "what was paused by itself stays paused"
    board.resume("other")
    assert names(claim(board)) == ["b"]
    told = [e.data["task_type"] for e in board.events() if e.kind in ("paused", "resumed")]
    assert told == ["other", "*", "*", "*", "other"]


def test_types_with_odd_names_are_paused_by_themselves(board: TaskBoard) -> None:
    board.post_many([task("a", kind="x"), task("b", kind="x:y"), task("c", kind="x\\y\0 ü'")])
    board.pause("x:y")
    board.pause("x\\y\0 ü'")
    assert names(claim(board)) == ["a"]
    assert set(board.rules().paused) == {"x:y", "x\\y\0 ü'"}


# Claims stay cheap -------------------------------------------------------------------------------


def steps_of_a_claim(board: TaskBoard, db: sqlite3.Connection) -> int:
    """Of SQLite's machine, in tens."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    db.set_progress_handler(count, 10)
    assert board.claim("ann") is not None
    db.set_progress_handler(None, 0)
    return steps


def behind_a_saturated_key(folder: Path, number: int, *, plain: bool) -> int:
    store = SqliteStore(folder / f"{number}.db", clock=time.time, plain=plain)
    with TaskBoard(store=store) as board:
        board.limit(Limit(name="each", limit_key="*", at_once=1))
        board.post_many(task(f"t{n}", "full", priority=1) for n in range(number))
        assert len(claim(board)) == 1
        board.post_many(task(f"free{n}", priority=10) for n in range(3))
        assert board.claim("ann") is not None
        return steps_of_a_claim(board, store._db)


@pytest.mark.parametrize("plain", [False, True], ids=["short cuts", "plain"])
def test_a_claim_takes_no_more_steps_behind_many_tasks_of_a_saturated_key(
    tmp_path: Path, plain: bool
) -> None:
    few, many = (behind_a_saturated_key(tmp_path, n, plain=plain) for n in (10, 10_000))
    assert many <= few + 2


def test_a_claim_of_many_counts_what_is_held_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    group = Limit.group

    def counted(limit: Limit, task: Task) -> str | None:
        nonlocal looks
        looks += 1
        return group(limit, task)

    board = TaskBoard(store=store)
    board.limit(Limit(name="each", limit_key="*", at_once=60))
    board.post_many(task(f"t{n}", f"k{n % 3}") for n in range(200))
    monkeypatch.setattr(Limit, "group", counted)
    assert len(claim(board, 100)) == 100
    assert len(claim(board, 100)) == 80
    assert looks <= 3 * 200, "each task a few times, and not each for each"


def with_keys_that_came_and_went(folder: Path, number: int) -> int:
    store = SqliteStore(folder / f"{number}.db", clock=time.time)
    with TaskBoard(store=store) as board:
        board.post_many(task(f"t{n}", f"k{n}") for n in range(number))
        board.complete_many((each, {}) for each in claim(board, number))
        board.limit(Limit(name="each", limit_key="*", at_once=1))
        board.post_many(task(f"more{n}", "k1") for n in range(2))
        board.complete_many((each, {}) for each in claim(board, 1))
        return steps_of_a_claim(board, store._db)


def test_a_claim_under_a_limit_does_not_read_the_boards_keys_anew(tmp_path: Path) -> None:
    few, many = (with_keys_that_came_and_went(tmp_path, n) for n in (100, 5000))
    assert many <= few + 2
