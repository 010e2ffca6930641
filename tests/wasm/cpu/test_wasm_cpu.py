"""What the CPU engine does beyond the contract of engines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stigmergy.errors import StigmergyError, UnsupportedError
from stigmergy.testing.engines import Crew, crew
from stigmergy.wasm.cpu import binding
from stigmergy.wasm.cpu import cohort as cohort_module
from stigmergy.wasm.cpu.agent import Agent
from stigmergy.wasm.cpu.engine import CpuEngine
from stigmergy.wasm.cpu.hosting import Hosting
from stigmergy.wasm.cpu.program import Program
from stigmergy.wasm.engine import CohortSettings, Status, Trap, TrapKind
from stigmergy.wasm.hostcalls import HostCall, Imports
from stigmergy.wasm.module.decode import decode
from stigmergy.wasm.module.model import Limits, MemoryType, TableType
from stigmergy.wasm.module.reading import read_module, to_binary


@pytest.fixture(scope="module")
def engine() -> Iterator[CpuEngine]:
    with closing(CpuEngine()) as made:
        yield made


_BULK = """
(module
  (memory 1 40)
  (table $t 300 400 funcref)
  (elem $e func $f $f $f $f $f $f $f $f)
  (data $d "0123456789")
  (func $f)
  (func (export "fill") (param i32) (memory.fill (i32.const 0) (i32.const 1) (local.get 0)))
  (func (export "copy") (param i32) (memory.copy (i32.const 0) (i32.const 1) (local.get 0)))
  (func (export "init") (param i32) (memory.init $d (i32.const 0) (i32.const 0) (local.get 0)))
  (func (export "table_fill") (param i32)
    (table.fill $t (i32.const 0) (ref.null func) (local.get 0)))
  (func (export "table_copy") (param i32)
    (table.copy $t $t (i32.const 0) (i32.const 1) (local.get 0)))
  (func (export "table_init") (param i32)
    (table.init $t $e (i32.const 0) (i32.const 0) (local.get 0)))
  (func (export "grow") (param i32) (drop (memory.grow (local.get 0))))
  (func (export "table_grow") (param i32) (drop (table.grow $t (ref.null func) (local.get 0))))
  (func (export "fill_128") (memory.fill (i32.const 0) (i32.const 1) (i32.const 128)))
  (func (export "fill_129") (memory.fill (i32.const 0) (i32.const 1) (i32.const 129)))
  (func (export "fill_local") (local i32) (local.set 0 (i32.const 9))
    (memory.fill (i32.const 0) (i32.const 1) (local.get 0)))
  (func (export "copy_5") (memory.copy (i32.const 0) (i32.const 1) (i32.const 5))))
"""


def _stops(agents: Crew, name: str, *arguments: int) -> list[int]:
    """Return the counts where an agent stops when it may stop anywhere, and its last count."""
    slot = agents.slots(0)
    agents.begin(name, *arguments, slots=slot)
    counts = [0]
    while agents.run(counts[-1] + 1, slots=slot) == [Status.READY]:
        counts += agents.counts(slot)
    return counts[1:] + agents.counts(slot)


@pytest.mark.parametrize(
    ("name", "length", "stops"),
    [
        ("fill", 5, [1, 10, 10]),
        ("copy", 5, [1, 10, 10]),
        ("init", 5, [1, 10, 10]),
        ("table_fill", 5, [1, 10, 10]),
        ("table_copy", 5, [1, 10, 10]),
        ("table_init", 5, [1, 10, 10]),
        ("grow", 5, [1, 8, 8]),
        ("table_grow", 5, [1, 9, 9]),
        ("fill", 0, [1, 5, 5]),
        ("grow", 0, [1, 3, 3]),
        ("grow", 100, [1, 3]),
        ("table_grow", 200, [1, 4]),
        ("fill_128", None, [1, 133]),
        ("fill_129", None, [1, 134, 134]),
        ("fill_local", None, [1, 16]),
        ("copy_5", None, [1, 10]),
    ],
)
def test_an_agent_may_stop_after_what_counts_its_length_unless_that_is_a_small_constant(
    engine: CpuEngine, name: str, length: int | None, stops: list[int]
) -> None:
    arguments = [] if length is None else [length]
    with crew(engine, _BULK, memory_bytes=40 << 16, table_elements=400) as agents:
        assert _stops(agents, name, *arguments) == stops


def test_where_an_agent_stops_after_a_bulk_instruction_it_is_done(engine: CpuEngine) -> None:
    with crew(engine, _BULK, size=1) as agents:
        agents.begin("fill", 5)
        assert agents.run(2) == [Status.READY]
        assert agents.memory(0, 6) == [b"\1\1\1\1\1\0"]


_TRAPS = """
(module
  (memory 1)
  (func $one (result i32) (i32.const 1))
  (func (export "unreachable") (drop (i32.const 1)) unreachable)
  (func (export "fill") (drop (call $one))
    (memory.fill (i32.const 65535) (i32.const 1) (i32.const 1000)))
  (func (export "loop") (param i32)
    (loop (drop (i32.div_u (i32.const 1) (local.get 0)))
      (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br 0))))
