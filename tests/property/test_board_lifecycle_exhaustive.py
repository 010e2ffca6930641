"""Every history of a small board: leases and fences, with reports that come late and twice.

A state is the tasks and who ever held which fence; every lease ever given may be used again at
any time, for an agent may be as late as it likes. Whatever verb may come is tried in every state
that can be reached in so many steps, and what must hold is held against each step. Times are
left out: a lease may run out at any moment, and nobody has to wait for a backoff.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from stigmergy.board import Backoff, Lease, Query, Task, TaskStatus, Transaction, lifecycle
from stigmergy.board.aftermath import DEAD, existing, revive, settle
from stigmergy.board.lifecycle import TRANSITIONS, Verb
from stigmergy.errors import LostLeaseError, UsageError

S = TaskStatus
BACKOFF = Backoff(first_s=0.0)
REPORTS: tuple[Verb, ...] = ("start", "renew", "complete", "fail", "release")


@dataclass(frozen=True)
class State:
    """All that matters of a board."""

    tasks: tuple[Task, ...]
    holders: tuple[tuple[str, ...], ...]
    """Of each task, who was given fence 1, 2, …"""

    def __hash__(self) -> int:
        return hash((self.holders, tuple((t.status, t.fence, t.attempts) for t in self.tasks)))


@dataclass(frozen=True)
class Step:
    """A verb, on a task, by whoever holds or held a fence."""

    verb: Verb
    place: int
    agent: str = ""
    fence: int = 0
    retry: bool = True


@dataclass
class Tables:
    """The part of a transaction that the aftermath of a verb needs."""

    tasks: dict[str, Task]
    now: float = 0.0
    events: list[str] = field(default_factory=list)

    def get(self, task_id: str) -> Task | None:
        return self.tasks.get(task_id)

    def put(self, task: Task) -> None:
        self.tasks[task.task_id] = task

    def append(self, kind: str, **_: object) -> None:
        self.events.append(kind)

    def dependents(self, task_id: str) -> list[Task]:
        return [task for task in self.tasks.values() if task_id in task.waiting_on]

    def select(self, query: Query) -> list[Task]:
        return [task for task in self.tasks.values() if query.accepts(task)]

    def holder(self, unique_key: str) -> None:
        raise AssertionError(unique_key)


def lease_of(state: State, step: Step) -> Lease:
    task = state.tasks[step.place]
    return Lease(
        task_id=task.task_id, agent_id=step.agent, attempt=1, fence=step.fence, deadline=1.0
    )


def taken(state: State, step: Step) -> State:
    """The state after a step; raises what the board would."""
    tables = Tables({task.task_id: task for task in state.tasks})
    tx = cast("Transaction", tables)
    before = state.tasks[step.place]
    lease = lease_of(state, step)
    holders = list(state.holders)
    match step.verb:
        case "claim":
            if not lifecycle.is_ready(before, tables.now):
                raise UsageError("not ready")
            tx.put(lifecycle.claim(before, agent_id=step.agent, now=0.0, lease_s=1.0))
            holders[step.place] = (*holders[step.place], step.agent)
        case "start":
            tx.put(lifecycle.start(before, lease))
        case "renew":
            tx.put(lifecycle.renew(before, lease, now=0.0, lease_s=1.0))
        case "complete":
            result = {"by": step.agent, "fence": step.fence}
            after = lifecycle.complete(before, lease, result=result, now=0.0)
            if after != before:
                settle(tx, after, "completed", agent_id=step.agent)
        case "fail":
            after = lifecycle.fail(
                before, lease, error="no", retry=step.retry, now=0.0, backoff=BACKOFF
            )
            settle(tx, after, "failed", agent_id=step.agent)
        case "release":
            tx.put(lifecycle.release(before, lease))
        case "expire":
            settle(tx, lifecycle.expire(before, now=1.0, backoff=BACKOFF), "expired")
        case "cancel":
            settle(tx, lifecycle.cancel(before, reason="a whim", now=0.0), "cancelled")
        case "retry":
            revive(tx, existing(tx, before.task_id))
    tasks = tuple(timeless(tables.tasks[task.task_id]) for task in state.tasks)
    return State(tasks, tuple(holders))


def timeless(task: Task) -> Task:
    return replace(task, not_before=0.0, finished_at=None, error=None)


def steps(state: State, agents: Sequence[str]) -> Iterator[Step]:
    """Whatever may be tried: every agent may claim, every lease ever given may be used."""
    for place, holders in enumerate(state.holders):
        for agent in agents:
            yield Step("claim", place, agent)
        for fence, agent in enumerate(holders, start=1):
            for verb in REPORTS:
                yield Step(verb, place, agent, fence)
            yield Step("fail", place, agent, fence, retry=False)
        for verb in ("expire", "cancel", "retry"):
            yield Step(verb, place)


def check_state(state: State) -> None:
    for task, holders in zip(state.tasks, state.holders, strict=True):
        assert task.fence == len(holders)
        assert (task.lease is not None) == task.status.is_leased
        if task.status.is_leased:
            assert task.claimed_by == holders[-1], "the last who claimed holds it"
            assert 1 <= task.attempts <= task.max_attempts
        if task.status is S.PENDING:
            assert task.claimed_by is None
            assert task.attempts < task.max_attempts, "a claim would be one too many"
            needed = {each.task_id: each for each in state.tasks}
            unmet = {name for name in task.depends_on if needed[name].status is not S.COMPLETED}
            assert set(task.waiting_on) == unmet
            assert not any(needed[name].status in DEAD for name in unmet), "it waits for ever"
        if task.status is S.COMPLETED:
            assert task.result == {"by": task.claimed_by, "fence": task.fence}


def check_step(state: State, step: Step, after: State) -> None:
    for place, (old, new) in enumerate(zip(state.tasks, after.tasks, strict=True)):
        if old.status is S.COMPLETED:
            assert new == old, "completed is final"
        assert new.fence - old.fence == (step.verb == "claim" and place == step.place)
    old, new = state.tasks[step.place], after.tasks[step.place]
    is_repeat = step.verb == "complete" and old.status is S.COMPLETED
    if not is_repeat:
        assert new.status in TRANSITIONS[old.status, step.verb]
    if step.verb in REPORTS:
        assert (old.claimed_by, old.fence) == (step.agent, step.fence), "stale, and accepted"
        assert old.status.is_leased or is_repeat
    if step.verb == "claim":
        assert not old.status.is_leased, "two holders"


def check_refusal(state: State, step: Step, error: Exception) -> None:
    task = state.tasks[step.place]
    if step.verb in REPORTS:
        holds = task.status.is_leased and task.fence == step.fence
        assert not holds, f"the holder was refused: {error}"
        assert isinstance(error, LostLeaseError)
    else:
        assert isinstance(error, UsageError)


def work_it_off(state: State) -> None:
    """There is a way to the end of all tasks, by claims and completions alone."""
    for _ in range(3 * len(state.tasks) + 1):
        if all(task.status.is_final for task in state.tasks):
            return
        for place, task in enumerate(state.tasks):
            if lifecycle.is_ready(task, 0.0):
                state = taken(state, Step("claim", place, "last"))
            elif task.status.is_leased and task.claimed_by is not None:
                state = taken(state, Step("complete", place, task.claimed_by, task.fence))
    raise AssertionError(f"no way to an end: {state}")


def explore(first: State, agents: Sequence[str], depth: int) -> tuple[int, int]:
    """Every state within so many steps; how many there are, and how many steps were tried."""
    seen = {first}
    edge, tried = [first], 0
    for _ in range(depth):
        fresh: list[State] = []
        for state in edge:
            for step in steps(state, agents):
                tried += 1
                try:
                    after = taken(state, step)
                except (LostLeaseError, UsageError) as error:
                    check_refusal(state, step, error)
                    continue
                check_step(state, step, after)
                if after not in seen:
                    check_state(after)
                    work_it_off(after)
                    seen.add(after)
                    fresh.append(after)
        edge = fresh
    return len(seen), tried


def board(*dependencies: tuple[str, ...]) -> State:
    tasks = tuple(
        Task(
            task_type="work",
            task_id=f"t{place}",
            depends_on=needs,
            waiting_on=needs,
            max_attempts=2,
            created_at=1.0,
        )
        for place, needs in enumerate(dependencies)
    )
    return State(tasks, ((),) * len(tasks))


ONE = board(())
TWO = board((), ("t0",))
APART = board((), ())


@pytest.mark.parametrize(
    ("first", "agents", "depth", "at_least"),
    [
        pytest.param(ONE, "abc", 11, 6_000, id="one task, three agents"),
        pytest.param(TWO, "ab", 10, 5_000, id="two tasks, one waits for the other"),
        pytest.param(APART, "ab", 7, 4_000, id="two tasks"),
        pytest.param(ONE, "abc", 14, 40_000, id="one task, longer", marks=pytest.mark.nightly),
        pytest.param(TWO, "abc", 12, 100_000, id="two tasks, longer", marks=pytest.mark.nightly),
    ],
)
def test_no_history_breaks_a_promise(first: State, agents: str, depth: int, at_least: int) -> None:
    states, tried = explore(first, agents, depth)
    print(f"{states} states, {tried} steps tried")
    assert states >= at_least, "the search has become small"


Broken = Callable[[pytest.MonkeyPatch], None]


def accepts_stale_leases(patch: pytest.MonkeyPatch) -> None:
    def by_name_alone(task: Task, lease: Lease) -> None:
        if not task.status.is_leased or task.claimed_by != lease.agent_id:
            raise LostLeaseError(lease.task_id, agent_id="", fence=0, reason="")

    patch.setattr(lifecycle, "_check_lease", by_name_alone)


def keeps_the_fence(patch: pytest.MonkeyPatch) -> None:
    real = lifecycle.claim
    patch.setattr(lifecycle, "claim", lambda task, **k: replace(real(task, **k), fence=task.fence))


def forgets_who_waits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle, "satisfy", lambda task, dependency: task)


def reopens_what_is_completed(patch: pytest.MonkeyPatch) -> None:
    more = {**TRANSITIONS, (S.COMPLETED, "retry"): frozenset({S.PENDING})}
    patch.setattr(lifecycle, "TRANSITIONS", more)


def tries_once_too_often(patch: pytest.MonkeyPatch) -> None:
    real = lifecycle.expire
    patch.setattr(
        lifecycle,
        "expire",
        lambda task, **k: replace(
            real(replace(task, max_attempts=99), **k), max_attempts=task.max_attempts
        ),
    )


@pytest.mark.parametrize(
    "broken",
    [
        accepts_stale_leases,
        keeps_the_fence,
        forgets_who_waits,
        reopens_what_is_completed,
        tries_once_too_often,
    ],
)
def test_the_search_finds_a_lifecycle_that_breaks_one(
    monkeypatch: pytest.MonkeyPatch, broken: Broken
) -> None:
    broken(monkeypatch)
    with pytest.raises(AssertionError):
        explore(TWO, "ab", 6)
