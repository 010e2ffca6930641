from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmergy import SwarmAgent, SwarmCoordinator, Task, TaskBoard
from stigmergy.errors import StigmergyError, TransientError, UsageError
from stigmergy.swarm import Stop
from stigmergy.swarm.reduction import best_score, first, majority_vote, merge_all

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
objects = st.dictionaries(st.sampled_from("abc"), scalars | st.lists(scalars, max_size=3))


@pytest.fixture
def board():
    with TaskBoard("memory:") as opened:
        yield opened


def leaves(value: object) -> list[str]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [repr(value)]


@given(st.lists(objects, min_size=1, max_size=5))
def test_merge_all_drops_nothing(results: list[dict[str, object]]) -> None:
    merged = merge_all(results)
    assert set(leaves(merged)) == {leaf for result in results for leaf in leaves(result)}
    assert set(merged) == {key for result in results for key in result}


def test_merge_all_joins_lists_merges_objects_and_collects_differences() -> None:
    parts = [{"l": [1], "o": {"x": 1}, "s": 1, "e": 0}, {"l": [2], "o": {"y": 2}, "s": 2, "e": 0}]
    assert merge_all(parts) == {"l": [1, 2], "o": {"x": 1, "y": 2}, "s": [1, 2], "e": 0}


def test_first_is_the_first_posted() -> None:
    assert first([{"a": 1}, {"a": 2}]) == {"a": 1}


def test_best_score_ignores_what_is_no_number() -> None:
    results = [{"score": "9"}, {"score": True}, {"score": 2}, {"score": 2.0, "late": 1}, {}]
    assert best_score(results) == {"score": 2}
    with pytest.raises(UsageError, match="score"):
        best_score([{"score": float("nan")}])


def test_majority_vote_counts_and_tells_whether_it_is_one() -> None:
    votes = [{"vote": "a"}, {"vote": "b"}, {"vote": "a"}]
    assert majority_vote(votes) == {"winner": "a", "votes": 2, "total": 3, "majority": True}
    tie = majority_vote([{"vote": "b"}, {"vote": "a"}])
    assert (tie["winner"], tie["majority"]) == ("b", False)


def work_off(board: TaskBoard, handler=lambda task: dict(task.payload)) -> None:
    agent = SwarmAgent("a", board, handlers={"job": handler})
    while agent.work_cycle():
        pass


def test_map_and_reduce_with_a_function(board: TaskBoard) -> None:
    coordinator = SwarmCoordinator(board)
    parent = coordinator.map("job", "sum", [{"n": n} for n in range(5)])
    with pytest.raises(UsageError, match="nothing to reduce"):
        coordinator.reduce(parent)
    work_off(board)
    total = coordinator.reduce(parent, lambda results: {"sum": sum(r["n"] for r in results)})
    assert total == {"sum": 10}
    assert coordinator.get_progress(parent) == {
        "total": 5,
        "completed": 5,
        "failed": 0,
        "cancelled": 0,
        "pending": 0,
        "in_progress": 0,
        "progress_pct": 100.0,
        "is_complete": True,
    }


def test_an_unknown_reduction_is_refused_before_anything_is_posted(board: TaskBoard) -> None:
    with pytest.raises(UsageError, match="best_score"):
        SwarmCoordinator(board).mapreduce("job", "d", [{}], "best")
    assert board.list_all() == []


def test_mapreduce_tells_which_part_failed(board: TaskBoard) -> None:
    def fail(_: Task) -> None:
        raise UsageError("no such thing")

    class Impatient(SwarmCoordinator):
        def wait(self, parent_id: str, **_: object) -> None:
            work_off(board, fail)

    with pytest.raises(StigmergyError, match="no such thing"):
        Impatient(board).mapreduce("job", "d", [{"n": 1}])


def test_waiting_ends_with_its_time_or_its_stop(board: TaskBoard) -> None:
    coordinator = SwarmCoordinator(board)
    parent = coordinator.map("job", "d", [{}])
    with pytest.raises(TransientError):
        coordinator.wait(parent, timeout_s=0.01)
    stop = Stop()
    stop.set()
    with pytest.raises(TransientError):
        coordinator.wait(parent, stop=stop)


def test_stop_reaches_children_made_before_and_after() -> None:
    stop = Stop()
    with stop.child() as early, early.child() as deep:
        early_sibling = Stop()
        stop.set()
        assert early.is_set()
        assert deep.is_set()
        assert not early_sibling.is_set()
        with stop.child() as late:
            assert late.is_set()


def test_a_child_s_stop_is_its_own() -> None:
    stop = Stop()
    with stop.child() as child:
        child.set()
        assert not stop.is_set()
