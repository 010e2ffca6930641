"""What agents took of the process is given back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing

import numpy as np
import psutil
import pytest

from stigmergy.testing.engines import Crew, crew
from stigmergy.wasm.cpu import binding
from stigmergy.wasm.cpu.engine import CpuEngine
from stigmergy.wasm.engine import Status

_WAT = """
(module
  (import "stigmergy" "wait" (func $wait))
  (import "stigmergy" "output" (func $output (param i32 i32) (result i32)))
  (memory 1)
  (table 1 funcref)
  (func (export "count") (param $n i32)
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 30000))
    (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "wait") (call $wait) (drop (call $output (i32.const 0) (i32.const 9))))
  (func (export "fault") (drop (call $output (i32.const -1) (i32.const 2))) unreachable))
"""
_AGENTS = 500
_ROUNDS = 20
"""After as many rounds as that, 10,000 agents were there."""
_LEAKED_BYTES = 8 << 20
"""Less than 1 KiB an agent: noise of the allocator's."""


def _finish(agents: Crew) -> None:
    agents.begin("count", 3)
    assert set(agents.run()) == {Status.FINISHED}


def _stop_midway(agents: Crew) -> None:
    agents.begin("count", 1_000_000)
    assert set(agents.run(40_000)) == {Status.READY}


def _wait(agents: Crew) -> None:
    agents.begin("wait")
    assert set(agents.run()) == {Status.WAITING}


def _trap(agents: Crew) -> None:
    agents.begin("fault")
    assert set(agents.run()) == {Status.TRAPPED}


@pytest.mark.parametrize("live", [_finish, _stop_midway, _wait, _trap])
def test_ten_thousand_agents_leave_nothing_behind(live: Callable[[Crew], None]) -> None:
    process = psutil.Process()
    used: list[int] = []
    with closing(CpuEngine(1)) as engine, crew(engine, _WAT, size=_AGENTS) as agents:
        for turn in range(_ROUNDS):
            live(agents)
            if turn % 2:
                agents.cohort.discard(agents.slots())
            agents.create()
            used.append(process.memory_info().rss)
        agents.cohort.discard(agents.slots())
        stacks = engine._runtime.stacks
        assert stacks.free == 64 * len(stacks._mappings), "a stack is missing"
        assert len(stacks._mappings) <= _AGENTS // 64 + 1, "stacks were not used again"
    assert used[-1] - used[2] < _LEAKED_BYTES, used


_OWNED = {
    "engine_new": "engine_delete",
    "module_new": "module_delete",
    "module_clone": "module_delete",
    "linker_new": "linker_delete",
    "linker_instantiate_pre": "instance_pre_delete",
    "functype": "functype_delete",
    "store_new": "store_delete",
    "call_async": "future_delete",
    "instance_pre_instantiate_async": "future_delete",
    "trap_origin": "frame_delete",
}
"""What makes a thing, and what must delete it."""


def test_what_is_made_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., object]:
        function = getattr(binding, name)

        def call(*arguments: object) -> object:
            calls[name] += 1
            return function(*arguments)

        return call

    for name in {*_OWNED, *_OWNED.values()}:
        monkeypatch.setattr(binding, name, counted(name))
    with closing(CpuEngine(1)) as engine:
        for size in (1, 3):
            with crew(engine, _WAT, size=size) as agents:
                for live in (_finish, _stop_midway, _wait, _trap, _finish, _wait):
                    live(agents)
    for deleting in set(_OWNED.values()):
        made = [name for name in _OWNED if _OWNED[name] == deleting]
        assert all(calls[name] for name in made), "the test makes one of each"
        assert sum(calls[name] for name in made) == calls[deleting], deleting


def test_every_kind_of_thing_that_can_be_deleted_is_counted() -> None:
    deleting = {name for name in vars(binding) if name.endswith("_delete") and name[0] != "_"}
    assert deleting - set(_OWNED.values()) == {"trap_delete"}, "see what makes it"


def test_cohorts_leave_nothing_behind() -> None:
    process = psutil.Process()
    used: list[int] = []
    with closing(CpuEngine(1)) as engine:
        for _ in range(200):
            with crew(engine, _WAT, size=2) as agents:
                _finish(agents)
            used.append(process.memory_info().rss)
    assert used[-1] - used[50] < _LEAKED_BYTES, used[::20]


def test_engines_leave_their_threads_and_nothing_else_behind() -> None:
    for _ in range(3):
        with closing(CpuEngine()) as engine:
            with crew(engine, _WAT, size=2) as agents:
                _finish(agents)
            engine.close()


def test_agents_that_wait_to_be_used_take_no_memory_of_wasm() -> None:
    with closing(CpuEngine(1)) as engine, crew(engine, _WAT, size=20_000) as agents:
        before = psutil.Process().memory_info().rss
        agents.create()
        assert agents.statuses() == [Status.IDLE] * 20_000
        assert psutil.Process().memory_info().rss - before < 20_000 * 1_024
        some = np.array([5, 19_999])
        agents.begin("count", 3, slots=some)
        assert agents.run(slots=some) == [Status.FINISHED] * 2
