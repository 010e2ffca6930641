"""`fast` floats: f32 by the hardware, close to exact on ordinary numbers; the rest is `strict`."""

from __future__ import annotations

import numpy as np
import pytest

from stigmergy.wasm.gpu.library import SIGNATURES, link

# What WGSL allows, in units of the last place: 2.5 for a quotient, and a root is two operations.
UNITS = {"f32_div": 3, "f32_sqrt": 4}
ARITHMETIC = ["f32_add", "f32_sub", "f32_mul", "f32_div", "f32_sqrt"]
ROUNDING = ["f32_ceil", "f32_floor", "f32_trunc", "f32_nearest"]
COMPARISON = ["f32_eq", "f32_ne", "f32_lt", "f32_gt", "f32_le", "f32_ge"]
BY_HARDWARE = {*ARITHMETIC, *ROUNDING, *COMPARISON, "f32_convert_i32_s", "f32_convert_i32_u"}
COUNT = 1 << 14


@pytest.mark.parametrize("name", SIGNATURES)
def test_only_f32_arithmetic_is_left_to_the_hardware(name):
    assert (link([name], floats="fast") != link([name])) == (name in BY_HARDWARE)


@pytest.mark.parametrize("name", sorted(BY_HARDWARE))
def test_a_fast_function_needs_no_other(name):
    assert link([name], floats="fast").count("fn ") == 1


def ordinary(operands, operation):
    """Operands from 2^-30 to 2^30, where nothing overflows, is subnormal or no number."""
    rows = operands.random(operation, COUNT)
    if operation.operand != "f32":
        return rows
    kept = []
    for column in rows:
        exponent = np.uint32(97) + (column >> np.uint32(23)) % np.uint32(60)
        kept.append((column & np.uint32(0x807F_FFFF)) | (exponent << np.uint32(23)))
    if operation.name == "f32_sqrt":
        kept[0] &= np.uint32(0x7FFF_FFFF)
    return tuple(kept)


@pytest.mark.needs_vulkan
@pytest.mark.parametrize("name", sorted(BY_HARDWARE))
def test_a_fast_function_is_close_to_exact_on_ordinary_numbers(device, operands, operation, name):
    rows = ordinary(operands, operation(name))
    fast = device.run(name, *rows, floats="fast").astype(np.int64)
    strict = device.run(name, *rows).astype(np.int64)
    if name in COMPARISON:
        assert (fast == strict).all()
        return
    # Bits of floats of one sign are ordered as they are; a result near zero may have lost its.
    apart = np.abs(fast - strict)
    assert apart.max() <= UNITS.get(name, 1), rows[0][apart.argmax()]
