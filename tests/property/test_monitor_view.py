"""The view of a swarm: the same however its journal comes in, and told right by its changes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stigmergy import Task, TaskBoard, TaskStatus
from stigmergy.board import Backoff, Event
from stigmergy.board.store import open_store
from stigmergy.errors import StigmergyError
from stigmergy.monitor import SwarmView, Thresholds, apply
from stigmergy.monitor import tasks as task_book
from stigmergy.monitor.changes import LIMITS

NAMES = [f"t{number}" for number in range(30)]
AGENTS = ["ann", "bob", "cal"]
WHO = {
    **dict.fromkeys(("post", "ask", "cancel", "retry"), NAMES),
    **{verb: ["y"] for verb in ("pause", "resume", "prune")},
    "wait": ["1", "15", "70"],
}
Step = tuple[str, str, list[str]]
LATER = 1e6
"""So long after everything that each delay has passed."""
SOON = Thresholds(silent_s=1, no_agents_s=1, failed_of=2, person_s=1, expirations=1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


WEIGHTS = {
    "post": 8,
    "ask": 1,
    "claim": 8,
    "start": 3,
    "report": 3,
    "tool": 2,
    "model": 2,
    "complete": 6,
    "fail": 2,
    "give up": 1,
    "release": 2,
    "cancel": 1,
    "retry": 2,
    "pause": 1,
    "resume": 1,
    "prune": 1,
    "wait": 1,
}


def life(seed: int, length: int) -> list[Step]:
    """What befalls a board, by chance."""
    rng = random.Random(seed)
    verbs = rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=length)
    return [
        (verb, rng.choice(WHO.get(verb, AGENTS)), rng.sample(NAMES, rng.choice((0, 0, 1, 2))))
        for verb in verbs
    ]


STEPS = st.builds(life, st.integers(0, 2**32), st.sampled_from([3, 30, 200]))


def journal_of(steps: Iterable[Step]) -> tuple[list[Event], list[Task]]:
    """What a real board writes of such a life, and its tasks in the end."""
    clock = Clock()
    with TaskBoard(
        store=open_store("memory:", clock=clock), lease_s=60, backoff=Backoff(first_s=1, most_s=5)
    ) as board:
        for step in steps:
            clock.now += 0.25
            try:
                live(board, clock, *step)
            except StigmergyError:
                continue  # the board refuses much of it, as it should
        return board.events(limit=2**31), board.list_all()


def live(board: TaskBoard, clock: Clock, verb: str, who: str, more: list[str]) -> None:
    held = next(
        iter(board.list_all(claimed_by=who, statuses=[TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS])),
        None,
    )
    match verb:
        case "post":
            needed = tuple(n for n in dict.fromkeys(more) if n != who and board.get(n) is not None)
            board.post(Task(task_type="x", task_id=who, description=f"do {who}", depends_on=needed))
        case "ask":
            board.post(Task(task_type="approval", task_id=who, requires=("person",)))
        case "claim":
            board.claim(who)
        case "cancel":
            board.cancel(who)
        case "retry":
            board.retry(who)
        case "pause":
            board.pause(who)
        case "resume":
            board.resume(who)
        case "prune":
            board.prune(older_than_s=0)
        case "wait":
            clock.now += float(who)
            board.reap()
        case _ if held is None:
            pass
        case "start":
            board.start(held)
        case "report":
            board.report(held, {"done": 1, "total": 3})
        case "complete":
            board.complete(held, {"ok": True})
        case "fail":
            board.fail(held, "it broke")
        case "give up":
            board.fail(held, "it broke", retry=False)
        case "release":
            board.release(held, reason="not mine")
        case "tool":
            data = {"kind": "tool", "name": "bash", "brief": "ls"}
            board.record("progress", task_id=held.task_id, agent_id=who, data=data)
        case _:
            data = {"prompt_tokens": 7, "completion_tokens": None, "cost_usd": 0.5}
            board.record("model_call", task_id=held.task_id, data=data)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows and entries, so that their limits are reached."""
    monkeypatch.setattr(task_book, "SHOWN", 3)
    monkeypatch.setattr(task_book, "FINISHED", 2)


