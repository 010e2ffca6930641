"""Parts of the view that decide something by themselves: the series, the critical path, votes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmergy import Task, TaskBoard
from stigmergy.board import Event, open_store
from stigmergy.monitor import SwarmView
from stigmergy.monitor.critical import critical_path
from stigmergy.monitor.series import MOST_POINTS, Series, Standing


def standing(landings: int) -> Standing:
    return Standing(
        landings=landings,
        pending=0,
        working=0,
        completed=0,
        failed=0,
        tokens=None,
        cost_usd=None,
    )


# --- the series ---


@given(times=st.lists(st.floats(0, 50_000), min_size=1, max_size=300).map(sorted))
def test_a_point_says_how_things_stood_at_its_time(times: list[float]) -> None:
    series = Series()
    for count, at in enumerate(times):
        series.advance(at, lambda count=count: standing(count))
    assert len(series.points) <= MOST_POINTS
    for point in series.points:
        # What happens at the very end of a step belongs to the next one.
        assert point.standing.landings == sum(at < point.at for at in times)
        assert point.at % series.step_s == 0
    steps = [after.at - before.at for before, after in pairwise(series.points)]
    assert set(steps) <= {series.step_s}


def test_six_hundred_points_last_for_any_time() -> None:
    series = Series()
    for at in range(0, 1_000_000, 7):
        series.advance(float(at), lambda at=at: standing(at))
    assert MOST_POINTS / 2 <= len(series.points) <= MOST_POINTS
    assert series.step_s == 2048.0
    series.advance(4e9, lambda: standing(1))
    assert len(series.points) <= MOST_POINTS


def test_a_clock_that_was_set_back_makes_no_points() -> None:
    series = Series()
    for at in (5.0, 15.0, 2.0, 16.0):
        series.advance(at, lambda: standing(0))
    assert [point.at for point in series.points] == [float(at) for at in range(6, 17)]


def test_the_series_survives_whoever_looks_at_it() -> None:
    events = [
        Event(seq=n, at=n * 3.0, kind="posted", task_id=f"t{n}", data={"task_type": "x"})
        for n in range(1, 50)
    ]
    watched, reloaded = SwarmView(), SwarmView()
    for event in events:
        watched.take([event])
        watched.changes(event.at)
    reloaded.take(events)
    assert watched.series.document() == reloaded.series.document()
    assert reloaded.series.points[0].standing.pending == 1


# --- the critical path ---


def path(needs: Mapping[str, list[str]], **durations: float) -> tuple[str, ...]:
    return critical_path(needs, lambda name: durations.get(name, 1.0))


def test_the_critical_path_is_the_chain_that_takes_longest() -> None:
    needs = {"a": [], "b": ["a"], "c": ["b"], "x": [], "y": ["x"]}
    assert path(needs) == ("a", "b", "c")
    assert path(needs, x=9.0) == ("x", "y")


def test_a_single_task_is_no_path() -> None:
    assert path({"a": [], "b": ["gone"]}) == ()
    assert path({}) == ()


def test_of_equal_chains_the_first_by_name_is_taken() -> None:
    assert path({"z": [], "a": [], "m": ["z", "a"]}) == ("a", "m")


def test_a_cycle_is_left_out() -> None:
    assert path({"a": ["b"], "b": ["a"], "c": [], "d": ["c"]}) == ("c", "d")


def test_the_path_of_a_board_gets_shorter_as_work_is_done() -> None:
    with TaskBoard("memory:") as board:
        for number in range(3):
            needed = (f"t{number - 1}",) if number else ()
            board.post(Task(task_type="x", task_id=f"t{number}", depends_on=needed))
        view = SwarmView()
        view.take(board.events())
        view.tick(0.0)
        assert view.critical_path == ("t0", "t1", "t2")
        task = board.claim("ann")
        assert task is not None
        board.complete(task, {})
        view.take(board.events(after=view.seq))
        view.tick(0.5)
        assert view.critical_path == ("t0", "t1", "t2"), "it is not looked for at every tick"
        view.tick(1.5)
        assert view.critical_path == ("t1", "t2")


# --- votes ---


@pytest.mark.parametrize(
    ("kind", "data", "state", "by", "reason"),
    [
        (
            "completed",
            {"status": "completed", "approved": True, "by": "eve", "reason": "fine"},
            "approved",
            "eve",
            "fine",
        ),
        (
            "failed",
            {"status": "failed", "approved": False, "by": "eve", "error": "refused by eve: no"},
            "refused",
            "eve",
            "refused by eve: no",
        ),
        ("cancelled", {"status": "cancelled", "error": "too late"}, "withdrawn", None, "too late"),
    ],
)
def test_what_a_person_decided_is_told(
    kind: str, data: dict[str, object], state: str, by: str | None, reason: str
) -> None:
    view = SwarmView()
    asked = {"task_type": "approval", "requires": ["person"], "title": "Ship it?"}
    view.take([Event(seq=1, at=5.0, kind="posted", task_id="ship", data=asked)])
    vote = view.snapshot(6.0)["votes"]["ship"]
    assert (vote["state"], vote["title"], vote["asked_at"]) == ("waiting", "Ship it?", 5.0)
    if by:
        view.take([Event(seq=2, at=7.0, kind="claimed", task_id="ship", agent_id=by)])
    view.take([Event(seq=3, at=7.0, kind=kind, task_id="ship", agent_id=by or "", data=data)])
    shown = view.snapshot(8.0)
    vote = shown["votes"]["ship"]
    assert (vote["state"], vote["by"], vote["reason"]) == (state, by, reason)
    assert vote["decided_at"] == 7.0
    assert shown["agents"] == {}, "a person is no agent"


def test_an_agent_that_failed_and_holds_nothing_is_idle_and_its_failure_a_fact() -> None:
    now = [100.0]
    view = SwarmView()
    with TaskBoard(store=open_store("memory:", clock=lambda: now[0])) as board:
        board.post_many(Task(task_type="job", task_id=name) for name in ("a", "b"))

        def agent() -> dict[str, object]:
            view.take(board.events(after=view.seq))
            return view.snapshot(now[0])["agents"]["w"]

        held = board.claim("w")
        assert held is not None
        assert (agent()["state"], agent()["last_failure"]) == ("working", None)
        board.fail(held, "no space left", retry=False)
        failure = {"at": 100.0, "task_id": "a", "error": "no space left"}
        assert (agent()["state"], agent()["last_failure"]) == ("idle", failure)
        now[0] = 200.0
        following = board.claim("w")
        assert following is not None
        assert (agent()["state"], agent()["last_failure"]) == ("working", failure)
        board.complete(following)
        assert (agent()["state"], agent()["last_failure"]) == ("idle", None)
