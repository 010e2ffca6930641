"""Parents that share a board fairly: who is served when, whatever they post."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stigmergy.board import Task, TaskBoard
from stigmergy.board.lifecycle import AGING_S
from stigmergy.board.stores.memory import MemoryStore
from stigmergy.testing.stores import FakeClock

sizes = st.lists(st.integers(1, 60), min_size=2, max_size=6)


def fair_board(clock: FakeClock) -> TaskBoard:
    board = TaskBoard(store=MemoryStore(clock=clock))
    board.share_fairly()
    return board


def post(board: TaskBoard, parent: str, size: int, *, one_by_one: bool = False) -> None:
    tasks = [Task(task_type="work", task_id=f"{parent}.{n}", parent_id=parent) for n in range(size)]
    for batch in [[task] for task in tasks] if one_by_one else [tasks]:
        board.post_many(batch)


def served(board: TaskBoard, number: int) -> list[str]:
    """The parents of the next tasks that are claimed and completed."""
    parents: list[str] = []
    for _ in range(number):
        task = board.claim("ann")
        if task is None:
            break
        parents.append(task.task_id.partition(".")[0])
        board.complete(task, {})
    return parents


@given(sizes=sizes, one_by_one=st.booleans(), data=st.data())
def test_the_first_claims_go_round_and_nobody_is_left_out(
    sizes: list[int], one_by_one: bool, data: st.DataObject
) -> None:
    board = fair_board(FakeClock())
    order = data.draw(st.permutations(range(len(sizes))))
    for parent in order:
        post(board, f"p{parent}", sizes[parent], one_by_one=one_by_one)
    turns = served(board, sum(sizes))
    assert Counter(turns) == {f"p{n}": size for n, size in enumerate(sizes)}
    left = dict(enumerate(sizes))
    while left:
        # Each round has one of every parent that has some left, in the order in which they came.
        now = [f"p{parent}" for parent in order if parent in left]
        assert turns[: len(now)] == now
        del turns[: len(now)]
        left = {parent: size - 1 for parent, size in left.items() if size > 1}


@given(before=st.integers(1, 40), size=st.integers(1, 20), later_s=st.floats(0, 5 * AGING_S))
def test_a_parent_that_comes_later_gets_its_turn(before: int, size: int, later_s: float) -> None:
    clock = FakeClock()
    board = fair_board(clock)
    post(board, "early", 120)
    served(board, before)
    clock.advance(later_s)
    post(board, "late", size)
    turns = served(board, 60)
    # It goes behind what has waited as long as that many levels of priority are worth.
    assert turns.index("late") <= int(later_s / AGING_S) + 1
    taken = [place for place, parent in enumerate(turns) if parent == "late"]
    assert all(b - a <= 2 for a, b in pairwise(taken)), "then in turn"


@given(sizes=st.lists(st.integers(1, 30), min_size=3, max_size=3))
def test_children_of_nobody_and_other_priorities_have_their_own_order(sizes: list[int]) -> None:
    board = fair_board(FakeClock())
    post(board, "big", 100)
    board.post_many(Task(task_type="work", task_id=f"orphan.{n}") for n in range(sizes[0]))
    board.post_many(
        Task(task_type="work", task_id=f"urgent.{n}", parent_id="big", priority=1)
        for n in range(sizes[1])
    )
    turns = served(board, 200 + sum(sizes))
    assert turns[0] == "urgent"
    assert turns.index("orphan") <= sizes[1] + 1
    assert Counter(turns) == {"big": 100, "orphan": sizes[0], "urgent": sizes[1]}


@given(newcomers=st.integers(10, 60), size=st.integers(2, 6))
def test_nobody_starves_while_others_keep_coming(newcomers: int, size: int) -> None:
    """One with many is served about once in the time that a level of priority is worth."""
    clock = FakeClock()
    board = fair_board(clock)
    post(board, "big", 100)
    turns: list[str] = []
    for n in range(newcomers):
        post(board, f"small{n}", size)
        turns += served(board, size)  # no more than came, so there is never time for all
        clock.advance(AGING_S)
    places = [-1, *(place for place, parent in enumerate(turns) if parent == "big"), len(turns)]
    assert all(later - earlier <= 2 * size + 1 for earlier, later in pairwise(places))
