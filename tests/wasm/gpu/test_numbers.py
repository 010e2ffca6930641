"""Every numeric instruction, in one module, over operands at the edges."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from stigmergy.wasm.gpu.signatures import numeric_type
from stigmergy.wasm.module.instructions import INSTRUCTIONS, PREFIXED

pytestmark = pytest.mark.needs_vulkan

_EDGES = {
    "i32": (0, 1, 2, 31, 33, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF),
    "i64": (0, 1, 31, 63, 65, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
    "f32": (0, 1 << 31, 0x3F800000, 0xBFC00000, 0x7F800000, 0x4F000000, 0xCF000000, 0x7FC00000),
    "f64": (
        0,
        1 << 63,
        0x3FF0000000000000,
        0xBFF8000000000000,
        0x7FF0000000000000,
        0x41E0000000000000,
        0xC3E0000000000000,
        0x7FF8000000000000,
    ),
}
_NAMES = tuple(
    name
    for name, _ in (*INSTRUCTIONS.values(), *PREFIXED.values())
    if name[:3] in _EDGES and "load" not in name and "store" not in name and "const" not in name
)
_GROUPS = ("i32", "i64", "f32", "f64")


def _function(name: str) -> str:
    type_ = numeric_type(name)
    params = " ".join(type_.params)
    operands = " ".join(f"(local.get {at})" for at in range(len(type_.params)))
    # The operands as constants too, so that no shader compiler computes them wrongly.
    fixed = " ".join(f"({one}.const {7 if one[0] == 'i' else '2.5'})" for one in type_.params)
    return f"""(func (export "{name}") (param {params}) (result {type_.results[0]})
      ({name} {operands}))
     (func (export "{name} constant") (result {type_.results[0]}) ({name} {fixed}))"""


@pytest.mark.parametrize("group", _GROUPS)
def test_every_instruction_does_as_in_wasmtime(bench_of: Callable[..., Any], group: str) -> None:
    names = [name for name in _NAMES if name.startswith(group)]
    bench = bench_of(f"(module {' '.join(map(_function, names))})")
    draw = random.Random(7)
    for name in names:
        params = numeric_type(name).params
        rows = list(product(*(_EDGES[one] for one in params)))
        bits = [32 if one[1:] == "32" else 64 for one in params]
        rows += [tuple(draw.getrandbits(one) for one in bits) for _ in range(8)]
        bench.agree(name, rows)
        bench.agree(f"{name} constant", [[]])


def test_division_by_a_constant_zero_traps(bench_of: Callable[..., Any]) -> None:
    bench = bench_of("""(module
      (func (export "u") (param i32) (result i32) (i32.div_u (local.get 0) (i32.const 0)))
      (func (export "r") (param i32) (result i32) (i32.rem_s (local.get 0) (i32.const 0)))
      (func (export "s") (param i64) (result i64) (i64.div_s (local.get 0) (i64.const 0)))
      (func (export "m") (param i32) (result i32) (i32.div_s (local.get 0) (i32.const -1)))
      (func (export "c") (param i32) (result i32) (i32.div_u (i32.const 1) (i32.const 0)))
    )""")
    for name in "ursmc":
        bench.agree(name, [[0], [1 << 31], [5]])
