"""What must hold of a board whatever was broken around it: evidence in, violations out. Pure.

Each rule is a function and a promise. The journal is replayed by rules of this module alone, not
by the board's lifecycle, or the two would share their faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from stigmergy.board.task import Event, Task, TaskStatus
from stigmergy.testing.faults.ledger import Entry

__all__ = ["RULES", "Evidence", "Violation", "check", "replay"]

Harm = Literal["lost", "done twice", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is left when the processes are gone."""

    tasks: Sequence[Task]
    events: Sequence[Event]
    """The whole journal."""
    entries: Sequence[Entry] = ()
    """What posters and agents wrote down outside the board."""
    clocks_agree: bool = True
    """All processes had one clock, so lateness can be judged."""
    grace_s: float = 0.0
    """So much may transactions of a store overlap, that one with an older clock commits later."""

    def said(self, kind: str) -> list[Entry]:
        """The entries of a kind."""
        return [entry for entry in self.entries if entry.kind == kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A promise that was not kept."""

    rule: str
    harm: Harm
    task_id: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.task_id}: {self.what}" if self.task_id else self.what


def check(evidence: Evidence) -> list[Violation]:
    """All violations, in the order of the rules."""
    return [
        Violation(rule=rule.__name__, harm=harm, task_id=task_id, what=what)
        for rule, harm in RULES.items()
        for task_id, what in rule(evidence)
    ]


_Findings = Iterator[tuple[str, str]]


def numbers_strictly_increase(evidence: Evidence) -> _Findings:
    """Of the journal's lines."""
    for before, after in zip(evidence.events, evidence.events[1:], strict=False):
        if after.seq <= before.seq:
            yield after.task_id, f"event {after.seq} follows event {before.seq}"


def nothing_posted_vanishes(evidence: Evidence) -> _Findings:
    """An acknowledged post is on the board, in the table and in the journal."""
    standing = {task.task_id for task in evidence.tasks}
    journaled = {event.task_id for event in evidence.events if event.kind == "posted"}
    for name in dict.fromkeys(entry.task_id for entry in evidence.said("posted")):
        if name not in standing:
            yield name, "its post was acknowledged, and it is not on the board"
        elif name not in journaled:
            yield name, "its post was acknowledged, and the journal does not have it"


def nothing_claimed_vanishes(evidence: Evidence) -> _Findings:
    """An acknowledged claim is in the journal, with its fence and its agent."""
    claims = {
        (event.task_id, event.data.get("fence"), event.agent_id)
        for event in evidence.events
        if event.kind == "claimed"
    }
    for entry in (*evidence.said("claimed"), *evidence.said("effect")):
        if (entry.task_id, entry.fence, entry.agent_id) not in claims:
            what = f"fence {entry.fence} was given to {entry.agent_id}, says no journal"
            yield entry.task_id, what


def completions_stand(evidence: Evidence) -> _Findings:
    """An acknowledged completion is the task's final state, with that result."""
    tasks = {task.task_id: task for task in evidence.tasks}
    for entry in evidence.said("completed"):
        task = tasks.get(entry.task_id)
        if task is None or task.status is not TaskStatus.COMPLETED:
            now = task.status.value if task else "gone"
            yield entry.task_id, f"its completion was acknowledged, and it is {now}"
        elif task.result != entry.data.get("result"):
            yield entry.task_id, f"its result is {task.result}, not {entry.data.get('result')}"


def a_completion_is_accepted_once(evidence: Evidence) -> _Findings:
    """By the journal, and by what the agents were told."""
    journaled: dict[str, int] = {}
    for event in evidence.events:
        if event.kind == "completed":
            journaled[event.task_id] = journaled.get(event.task_id, 0) + 1
    for name, number in journaled.items():
        if number > 1:
            yield name, f"the journal has {number} completions"
    told: dict[str, set[tuple[str, int]]] = {}
    for entry in evidence.said("completed"):
        told.setdefault(entry.task_id, set()).add((entry.agent_id, entry.fence))
    for name, holders in told.items():
        if len(holders) > 1:
            yield name, f"accepted from {sorted(holders)}"


def completed_is_final(evidence: Evidence) -> _Findings:
    """Nothing happens to a task once it is completed."""
    done: set[str] = set()
    for event in evidence.events:
        if event.task_id in done and event.kind in _CHANGES:
            yield event.task_id, f"it was completed, and then {event.kind} (event {event.seq})"
        if event.kind == "completed":
            done.add(event.task_id)


def one_holder_at_a_time(evidence: Evidence) -> _Findings:
    """A claim follows the end of the last one, and only the holder reports."""
    holders: dict[str, str] = {}
    for event in evidence.events:
        name, holder = event.task_id, holders.get(event.task_id)
        if event.kind == "claimed":
            if holder is not None:
                yield name, f"{event.agent_id} claimed it while {holder} held it ({event.seq})"
            holders[name] = event.agent_id
        elif _is_report(event) and event.agent_id != holder:
            yield name, f"{event.kind} by {event.agent_id!r}, held by {holder!r} ({event.seq})"
        if event.kind in _ENDS_A_CLAIM:
            holders.pop(name, None)


def fences_grow(evidence: Evidence) -> _Findings:
    """By one with every claim of a task, and the task has the last one."""
    fences: dict[str, int] = {}
    for event in evidence.events:
        if event.kind == "claimed":
            fence = int(event.data["fence"])
            if fence != (before := fences.get(event.task_id, 0)) + 1:
                yield event.task_id, f"fence {fence} follows {before} (event {event.seq})"
            fences[event.task_id] = fence
    for task in evidence.tasks:
        if task.fence != fences.get(task.task_id, 0):
            yield task.task_id, f"its fence is {task.fence}, not {fences.get(task.task_id, 0)}"


def the_journal_tells_the_state(evidence: Evidence) -> _Findings:
    """Status, holder and attempts replayed from the journal are those of the table."""
    told = replay(evidence.events)
    for task in evidence.tasks:
        if (status := told.get(task.task_id)) is not task.status:
            yield task.task_id, f"it is {task.status.value}, the journal says {status}"
    for name in told.keys() - {task.task_id for task in evidence.tasks}:
        yield name, "the journal has it, and the board does not"


def nobody_is_stuck(evidence: Evidence) -> _Findings:
    """No task waits for what is over, and no lease that ran out outlives a later claim."""
    tasks = {task.task_id: task for task in evidence.tasks}
    last_claim = max((e.at for e in evidence.events if e.kind == "claimed"), default=0.0)
    for task in evidence.tasks:
        if task.status is TaskStatus.PENDING:
            for name in task.waiting_on:
                if (needed := tasks.get(name)) is None or needed.status.is_final:
                    now = needed.status.value if needed else "gone"
                    yield task.task_id, f"it waits for {name}, which is {now}"
        late_s = last_claim - (task.lease_until or 0.0)
        if task.status.is_leased and late_s >= evidence.grace_s and evidence.clocks_agree:
            yield task.task_id, f"its lease ran out {late_s:.3f} s before a claim took another"


def a_refusal_is_deserved(evidence: Evidence) -> _Findings:
    """Whoever was refused had lost that claim, by the journal."""
    over: set[tuple[str, int]] = set()
    fences: dict[str, int] = {}
    for event in evidence.events:
        if event.kind == "claimed":
            fences[event.task_id] = int(event.data["fence"])
        if event.kind in _ENDS_A_CLAIM:
            over.add((event.task_id, fences.get(event.task_id, 0)))
    for entry in evidence.said("refused"):
        if (entry.task_id, entry.fence) not in over:
            yield entry.task_id, f"{entry.agent_id} was refused while it held fence {entry.fence}"


def _is_report(event: Event) -> bool:
    # A task that failed because of a dependency did so without an agent.
    return event.kind in _BY_HOLDER or (event.kind == "failed" and bool(event.agent_id))


def replay(events: Sequence[Event]) -> dict[str, TaskStatus]:
    """The statuses that a journal tells."""
    statuses: dict[str, TaskStatus] = {}
    for event in events:
        match event.kind:
            case "posted" | "released" | "retried":
                statuses[event.task_id] = TaskStatus.PENDING
            case "claimed":
                statuses[event.task_id] = TaskStatus.CLAIMED
            case "started":
                statuses[event.task_id] = TaskStatus.IN_PROGRESS
            case "completed" | "failed" | "expired" | "cancelled" | "edited":
                statuses[event.task_id] = TaskStatus(str(event.data["status"]))
            case "removed":
                statuses.pop(event.task_id, None)
            case _:
                pass
    return statuses


_ENDS_A_CLAIM: Final = frozenset({"completed", "failed", "released", "expired", "cancelled"})
_BY_HOLDER: Final = frozenset({"started", "completed", "released", "expired"})
_CHANGES: Final = _ENDS_A_CLAIM | {"claimed", "started", "retried", "posted", "removed"}


RULES: Final[dict[Callable[[Evidence], _Findings], Harm]] = {
    nothing_posted_vanishes: "lost",
    nothing_claimed_vanishes: "lost",
    completions_stand: "lost",
    a_completion_is_accepted_once: "done twice",
    numbers_strictly_increase: "other",
    completed_is_final: "other",
    one_holder_at_a_time: "other",
    fences_grow: "other",
    the_journal_tells_the_state: "other",
    nobody_is_stuck: "other",
    a_refusal_is_deserved: "other",
}
"""Each rule, and what its violation does to a user."""