"""


def test_the_count_of_a_trap_is_the_last_one_that_was_told(engine: CpuEngine) -> None:
    with crew(engine, _TRAPS, size=1) as agents:
        for name, arguments, count in (("unreachable", (), 2), ("fill", (), 4), ("loop", (3,), 0)):
            agents.begin(name, *arguments)
            assert agents.run() == [Status.TRAPPED]
            assert agents.counts() == [count], name


def test_an_agent_that_trapped_counts_what_it_had_where_it_stopped_last(engine: CpuEngine) -> None:
    with crew(engine, _TRAPS, size=1) as agents:
        agents.begin("loop", 3)
        assert agents.run(2) == [Status.READY]
        stopped = agents.counts()
        assert agents.run() == [Status.TRAPPED]
        assert agents.counts() == stopped == [1 + 8]


_MIXTURE = """
(module
  (import "stigmergy" "random" (func $random (result i64)))
  (import "stigmergy" "clock" (func $clock (result i64)))
  (memory 1 3)
  (global $start (mut i64) (i64.const 0))
  (func $begin (local $i i32)
    (loop $l
      (global.set $start (i64.add (global.get $start) (i64.const 3)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 4)))))
  (start $begin)
  (func $deep (param $n i32) (result i64)
    (if (result i64) (i32.eqz (local.get $n))
      (then (call $random))
      (else (i64.add (i64.const 1) (call $deep (i32.sub (local.get $n) (i32.const 1)))))))
  (func (export "f") (param $n i32) (result i64 i64) (local $sum i64)
    (loop $l
      (local.set $sum
        (i64.xor (i64.rotl (local.get $sum) (i64.const 7)) (call $deep (local.get $n))))
      (memory.fill (local.get $n) (local.get $n) (i32.mul (local.get $n) (i32.const 3)))
      (drop (memory.grow (i32.and (local.get $n) (i32.const 1))))
      (i64.store (i32.mul (local.get $n) (i32.const 8)) (local.get $sum))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i64.add (local.get $sum) (global.get $start))
    (call $clock)))
