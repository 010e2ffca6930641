from __future__ import annotations

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.module.bodies import read_expression
from stigmergy.wasm.module.bytesreader import BytesReader
from stigmergy.wasm.module.decode import decode
from stigmergy.wasm.module.model import (
    FunctionType,
    Limits,
    MemoryType,
    Module,
    TableType,
    ValueType,
)
from stigmergy.wasm.module.patching import (
    MemoryShape,
    constant,
    export_name,
    patch,
    uses_memory_size,
)
from stigmergy.wasm.module.reading import read_module

_ALL = """
(module
  (import "env" "g" (global $g i64))
  (import "env" "f" (func $f (param i32) (result i32)))
  (import "env" "m" (memory 1 4))
  (import "env" "h" (global $h (mut f32)))
  (import "env" "t" (table 3 funcref))
  (table $own 2 8 externref)
  (global $i i64 (global.get $g))
  (global $j (mut i32) (i32.const -5))
  (elem (table 0) (i32.const 1) func $one $two)
  (elem declare func $three)
  (data $d "passive")
  (data (i32.const 9) "active")
  (start $three)
  (func $one (export "one") (result i32) (i32.const 1))
  (func $two (param i32) (result i32) (call $f (local.get 0)))
  (func $three (memory.init $d (i32.const 0) (i32.const 0) (i32.const 7)) (drop (ref.func $three))))
"""
_PLAIN = '(module (func (export "f") (result i32) (i32.const 7)))'
_EMPTY = "(module)"


def _patched(module: Module) -> tuple[Module, int]:
    patched = patch(
        module,
        memories=[MemoryShape(1, 2) for _ in module.all_memories],
        tables=[TableType(one.element, Limits(one.limits.minimum, 9)) for one in module.all_tables],
        imported_globals=[0x3F800000 for _ in module.imported_globals],
    )
    # A constant of it may name a global of its own, which is of a later version.
    wasmtime.Module.validate(wasmtime.Engine(), patched.wasm)
    return decode(patched.wasm), patched.shift


@pytest.mark.parametrize("wat", [_ALL, _PLAIN, _EMPTY])
def test_all_parts_are_exported_under_kind_and_index_and_nothing_else(wat: str) -> None:
    module = read_module(wat)
    rewritten, _ = _patched(module)
    names = {(one.kind, one.index): one.name for one in rewritten.exports}
    counts = {
        "func": len(module.functions),
        "memory": len(module.all_memories),
        "table": len(module.all_tables),
        "global": len(module.all_globals),
    }
    assert names == {
        (kind, index): export_name(kind, index)
        for kind, count in counts.items()
        for index in range(count)
    }


def test_only_functions_are_imported_still_and_every_index_is_what_it_was() -> None:
    module = read_module(_ALL)
    rewritten, _ = _patched(module)
    assert [one.name for one in rewritten.imports] == ["f"]
    assert rewritten.functions == module.functions
    assert rewritten.all_globals == module.all_globals
    assert [one.element for one in rewritten.all_tables] == ["funcref", "externref"]
    assert [one.limits for one in rewritten.all_tables] == [Limits(3, 9), Limits(2, 9)]
    assert rewritten.all_memories == (MemoryType(Limits(1, 2)),)
    assert [one.content for one in rewritten.data] == [one.content for one in module.data]
    assert [one.mode for one in rewritten.elements] == [one.mode for one in module.elements]


def test_imported_globals_begin_with_the_bits_given() -> None:
    rewritten, _ = _patched(read_module(_ALL))
    starts = [[str(one) for one in own.start] for own in rewritten.globals]
    assert starts == [
        ["i64.const 1065353216"],
        ["f32.const 1065353216"],
        ["global.get 0"],
        ["i32.const -5"],
    ]


def test_the_start_function_is_left_to_the_engine() -> None:
    module = read_module(_ALL)
    assert module.start is not None
    assert _patched(module)[0].start is None


@pytest.mark.parametrize("wat", [_ALL, _PLAIN])
def test_bodies_are_the_same_bytes_moved_by_the_shift(wat: str) -> None:
    module = read_module(wat)
    rewritten, shift = _patched(module)
    assert [one.start - shift for one in rewritten.code] == [one.start for one in module.code]
    for before, after in zip(module.code, rewritten.code, strict=True):
        assert module.wasm[before.start : before.end] == rewritten.wasm[after.start : after.end]


def test_custom_sections_before_the_code_are_left_out_and_the_shift_knows_it() -> None:
    wasm = read_module(_PLAIN).wasm
    custom = b"\x00\x0a\x04name" + b"\x01\x03\x00\x00\x00"
    module = decode(wasm[:8] + custom + wasm[8:])
    rewritten, shift = _patched(module)
    assert rewritten.code[0].start - shift == module.code[0].start


def test_a_memory_may_be_given_in_bytes() -> None:
    from wasmtime import Config, Engine, WasmtimeError
    from wasmtime import Module as Compiled

    wasm = patch(
        read_module("(module (memory 1))"),
        memories=[MemoryShape(100, 100, in_bytes=True)],
        tables=[],
        imported_globals=[],
    ).wasm
    config = Config()
    config.wasm_custom_page_sizes = True
    assert Compiled(Engine(config), wasm)
    with pytest.raises(WasmtimeError, match="custom page size"):
        Compiled(Engine(Config()), wasm)


_BITS: dict[ValueType, int] = {"i32": 32, "f32": 32, "i64": 64, "f64": 64, "v128": 128}


@given(kind=st.sampled_from(list(_BITS)), bits=st.integers(0, 2**128 - 1))
def test_a_constant_gives_the_bits_that_it_was_made_of(kind: ValueType, bits: int) -> None:
    bits %= 2 ** _BITS[kind]
    (read,) = read_expression(BytesReader(constant(kind, bits) + b"\x0b"))
    assert read.name == f"{kind}.const"
    assert read.argument() % 2 ** _BITS[kind] == bits


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("(drop (memory.size))", True),
        ("(drop (memory.grow (i32.const 0)))", True),
        ("(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))", False),
    ],
)
def test_a_module_that_asks_for_its_memorys_size_is_known(body: str, *, expected: bool) -> None:
    module = read_module(f"(module (memory 1) (func {body}))")
    assert uses_memory_size(module) is expected
    assert isinstance(module.functions[0], FunctionType)


def test_whether_vectors_ask_for_the_size_cannot_be_told() -> None:
    module = read_module("(module (memory 1) (func (drop (v128.const i64x2 0 0))))")
    with pytest.raises(UnsupportedError, match="vectors"):
        uses_memory_size(module)
