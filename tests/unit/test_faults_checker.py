"""Each rule of the checker finds what it is there for, and a sound board passes all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stigmergy.board import Backoff, Event, Task, TaskBoard, TaskStatus, open_store
from stigmergy.errors import LostLeaseError
from stigmergy.testing.faults.checker import RULES, Evidence, check, replay
from stigmergy.testing.faults.ledger import Entry, Ledger, read_ledger
from stigmergy.testing.stores import FakeClock


def entry(kind: str, task_id: str, agent: str = "ann", fence: int = 0, **data: object) -> Entry:
    return Entry(kind=kind, agent_id=agent, at=0.0, task_id=task_id, fence=fence, data=data)  # type: ignore[arg-type] - kinds are literals


def sound() -> Evidence:
    """What is left of a board on which everything happened once."""
    clock = FakeClock()
    board = TaskBoard(store=open_store("memory:", clock=clock), lease_s=10, backoff=Backoff())
    entries: list[Entry] = []
    for name, needs in (("a", ()), ("b", ("a",)), ("c", ()), ("d", ("c",)), ("e", ())):
        board.post(
            Task(task_type="work", task_id=name, depends_on=needs, priority=len(entries) + 1)
        )
        entries.append(entry("posted", name))
    for agent in ("ann", "bob"):  # ann is too late
        held = board.claim(agent)
        assert held is not None
        assert held.task_id == "a"
        entries += [entry(kind, "a", agent, held.fence) for kind in ("claimed", "effect")]
        if agent == "ann":
            stale = held
            clock.advance(11)
    board.start(held)
    result = {"by": "bob"}
    board.complete(held, result)
    entries.append(entry("completed", "a", "bob", held.fence, result=result))
    with pytest.raises(LostLeaseError):
        board.complete(stale, {"by": "ann"})
    entries.append(entry("refused", "a", "ann", stale.fence))
    board.cancel("c")
    board.retry("c")
    held = board.claim("ann")
    assert held is not None
    board.fail(held, "no", retry=False)
    held = board.claim("bob")
    assert held is not None
    board.release(held)
    board.claim("cid")
    return Evidence(tasks=board.list_all(), events=board.events(), entries=entries)


def test_a_sound_board_breaks_no_rule() -> None:
    evidence = sound()
    assert check(evidence) == []
    assert {task.status for task in evidence.tasks} >= {
        TaskStatus.COMPLETED,
        TaskStatus.FAILED,
        TaskStatus.CLAIMED,
        TaskStatus.PENDING,
    }
    kinds = {event.kind for event in evidence.events}
    assert kinds >= {"expired", "released", "failed", "cancelled", "retried", "started"}


def task(evidence: Evidence, name: str) -> Task:
    (found,) = (each for each in evidence.tasks if each.task_id == name)
    return found


def with_task(evidence: Evidence, changed: Task) -> Evidence:
    others = [each for each in evidence.tasks if each.task_id != changed.task_id]
    return replace(evidence, tasks=[*others, changed])


def without_task(evidence: Evidence, name: str) -> Evidence:
    return replace(evidence, tasks=[each for each in evidence.tasks if each.task_id != name])


def without_events(evidence: Evidence, kind: str, name: str) -> Evidence:
    kept = [e for e in evidence.events if (e.kind, e.task_id) != (kind, name)]
    return replace(evidence, events=kept)


def with_event(
    evidence: Evidence, kind: str, name: str, agent: str = "", **data: object
) -> Evidence:
    last = evidence.events[-1]
    event = Event(seq=last.seq + 1, at=last.at, kind=kind, task_id=name, agent_id=agent, data=data)
    return replace(evidence, events=[*evidence.events, event])


def with_entry(evidence: Evidence, *entries: Entry) -> Evidence:
    return replace(evidence, entries=[*evidence.entries, *entries])


def stuck_behind_the_dead(evidence: Evidence) -> Evidence:
    (pending,) = (each for each in evidence.tasks if each.task_id == "e")
    assert pending.status is TaskStatus.PENDING
    return with_task(evidence, replace(pending, waiting_on=("a",)))


def leased_for_ever(evidence: Evidence) -> Evidence:
    (held,) = (each for each in evidence.tasks if each.status.is_leased)
    late = max(event.at for event in evidence.events)
    return with_task(evidence, replace(held, lease_until=late))


BREAKAGES: dict[str, tuple[str, Callable[[Evidence], Evidence]]] = {
    "a task is gone": ("nothing_posted_vanishes", lambda e: without_task(e, "e")),
    "a post is not in the journal": (
        "nothing_posted_vanishes",
        lambda e: without_events(e, "posted", "e"),
    ),
    "a claim is not in the journal": (
        "nothing_claimed_vanishes",
        lambda e: with_entry(e, entry("claimed", "e", "ann", 7)),
    ),
    "work without a claim": (
        "nothing_claimed_vanishes",
        lambda e: with_entry(e, entry("effect", "a", "cid", 2)),
    ),
    "a completion is undone": (
        "completions_stand",
        lambda e: with_task(e, replace(task(e, "a"), status=TaskStatus.PENDING)),
    ),
    "another result": (
        "completions_stand",
        lambda e: with_task(e, replace(task(e, "a"), result={"by": "ann"})),
    ),
    "two completions in the journal": (
        "a_completion_is_accepted_once",
        lambda e: with_event(e, "completed", "a", "bob", status="completed"),
    ),
    "two agents were told": (
        "a_completion_is_accepted_once",
        lambda e: with_entry(e, entry("completed", "a", "ann", 1, result={"by": "bob"})),
    ),
    "a number twice": (
        "numbers_strictly_increase",
        lambda e: replace(e, events=[*e.events, e.events[-1]]),
    ),
    "a claim after the completion": (
        "completed_is_final",
        lambda e: with_event(e, "claimed", "a", "cid", fence=3),
    ),
    "a claim of a held task": (
        "one_holder_at_a_time",
        lambda e: without_events(e, "expired", "a"),
    ),
    "a report of somebody else": (
        "one_holder_at_a_time",
        lambda e: with_event(e, "started", "b", "cid"),
    ),
    "a failure that nobody who held it reported": (
        "one_holder_at_a_time",
        lambda e: with_event(e, "failed", "b", "cid", status="pending"),
    ),
    "a fence twice": (
        "fences_grow",
        lambda e: replace(
            e,
            events=[
                replace(x, data={**x.data, "fence": 1}) if x.kind == "claimed" else x
                for x in e.events
            ],
        ),
    ),
    "a lowered fence": ("fences_grow", lambda e: with_task(e, replace(task(e, "a"), fence=1))),
    "a status that the journal does not tell": (
        "the_journal_tells_the_state",
        lambda e: without_events(e, "completed", "a"),
    ),
    "waiting for what is completed": ("nobody_is_stuck", stuck_behind_the_dead),
    "a lease that outlives a claim": ("nobody_is_stuck", leased_for_ever),
    "a refusal of the holder": (
        "a_refusal_is_deserved",
        lambda e: with_entry(e, entry("refused", "e", "ann", 1)),
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_breakage_is_found(name: str) -> None:
    rule, damage = BREAKAGES[name]
    violations = check(damage(sound()))
    assert rule in {violation.rule for violation in violations}


def test_every_rule_can_fail() -> None:
    assert {rule for rule, _ in BREAKAGES.values()} == {rule.__name__ for rule in RULES}


def test_lateness_is_not_judged_by_clocks_that_disagree() -> None:
    late = leased_for_ever(sound())
    assert check(replace(late, clocks_agree=False)) == []
    assert check(replace(late, grace_s=1.0)) == []


def test_the_journal_is_replayed_without_the_lifecycle() -> None:
    evidence = sound()
    assert replay(evidence.events) == {each.task_id: each.status for each in evidence.tasks}


def test_half_a_line_of_a_ledger_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    before = time.monotonic()
    with Ledger(path, agent_id="ann") as book:
        book.write("posted", "a")
        with path.open("a") as file:
            file.write('\n{"kind": "posted", "agent_id": "bo')
        book.write("completed", "a", 1, result={"n": 1})
    first, second = read_ledger(path)
    assert (first.kind, first.task_id) == ("posted", "a")
    assert (second.kind, second.fence, second.data) == ("completed", 1, {"result": {"n": 1}})
    assert before <= first.at <= second.at <= time.monotonic()
    assert read_ledger(tmp_path / "none") == []
