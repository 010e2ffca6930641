"""Which faults stop an agent, where they are said to be, and that nobody else notices."""

from __future__ import annotations

import pytest

from stigmergy.testing.engines.values import crew, offset_of
from stigmergy.wasm.engine import Engine, Status, Trap, TrapKind

__all__ = ["TrapRules"]

_INTEGERS = (
    """
(module
  (func (export "unreachable") (drop (i32.const 1)) unreachable)
  (func (export "i32.div_s") (param i32 i32) (result i32)
    (i32.div_s (local.get 0) (local.get 1)))
  (func (export "i32.rem_u") (param i32 i32) (result i32)
    (i32.rem_u (local.get 0) (local.get 1)))
  (func (export "i64.div_s") (param i64 i64) (result i64)
    (i64.div_s (local.get 0) (local.get 1)))
  (func (export "i64.rem_s") (param i64 i64) (result i64)
    (i64.rem_s (local.get 0) (local.get 1))))
""",
    [
        ("unreachable", (), TrapKind.UNREACHABLE),
        ("i32.div_s", (7, 0), TrapKind.INTEGER_DIVISION_BY_ZERO),
        ("i32.div_s", (2**31, -1 % 2**32), TrapKind.INTEGER_OVERFLOW),
        ("i32.div_s", (2**31, 2), None),
        ("i32.rem_u", (7, 0), TrapKind.INTEGER_DIVISION_BY_ZERO),
        ("i64.div_s", (7, 0), TrapKind.INTEGER_DIVISION_BY_ZERO),
        ("i64.div_s", (2**63, -1), TrapKind.INTEGER_OVERFLOW),
        ("i64.rem_s", (7, 0), TrapKind.INTEGER_DIVISION_BY_ZERO),
        ("i64.rem_s", (2**63, -1), None),
    ],
)
_MEMORY = (
    """
(module
  (memory 1)
  (data $part "abc")
  (func (export "i32.load") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "i32.load8_u") (param i32) (result i32)
    (i32.load8_u offset=65535 (local.get 0)))
  (global $kept (mut i64) (i64.const 1))
  (func (export "i64.load") (param i32)
    ;; What is loaded is an operand at once: a processor can do the two as one.
    (global.set $kept (i64.xor (i64.load offset=8 (local.get 0)) (i64.const 10))))
  (func (export "i64.store") (param i32) (i64.store (local.get 0) (i64.const -1)))
  (func (export "i64.store16") (param i32)
    (i64.store16 offset=4294967295 (local.get 0) (i64.const -1)))
  (func (export "memory.fill") (param i32 i32)
    (memory.fill (local.get 0) (i32.const 1) (local.get 1)))
  (func (export "memory.copy") (param i32 i32)
    (memory.copy (i32.const 0) (local.get 0) (local.get 1)))
  (func (export "memory.init") (param i32 i32)
    (memory.init $part (i32.const 0) (local.get 0) (local.get 1))))
""",
    [
        ("i32.load", (65_533,), TrapKind.MEMORY_OUT_OF_BOUNDS),
        ("i32.load", (-1 % 2**32,), TrapKind.MEMORY_OUT_OF_BOUNDS),
        ("i32.load", (65_532,), None),
        ("i32.load8_u", (1,), TrapKind.MEMORY_OUT_OF_BOUNDS),
        ("i32.load8_u", (0,), None),
        ("i64.load", (-6 % 2**32,), TrapKind.MEMORY_OUT_OF_BOUNDS),
        ("i64.load", (65_520,), None),
        ("i64.store", (65_529,), TrapKind.MEMORY_OUT_OF_BOUNDS),
        ("i64.store", (65_528,), None),
        ("i64.store16", (0,), TrapKind.MEMORY_OUT_OF_BOUNDS),
        ("i64.store16", (1,), TrapKind.MEMORY_OUT_OF_BOUNDS),
        ("memory.fill", (65_000, 537), TrapKind.MEMORY_OUT_OF_BOUNDS),
        ("memory.fill", (65_537, 0), TrapKind.MEMORY_OUT_OF_BOUNDS),
        ("memory.fill", (65_536, 0), None),
        ("memory.copy", (1, 65_536), TrapKind.MEMORY_OUT_OF_BOUNDS),
        ("memory.copy", (0, 65_536), None),
        ("memory.init", (1, 3), TrapKind.MEMORY_OUT_OF_BOUNDS),
        ("memory.init", (1, 2), None),
    ],
)
_TABLES = (
    """
(module
  (type $number (func (result i32)))
  (table $t 4 funcref)
  (elem (i32.const 0) $five $other)
  (elem $part funcref (ref.func $five))
  (func $five (type $number) (i32.const 5))
  (func $other (param i32) (result i32) (local.get 0))
  (func (export "call_indirect") (param i32) (result i32)
    (call_indirect (type $number) (local.get 0)))
  (func (export "table.get") (param i32) (result i32) (ref.is_null (table.get $t (local.get 0))))
  (func (export "table.init") (param i32 i32)
    (table.init $t $part (i32.const 0) (local.get 0) (local.get 1))))
""",
    [
        ("call_indirect", (0,), None),
        ("call_indirect", (1,), TrapKind.BAD_SIGNATURE),
        ("call_indirect", (2,), TrapKind.INDIRECT_CALL_TO_NULL),
        ("call_indirect", (4,), TrapKind.TABLE_OUT_OF_BOUNDS),
        ("call_indirect", (-1 % 2**32,), TrapKind.TABLE_OUT_OF_BOUNDS),
        ("table.get", (3,), None),
        ("table.get", (4,), TrapKind.TABLE_OUT_OF_BOUNDS),
        ("table.init", (0, 2), TrapKind.TABLE_OUT_OF_BOUNDS),
    ],
)
_INFINITE = 0x7FF0000000000000
_NAN = 0x7FF8000000000000
_CONVERSIONS = (
    """
(module
  (func (export "i32.trunc_f32_s") (param f32) (result i32) (i32.trunc_f32_s (local.get 0)))
  (func (export "i32.trunc_f64_u") (param f64) (result i32) (i32.trunc_f64_u (local.get 0)))
  (func (export "i64.trunc_f64_s") (param f64) (result i64) (i64.trunc_f64_s (local.get 0)))
  (func (export "i32.trunc_sat_f64_s") (param f64) (result i32)
    (i32.trunc_sat_f64_s (local.get 0))))
""",
    [
        ("i32.trunc_f32_s", (0x7FC00000,), TrapKind.BAD_CONVERSION_TO_INTEGER),
        ("i32.trunc_f32_s", (0x4F000000,), TrapKind.INTEGER_OVERFLOW),
        ("i32.trunc_f32_s", (0x3FC00000,), None),
        ("i32.trunc_f64_u", (0xBFF0000000000000,), TrapKind.INTEGER_OVERFLOW),
        ("i32.trunc_f64_u", (0xBFE0000000000000,), None),
        ("i64.trunc_f64_s", (_INFINITE,), TrapKind.INTEGER_OVERFLOW),
        ("i64.trunc_f64_s", (_NAN,), TrapKind.BAD_CONVERSION_TO_INTEGER),
        ("i32.trunc_sat_f64_s", (_NAN,), None),
    ],
)

