"""What is counted, and where an agent stops."""

from __future__ import annotations

import pytest

from stigmergy.testing.engines.values import crew
from stigmergy.wasm.engine import Engine, Status, TrapKind
from stigmergy.wasm.module.model import PAGE_BYTES

__all__ = ["CountingRules"]

_COSTS = """
(module
  (import "stigmergy" "agent_id" (func $agent_id (result i32)))
  (memory 1)
  (table 2 funcref)
  (elem (i32.const 0) $one)
  (type $to_i32 (func (result i32)))
  (func (export "entry"))
  (func (export "free") (nop) (block (nop)) (loop (nop)) (return))
  (func (export "drops") (drop (i32.const 1)) (drop (i64.const 1)))
  (func (export "adds") (result i32) (i32.add (i32.const 1) (i32.const 2)))
  (func (export "taken") (if (i32.const 1) (then (drop (i32.const 1))) (else)))
  (func (export "not_taken") (if (i32.const 0) (then (drop (i32.const 1))) (else)))
  (func (export "branches") (block $out (br $out)))
  (func (export "tables") (block $out (br_table $out $out (i32.const 5))))
  (func $one (export "one") (result i32) (i32.const 1))
  (func (export "calls") (result i32) (call $one))
  (func (export "calls_by_table") (result i32) (call_indirect (type $to_i32) (i32.const 0)))
  (func (export "calls_host") (result i32) (call $agent_id))
  (func (export "early") (result i32) (return (i32.const 1)) (i32.const 2))
  (func (export "selects") (result i32)
    (select (i32.const 1) (i32.const 2) (i32.const 3))))
"""

_COUNTED = {
    "entry": 1,
    "free": 1,
    "drops": 3,
    "adds": 4,
    "taken": 4,
    "not_taken": 3,
    "branches": 2,
    "tables": 3,
    "one": 2,
    "calls": 4,
    "calls_by_table": 5,
    "calls_host": 2,
    "early": 2,
    "selects": 5,
}
"""What a call of each of these counts: its entry, and what is not free."""

_BULK = """
(module
  (memory 1)
  (table 9 funcref)
  (data $bytes "0123456789")
  (elem $elements func $f $f $f $f $f $f $f $f $f)
  (func $f)
  (func (export "memory.fill") (param i32)
    (memory.fill (i32.const 0) (i32.const 0) (local.get 0)))
  (func (export "memory.copy") (param i32)
    (memory.copy (i32.const 0) (i32.const 1) (local.get 0)))
  (func (export "memory.init") (param i32)
    (memory.init $bytes (i32.const 0) (i32.const 1) (local.get 0)))
  (func (export "table.init") (param i32)
    (table.init $elements (i32.const 0) (i32.const 0) (local.get 0)))
  (func (export "table.copy") (param i32)
    (table.copy (i32.const 0) (i32.const 0) (local.get 0)))
  (func (export "table.fill") (param i32)
    (table.fill (i32.const 0) (ref.null func) (local.get 0))))
"""
"""Operations on a piece of memory or of a table."""

_STOPS = """
(module
  (memory 1 4)
  (table 9 20 funcref)
  (func (export "memory.fill") (param $n i32) (result i32)
    (memory.fill (i32.const 0) (i32.const 0) (local.get $n))
    (i32.store8 (i32.const 200) (i32.const 1))
    (i32.const 7))
  (func (export "table.fill") (param $n i32) (result i32)
    (table.fill (i32.const 0) (ref.null func) (local.get $n))
    (i32.store8 (i32.const 200) (i32.const 1))
    (i32.const 7))
  (func (export "memory.grow") (param $n i32) (result i32)
    (drop (i32.const 0)) (drop (memory.grow (local.get $n)))
    (i32.store8 (i32.const 200) (i32.const 1))
    (i32.const 7))
  (func (export "constant") (param $n i32) (result i32)
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 128))
    (i32.store8 (i32.const 200) (i32.const 1))
    (i32.const 7))
  (func (export "long_constant") (param $n i32) (result i32)
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 129))
    (i32.store8 (i32.const 200) (i32.const 1))
    (i32.const 7)))
"""
"""Each counts 1 for its entry, 3 or 4 up to the operation, its length, and 4 more."""

