"""Schedules: a task that is posted again and again."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stigmergy.board import Limits, Schedule, Store, Task, TaskBoard, TaskStatus
from stigmergy.errors import NotFoundError, UsageError
from stigmergy.testing.stores import FakeClock

S = TaskStatus


def every(seconds: float, **fields: Any) -> Schedule:
    known: dict[str, Any] = {"name": "tick", "task": Task(task_type="work"), "every_s": seconds}
    return Schedule(**{**known, **fields})


def cron(text: str, zone: str = "UTC", **fields: Any) -> Schedule:
    return Schedule(name="cron", task=Task(task_type="work"), cron=text, zone=zone, **fields)


def at(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type] - numbers of a date


def finish(board: TaskBoard) -> list[str]:
    """Claim and complete whatever there is; the ids."""
    held = board.claim_many("ann", 99)
    board.complete_many((each, {}) for each in held)
    return [each.task_id for each in held]


def next_at(board: TaskBoard) -> float | None:
    (schedule,) = board.rules().schedules
    return schedule.next_at


# When --------------------------------------------------------------------------------------------


def test_a_task_is_posted_every_so_many_seconds(board: TaskBoard, clock: FakeClock) -> None:
    began = int(clock.now)
    told = every(60, task=Task(task_type="work", payload={"n": (1,)}, requires=("b", "a")))
    assert board.schedule(told).next_at == began + 60
    assert board.list_all() == [], "the first is due after one period"
    clock.advance(59.9)
    assert finish(board) == []
    clock.advance(0.1)
    held = board.claim("ann", capabilities=["a", "b"])
    assert held is not None
    assert (held.task_id, held.payload, held.requires) == (
        f"tick.{began + 60}",
        {"n": [1]},
        ("a", "b"),
    )
    board.complete(held, {})
    assert board.claim("ann", capabilities=["a", "b"]) is None
    clock.advance(60)
    assert board.claim("ann", capabilities=["a", "b"]) is not None
    assert next_at(board) == began + 180


def test_the_first_time_can_be_given(board: TaskBoard, clock: FakeClock) -> None:
    board.schedule(every(60, next_at=clock.now))
    assert finish(board) == [f"tick.{int(clock.now)}"]
    assert next_at(board) == clock.now + 60


def test_times_keep_their_distance_whenever_the_claims_come(
    board: TaskBoard, clock: FakeClock
) -> None:
    began = clock.now
    board.schedule(every(60))
    for late in (7.0, 33.0, 59.0):
        clock.now = began + 60 + late
        assert len(finish(board)) == 1
        assert next_at(board) == began + 120
        began += 60


@pytest.mark.parametrize("overlap", ["skip", "allow"])
def test_times_that_were_missed_are_made_up_for_once(
    board: TaskBoard, clock: FakeClock, overlap: str
) -> None:
    began = int(clock.now)
    board.schedule(every(60, overlap=overlap))
    clock.advance(60 * 50 + 30)
    assert finish(board) == [f"tick.{began + 60}"]
    assert finish(board) == []
    clock.advance(30)
    assert finish(board) == [f"tick.{began + 60 * 51}"]


def test_a_clock_that_is_set_back_posts_no_time_twice(board: TaskBoard, clock: FakeClock) -> None:
    board.schedule(every(60))
    clock.advance(60)
    assert len(finish(board)) == 1
    clock.advance(-3600)
    for _ in range(5):
        clock.advance(60)
        assert finish(board) == []
    clock.advance(3600)
    assert len(finish(board)) == 1


def test_cron_goes_by_the_clock_of_its_zone(board: TaskBoard, clock: FakeClock) -> None:
    clock.now = at(2025, 1, 15, 6, 59)
    board.schedule(cron("0 9 * * mon-fri", "Europe/Berlin"))
    assert next_at(board) == at(2025, 1, 15, 8)
    clock.now = at(2025, 7, 4, 7)
    finish(board)
    assert next_at(board) == at(2025, 7, 7, 7), "in summer an hour earlier, and Monday is next"


@pytest.mark.parametrize(
    ("text", "after", "times"),
    [
        # Clocks go from 2 to 3 in the morning of 30 March, from 3 to 2 in that of 26 October.
        ("30 2 * * *", (2025, 3, 29, 12), [(2025, 3, 30, 1), (2025, 3, 31, 0, 30)]),
        ("30 2 * * *", (2025, 10, 25, 12), [(2025, 10, 26, 0, 30), (2025, 10, 27, 1, 30)]),
        ("0 * * * *", (2025, 3, 30, 0), [(2025, 3, 30, 1), (2025, 3, 30, 2)]),
        ("0 * * * *", (2025, 10, 25, 23), [(2025, 10, 26, 0), (2025, 10, 26, 1)]),
    ],
    ids=["left out", "twice", "hourly in spring", "hourly in autumn"],
)
def test_daylight_saving_leaves_no_day_out_and_does_none_twice(
    text: str, after: tuple[int, ...], times: list[tuple[int, ...]]
) -> None:
    schedule, now = cron(text, "Europe/Berlin"), at(*after)
    for time in times:
        now = schedule.following(now)
        assert now == at(*time)


@given(
    schedule=st.sampled_from(
        [
            cron(text, zone)
            for text in ("30 2 * * *", "*/15 * * * *", "59 1 * * *", "10 1,2,3 * * *", "0 0 29 2 *")
            for zone in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC")
        ]
        + [every(1), every(61.5), every(60, next_at=0.0), every(60, next_at=9e9)]
    ),
    now=st.floats(at(2025, 1, 1), at(2026, 1, 1)),
)
@example(cron("30 2 * * *", "Europe/Berlin"), at(2025, 10, 26, 1, 10))
@example(cron("59 1 * * *", "America/New_York"), at(2025, 11, 2, 6, 10))
def test_the_following_time_is_always_later(schedule: Schedule, now: float) -> None:
    assert schedule.following(now) > now


# Overlap -----------------------------------------------------------------------------------------


def test_none_is_posted_while_an_earlier_one_is_unfinished(
    board: TaskBoard, clock: FakeClock
) -> None:
    board.schedule(every(60))
    clock.advance(60)
    held = board.claim("ann", lease_s=10_000)
    assert held is not None
    for _ in range(3):
        clock.advance(60)
        assert board.claim("bob") is None
    assert board.progress().total == 1
    board.complete(held, {})
    assert board.claim("bob") is None, "the times meanwhile are over"
    clock.advance(60)
    assert board.claim("bob") is not None


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_one_that_failed_or_was_cancelled_keeps_none_back(
    board: TaskBoard, clock: FakeClock, end: str
) -> None:
    board.schedule(every(60))
    clock.advance(60)
    held = board.claim("ann")
    assert held is not None
    if end == "failed":
        board.fail(held, "broke", retry=False)
    else:
        board.cancel(held.task_id)
    clock.advance(60)
    assert board.claim("ann") is not None


def test_with_overlap_allowed_each_time_has_its_task(board: TaskBoard, clock: FakeClock) -> None:
    board.schedule(every(60, overlap="allow"))
    for _ in range(3):
        clock.advance(60)
        assert board.claim("ann", lease_s=10_000) is not None
    assert board.progress().in_progress == 3


def test_a_key_of_the_tasks_own_counts_instead(board: TaskBoard, clock: FakeClock) -> None:
    board.post(Task(task_type="work", task_id="mine", unique_key="u", not_before=clock.now + 9e6))
    board.schedule(every(60, task=Task(task_type="work", unique_key="u"), overlap="allow"))
    clock.advance(60)
    assert board.claim("ann") is None
    board.cancel("mine")
    clock.advance(60)
    assert board.claim("ann") is not None


# Steering ----------------------------------------------------------------------------------------


def test_a_schedule_of_the_same_name_is_replaced_and_one_dropped_posts_no_more(
    board: TaskBoard, clock: FakeClock
) -> None:
    board.schedule(every(60))
    board.schedule(every(600))
    clock.advance(60)
    assert finish(board) == []
    clock.advance(540)
    assert len(finish(board)) == 1
    board.unschedule("tick")
    clock.advance(6000)
    assert finish(board) == []
    assert board.progress().total == 1, "what it posted stays"
    with pytest.raises(NotFoundError, match="no schedule 'tick'"):
        board.unschedule("tick")


def test_several_that_are_due_are_posted_together(board: TaskBoard, clock: FakeClock) -> None:
    board.schedule(every(60, name="a"))
    board.schedule(every(30, name="b", overlap="allow"))
    clock.advance(60)
    assert {name.partition(".")[0] for name in finish(board)} == {"a", "b"}


def test_a_due_task_is_posted_though_its_type_is_paused(board: TaskBoard, clock: FakeClock) -> None:
    board.schedule(every(60))
    board.pause("work")
    clock.advance(60)
    assert board.claim("ann") is None
    assert board.progress().pending == 1


def test_a_schedule_is_read_back_as_it_was_told(board: TaskBoard) -> None:
    told = board.schedule(
        cron("*/15 9-17 * * mon-fri", "Europe/Berlin", overlap="allow", next_at=9e9)
    )
    assert board.rules().schedules == (told,)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: every(60, cron="* * * * *"), "not both"),
        (lambda: Schedule(name="tick", task=Task(task_type="a")), "needs every_s or cron"),
        (lambda: every(0.5), "1 or more"),
        (lambda: every(float("inf")), "1 or more"),
        (lambda: every(float("nan")), "1 or more"),
        (lambda: every(60, overlap="perhaps"), "'skip' or 'allow'"),
        (lambda: every(60, next_at=float("inf")), "take a time"),
        (lambda: every(60, task=Task(task_type="a", depends_on=("b",))), "cannot depend"),
        (lambda: cron("* * * *"), "fields.*weekday"),
        (lambda: cron("61 * * * *"), "minute"),
        (lambda: cron("0 0 30 2 *"), "'0 0 30 2 [*]'"),
        (lambda: cron("* * * * *", "Mars/Olympus"), "no time zone 'Mars/Olympus'.*Berlin"),
        (lambda: cron("* * * * *", "../../etc/passwd"), "no time zone"),
    ],
)
def test_what_can_be_no_schedule_is_refused_in_words(make: Any, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        make()


@pytest.mark.parametrize(
    "bad",
    [
        every(60, name="a/b"),
        every(60, name=""),
        every(60, name="x" * 128),
        every(60, task=Task(task_type="")),
        every(60, task=Task(task_type="a", status=S.COMPLETED)),
        every(60, task=Task(task_type="a", payload={"n": float("nan")})),
        every(60, task=Task(task_type="a", payload={"n": "x" * 2000})),
    ],
    ids=lambda bad: bad.name[:9],
)
def test_a_schedule_whose_task_could_not_be_posted_is_refused(store: Store, bad: Schedule) -> None:
    board = TaskBoard(store=store, limits=Limits(payload_bytes=1000, file_bytes=1000))
    with pytest.raises(UsageError):
        board.schedule(bad)
    assert board.rules().schedules == ()
    assert board.events() == []


# Interrupted -------------------------------------------------------------------------------------


class Dying:
    """A store, or a transaction of it, that fails when a rule is put."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @contextmanager
    def transaction(self) -> Generator[Any]:
        with self._inner.transaction() as tx:
            yield Dying(tx)

    def put_rule(self, rule: object) -> None:
        raise ZeroDivisionError