_INNER = """
(module
  (memory 1)
  (func $deep (param i32) (result i32) (i32.load (local.get 0)))
  (func $between (param i32) (result i32)
    (i32.add (i32.const 1) (call $deep (local.get 0))))
  (func (export "outer") (param i32) (result i32)
    (i32.store (i32.const 8) (i32.const 77))
    (call $between (local.get 0))))
"""

_ENDLESS = """
(module
  (func $endless (export "endless") (param i32) (result i32)
    (i32.add (i32.const 1) (call $endless (i32.add (local.get 0) (i32.const 1))))))
"""

_NEIGHBOURS = """
(module
  (memory 1)
  (func (export "sum") (param $n i32) (result i32) (local $sum i32)
    (loop $l
      (local.set $sum (i32.add (local.get $sum) (i32.div_u (i32.const 1000) (local.get $n))))
      (i32.store (i32.mul (local.get $n) (i32.const 4)) (local.get $sum))
      (br_if $l (i32.ge_s (local.tee $n (i32.sub (local.get $n) (i32.const 1))) (i32.const 1))))
    (local.get $sum))
  (func (export "fault") (param $n i32) (result i32)
    (loop $l
      (i32.store (i32.mul (local.get $n) (i32.const 4)) (i32.const -1))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $l (local.get $n)))
    unreachable))
"""


