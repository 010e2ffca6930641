"""Control flow: results, counts and stops are those of wasmtime, however a call is sliced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.needs_vulkan
SLICES = (1 << 40, 100, 7, 1)

PROGRAMS = """(module
 (global $g (export "g") (mut i32) (i32.const 0))
 (func (export "xorshift") (param $n i32) (result i32) (local $x i32) (local $i i32)
  (local.set $x (i32.const 2463534242))
  (block $done (loop $top
    (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
    (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))
    (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17))))
    (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $top)))
  (local.get $x))
 (func (export "collatz") (param $n i64) (result i32) (local $steps i32)
  (block $one (loop $step
    (br_if $one (i64.eq (local.get $n) (i64.const 1)))
    (if (i64.eqz (i64.and (local.get $n) (i64.const 1)))
      (then (local.set $n (i64.shr_u (local.get $n) (i64.const 1))))
      (else (local.set $n (i64.add (i64.mul (local.get $n) (i64.const 3)) (i64.const 1)))))
    (local.set $steps (i32.add (local.get $steps) (i32.const 1)))
    (br $step)))
  (local.get $steps))
 ;; Three loops, left from the innermost in four ways.
 (func (export "nested") (param $n i32) (result i32) (local $a i32) (local $b i32) (local $c i32)
  (block $out
   (loop $first
    (local.set $a (i32.add (local.get $a) (i32.const 1)))
    (block $next
     (loop $second
      (local.set $b (i32.add (local.get $b) (i32.const 1)))
      (loop $third
       (local.set $c (i32.add (local.get $c) (i32.const 1)))
       (br_if $out (i32.eq (local.get $c) (local.get $n)))
       (br_if $next (i32.eqz (i32.rem_u (local.get $c) (i32.const 5))))
       (br_if $second (i32.eqz (i32.rem_u (local.get $c) (i32.const 3))))
       (br_if $first (i32.eqz (i32.rem_u (local.get $c) (i32.const 7))))
       (if (i32.gt_u (local.get $c) (i32.const 40)) (then (return (i32.const -1))))
       (br $third))))
    (local.set $b (i32.add (local.get $b) (i32.const 100)))
    (br_if $first (i32.lt_u (local.get $a) (i32.const 9)))))
  (global.set $g (local.get $b))
  (i32.add (local.get $a) (i32.mul (local.get $b) (i32.const 1000))))
 (func (export "few_labels") (param $n i32) (result i32) (local $r i32)
  (block $c (block $b (block $a
    (br_table $a $b $c $a (local.get $n)))
    (return (i32.const 10)))
   (local.set $r (i32.const 20)))
  (i32.add (local.get $r) (i32.const 1)))
 (func (export "many_labels") (param $n i32) (result i32) (local $r i32) (local $k i32)
  (loop $again
   (local.set $k (i32.add (local.get $k) (i32.const 1)))
   (if (i32.gt_u (local.get $k) (i32.const 30)) (then (return (local.get $r))))
   (local.set $n (i32.rem_u (i32.add (i32.mul (local.get $n) (i32.const 7)) (i32.const 3))
    (i32.const 13)))
   (block $e (block $d (block $c (block $b (block $a
     (br_table $a $b $c $d $e $again $a $b $c $d (local.get $n)))
     (local.set $r (i32.add (local.get $r) (i32.const 1))))
    (local.set $r (i32.add (local.get $r) (i32.const 10)))
    (local.set $n (i32.add (local.get $n) (i32.const 3)))
    (br_if $again (i32.lt_u (local.get $r) (i32.const 200))))
    (local.set $r (i32.add (local.get $r) (i32.const 100))))
    (local.set $r (i32.add (local.get $r) (i32.const 1000)))
    (local.set $n (i32.sub (local.get $n) (i32.const 2)))
    (br_if $again (i32.lt_u (local.get $r) (i32.const 5000))))
   (local.set $r (i32.add (local.get $r) (i32.const 10000)))
   (if (i32.eq (local.get $n) (i32.const 5)) (then (local.set $n (i32.const 0)))))
  (local.get $r))
 (func (export "carrying_table") (param $n i32) (result i32)
  (block $a (result i32) (block $b (result i32)
    (br_table $a $b $a $b $a $b $a $b (i32.mul (local.get $n) (i32.const 3)) (local.get $n)))
   (i32.add (i32.const 1000)))
  (i32.add (i32.const 1)))
 (func (export "multi_value") (param $n i32) (result i32 i64 i32)
  (block $b (param) (result i32 i64)
   (i32.const 7) (i64.const 8589934593)
   (br_if $b (i32.gt_s (local.get $n) (i32.const 3)))
   (i64.add (i64.const 5))
   (drop) (drop)
   (i32.const 1) (i64.extend_i32_s (local.get $n)))
  (local.get $n))
 (func (export "loop_params") (param $n i32) (result i32 i32)
  (i32.const 1) (i32.const 0)
  (loop $l (param i32 i32) (result i32 i32)
   (local.set $n (i32.sub (local.get $n) (i32.const 1)))
   (i32.add) (i32.const 3)
   (if (param i32 i32) (result i32 i32) (i32.and (local.get $n) (i32.const 1))
    (then (i32.mul) (local.get $n))
    (else (drop) (i32.const 2)))
   (br_if $l (i32.gt_s (local.get $n) (i32.const 0)))))
 ;; Each value must be read before the other is written.
 (func (export "swapping") (param $n i32) (result i32) (local $t i32)
  (i32.const 3) (i32.const 5)
  (loop $l (param i32 i32) (result i32 i32)
   (local.set $t) (local.set $n (i32.sub (local.get $n) (i32.const 1)))
   (local.get $t) (i32.const 2) (i32.mul)
   (block (param i32 i32) (result i32 i32)
    (br_if 0 (i32.const 1)))
   (br_if $l (i32.gt_s (local.get $n) (i32.const 0))))
  (i32.sub))
 (func (export "old_value") (param $n i32) (result i32)
  (local.get $n)
  (i32.add (local.get $n) (local.tee $n (i32.const 5)))
  (local.set $n (i32.const 7))
  (if (result i32) (i32.gt_u (i32.const 4)) (then (local.set $n (i32.const 9)) (i32.const 1))
   (else (i32.const 2)))
  (i32.add) (i32.mul (local.get $n)))
 (func (export "old_global") (param $n i32) (result i32)
  (global.get $g) (global.set $g (local.get $n))
  (block (global.set $g (i32.add (global.get $g) (i32.const 1))))
  (i32.add (global.get $g)))
 (func (export "dead_code") (param $n i32) (result i32)
  (block $b (result i32)
   (br $b (i32.const 5)) (drop) (i32.add) (drop)
   (block (loop (br 0)) (i32.const 3) (if (then unreachable) (else nop)))
   (unreachable))
  (loop $l (result i32)
   (local.set $n (i32.sub (local.get $n) (i32.const 1)))
   (br_if $l (i32.gt_s (local.get $n) (i32.const 0)))
   (local.get $n) (return) (i32.const 3))
  (i32.add))
 (func (export "picked") (param $a i64) (param $b i64) (param $c i32) (result i64)
  (select (select (local.get $a) (local.get $b) (i32.eqz (local.get $c))) (i64.const 9)
   (i32.gt_u (local.get $c) (i32.const 1))))
 (func (export "empty") (param i32) (nop))
 (func (export "resumed_if") (param $n i32) (result i32) (local $r i32)
  (loop $l
   (if (i32.and (local.get $n) (i32.const 1))
    (then
     (loop $m
      (local.set $r (i32.add (local.get $r) (i32.const 3)))
      (br_if $m (i32.rem_u (local.get $r) (i32.const 7)))))
    (else
     (block $skip
      (br_if $skip (i32.and (local.get $n) (i32.const 2)))
      (loop $k
       (local.set $r (i32.add (local.get $r) (i32.const 1)))
       (br_if $k (i32.rem_u (local.get $r) (i32.const 4)))))
     (local.set $r (i32.mul (local.get $r) (i32.const 3)))))
   (if (i32.gt_u (local.get $r) (i32.const 1000)) (then (local.set $r (i32.const 1))))
   (local.set $n (i32.sub (local.get $n) (i32.const 1)))
   (br_if $l (local.get $n)))
  (local.get $r))
 (func (export "operands_below") (param $n i32) (result i32) (local $i i32)
  (local.get $n) (i32.mul (local.get $n) (i32.const 3)) (i32.const 1000)
  (loop $l
   (local.set $n (i32.add (local.get $n) (i32.const 1)))
   (local.set $i (i32.add (local.get $i) (i32.const 1)))
   (br_if $l (i32.lt_u (local.get $i) (i32.const 5))))
  (i32.sub) (i32.add) (i32.add (local.get $n)))
 ;; Its end decides whether the loop goes round, but in a later round it is left by other ways.
 (func (export "decided_at_end") (param $n i32) (result i32) (local $i i32) (local $r i32)
  (block $far
   (block $near
    (loop $l
     (local.set $i (i32.add (local.get $i) (i32.const 1)))
     (br_if $near (i32.eq (i32.mul (local.get $i) (i32.const 7)) (local.get $n)))
     (br_if $far (i32.eq (i32.mul (local.get $i) (i32.const 5)) (local.get $n)))
     (if (i32.eq (i32.mul (local.get $i) (i32.const 3)) (local.get $n))
      (then (return (i32.const -3))))
     (local.set $r (i32.add (local.get $r)
      (i32.div_u (i32.const 100) (i32.sub (i32.const 17) (i32.add (local.get $n) (local.get $i))))))
     (br_if $l (i32.lt_u (local.get $i) (i32.const 9))))
    (return (i32.add (local.get $r) (i32.const 1000))))
   (return (i32.add (local.get $r) (i32.const 2000))))
  (i32.add (local.get $r) (i32.const 3000)))
 ;; The same at the end of a function, where all ways lead to one place.
 (func (export "decided_last") (param $n i32) (local $i i32)
  (loop $l
   (local.set $i (i32.add (local.get $i) (i32.const 1)))
   (global.set $g (local.get $i))
   (if (i32.eq (i32.mul (local.get $i) (i32.const 3)) (local.get $n)) (then (return)))
   (if (i32.eq (i32.mul (local.get $i) (i32.const 5)) (local.get $n)) (then (unreachable)))
   (br_if $l (i32.lt_u (local.get $i) (i32.const 9)))))
 ;; Its head decides, and it is gone to from the middle of nested blocks.
 (func (export "decided_at_head") (param $n i32) (result i32) (local $i i32) (local $r i32)
  (block $done
   (loop $l
    (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (block $odd
     (block $third
      (br_if $odd (i32.and (local.get $i) (i32.const 1)))
      (br_if $third (i32.eqz (i32.rem_u (local.get $i) (i32.const 3))))
      (local.set $r (i32.add (local.get $r) (i32.const 7)))
      (br_if $l (i32.and (local.get $i) (i32.const 2)))
      (local.set $r (i32.mul (local.get $r) (i32.const 3))))
     (local.set $r (i32.add (local.get $r) (i32.const 100)))
     (br $l))
    (local.set $r (i32.xor (local.get $r) (local.get $i)))
    (br $l)))
  (i32.add (local.get $r) (i32.mul (local.get $i) (i32.const 100000))))
)"""


@pytest.fixture
def bench(bench_of: Callable[..., Any]) -> Any:
    return bench_of(PROGRAMS)


@pytest.mark.parametrize(
    "name",
    [
        "xorshift",
        "nested",
        "few_labels",
        "many_labels",
        "carrying_table",
        "multi_value",
        "loop_params",
        "swapping",
        "old_value",
        "old_global",
        "dead_code",
        "empty",
        "resumed_if",
        "operands_below",
        "decided_at_end",
        "decided_last",
        "decided_at_head",
    ],
)
def test_a_program_of_one_number_does_as_in_wasmtime(bench: Any, name: str) -> None:
    bench.agree(name, [[n] for n in (1, 2, 3, 4, 5, 6, 8, 13, 21, 50)], SLICES)


def test_collatz_does_as_in_wasmtime(bench: Any) -> None:
    bench.agree("collatz", [[n] for n in (1, 2, 7, 27, 97, (1 << 40) + 1)], SLICES)


def test_select_does_as_in_wasmtime(bench: Any) -> None:
    bench.agree("picked", [[1 << 63, (1 << 40) + 3, n] for n in (0, 1, 2, 1 << 31)], SLICES)


def test_a_dispatch_ends_at_its_own_limit_too(bench: Any) -> None:
    expected = bench.gpu_run("resumed_if", [[n] for n in range(1, 20)])
    sliced = bench.gpu_run("resumed_if", [[n] for n in range(1, 20)], most=13)
    assert sliced == expected
    assert all(stop for one in sliced[5:] for stop in one.stops)
