"""The monitor at work: how fast a journal is folded, and what a delta costs beside a snapshot.

A board of many agents in a made-up journal: each claims a task, says what it does, asks a model,
and completes. Every 250 ms of the journal's time what changed is told, as the server does.

    python benchmarks/bench_monitor.py [--agents 1000] [--rate 200] [--minutes 60]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Iterator
from itertools import count

from stigmergy.board import Event
from stigmergy.monitor import SwarmView

EVERY_S = 0.25


def journal(agents: int, rate: float) -> Iterator[Event]:
    """The events of a swarm without an end."""
    seq, numbers = count(1), count()

    def event(what: str, task: str, agent: str = "", **data: object) -> Event:
        number = next(seq)
        return Event(
            seq=number, at=number / rate, kind=what, task_id=task, agent_id=agent, data=data
        )

    def work(agent: str) -> Iterator[Event]:
        while True:
            task = f"t{next(numbers)}"
            yield event("posted", task, task_type="x", priority=5, title=f"Do {task}")
            yield event("claimed", task, agent, attempt=1)
            yield event("started", task, agent)
            for step in range(3):
                yield event("model_call", task, prompt_tokens=900, completion_tokens=90, cost_usd=0)
                tool = {"kind": "tool", "name": "bash", "brief": f"step {step}"}
                yield event("progress", task, agent, **tool)
                yield event("progress", task, agent, kind="done", name="bash", ok=True)
            yield event("completed", task, agent, status="completed", attempt=1)

    works = [work(f"agent-{number}") for number in range(agents)]
    while True:
        for each in works:
            yield next(each)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=200.0, help="events a second")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the journal's time")
    options = parser.parse_args()
    source = journal(options.agents, options.rate)
    total = int(options.rate * options.minutes * 60)
    each = int(options.rate * EVERY_S)
    view = SwarmView()
    fold_s = 0.0
    deltas_ms: list[float] = []
    sizes: list[int] = []
    early_kb = 0
    for done in range(0, total, each):
        batch = [next(source) for _ in range(each)]
        began = time.perf_counter()
        view.take(batch)
        folded = time.perf_counter()
        delta = view.changes(batch[-1].at)
        text = json.dumps(delta)
        told = time.perf_counter()
        fold_s += folded - began
        deltas_ms.append((told - folded) * 1000)
        sizes.append(len(text))
        if done <= total // 10:
            early_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    late_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    snapshots_ms: list[float] = []
    size = 0
    for _ in range(10):
        began = time.perf_counter()
        size = len(json.dumps(view.snapshot(view.at or 0.0)))
        snapshots_ms.append((time.perf_counter() - began) * 1000)
    delta_ms, snapshot_ms = statistics.median(deltas_ms), statistics.median(snapshots_ms)
    ordered = sorted(deltas_ms)
    print(f"{options.agents} agents, {total:,} events, {options.rate:.0f} a second, simulated")
    print(f"folded: {total / fold_s:,.0f} events/s")
    print(f"delta:  p50 {delta_ms:.2f} ms, p99 {ordered[int(len(ordered) * 0.99)]:.2f} ms", end="")
    print(f", {statistics.median(sizes) / 1024:.1f} KiB, every {EVERY_S} s")
    print(f"whole:  p50 {snapshot_ms:.1f} ms, {size / 1024:.0f} KiB", end="")
    print(f"; a delta takes 1/{snapshot_ms / delta_ms:.0f} of the time")
    busy = fold_s + sum(deltas_ms) / 1000
    print(f"all of it takes {busy / (total / options.rate):.1%} of one core")
    print(f"memory: {early_kb / 1024:.0f} MiB after a tenth, {late_kb / 1024:.0f} MiB at the end")


if __name__ == "__main__":
    main()