class TrapRules:
    """Traps have a kind and a place, and are one agent's own matter."""

    @pytest.mark.parametrize(
        "cases",
        [_INTEGERS, _MEMORY, _TABLES, _CONVERSIONS],
        ids=["integers", "memory", "tables", "conversions"],
    )
    def test_a_trap_has_its_kind_and_the_place_of_its_instruction(
        self,
        engine: Engine,
        cases: tuple[str, list[tuple[str, tuple[int, ...], TrapKind | None]]],
    ) -> None:
        """A function bears its instruction's name. What is just within bounds does not trap."""
        wat, calls = cases
        with crew(engine, wat, size=len(calls)) as agents:
            expected: list[Trap | None] = []
            for slot, (name, arguments, kind) in enumerate(calls):
                agents.begin(name, *arguments, slots=agents.slots(slot))
                function = agents.function(name)
                offset = offset_of(agents.module, function, name)
                expected.append(None if kind is None else Trap(kind, function, offset))
            statuses = agents.run()
            assert agents.traps() == expected
            assert statuses == [Status.TRAPPED if trap else Status.FINISHED for trap in expected]

    def test_a_trap_within_a_call_names_the_function_that_trapped(self, engine: Engine) -> None:
        """Not the one that was begun. What was done before it stays done."""
        with crew(engine, _INNER) as agents:
            agents.begin("outer", [8, 65_536, 0, 65_533])
            finished, trapped = Status.FINISHED, Status.TRAPPED
            assert agents.run() == [finished, trapped, finished, trapped]
            assert agents.results("outer", agents.slots(0)) == [(78,)]
            trap = Trap(TrapKind.MEMORY_OUT_OF_BOUNDS, 0, offset_of(agents.module, 0, "i32.load"))
            assert agents.traps() == [None, trap, None, trap]
            assert agents.memory(8, 4) == [b"M\0\0\0"] * 4

    def test_a_call_without_end_overflows_the_stack(self, engine: Engine) -> None:
        """And the agent can be called again; each engine has a depth of its own."""
        with crew(engine, _ENDLESS, size=2) as agents:
            agents.begin("endless", 0)
            assert agents.run() == [Status.TRAPPED] * 2
            assert [trap and trap.kind for trap in agents.traps()] == [TrapKind.STACK_OVERFLOW] * 2

    def test_the_trap_of_one_never_disturbs_another(self, engine: Engine) -> None:
        """Whatever its neighbours do, an agent counts, stores and answers the same."""
        with crew(engine, _NEIGHBOURS, size=130) as agents:
            agents.begin("sum", 200)
            agents.run()
            (alone,) = set(agents.results("sum"))
            (count,) = set(agents.counts())
            (memory,) = set(agents.memory())
            good = agents.slots()[::2].copy()
            bad = agents.slots()[1::2].copy()
            agents.create()
            agents.begin("sum", 200, slots=good)
            agents.begin("fault", [int(slot) % 50 + 1 for slot in bad], slots=bad)
            agents.run()
            assert set(agents.statuses(bad)) == {Status.TRAPPED}
            assert set(agents.statuses(good)) == {Status.FINISHED}
            assert set(agents.results("sum", good)) == {alone}
            assert set(agents.counts(good)) == {count}
            assert set(agents.memory()[::2]) == {memory}

    @pytest.mark.parametrize(
        ("segment", "kind"),
        [
            ('(data (i32.const 65534) "abc")', TrapKind.MEMORY_OUT_OF_BOUNDS),
            ("(elem (i32.const 2) $f)", TrapKind.TABLE_OUT_OF_BOUNDS),
        ],
    )
    def test_a_segment_that_does_not_fit_traps_at_the_first_call(
        self, engine: Engine, segment: str, kind: TrapKind
    ) -> None:
        """Before any instruction, so there is no place."""
        wat = f"""(module (memory 1) (table 2 funcref) {segment}
          (func $f (export "f") (result i32) (i32.const 1)))"""
        with crew(engine, wat) as agents:
            assert agents.statuses() == [Status.IDLE] * 4
            assert agents.traps() == [None] * 4
            agents.begin("f")
            assert agents.run() == [Status.TRAPPED] * 4
            assert agents.traps() == [Trap(kind)] * 4
            assert agents.counts() == [0] * 4
