"""Agents on the CPU engine, against wasmtime's own Python package.

    python benchmarks/bench_wasm_cpu.py [--agents 1024]

Each agent is an instance with a store of its own, and runs xorshift for some rounds of 24
instructions. On either side one thread is used, and its own time is measured: the best of nine, but
for making agents, which happens once. The package cannot stop an agent and go on, so slices have no
peer: their ratio is to the same work in one run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import closing

import numpy as np
import psutil
import wasmtime

from stigmergy.wasm.cpu.engine import CpuEngine
from stigmergy.wasm.engine import Cohort, CohortSettings, Status
from stigmergy.wasm.module.reading import read_module

XORSHIFT = """(module (memory 1)
  (func (export "run") (param $n i32) (result i32) (local $x i32)
    (local.set $x (i32.const 2463534242))
    (loop $l
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))
      (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17))))
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $l (local.get $n)))
    (local.get $x)))"""
PLENTY = 1 << 60


def best(work: Callable[[], object], times: int = 9) -> float:
    """The shortest time that it took, in seconds."""
    taken: list[float] = []
    for _ in range(times):
        begun = time.thread_time()
        work()
        taken.append(time.thread_time() - begun)
    return min(taken)


class Ours:
    """The CPU engine."""

    def __init__(self, engine: CpuEngine, agents: int) -> None:
        self.slots = np.arange(agents)
        self.cohort: Cohort = engine.cohort(read_module(XORSHIFT), CohortSettings())
        self.cohort.create(self.slots, self.slots.astype(np.uint32))
        self.cohort.memory_sizes(self.slots)  # makes the instances

    def call(self, rounds: int, slice_count: int = PLENTY) -> np.ndarray:
        arguments = np.full((len(self.slots), 1), rounds, dtype=np.uint64)
        self.cohort.begin(self.slots, 0, arguments)
        targets = np.full(len(self.slots), slice_count, dtype=np.uint64)
        while (self.cohort.run(self.slots, targets) == Status.READY).any():
            targets += np.uint64(slice_count)
        return self.cohort.results(self.slots, 0)[:, 0]


class Theirs:
    """The package, with fuel counted as well."""

    def __init__(self, agents: int) -> None:
        config = wasmtime.Config()
        config.consume_fuel = True
        config.memory_reservation = 65_536
        config.memory_guard_size = 0
        engine = wasmtime.Engine(config)
        module = wasmtime.Module(engine, XORSHIFT)
        self.agents: list[tuple[wasmtime.Store, wasmtime.Func]] = []
        for _ in range(agents):
            store = wasmtime.Store(engine)
            store.set_fuel(PLENTY)
            function = wasmtime.Instance(store, module, []).exports(store)["run"]
            assert isinstance(function, wasmtime.Func)
            self.agents.append((store, function))

    def call(self, rounds: int) -> list[int]:
        results: list[int] = []
        for store, function in self.agents:
            store.set_fuel(PLENTY)
            results.append(function(store, rounds) % 2**32)
        return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=1_024)
    agents: int = parser.parse_args().agents
    resident = psutil.Process().memory_info
    with closing(CpuEngine(threads=1)) as engine:
        before, begun = resident().rss, time.thread_time()
        ours = Ours(engine, agents)
        ours_made = time.thread_time() - begun
        ours.call(1)
        ours_kib = (resident().rss - before) / agents / 1024
        before, begun = resident().rss, time.thread_time()
        theirs = Theirs(agents)
        theirs_made = time.thread_time() - begun
        theirs_kib = (resident().rss - before) / agents / 1024
        assert ours.call(1_000).tolist() == theirs.call(1_000)
        print(f"{agents} agents, one thread        engine   package   ratio")
        row("make one", ours_made / agents, theirs_made / agents)
        for rounds in (1, 1_000, 20_000):
            mine = best(lambda n=rounds: ours.call(n))
            other = best(lambda n=rounds: theirs.call(n))
            row(f"call of {rounds} rounds", mine / agents, other / agents)
        whole, sliced = best(lambda: ours.call(20_000)), best(lambda: ours.call(20_000, 48_000))
        print(f"in ten slices, to one run: {sliced / whole:.2f} times as long")
        print(f"memory of an agent: engine {ours_kib:.1f} KiB, package {theirs_kib:.1f} KiB")
        ours.cohort.close()


def row(what: str, ours_s: float, theirs_s: float) -> None:
    """Print one comparison, for each agent."""
    print(f"{what:24} {ours_s * 1e6:8.1f} {theirs_s * 1e6:8.1f} µs  {theirs_s / ours_s:5.1f} times")


if __name__ == "__main__":
    main()
