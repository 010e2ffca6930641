"""Linear memory and its segments."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from stigmergy.errors import UnsupportedError

pytestmark = pytest.mark.needs_vulkan
WHOLE = 1 << 40
SLICES = (WHOLE, 50, 1)

_LOADS = [
    "i32.load",
    "i64.load",
    "f32.load",
    "f64.load",
    "i32.load8_s",
    "i32.load8_u",
    "i32.load16_s",
    "i32.load16_u",
    "i64.load8_s",
    "i64.load8_u",
    "i64.load16_s",
    "i64.load16_u",
    "i64.load32_s",
    "i64.load32_u",
]
_STORES = [
    "i32.store",
    "i64.store",
    "f32.store",
    "f64.store",
    "i32.store8",
    "i32.store16",
    "i64.store8",
    "i64.store16",
    "i64.store32",
]


def _function_of_load(name: str) -> str:
    return f"""(func (export "{name}") (param i32) (result {name[:3]})
      ({name} offset=1 (local.get 0)))"""


def _function_of_store(name: str) -> str:
    return f"""(func (export "{name}") (param i32 {name[:3]})
      ({name} offset=2 (local.get 0) (local.get 1)))"""


PROGRAMS = f"""(module
 (memory (export "memory") 1)
 (data (i32.const 3) "\\01\\82\\03\\f4\\15\\86\\97\\08\\ff\\fe\\7f\\80\\00\\11\\92\\a3")
 (data (i32.const 65520) "\\01\\82\\03\\f4\\15\\86\\97\\08\\ff\\fe\\7f\\80\\00\\11\\92\\a3")
 (data $passive "\\11\\22\\33\\44\\55\\66\\77\\88\\99")
 {" ".join(map(_function_of_load, _LOADS))}
 {" ".join(map(_function_of_store, _STORES))}
 (func (export "sieve") (param $n i32) (result i32) (local $i i32) (local $j i32)
  (local $count i32)
  (memory.fill (i32.const 0) (i32.const 0) (local.get $n))
  (local.set $i (i32.const 2))
  (block $done (loop $top
    (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
    (if (i32.eqz (i32.load8_u (local.get $i)))
      (then
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (local.set $j (i32.mul (local.get $i) (local.get $i)))
        (block $inner_done (loop $inner
          (br_if $inner_done (i32.ge_u (local.get $j) (local.get $n)))
          (i32.store8 (local.get $j) (i32.const 1))
          (local.set $j (i32.add (local.get $j) (local.get $i)))
          (br $inner)))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $top)))
  (local.get $count))
 (func (export "fill") (param i32 i32 i32)
  (memory.fill (local.get 0) (local.get 1) (local.get 2)))
 (func (export "copy") (param i32 i32 i32)
  (memory.copy (local.get 0) (local.get 1) (local.get 2)))
 (func (export "init") (param i32 i32 i32)
  (memory.init $passive (local.get 0) (local.get 1) (local.get 2)))
 (func (export "dropped") (param i32 i32 i32)
  (memory.init $passive (local.get 0) (local.get 1) (i32.const 1))
  (data.drop $passive)
  (memory.init $passive (local.get 0) (local.get 1) (local.get 2)))
 (func (export "constant") (param i32) (result i32)
  (i32.store (i32.const 6) (local.get 0)) (i32.load8_u offset=2 (i32.const 5)))
 (func (export "far") (param i32) (result i32) (i32.load offset=4294967295 (local.get 0)))
 (func (export "far_constant") (param i32) (result i64) (i64.load (i32.const 65529)))
)"""

GROWING = """(module
 (memory (export "memory") 1 3)
 (data (i32.const 65530) "abcdef")
 (func (export "grow") (param i32 i32) (result i32 i32 i32)
  (memory.grow (local.get 0)) (memory.grow (local.get 1)) (memory.size)
  (if (i32.gt_u (memory.size) (i32.const 1))
   (then (i64.store (i32.const 65532) (i64.const -1)))))
 (func (export "touch") (param i32 i32) (result i32)
  (drop (memory.grow (local.get 0)))
  (i32.store offset=70000 (local.get 1) (i32.const 9))
  (i32.load (local.get 1)))
)"""


@pytest.fixture
def bench(bench_of: Callable[..., Any]) -> Any:
    return bench_of(PROGRAMS)


@pytest.mark.parametrize("name", _LOADS)
def test_a_load_reads_any_address_and_traps_beyond(bench: Any, name: str) -> None:
    bench.agree(name, [[a] for a in (*range(2, 10), *range(65524, 65537), (1 << 32) - 1)])


@pytest.mark.parametrize("name", _STORES)
def test_a_store_writes_any_address_and_traps_beyond(bench: Any, name: str) -> None:
    values = (0x80F1E2D3, 0x7F64B5C6) if name.startswith(("i32", "f32")) else (0xC0E1F20384A5B6C7,)
    addresses = (*range(4), *range(65524, 65536), (1 << 32) - 1)
    bench.agree(name, list(product(addresses, values)))


@pytest.mark.parametrize("name", ["sieve", "constant", "far", "far_constant"])
def test_a_program_does_as_in_wasmtime(bench: Any, name: str) -> None:
    bench.agree(name, [[n] for n in (2, 3, 10, 100, 255)], (WHOLE, 50, 7))


@pytest.mark.parametrize("name", ["fill", "copy", "init", "dropped"])
def test_bulk_instructions_do_as_in_wasmtime(bench: Any, name: str) -> None:
    rows = [
        *product((0, 1, 4, 65530), (0, 3, 8), (0, 1, 4, 6, 9)),
        *product((5, 7), (6, 12), (11,)),
        (65536, 0, 0),
        (65537, 0, 0),
        (0, 65536, 0),
        (0, 65537, 0),
        ((1 << 32) - 1, 2, 3),
        (2, (1 << 32) - 1, 3),
        (2, 2, (1 << 32) - 1),
    ]
    bench.agree(name, rows)


def test_memory_interleaved_in_blocks_is_the_same(bench_of: Callable[..., Any]) -> None:
    bench = bench_of(PROGRAMS, block=32)
    bench.agree("sieve", [[n] for n in range(2, 70)], (WHOLE, 100))
    bench.agree("copy", list(product((0, 1, 4), (0, 3, 8), (0, 4, 9))))
    bench.agree("i64.load", [[a] for a in range(2, 70)])
    bench.agree("i64.store", [[a, 0xC0E1F20384A5B6C7] for a in range(2, 70)])


def test_memory_grows_up_to_what_an_agent_may_have(bench_of: Callable[..., Any]) -> None:
    bench = bench_of(GROWING, memory_bytes=5 * 65_536)
    bench.agree("grow", list(product((0, 1, 2, 3), (0, 1, 5))), SLICES)
    bench.agree("touch", list(product((0, 1, 2), (0, 10, 61072, 61073, 131072))), SLICES)


def test_memory_does_not_grow_beyond_what_an_agent_may_have(bench_of: Callable[..., Any]) -> None:
    bench = bench_of(GROWING, memory_bytes=2 * 65_536)
    given = bench.gpu_run("grow", [[1, 1], [2, 0]])
    assert [one.results for one in given] == [(1, 0xFFFFFFFF, 2), (0xFFFFFFFF, 1, 1)]


def test_less_memory_than_declared_traps_beyond_it(bench_of: Callable[..., Any]) -> None:
    source = """(module (memory 1)
      (func (export "run") (param i32) (result i32) (i32.load8_u (local.get 0))))"""
    bench = bench_of(source, memory_bytes=512)
    assert bench.compiled.layout.memory_words == 128
    given = bench.gpu_run("run", [[511], [512]])
    assert [str(one.trap) for one in given] == ["none", "memory out of bounds"]


def test_less_memory_than_declared_is_refused_where_its_size_shows(
    bench_of: Callable[..., Any],
) -> None:
    source = """(module (memory 1) (func (export "run") (result i32) (memory.size)))"""
    with pytest.raises(UnsupportedError, match="looks at its size"):
        bench_of(source, memory_bytes=512)
