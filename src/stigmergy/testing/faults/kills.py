"""SIGKILL to agents and posters at random moments, over and over; another takes the place."""

from __future__ import annotations

import random
from itertools import count

from stigmergy.testing.faults.checker import Evidence, Violation, check
from stigmergy.testing.faults.crew import Crew, Plan, gather
from stigmergy.testing.faults.forkserver import ForkServer
from stigmergy.testing.faults.table import Row, Setting

__all__ = ["kills"]


def kills(setting: Setting) -> Row:
    """Rounds of a board each, until so many processes were killed."""
    rng = setting.rng
    wanted = 30 if setting.short else {"sqlite": 6000, "files": 4000}.get(setting.store, 2000)
    # A folder board is read from its beginning by each process that opens it: keep it young.
    a_round = min(wanted, {"files": 60}.get(setting.store, 250))
    killed = 0
    violations: list[Violation] = []
    waits: list[float] = []
    tasks = 0
    with ForkServer() as server:
        for number in count():
            if killed >= wanted:
                break
            plan = _plan(setting, number)
            killed += _round(plan, server, rng, kills=min(a_round, wanted - killed))
            evidence = gather(plan)
            violations += check(evidence)
            waits += [seconds / plan.lease_s for seconds in recoveries(evidence)]
            tasks += len(evidence.tasks)
    notes = f"{tasks} tasks done"
    if waits:
        waits.sort()
        notes += (
            f"; {len(waits)} leases of the dead taken over after p50 "
            f"{waits[len(waits) // 2]:.1f}, p99 {waits[int(len(waits) * 0.99)]:.1f} leases"
        )
    return Row(injected=killed, violations=violations, notes=notes)


def _plan(setting: Setting, number: int) -> Plan:
    folder = setting.folder / f"round{number}"
    folder.mkdir()
    return Plan(
        url=setting.another(f"board{number}"),
        folder=folder,
        seed=f"{setting.seed} {number}",
    )


def _round(plan: Plan, server: ForkServer, rng: random.Random, *, kills: int) -> int:
    killed = 0
    with Crew(plan, [server]) as crew:
        while killed < kills:
            crew.roles[0].child.has_ended(timeout_s=rng.uniform(0.0, 0.03))
            killed += crew.kill_one(rng)
        crew.settle()
    return killed


def recoveries(evidence: Evidence) -> list[float]:
    """Seconds from a claim that was never ended by its holder to the next claim of the task."""
    seconds: list[float] = []
    claimed: dict[str, float] = {}
    expired: dict[str, float] = {}
    for event in evidence.events:
        if event.kind == "claimed":
            if (since := expired.pop(event.task_id, None)) is not None:
                seconds.append(event.at - since)
            claimed[event.task_id] = event.at
        elif event.kind == "expired":
            expired[event.task_id] = claimed[event.task_id]
    return seconds
