"""What waits for a person, and priorities that change: on every store."""

from __future__ import annotations

import pytest

from stigmergy.board import Store, Task, TaskBoard, TaskStatus
from stigmergy.board.approvals import PERSON, approval, waits_for_person
from stigmergy.errors import NotFoundError, UsageError

S = TaskStatus


@pytest.fixture
def board(store: Store) -> TaskBoard:
    return TaskBoard(store=store)


def task(task_id: str, **fields: object) -> Task:
    return Task(**{"task_type": "work", "task_id": task_id, **fields})  # type: ignore[arg-type] - test data


def kinds(board: TaskBoard, task_id: str) -> list[str]:
    return [event.kind for event in board.history(task_id)]


def names(tasks: list[Task]) -> list[str]:
    return [each.task_id for each in tasks]


# Approvals ---------------------------------------------------------------------------------------


def test_no_agent_takes_what_waits_for_a_person(board: TaskBoard) -> None:
    board.post(approval("ask", "May it land?\nMore of it."))
    assert board.claim("ann") is None
    assert board.claim("ann", task_types=["approval"], capabilities=["gpu"]) is None
    standing = board.get("ask")
    assert standing is not None
    assert waits_for_person(standing)
    (posted,) = board.history("ask")
    assert posted.data["title"] == "May it land?"


def test_an_approval_completes_the_task_and_frees_what_waits(board: TaskBoard) -> None:
    board.post_many([approval("ask", "May it?"), task("next", depends_on=("ask",))])
    done = board.approve("ask", by="ann", reason="fine")
    assert done.status is S.COMPLETED
    assert done.result == {"approved": True, "by": "ann", "reason": "fine"}
    assert done.claimed_by == "ann"
    assert names(board.claim_many("w", 9)) == ["next"]
    assert kinds(board, "ask") == ["posted", "claimed", "completed"]
    told = board.history("ask")[-1]
    assert (told.agent_id, told.data["approved"], told.data["reason"]) == ("ann", True, "fine")


def test_a_refusal_fails_the_task_and_what_waits_with_the_reason(board: TaskBoard) -> None:
    board.post_many([approval("ask", "May it?"), task("next", depends_on=("ask",))])
    refused = board.refuse("ask", by="ann", reason="too large")
    assert refused.status is S.FAILED
    assert refused.error == "refused by ann: too large"
    assert refused.result is not None
    assert refused.result["approved"] is False
    waiting = board.get("next")
    assert waiting is not None
    assert waiting.error == "it depends on 'ask', which failed: refused by ann: too large"
    assert board.history("ask")[-1].data["approved"] is False
    assert board.claim("w", capabilities=[PERSON]) is None, "it is not tried again"


def test_deciding_the_same_again_changes_nothing(board: TaskBoard) -> None:
    board.post_many([approval("yes", ""), approval("no", "")])
    first = board.approve("yes", by="ann", reason="fine"), board.refuse("no", by="ann")
    before = board.last_seq()
    assert (board.approve("yes", by="bob"), board.refuse("no", by="bob", reason="x")) == first
    assert board.last_seq() == before


def test_another_decision_is_refused_until_a_retry_asks_anew(board: TaskBoard) -> None:
    board.post_many([approval("yes", ""), approval("no", "")])
    board.approve("yes", by="ann")
    board.refuse("no", by="ann")
    with pytest.raises(UsageError, match=r"'yes' was approved by 'ann' already$"):
        board.refuse("yes", by="bob")
    with pytest.raises(UsageError, match="'no' was refused by 'ann' already; retry it"):
        board.approve("no", by="bob")
    board.retry("no")
    assert board.approve("no", by="bob").status is S.COMPLETED


def test_what_does_not_wait_for_a_person_is_told_apart(board: TaskBoard) -> None:
    board.post_many(
        [
            task("work"),
            task("plain", task_type="approval"),
            approval("early", "", depends_on=["work"]),
            approval("held", "", priority=9),
            approval("gone", ""),
        ]
    )
    board.cancel("gone")
    for name, complaint in {
        "work": "waits for no person",
        "plain": "waits for no person",
        "early": "cannot be decided now: it waits for work",
        "gone": "cannot be decided now: it is cancelled",
    }.items():
        with pytest.raises(UsageError, match=complaint):
            board.approve(name, by="ann")
        with pytest.raises(UsageError, match=complaint):
            board.refuse(name, by="ann")
    got = board.claim_many("bob", 9, capabilities=[PERSON])
    assert "held" in names(got)
    with pytest.raises(UsageError, match="'bob' holds it"):
        board.approve("held", by="ann")
    with pytest.raises(NotFoundError):
        board.approve("none", by="ann")
    with pytest.raises(UsageError, match="needs a name"):
        board.approve("early", by="")


def test_a_pause_of_everything_does_not_stop_a_person(board: TaskBoard) -> None:
    board.post(approval("ask", ""))
    board.pause(None)
    assert board.approve("ask", by="ann").status is S.COMPLETED


# Priorities --------------------------------------------------------------------------------------


def test_another_priority_is_another_place_in_claim_order(board: TaskBoard) -> None:
    board.post_many([task(name) for name in "abcd"])
    assert board.set_priority("c", 1).priority == 1
    board.set_priority("a", 10)
    assert kinds(board, "c") == ["posted", "prioritized"]
    assert board.history("c")[-1].data == {"priority": 1, "before": 5}
    assert names(board.claim_many("w", 9)) == ["c", "b", "d", "a"]


def test_the_same_priority_again_changes_nothing(board: TaskBoard) -> None:
    board.post(task("a"))
    before = board.last_seq()
    board.set_priority("a", 5)
    assert board.last_seq() == before


def test_a_held_task_keeps_its_holder_and_comes_back_with_its_new_priority(
    board: TaskBoard,
) -> None:
    board.post_many([task("a"), task("b"), task("c")])
    held = board.claim("w")
    assert held is not None
    board.set_priority("a", 10)
    board.release(held)
    assert names(board.claim_many("w", 9)) == ["b", "c", "a"]


def test_where_parents_take_turns_a_task_goes_to_the_end_of_its_new_line(board: TaskBoard) -> None:
    board.share_fairly()
    board.post_many([task(f"p{n}", parent_id="p") for n in range(4)])
    board.post_many([task(f"q{n}", parent_id="q") for n in range(2)])
    board.set_priority("p3", 1)
    lag = board.get("p3")
    assert lag is not None
    assert lag.lag_s == 0.0, "nobody is in that line"
    board.set_priority("p2", 1)
    assert names(board.claim_many("w", 9)) == ["p3", "p2", "p0", "q0", "p1", "q1"]


def test_a_finished_task_and_a_priority_that_is_none_are_refused(board: TaskBoard) -> None:
    board.post(task("a"))
    for bad in (0, 11, -1, True):
        with pytest.raises(UsageError, match="take 1"):
            board.set_priority("a", bad)
    board.cancel("a")
    with pytest.raises(UsageError, match="its priority means nothing"):
        board.set_priority("a", 1)
    with pytest.raises(NotFoundError):
        board.set_priority("none", 1)
