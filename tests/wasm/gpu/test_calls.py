"""Calls: in place, through the call stack, through tables; stops inside any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.engine import CohortSettings, Status, TrapKind
from stigmergy.wasm.gpu.callgraph import CallGraph
from stigmergy.wasm.gpu.compile import compile_module
from stigmergy.wasm.gpu.program import CompilerOptions
from stigmergy.wasm.module.decode import decode
from stigmergy.wasm.module.reading import read_module

pytestmark = pytest.mark.needs_vulkan
SLICES = (1 << 40, 100, 7, 1)

PROGRAMS = """(module
 (type $unary (func (param i32) (result i32)))
 (type $pair (func (param i32 i64) (result i64 i32)))
 (table $t (export "table") 8 funcref)
 (elem (i32.const 1) $double $odd $swap $square $loops $nothing)
 (global $g (export "g") (mut i64) (i64.const 5))
 (func $double (type $unary) (i32.mul (local.get 0) (i32.const 2)))
 (func $square (type $unary) (i32.mul (call $double (local.get 0)) (local.get 0)))
 (func $nothing)
 (func $loops (type $unary) (local $i i32)
  (loop $l
   (local.set $i (i32.add (local.get $i) (i32.const 3)))
   (global.set $g (i64.add (global.get $g) (i64.const 1)))
   (br_if $l (i32.lt_u (local.get $i) (local.get 0))))
  (local.get $i))
 (func $swap (type $pair) (local.get 1) (call $loops (local.get 0)))
 ;; Calls in a loop, with operands below them.
 (func (export "chain") (param $n i32) (result i64) (local $i i32) (local $r i64)
  (loop $l
   (local.get $r)
   (i64.extend_i32_u (i32.add (call $square (local.get $i)) (call $loops (local.get $n))))
   (call $swap (call $double (i32.const 3)) (i64.const 77))
   (drop) (i64.add) (i64.add) (local.set $r)
   (local.set $i (i32.add (local.get $i) (i32.const 1)))
   (br_if $l (i32.lt_u (local.get $i) (local.get $n))))
  (local.get $r))
 (func $fib (export "fib") (param i32) (result i32)
  (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0))
   (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
    (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
 (func $ackermann (export "ackermann") (param $m i64) (param $n i64) (result i64)
  (if (i64.eqz (local.get $m)) (then (return (i64.add (local.get $n) (i64.const 1)))))
  (if (i64.eqz (local.get $n))
   (then (return (call $ackermann (i64.sub (local.get $m) (i64.const 1)) (i64.const 1)))))
  (call $ackermann (i64.sub (local.get $m) (i64.const 1))
   (call $ackermann (local.get $m) (i64.sub (local.get $n) (i64.const 1)))))
 (func $even (export "even") (param i32) (result i32)
  (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 1))
   (else (call $odd (i32.sub (i32.add (local.get 0) (call $loops (i32.const 1))) (i32.const 4))))))
 (func $odd (export "odd") (param i32) (result i32)
  (local $kept i32)
  (local.set $kept (call $double (local.get 0)))
  (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
   (else (call $even (i32.sub (i32.div_u (local.get $kept) (i32.const 2)) (i32.const 1))))))
 ;; A plain function between two of the cycle, and a loop around a recursive call.
 (func (export "looped") (param $n i32) (result i32) (local $i i32) (local $r i32)
  (loop $l
   (local.set $r (i32.add (local.get $r) (call $fib (local.get $i))))
   (if (i32.and (local.get $i) (i32.const 1))
    (then (local.set $r (i32.add (local.get $r) (call $odd (local.get $i))))))
   (local.set $i (i32.add (local.get $i) (i32.const 1)))
   (br_if $l (i32.lt_u (local.get $i) (local.get $n))))
  (local.get $r))
 (func (export "indirect") (param $i i32) (result i32)
  (i32.const 1000) (i32.const 6) (call_indirect (type $unary) (local.get $i)) (i32.add))
 (func (export "indirect_pair") (param $i i32) (result i64 i32)
  (call_indirect (type $pair) (i32.const 4) (i64.const 1311768467463790320) (local.get $i)))
 (func (export "in_loop") (param $n i32) (result i32) (local $r i32)
  (loop $l
   (local.set $r (i32.add (local.get $r)
    (call_indirect (type $unary) (local.get $n)
     (i32.add (i32.const 1) (i32.and (local.get $n) (i32.const 1))))))
   (local.set $n (i32.sub (local.get $n) (i32.const 1)))
   (br_if $l (local.get $n)))
  (local.get $r))
 (func $forever (export "forever") (param i64) (result i64)
  (i64.add (call $forever (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))
)"""

STARTED = """(module
 (global $g (export "g") (mut i32) (i32.const 1))
 (start $begin)
 (func $begin (local $i i32)
  (loop $l (global.set $g (i32.mul (global.get $g) (i32.const 3)))
   (local.set $i (i32.add (local.get $i) (i32.const 1)))
   (br_if $l (i32.lt_u (local.get $i) (i32.const 5)))))
 (func (export "run") (param i32) (result i32) (i32.add (local.get 0) (global.get $g)))
)"""


_LONG = "(local.set $r (i32.add (local.get $r) (local.get 0)))" * 200
LARGE = f"""(module
 (func $large (param i32) (result i32) (local $r i32) {_LONG} (local.get $r))
 (func $middle (param i32) (result i32)
  (i32.add (call $large (local.get 0)) (call $large (i32.const 1))))
 (func (export "run") (param $n i32) (result i32) (local $r i32)
  (loop $l
   (local.set $r (i32.add (local.get $r) (call $middle (local.get $n))))
   (local.set $n (i32.sub (local.get $n) (i32.const 1)))
   (br_if $l (local.get $n)))
  (local.get $r)))"""


@pytest.fixture
def bench(bench_of: Callable[..., Any]) -> Any:
    return bench_of(PROGRAMS)


@pytest.mark.parametrize("name", ["chain", "fib", "even", "odd", "looped", "in_loop"])
def test_calls_do_as_in_wasmtime(bench: Any, name: str) -> None:
    bench.agree(name, [[n] for n in (1, 2, 3, 5, 8)], SLICES)


def test_ackermann_does_as_in_wasmtime(bench: Any) -> None:
    bench.agree("ackermann", [[0, 3], [1, 4], [2, 3], [2, 5]], (1 << 40, 1000, 13))


@pytest.mark.parametrize("name", ["indirect", "indirect_pair"])
def test_calls_through_a_table_do_as_in_wasmtime(bench: Any, name: str) -> None:
    elements = [[n] for n in (0, 1, 2, 3, 4, 5, 6, 7, 8, 1 << 31)]
    expected = bench.agree(name, elements, SLICES)
    assert {one.trap for one in expected} == {
        TrapKind.NONE,
        TrapKind.BAD_SIGNATURE,
        TrapKind.INDIRECT_CALL_TO_NULL,
        TrapKind.TABLE_OUT_OF_BOUNDS,
    }


@pytest.mark.parametrize("slice_", [1 << 40, 50])
def test_recursion_without_end_overflows_the_call_stack(bench: Any, slice_: int) -> None:
    (one,) = bench.gpu_run("forever", [[3]], slice_)
    assert (one.status, one.trap) == (Status.TRAPPED, TrapKind.STACK_OVERFLOW)
    offset = one.offset
    assert bench.module.function_at(offset) == bench.module.exported_functions["forever"]


def test_a_start_function_runs_before_the_first_call(bench_of: Callable[..., Any]) -> None:
    bench_of(STARTED).agree("run", [[5], [7]], SLICES)


def test_a_large_function_called_in_many_places_does_as_in_wasmtime(
    bench_of: Callable[..., Any],
) -> None:
    bench = bench_of(LARGE)
    assert [bench.compiled.graph.is_stacked(one) for one in range(3)] == [True, True, True]
    assert not any(bench.compiled.graph.is_recursive(one) for one in range(3))
    assert bench.compiled.layout.stack_words < 40
    bench.agree("run", [[1], [2], [3]], (1 << 40, 500, 1))


def test_a_frame_that_is_larger_than_the_call_stack_is_refused() -> None:
    """Of a large module only the settings say how large it is; beyond is a neighbour's."""
    places = " ".join(["i64"] * 3_000)
    text = f"""(module
      (func (export "f") (local {places}) (local.set 2999 (i64.const 1)) (loop (br 0)))
      (func {" ".join(["nop"] * 140_000)}))"""
    compiled = compile_module(read_module(text), CohortSettings(), CompilerOptions())
    with pytest.raises(UnsupportedError, match="24008 bytes of call stack"):
        compiled.shader(frozenset({0}))


def test_a_long_chain_of_calls_is_compiled() -> None:
    text = "".join(f"(func (call {at + 1}))" for at in range(3_000))
    compiled = compile_module(
        read_module(f"(module {text} (func))"), CohortSettings(), CompilerOptions()
    )
    assert compiled.layout.stack_words > 0


def test_what_grows_is_seen_however_it_is_written() -> None:
    """A number may be encoded with more bytes than it needs."""
    head = b"\0asm\1\0\0\0" + b"\1\5\1\x60\0\1\x7f" + b"\3\2\1\0" + b"\5\3\1\0\1"
    body = b"\0\x41\1\x40\x80\0\x0b"
    module = decode(head + bytes([10, len(body) + 2, 1, len(body)]) + body)
    settings = CohortSettings(memory_bytes=4 << 16)
    layout = compile_module(module, settings, CompilerOptions()).layout
    assert layout.memory_words == 4 << 14


def test_calls_through_a_table_to_too_many_are_refused_before_they_are_written() -> None:
    """Each is a call of all that the table may name: of 3,000, a gigabyte of WGSL."""
    calls = "(drop (call_indirect (type $t) (i32.const 0)))" * 3_000
    text = f"""(module (type $t (func (result i32))) (table 3000 funcref)
      (elem (i32.const 0) {" ".join(str(at) for at in range(3_000))})
      {"(func (type $t) (i32.const 1))" * 3_000} (func (export "f") {calls}))"""
    compiled = compile_module(read_module(text), CohortSettings(), CompilerOptions())
    with pytest.raises(UnsupportedError, match="through tables"):
        compiled.shader(frozenset({3_000}))


@pytest.mark.parametrize("step", [-1, 1], ids=["callees first", "callers first"])
def test_thousands_of_functions_are_looked_at_a_few_times_each(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each calls the next, and the deepest use the call stack; the time was quadratic once."""
    size, looks = 2_000, 0
    callees = CallGraph.callees

    def counting(self: CallGraph, function: int) -> tuple[int, ...]:
        nonlocal looks
        looks += 1
        return callees(self, function)

    monkeypatch.setattr(CallGraph, "callees", counting)
    called = [f"(call {at + step})" if 0 <= at + step < size else "" for at in range(size)]
    functions = "".join(f"(func (param i32) (result i32) (local.get 0) {one})" for one in called)
    compiled = compile_module(
        read_module(f"(module {functions})"), CohortSettings(), CompilerOptions()
    )
    assert compiled.layout.stack_words == 7_703
    assert looks < 20 * size
