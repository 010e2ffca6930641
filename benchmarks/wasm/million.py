"""A million agents of a KiB: spawned, run, read back; in a process of its own."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import psutil

from stigmergy.wasm import SwarmManager

MARK = """(module (memory 1)
  (func (export "run") (param $n i32) (result i32) (local $at i32)
    (loop $next
      (i32.store (local.get $at) (i32.mul (local.get $n) (i32.const 0x9E3779B1)))
      (br_if $next (i32.lt_u
        (local.tee $at (i32.add (local.get $at) (i32.const 64))) (i32.const 1024))))
    (i32.load (i32.const 960))))"""
MEMORY_BYTES = 1_024


def main() -> None:
    engine, agents = sys.argv[1], int(sys.argv[2])
    process = psutil.Process()
    with SwarmManager(engine, agents, MEMORY_BYTES, journal=False) as swarm:
        swarm.load_bytecode(MARK)
        warm = swarm.spawn_agent("run", args=[1])
        swarm.dispatch([warm])
        swarm.kill_agent(warm)
        before = process.memory_info().rss
        begun = time.perf_counter()
        ids = swarm.spawn_agents(agents, "run", np.arange(agents, dtype=np.int32))
        spawned = time.perf_counter()
        result = swarm.dispatch(ids)
        ran = time.perf_counter()
        grown = process.memory_info().rss - before
        (answers,) = result.result_arrays
        assert answers.agent_ids.tolist() == list(ids)
        for start in range(0, agents, 100_000):
            memories = swarm.get_memories(ids[start : start + 100_000], MEMORY_BYTES)
            words = memories[:, 960:964].copy().view(np.int32)[:, 0]
            assert (words == answers.values[start : start + 100_000]).all()
        ended = time.perf_counter()
        told_at = time.perf_counter()
        assert len(result.agent_results) == agents
        in_dictionary = time.perf_counter() - told_at
        told = {
            "agents": agents,
            "spawn_s": spawned - begun,
            "run_s": ran - spawned,
            "read_s": ended - ran,
            "all_s": ended - begun,
            "dictionary_s": in_dictionary,
            "grown_bytes": grown,
            "own_bytes": agents * MEMORY_BYTES,
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
