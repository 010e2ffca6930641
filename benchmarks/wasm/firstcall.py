"""Times what a user waits for first, in a process of its own: from import to an answer, cold."""

from __future__ import annotations

import json
import os
import sys
import time

SUM = """(module (func (export "run") (param i32) (result i32) (local i32)
  (loop (local.set 1 (i32.add (local.get 1) (local.get 0)))
        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
  (local.get 1)))"""


def main() -> None:
    os.environ["MESA_SHADER_CACHE_DISABLE"] = "true"
    begun = time.perf_counter()
    from stigmergy.wasm import SwarmManager

    imported = time.perf_counter()
    with SwarmManager(sys.argv[1]) as swarm:
        swarm.load_bytecode(SUM)
        agent = swarm.spawn_agent("run", args=[100])
        answer = swarm.dispatch().agent_results[agent]
    ended = time.perf_counter()
    assert answer == 5050
    print(json.dumps({"import_s": imported - begun, "all_s": ended - begun}))


if __name__ == "__main__":
    main()
