"""Every function gives, bit for bit, what wasmtime gives with canonical NaNs."""

from __future__ import annotations

import numpy as np
import pytest
from wasmtime import TrapCode

from stigmergy.wasm.gpu.library import SIGNATURES

pytestmark = pytest.mark.needs_vulkan

TRAPS = [name for name in SIGNATURES if name.endswith("_trap")]
# A truncation that may trap is tested with its trap, below.
TRUNCATIONS = [name.removesuffix("_trap") for name in TRAPS]
TOTAL = [name for name in SIGNATURES if name not in {*TRAPS, *TRUNCATIONS}]

RANDOM = 1 << 17
NIGHTLY_BATCH = 1 << 20
NIGHTLY_BATCHES = 8

# The open interval of what a truncation takes; f64 holds all of these but -2^63 - 1.
RANGES = {
    "i32_s": ("f64.gt", "-2147483649", "2147483648"),
    "i32_u": ("f64.gt", "-1", "4294967296"),
    "i64_s": ("f64.ge", "-9223372036854775808", "9223372036854775808"),
    "i64_u": ("f64.gt", "-1", "18446744073709551616"),
}


def check(device, oracle, operation, rows):
    safe = operation.defined(rows)
    rows = tuple(column[safe] for column in rows)
    got = device.run(operation.name, *rows)
    compare(got, oracle.run(operation.name, *rows), rows)


def compare(got, wanted, rows):
    wrong = np.flatnonzero((got != wanted).any(axis=1))
    shown = [
        f"{' '.join(hexadecimal(column[row]) for column in rows)} gave {hexadecimal(got[row])}, "
        f"not {hexadecimal(wanted[row])}"
        for row in wrong[:5]
    ]
    assert not shown, f"{len(wrong)} of {len(got)} rows differ: {'; '.join(shown)}"


def hexadecimal(words):
    return "".join(f"{word:08x}" for word in reversed(words))


@pytest.mark.parametrize("name", TOTAL)
def test_a_function_agrees_on_special_values_and_random_ones(
    device, oracle, operands, operation, name
):
    asked = operation(name)
    special, drawn = operands.special(asked), operands.random(asked, RANDOM)
    rows = tuple(np.concatenate(pair) for pair in zip(special, drawn, strict=True))
    check(device, oracle, asked, rows)


@pytest.mark.nightly
@pytest.mark.parametrize("name", TOTAL)
def test_a_function_agrees_on_millions_of_random_values(device, oracle, operands, operation, name):
    asked = operation(name)
    for _ in range(NIGHTLY_BATCHES):
        check(device, oracle, asked, operands.random(asked, NIGHTLY_BATCH))


# Each has so few inputs that differ in more than the exponent that all of them can be tried.
@pytest.mark.nightly
@pytest.mark.parametrize(
    "name", ["f32_sqrt", "f32_nearest", "f64_promote_f32", "i32_trunc_sat_f32_s"]
)
def test_a_function_agrees_on_every_significand(device, oracle, operation, name):
    significands = np.arange(1 << 23, dtype=np.uint32).reshape(-1, 1)
    for exponent in (0, 1, 126, 127, 128, 140, 149, 150, 157, 254):
        for part in np.split(significands, 8):
            check(device, oracle, operation(name), (part | np.uint32(exponent << 23),))


@pytest.mark.parametrize("name", TRUNCATIONS)
def test_a_truncation_tells_its_trap_and_is_right_without_one(
    device, oracle, operands, operation, name
):
    asked = operation(name)
    special, drawn = operands.special(asked), operands.random(asked, RANDOM)
    check_truncation(device, oracle, asked, np.concatenate([special[0], drawn[0]]))


@pytest.mark.nightly
@pytest.mark.parametrize("name", TRUNCATIONS)
def test_a_truncation_tells_its_trap_on_millions(device, oracle, operands, operation, name):
    asked = operation(name)
    for _ in range(NIGHTLY_BATCHES):
        check_truncation(device, oracle, asked, operands.random(asked, NIGHTLY_BATCH)[0])


def check_truncation(device, oracle, operation, rows):
    traps = device.run(f"{operation.name}_trap", rows)
    compare(traps, oracle.run_code(trap_code(operation), operation.operand, "i32", rows), (rows,))
    fine = traps[:, 0] == 0
    assert 0 < fine.sum() < len(fine)
    # Where it does not trap, the instruction is the saturating one.
    saturating = operation.name.replace("_trunc_", "_trunc_sat_")
    rows = rows[fine]
    compare(device.run(operation.name, rows), oracle.run(saturating, rows), (rows,))


def trap_code(operation):
    """The instruction's rule in words of wasm: 1 for NaN, 2 for what is out of range."""
    above, least, limit = RANGES[f"{operation.result}_{operation.name[-1]}"]
    widen = "f64.promote_f32" if operation.operand == "f32" else ""
    x = f"(local.get $x) {widen}"
    return f"""drop
        {x} {x} f64.ne
        {x} {x} f64.eq
        {x} f64.const {least} {above}  {x} f64.const {limit} f64.lt  i32.and  i32.eqz
        i32.and  i32.const 1  i32.shl  i32.or"""


@pytest.mark.parametrize("name", TRUNCATIONS)
def test_a_truncation_traps_where_the_instruction_does_and_for_its_reason(
    device, oracle, operands, operation, name
):
    asked = operation(name)
    (rows,) = operands.special(asked)
    invalid, overflow = TrapCode.BAD_CONVERSION_TO_INTEGER, TrapCode.INTEGER_OVERFLOW
    code = {None: 0, invalid: 1, overflow: 2}
    probe = oracle.trap(name)
    floats = rows.view(np.float32 if asked.operand == "f32" else np.float64)[:, 0]
    wanted = [[code[probe(float(value))]] for value in floats]
    compare(device.run(f"{name}_trap", rows), np.array(wanted, dtype=np.uint32), (rows,))