_LOOPS = """
(module
  (memory 1)
  (func $leaf (param $n i32) (result i32)
    (i32.mul (local.get $n) (i32.const 3)))
  (func (export "work") (param $n i32) (result i64)
    (local $i i32) (local $j i32) (local $sum i64)
    (loop $outer
      (local.set $j (i32.const 0))
      (loop $inner
        (local.set $sum
          (i64.add
            (i64.mul (local.get $sum) (i64.const 31))
            (i64.extend_i32_u (call $leaf (i32.add (local.get $i) (local.get $j))))))
        (i64.store (i32.mul (local.get $j) (i32.const 8)) (local.get $sum))
        (br_if $inner
          (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 5))))
      (if (i32.and (local.get $i) (i32.const 1))
        (then (local.set $sum (i64.rotl (local.get $sum) (i64.const 9)))))
      (br_if $outer
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.get $sum))
  (func $callee (param $n i32) (result i32)
    (i32.add (local.get $n) (i32.const 1)))
  (func (export "chain") (result i32)
    (call $callee (call $callee (call $callee (i32.const 5)))))
  (func (export "count") (param $n i32)
    (loop $l
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))
"""

_RECURSION = """
(module
  (func $fib (export "fib") (param $n i32) (result i32)
    (if (result i32) (i32.lt_u (local.get $n) (i32.const 2))
      (then (local.get $n))
      (else
        (i32.add
          (call $fib (i32.sub (local.get $n) (i32.const 1)))
          (call $fib (i32.sub (local.get $n) (i32.const 2))))))))
"""

_TRAPS = """
(module
  (import "stigmergy" "agent_id" (func $agent_id (result i32)))
  (func $three (result i32) (i32.const 3))
  (func $fault (param i32) (result i32) (i32.div_u (local.get 0) (i32.const 0)))
  (func (export "after_long") (result i32) (local $n i32)
    (local.set $n (i32.const 30000))
    (loop $l
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.div_u (i32.const 1) (i32.const 0)))
  (func (export "at_once") (result i32) (i32.div_u (i32.const 1) (i32.const 0)))
  (func (export "after_a_call") (result i32) (i32.div_u (call $three) (i32.const 0)))
  (func (export "after_the_host") (result i32) (i32.div_u (call $agent_id) (i32.const 0)))
  (func (export "unreachable") (result i32) (drop (i32.const 1)) unreachable)
  (func (export "within_a_call") (result i32) (call $fault (i32.add (i32.const 1) (i32.const 2)))))
"""

_COUNTED_AT_TRAP = {
    "after_long": 0,  # however an engine divides what it runs: only a target makes a stop
    "at_once": 0,  # nothing was entered, called or left before, but this function
    "after_a_call": 4,  # its entry and the call; the callee's entry and constant
    "after_the_host": 2,
    "unreachable": 2,  # which tells what was counted, unlike other traps
    "within_a_call": 5,  # the caller's entry, two constants, an addition, the call
}