"""

_Outcome = tuple[list[tuple[int, ...]], list[int], list[bytes]]


def _outcome(agents: Crew) -> _Outcome:
    return agents.results("f"), agents.counts(), agents.memory(0, 400)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    steps=st.lists(st.integers(1, 400), min_size=1, max_size=6),
)
def test_any_slicing_gives_what_one_run_gives(
    engine: CpuEngine, sizes: list[int], steps: Sequence[int]
) -> None:
    with crew(engine, _MIXTURE, size=len(sizes), memory_bytes=3 << 16) as agents:
        agents.begin("f", sizes)
        agents.run()
        whole = _outcome(agents)
        agents.create()
        agents.begin("f", sizes)
        target, turn = 0, 0
        while Status.READY in agents.run(target):
            before = agents.counts()
            target += steps[turn % len(steps)]
            turn += 1
            assert all(count == 0 or count < target + 400 for count in before)
        assert _outcome(agents) == whole


def test_a_start_function_may_stop_midway_and_the_call_follows_it(engine: CpuEngine) -> None:
    with crew(engine, _MIXTURE, size=1, memory_bytes=3 << 16) as agents:
        agents.begin("f", 2)
        assert agents.run(20) == [Status.READY]
        assert 0 < agents.globals()[0][0] < 12
        agents.run()
        assert agents.globals() == [(12,)]


def test_a_start_function_that_is_given_up_does_not_come_back(engine: CpuEngine) -> None:
    with crew(engine, _MIXTURE, size=2, memory_bytes=3 << 16) as agents:
        agents.begin("f", 2)
        agents.run(20, slots=agents.slots(0))
        (begun,) = agents.globals()[0]
        agents.begin("f", 2)
        agents.run()
        assert agents.globals() == [(begun,), (12,)]
        start = 1 + 4 * 11
        assert agents.counts()[1] - agents.counts()[0] == start


def test_threads_that_share_the_work_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [slot % 11 + 1 for slot in range(300)]
    outcomes: list[_Outcome] = []
    for threads in (1, 4):
        with (
            closing(CpuEngine(threads)) as engine,
            crew(engine, _MIXTURE, size=300, memory_bytes=3 << 16) as agents,
        ):
            monkeypatch.setattr(cohort_module, "_SHARED_EACH_S", 0.0 if threads > 1 else 1.0)
            monkeypatch.setattr(cohort_module, "_SHARED_S", 0.0)
            agents.begin("f", sizes)
            assert set(agents.run()) == {Status.FINISHED}
            agents.begin("f", sizes)
            target = 0
            while Status.READY in agents.run(target):
                target += 500
            outcomes.append(_outcome(agents))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(("limits", "most"), [("2", 5), ("2 4", 4), ("2 9", 5), ("7", 7)])
def test_a_table_grows_up_to_the_least_of_what_is_allowed(
    engine: CpuEngine, limits: str, most: int
) -> None:
    wat = f"""(module (table {limits} funcref)
      (func (export "grow") (param i32) (result i32 i32)
        (table.grow (ref.null func) (local.get 0)) (table.size)))"""
    first = int(limits.split(maxsplit=1)[0])
    with crew(engine, wat, table_elements=5) as agents:
        wanted = [0, most - first, most - first + 1, 1 << 31]
        assert agents.call("grow", wanted) == [
            (first, first),
            (first, most),
            (2**32 - 1, first),
            (2**32 - 1, first),
        ]


_HOSTED = """
(module
  (import "stigmergy" "random" (func $random (result i64)))
  (import "stigmergy" "wait" (func $wait))
  (func $deep (export "deep") (param i32) (result i64)
    (if (result i64) (local.get 0)
      (then (call $deep (i32.sub (local.get 0) (i32.const 1))))
      (else (call $random))))
  (func (export "endless") (param i32)
    (drop (call $random)) (call 3 (local.get 0)))
  (func (export "draw") (result i64) (call $random))
  (func (export "wait") (result i64) (call $wait) (call $random)))
