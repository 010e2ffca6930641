"""Tables, element segments and references."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

pytestmark = pytest.mark.needs_vulkan

PROGRAMS = """(module
 (type $number (func (result i32)))
 (table $t (export "t") 6 9 funcref)
 (table $u (export "u") 5 funcref)
 (table $x (export "x") 3 externref)
 (elem (table $t) (i32.const 1) func $one $two)
 (elem $passive funcref (ref.func $three) (ref.null func) (ref.func $one))
 (elem declare func $four)
 (func $one (result i32) (i32.const 1))
 (func $two (result i32) (i32.const 2))
 (func $three (result i32) (i32.const 3))
 (func $four (result i32) (i32.const 4))
 (func $sum (result i32) (local $i i32) (local $r i32)
  (loop $l
   (local.set $r (i32.mul (local.get $r) (i32.const 10)))
   (if (i32.eqz (ref.is_null (table.get $t (local.get $i))))
    (then (local.set $r (i32.add (local.get $r)
      (call_indirect $t (type $number) (local.get $i))))))
   (local.set $i (i32.add (local.get $i) (i32.const 1)))
   (br_if $l (i32.lt_u (local.get $i) (table.size $t))))
  (local.get $r))
 (func (export "get") (param i32) (result i32) (ref.is_null (table.get $t (local.get 0))))
 (func (export "set") (param i32) (result i32)
  (table.set $t (local.get 0) (ref.func $four)) (call $sum))
 (func (export "grow") (param i32) (result i32 i32)
  (table.grow $t (ref.func $four) (local.get 0)) (call $sum))
 (func (export "fill") (param i32 i32 i32) (result i32)
  (table.fill $t (local.get 0) (ref.func $two) (local.get 2)) (call $sum))
 (func (export "copy") (param i32 i32 i32) (result i32)
  (table.copy $t $t (local.get 0) (local.get 1) (local.get 2)) (call $sum))
 (func (export "across") (param i32 i32 i32) (result i32)
  (table.copy $u $t (local.get 0) (local.get 1) (local.get 2))
  (table.copy $t $u (i32.const 0) (i32.const 0) (i32.const 5)) (call $sum))
 (func (export "init") (param i32 i32 i32) (result i32)
  (table.init $t $passive (local.get 0) (local.get 1) (local.get 2)) (call $sum))
 (func (export "dropped") (param i32 i32 i32) (result i32)
  (elem.drop $passive)
  (table.init $t $passive (local.get 0) (local.get 1) (local.get 2)) (call $sum))
 (func (export "extern") (param i32) (result i32)
  (ref.is_null (table.get $x (local.get 0))) (drop)
  (table.size $x) (table.size $u) (i32.add))
 (func (export "chosen") (param i32) (result i32)
  (ref.is_null (select (result funcref) (ref.func $one) (ref.null func) (local.get 0))))
)"""


@pytest.fixture
def bench(bench_of: Callable[..., Any]) -> Any:
    return bench_of(PROGRAMS)


@pytest.mark.parametrize("name", ["get", "set", "grow", "extern", "chosen"])
def test_an_instruction_of_one_number_does_as_in_wasmtime(bench: Any, name: str) -> None:
    bench.agree(name, [[n] for n in (0, 1, 2, 3, 4, 5, 6, (1 << 32) - 1)], (1 << 40, 20, 1))


@pytest.mark.parametrize("name", ["fill", "copy", "across", "init", "dropped"])
def test_a_bulk_instruction_does_as_in_wasmtime(bench: Any, name: str) -> None:
    rows = [*product((0, 2, 6, 7), (0, 1, 3), (0, 1, 3)), (0, 0, (1 << 32) - 1)]
    bench.agree(name, rows, (1 << 40, 9))


def test_a_segment_that_does_not_fit_is_a_trap(bench_of: Callable[..., Any]) -> None:
    for segment, kind in (
        ("(table 2 funcref) (elem (i32.const 1) 0 0)", "table out of bounds"),
        ('(memory 1) (data (i32.const 65535) "ab")', "memory out of bounds"),
    ):
        bench = bench_of(f'(module {segment} (func (export "run")))')
        state = bench.compiled.initial_state()
        assert (state[0], state[2]) == (3, 0xFFFFFFFF)
        from stigmergy.wasm.engine import TrapKind

        assert str(TrapKind(int(state[1]))) == kind