class CountingRules:
    """Counts and stop points are the same on every engine."""

    def test_instructions_count_1_but_those_that_are_free(self, engine: Engine) -> None:
        """And the entry of a function counts 1."""
        names = list(_COUNTED)
        with crew(engine, _COSTS, size=len(names)) as agents:
            for slot, name in enumerate(names):
                agents.begin(name, slots=agents.slots(slot))
            assert agents.run() == [Status.FINISHED] * len(names)
            assert dict(zip(names, agents.counts(), strict=True)) == _COUNTED

    def test_an_operation_on_many_counts_each_of_them_too(self, engine: Engine) -> None:
        """Each byte or element counts 1 beside the instruction itself, as wasmtime has it."""
        with crew(engine, _BULK, size=3) as agents:
            for name in agents.module.exported_functions:
                agents.call(name, [0, 1, 7])
                assert agents.counts() == [5, 6, 12], name

    def test_an_agent_may_stop_after_each_operation_on_many(self, engine: Engine) -> None:
        """Also after one on none."""
        with crew(engine, _BULK, size=3) as agents:
            for name in agents.module.exported_functions:
                agents.begin(name, [0, 1, 7])
                assert agents.run(2) == [Status.READY] * 3, name
                assert agents.counts() == [5, 6, 12], name
                assert agents.run() == [Status.FINISHED] * 3, name
                assert agents.counts() == [5, 6, 12], name

    def test_an_agent_stops_after_an_operation_on_many(self, engine: Engine) -> None:
        """Where its target lies within what that counted; not after a short one of fixed length."""
        with crew(engine, _STOPS, size=2, memory_bytes=2 * PAGE_BYTES) as agents:
            for name, lengths, counted in (
                ("memory.fill", (2, 3), (7, 8)),
                ("table.fill", (2, 3), (7, 8)),
                ("memory.grow", (1, 0), (5, 4)),
                ("long_constant", (0, 0), (134, 134)),
            ):
                agents.create()
                agents.begin(name, lengths)
                assert agents.run(counted) == [Status.READY] * 2, name
                assert agents.counts() == list(counted), name
                assert agents.memory(200, 1) == [b"\0"] * 2
                assert agents.run(counted) == [Status.READY] * 2
                assert agents.run() == [Status.FINISHED] * 2
                assert agents.results(name) == [(7,)] * 2
                assert agents.counts() == [count + 4 for count in counted], name
            agents.create()
            agents.begin("constant", 0)
            assert agents.run(10) == [Status.FINISHED] * 2
            assert agents.counts() == [1 + 4 + 128 + 4] * 2

    def test_an_operation_that_failed_counts_as_one_instruction(self, engine: Engine) -> None:
        """A memory that could not grow by so much."""
        with crew(engine, _STOPS, size=2, memory_bytes=2 * PAGE_BYTES) as agents:
            agents.call("memory.grow", [2, -1])
            assert agents.counts() == [8] * 2
            assert agents.cohort.memory_sizes(agents.slots()).tolist() == [PAGE_BYTES] * 2

    def test_the_count_begins_anew_with_each_call(self, engine: Engine) -> None:
        """At 0, before anything runs."""
        with crew(engine, _LOOPS) as agents:
            for _ in range(2):
                agents.begin("count", 10)
                assert agents.counts() == [0] * 4
                agents.run()
                assert agents.counts() == [1 + 5 * 10] * 4

    def test_an_agent_stops_where_the_head_of_a_loop_finds_its_target_reached(
        self, engine: Engine
    ) -> None:
        """Each agent has its own; after the last iteration there is no head any more."""
        targets = list(range(30))
        # not begun; the entry, which the first head follows at once; an iteration counts 5
        heads = [0, *(1 + 5 * done for done in range(5))]
        stops = [next((head for head in heads if head >= target), None) for target in targets]
        with crew(engine, _LOOPS, size=len(targets)) as agents:
            agents.begin("count", 5)
            statuses = agents.run(targets)
            assert statuses == [Status.FINISHED if stop is None else Status.READY for stop in stops]
            assert agents.counts() == [1 + 5 * 5 if stop is None else stop for stop in stops]

    def test_an_agent_stops_where_the_entry_of_a_function_finds_its_target_reached(
        self, engine: Engine
    ) -> None:
        """The entry is counted already."""
        # chain's entry; the constant, the call, the callee's entry; its other three, and so on
        entries = [0, 1, 4, 9, 14]
        targets = list(range(20))
        stops = [next((entry for entry in entries if entry >= target), None) for target in targets]
        with crew(engine, _LOOPS, size=len(targets)) as agents:
            agents.begin("chain")
            agents.run(targets)
            assert agents.counts() == [17 if stop is None else stop for stop in stops]
            assert agents.run() == [Status.FINISHED] * len(targets)
            assert agents.results("chain") == [(8,)] * len(targets)
            assert agents.counts() == [17] * len(targets)

    def test_at_its_target_an_agent_does_not_move(self, engine: Engine) -> None:
        """However often it is told to run, also to a target that lies behind it."""
        with crew(engine, _LOOPS) as agents:
            agents.begin("count", 1_000)
            agents.run(500)
            counts = agents.counts()
            assert counts[0] >= 500
            for target in (counts[0], 500, 1, 0):
                assert agents.run(target) == [Status.READY] * 4
                assert agents.counts() == counts

    @pytest.mark.parametrize("step", [1, 7, 50, 333, 5_000])
    def test_slices_of_any_size_give_what_one_run_gives(self, engine: Engine, step: int) -> None:
        """Results, counts and memory; agents are at different places all the while."""
        sizes = [1, 2, 3, 10, 40, 5]
        with crew(engine, _LOOPS, size=12) as agents:
            whole, sliced = agents.slots(*range(6)), agents.slots(*range(6, 12))
            agents.begin("work", sizes * 2)
            assert agents.run(slots=whole) == [Status.FINISHED] * 6
            rounds = 0
            while Status.READY in agents.statuses(sliced):
                rounds += 1
                targets = [step * rounds + slot for slot in range(6)]
                agents.run(targets, slots=sliced)
                assert rounds < 100_000, "it does not come to an end"
            assert agents.results("work", sliced) == agents.results("work", whole)
            assert agents.counts(sliced) == agents.counts(whole)
            memory = agents.memory(0, 40)
            assert memory[6:] == memory[:6]

    def test_a_recursive_call_counts_and_stops_like_any_other(self, engine: Engine) -> None:
        """Sliced or not."""
        with crew(engine, _RECURSION) as agents:
            assert agents.call("fib", [0, 1, 10, 15]) == [(0,), (1,), (55,), (610,)]
            # entry, compare (3), if, local.get: 6; else entry, 4, 2 for each argument and call …
            small, _, ten, _ = agents.counts()
            assert small == 6
            calls = [1, 1]
            for _ in range(9):
                calls.append(1 + calls[-1] + calls[-2])
            leaves = (calls[10] + 1) // 2
            assert ten == 6 * leaves + 14 * (calls[10] - leaves)
            counts = agents.counts()
            agents.begin("fib", [0, 1, 10, 15])
            target = 0
            while Status.READY in agents.run(target):
                target += 37
            assert agents.results("fib") == [(0,), (1,), (55,), (610,)]
            assert agents.counts() == counts

    def test_of_a_call_that_trapped_counts_what_it_did_until_it_last_passed_a_door(
        self, engine: Engine
    ) -> None:
        """The entry, the call or the end of a function."""
        names = list(_COUNTED_AT_TRAP)
        with crew(engine, _TRAPS, size=len(names)) as agents:
            for slot, name in enumerate(names):
                agents.begin(name, slots=agents.slots(slot))
            assert agents.run() == [Status.TRAPPED] * len(names)
            kinds = {trap.kind for trap in agents.traps() if trap}
            assert kinds == {TrapKind.INTEGER_DIVISION_BY_ZERO, TrapKind.UNREACHABLE}
            assert dict(zip(names, agents.counts(), strict=True)) == _COUNTED_AT_TRAP

    def test_a_stop_at_a_target_settles_what_counts_at_a_trap(self, engine: Engine) -> None:
        """For what was done up to it is known."""
        with crew(engine, _TRAPS) as agents:
            agents.begin("after_long")
            assert agents.run([0, 1, 5_000, 60_000]) == [Status.READY] * 4
            counts = agents.counts()
            assert agents.run() == [Status.TRAPPED] * 4
            assert agents.counts() == counts