PIECES = st.integers(1, 9).map(lambda size: [size] * 50) | st.lists(st.integers(1, 9), max_size=20)


def cut(events: list[Event], sizes: list[int]) -> list[list[Event]]:
    pieces: list[list[Event]] = []
    for size in sizes:
        pieces.append(events[:size])
        events = events[size:]
    return [*pieces, events]


@given(steps=STEPS, sizes=PIECES)
@settings(deadline=None, max_examples=50)
def test_a_journal_in_any_pieces_gives_the_same_view(steps: list[Step], sizes: list[int]) -> None:
    events, _ = journal_of(steps)
    whole, pieces = SwarmView(SOON), SwarmView(SOON)
    lines = whole.take(events)
    told = [line for piece in cut(events, sizes) for line in pieces.take(piece)]
    assert told == lines
    assert pieces.snapshot(LATER) == whole.snapshot(LATER)


@given(steps=STEPS, sizes=PIECES)
@settings(deadline=None, max_examples=120)
def test_changes_applied_to_an_old_snapshot_give_the_new_one(
    steps: list[Step], sizes: list[int]
) -> None:
    events, _ = journal_of(steps)
    view = SwarmView(SOON)
    now = 1000.0
    shown = view.snapshot(now)
    for piece in cut(events, sizes):
        view.take(piece)
        now = max([now, *(event.at for event in piece)]) + 0.125
        if (delta := view.changes(now)) is not None:
            # What a browser gets has been through JSON.
            shown = apply(shown, json.loads(json.dumps(delta)))
        assert shown | {"now": now} == view.snapshot(now)
    assert view.changes(now) is None


@given(steps=STEPS)
@settings(deadline=None, max_examples=50)
def test_the_view_agrees_with_the_board(steps: list[Step]) -> None:
    events, tasks = journal_of([step for step in steps if step[0] != "prune"])
    view = SwarmView()
    view.take(events)
    for task in tasks:
        row = view.tasks.rows.get(task.task_id)
        if row is None:
            assert task.status.is_final  # forgotten
            continue
        assert (row.status, row.task_type, row.title, row.priority, row.attempts) == (
            task.status,
            task.task_type,
            task.description,
            task.priority,
            task.attempts,
        )
        assert row.unmet == set(task.waiting_on) if not task.status.is_final else not row.unmet
        assert row.finished_at == task.finished_at
        if not task.status.is_final:
            assert row.claimed_by == task.claimed_by
    counted = {status: count for status, count in view.tasks.counts.items() if count}
    assert counted == {
        status: found
        for status in TaskStatus
        if (found := sum(task.status is status for task in tasks))
    }
    assert view.tasks.total == len(tasks)
    ready = [task for task in tasks if task.status is TaskStatus.PENDING and not task.waiting_on]
    assert sum(view.tasks.ready.values()) == sum(task.task_type == "x" for task in ready)
    assert view.tasks.for_person == {task.task_id for task in ready if task.task_type != "x"}
    holders = {task.claimed_by for task in tasks if task.status.is_leased}
    assert {row.name for row in view.agents.rows.values() if row.held} == holders


def test_a_delta_from_before_a_snapshot_does_it_no_harm() -> None:
    events, _ = journal_of([("post", "t0", []), ("claim", "ann", []), ("complete", "ann", [])])
    view = SwarmView()
    view.take(events)
    shown = view.snapshot(1010.0)
    delta = view.changes(1010.0)
    assert delta is not None
    assert apply(shown, delta) == shown


def test_lists_keep_the_latest() -> None:
    most = LIMITS["activity"]
    view = SwarmView()
    shown = view.snapshot(0.0)
    for number in range(1, 3 * most, 50):
        view.take(
            Event(seq=seq, at=float(seq), kind="paused", data={"task_type": f"x{seq}"})
            for seq in range(number, number + 50)
        )
        delta = view.changes(float(number))
        assert delta is not None
        shown = apply(shown, delta)
    assert len(shown["activity"]) == most
    assert shown == view.snapshot(shown["now"])