def test_one_that_dies_between_posting_and_moving_on_has_done_neither(
    board: TaskBoard, store: Store, clock: FakeClock
) -> None:
    board.schedule(every(60))
    clock.advance(60)
    before = board.list_all(), board.events(), board.rules()
    dying = TaskBoard(store=Dying(store))  # type: ignore[arg-type] - it delegates
    with pytest.raises(ZeroDivisionError):
        dying.claim("ann")
    assert (board.list_all(), board.events(), board.rules()) == before
    assert len(finish(board)) == 1
    assert finish(board) == []


def test_a_time_whose_task_stands_there_already_is_passed_over(
    board: TaskBoard, clock: FakeClock
) -> None:
    """As when somebody posted it by hand, or a board was put back from a copy."""
    due = int(clock.now) + 60
    board.post(Task(task_type="other", task_id=f"tick.{due}"))
    board.schedule(every(60))
    clock.advance(60)
    assert finish(board) == [f"tick.{due}"]
    clock.advance(60)
    assert finish(board) == [f"tick.{due + 60}"]


def test_a_schedule_with_a_fair_board_takes_its_parents_turn(
    board: TaskBoard, clock: FakeClock
) -> None:
    board.share_fairly()
    board.post_many(Task(task_type="work", task_id=f"p{n}", parent_id="p") for n in range(3))
    board.schedule(every(60, task=Task(task_type="work", parent_id="p")))
    clock.advance(60)
    held = board.claim_many("ann", 9)
    assert [each.task_id.partition(".")[0] for each in held] == ["p0", "p1", "p2", "tick"]
    assert held[-1].lag_s > 0
    assert replace(held[-1], lag_s=0.0).created_at == clock.now
