"""Every status against every verb: the table says what may happen, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import get_args

import pytest

from stigmergy.board import Backoff, Lease, Task, TaskStatus
from stigmergy.board.lifecycle import (
    TRANSITIONS,
    Verb,
    cancel,
    claim,
    complete,
    expire,
    fail,
    fail_for_dependency,
    find_cycle,
    release,
    renew,
    reopen,
    start,
)
from stigmergy.errors import LostLeaseError, UsageError

NOW = 1000.0
S = TaskStatus


def standing(status: TaskStatus, *, attempts: int) -> Task:
    """A task as the board has it in that status."""
    fresh = Task(task_type="work", task_id="a", status=status, attempts=attempts, fence=attempts)
    if status is S.PENDING:
        return fresh
    held = replace(fresh, claimed_by="ann", claimed_at=900.0)
    if status.is_leased:
        return replace(held, lease_until=NOW)
    return replace(held, finished_at=950.0, result={"old": True}, error="was so")


def lease_of(task: Task) -> Lease:
    return Lease(task_id="a", agent_id="ann", attempt=task.attempts, fence=task.fence, deadline=NOW)


VERBS: dict[Verb, Callable[[Task], Task]] = {
    "claim": lambda t: claim(t, agent_id="bob", now=NOW, lease_s=1),
    "start": lambda t: start(t, lease_of(t)),
    "renew": lambda t: renew(t, lease_of(t), now=NOW, lease_s=1),
    "complete": lambda t: complete(t, lease_of(t), result={}, now=NOW),
    "fail": lambda t: (
        fail_for_dependency(t, dependency="b", reason="failed", now=NOW)
        if t.status is S.PENDING
        else fail(t, lease_of(t), error="e", retry=True, now=NOW, backoff=Backoff())
    ),
    "release": lambda t: release(t, lease_of(t)),
    "expire": lambda t: expire(t, now=NOW, backoff=Backoff()),
    "cancel": lambda t: cancel(t, reason="r", now=NOW),
    "retry": lambda t: reopen(t, waiting_on=()),
}


def test_every_verb_is_tried() -> None:
    assert VERBS.keys() == set(get_args(Verb))


@pytest.mark.parametrize(("status", "verb"), list(product(TaskStatus, VERBS)))
def test_a_verb_leads_where_the_table_says_and_nowhere_else(status: TaskStatus, verb: Verb) -> None:
    reached: set[TaskStatus] = set()
    for attempts in (1, 2, 3):  # the last one of three is out of attempts
        before = standing(status, attempts=attempts)
        if (status, verb) not in TRANSITIONS:
            with pytest.raises((UsageError, LostLeaseError), match="'a'"):
                VERBS[verb](before)
            continue
        after = VERBS[verb](before)
        reached.add(after.status)
        assert_is_consistent(after)
        assert after.fence == before.fence + (verb == "claim")
    assert reached == TRANSITIONS.get((status, verb), frozenset())


def assert_is_consistent(task: Task) -> None:
    """What the board must never hold."""
    assert (task.lease is not None) == task.status.is_leased
    assert (task.finished_at is not None) == task.status.is_final
    if not task.status.is_leased:
        assert task.lease_until is None
    if task.status is S.PENDING:
        assert task.claimed_by is None
        assert task.claimed_at is None
    assert task.attempts >= 0


def test_backoff_grows_to_its_most_and_never_overflows() -> None:
    backoff = Backoff(first_s=1, factor=2, most_s=60)
    assert [backoff.delay_s(n) for n in (0, 1, 2, 3, 10, 10**9)] == [1, 1, 2, 4, 60, 60]


@pytest.mark.parametrize(
    ("graph", "cycle"),
    [
        ({"a": []}, None),
        ({"a": ["a"]}, ("a", "a")),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, None),
        ({"a": ["c", "b"], "b": ["c"], "c": []}, None),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, ("b", "c", "b")),
    ],
)
def test_a_cycle_is_found_where_there_is_one(
    graph: dict[str, list[str]], cycle: tuple[str, ...] | None
) -> None:
    assert find_cycle(["a"], graph.__getitem__) == cycle


def test_a_deep_graph_is_walked_without_recursion() -> None:
    assert (
        find_cycle(["0"], lambda name: [str(int(name) + 1)] if int(name) < 50_000 else []) is None
    )