"""


def test_the_host_is_called_from_the_bottom_of_a_deep_stack(engine: CpuEngine) -> None:
    with crew(engine, _HOSTED, size=2) as agents:
        assert len(set(agents.call("deep", 8_000))) == 2
        agents.begin("endless", 1)
        assert agents.run() == [Status.TRAPPED] * 2
        assert {trap.kind for trap in agents.traps() if trap} == {TrapKind.STACK_OVERFLOW}
        agents.call("draw")


def test_what_a_function_of_the_host_raises_is_raised_by_run(
    engine: CpuEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(hosting: Hosting, agent: Agent, _arguments: list[int]) -> int:
        if agent.slot == 1:
            raise ZeroDivisionError
        return random(hosting, agent, _arguments)

    random = Hosting._random
    monkeypatch.setattr(Hosting, "_random", fail)
    with crew(engine, _HOSTED, size=3) as agents:
        agents.begin("draw")
        with pytest.raises(StigmergyError, match="function of the host") as raised:
            agents.run()
        assert isinstance(raised.value.__cause__, ZeroDivisionError)
        assert agents.run() == [Status.FINISHED, Status.TRAPPED, Status.FINISHED]


def test_an_agent_for_whose_stack_there_is_no_room_is_an_error_not_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_size: int) -> None:
        raise OSError(12, "Cannot allocate memory")

    with closing(CpuEngine()) as engine, crew(engine, _TRAPS, size=2) as agents:
        agents.begin("unreachable")
        with monkeypatch.context() as patch:
            patch.setattr(binding, "map_memory", fail)
            with pytest.raises(StigmergyError, match="room for the stack"):
                agents.run()
        agents.begin("unreachable")
        assert agents.run() == [Status.TRAPPED] * 2


def test_an_instance_that_could_not_be_made_is_made_later(
    engine: CpuEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with crew(engine, _TRAPS, size=2) as agents:
        with monkeypatch.context() as patch:
            patch.setattr(Program, "instantiate", lambda *_: binding.error_new("no room"))
            with pytest.raises(StigmergyError, match="no room"):
                agents.cohort.memory_sizes(agents.slots())
            agents.begin("fill")
            with pytest.raises(StigmergyError, match="no room"):
                agents.run()
        assert agents.run() == [Status.TRAPPED] * 2
        assert agents.counts() == [4] * 2


@pytest.mark.parametrize(
    ("wanted", "is_there"),
    [
        ("(memory 0)", True),
        ("(memory 2 5)", True),
        ("(memory 3)", False),
        ("(memory 1 3)", False),
        ("(memory i64 1)", False),
        ("(table 3 funcref)", True),
        ("(table 4 funcref)", False),
        ("(table 1 4 funcref)", False),
        ("(table 1 externref)", False),
    ],
)
def test_an_import_is_there_if_it_is_no_less_than_the_module_wants(
    engine: CpuEngine, wanted: str, *, is_there: bool
) -> None:
    imports = Imports(
        memories={("env", "x"): MemoryType(Limits(2, 5))},
        tables={("env", "x"): TableType("funcref", Limits(3, 5))},
    )
    module = read_module(f'(module (import "env" "x" {wanted}))')
    allowed = CohortSettings(memory_bytes=1 << 20, imports=imports)
    if is_there:
        engine.cohort(module, allowed).close()
    else:
        with pytest.raises(UnsupportedError, match=r"env\.x"):
            engine.cohort(module, allowed)


def test_an_imported_memory_is_as_large_as_the_import_says(engine: CpuEngine) -> None:
    imports = Imports(memories={("env", "m"): MemoryType(Limits(2, 5))})
    wat = '(module (import "env" "m" (memory 0)) (func (export "f")))'
    with crew(engine, wat, imports=imports, memory_bytes=1 << 20) as agents:
        assert agents.cohort.memory_sizes(agents.slots()).tolist() == [2 << 16] * 4


def test_a_waiting_agent_can_be_given_another_call(engine: CpuEngine) -> None:
    with crew(engine, _HOSTED) as agents:
        agents.begin("wait")
        assert agents.run() == [Status.WAITING] * 4
        drawn = agents.call("draw")
        agents.begin("wait")
        assert agents.run() == [Status.WAITING] * 4
        agents.cohort.wake(agents.slots())
        assert agents.run() == [Status.FINISHED] * 4
        assert agents.results("wait") != drawn
        agents.begin("wait")
        agents.run()
        agents.begin("deep", 100)
        assert agents.run(50) == [Status.READY] * 4, "it waits no more"


def test_a_cohort_closes_with_agents_in_the_midst_of_calls(engine: CpuEngine) -> None:
    with crew(engine, _HOSTED, size=40) as agents:
        agents.begin("wait", slots=agents.slots(*range(20)))
        agents.begin("deep", 100, slots=agents.slots(*range(20, 40)))
        assert set(agents.run(50)) == {Status.WAITING, Status.READY}


def test_any_function_may_be_called_exported_or_imported_or_not(engine: CpuEngine) -> None:
    wat = """(module
      (import "stigmergy" "agent_id" (func (result i32)))
      (func (param i32) (result i32) (i32.add (local.get 0) (call 0)))
      (func (export "g")))"""
    with crew(engine, wat) as agents:
        words = np.full((4, 1), 5, dtype=np.uint64)
        agents.cohort.begin(agents.slots(), 1, words)
        agents.run()
        assert agents.cohort.results(agents.slots(), 1).tolist() == [[1005 + n] for n in range(4)]
        agents.cohort.begin(agents.slots(), 0, words[:, :0])
        agents.run()
        assert agents.cohort.results(agents.slots(), 0).tolist() == [[1000 + n] for n in range(4)]


def test_vectors_are_used_within_agents_but_not_in_their_calls(engine: CpuEngine) -> None:
    wat = """(module
      (global (mut v128) (v128.const i32x4 1 2 3 4))
      (global (mut i32) (i32.const 7))
      (func (export "sum") (param i32) (result i32)
        (i32x4.extract_lane 2 (i32x4.add (i32x4.splat (local.get 0)) (global.get 0))))
      (func (export "give") (result v128) (global.get 0))
      (func (export "take") (param externref)))"""
    with crew(engine, wat) as agents:
        assert agents.call("sum", [1, 2, 3, 4]) == [(4,), (5,), (6,), (7,)]
        assert agents.globals() == [(0, 7)] * 4
        with pytest.raises(UnsupportedError, match="v128"):
            agents.begin("give")
        with pytest.raises(UnsupportedError, match="externref"):
            agents.begin("take", 0)


def test_nans_of_arithmetic_are_the_canonical_one(engine: CpuEngine) -> None:
    wat = """(module
      (func (export "f32") (param f32) (result i32)
        (i32.reinterpret_f32 (f32.add (local.get 0) (f32.const 1))))
      (func (export "f64") (param f64) (result i64)
        (i64.reinterpret_f64 (f64.mul (local.get 0) (f64.const 0)))))"""
    with crew(engine, wat) as agents:
        assert (
            agents.call("f32", [0xFFC12345, 0x7F812345, 0x7FC00000, 0xFFFFFFFF])
            == [(0x7FC00000,)] * 4
        )
        nans = [0xFFF8000000012345, 0x7FF0000000000000, 0x7FF8000000000000, 0xFFF0000000000000]
        assert agents.call("f64", nans) == [(0x7FF8000000000000,)] * 4


@pytest.mark.parametrize(
    ("wat", "reason"),
    [
        ("(module (memory 1) (memory 1))", "several memories"),
        ("(module (memory 1 1 shared))", "shared"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(engine: CpuEngine, wat: str, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        engine.cohort(decode(to_binary(wat)), CohortSettings())


def test_a_smaller_memory_is_refused_where_it_cannot_be_told_whether_it_is_noticed(
    engine: CpuEngine,
) -> None:
    wat = "(module (memory 1) (func (drop (v128.load (i32.const 0)))))"
    with pytest.raises(UnsupportedError, match="less memory than it declares"):
        engine.cohort(read_module(wat), CohortSettings(memory_bytes=64))


def test_an_agent_whose_segments_do_not_fit_has_no_memory(engine: CpuEngine) -> None:
    wat = '(module (memory 1) (data (i32.const 65536) "x") (func (export "f")))'
    with crew(engine, wat) as agents:
        assert agents.cohort.memory_sizes(agents.slots()).tolist() == [0] * 4
        for _ in range(2):
            agents.begin("f")
            assert agents.run() == [Status.TRAPPED] * 4
            assert agents.traps() == [Trap(TrapKind.MEMORY_OUT_OF_BOUNDS)] * 4


def test_an_import_that_does_nothing_answers_zeros_whatever_it_is_given(
    engine: CpuEngine,
) -> None:
    wat = """(module
      (import "env" "f" (func $f (param i64 i64) (result i64 f64 i32)))
      (func (export "g") (result i64 f64 i32) (call $f (i64.const -1) (i64.const -1))))"""
    imports = Imports(functions={("env", "f"): HostCall.NOTHING})
    with crew(engine, wat, imports=imports) as agents:
        assert agents.call("g") == [(0, 0, 0)] * 4


def test_a_failure_of_wasmtime_is_an_error_with_its_words(engine: CpuEngine) -> None:
    with pytest.raises(StigmergyError, match="cannot compile"):
        engine._runtime.compile(b"\0asm\1\0\0\0\x01")
