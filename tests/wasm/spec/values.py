"""Values as wast2json writes them, and whether a result is what a test expects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stigmergy.wasm.cpu.linked import Value

_LANE_BITS = {"i8": 8, "i16": 16, "i32": 32, "f32": 32, "i64": 64, "f64": 64}
_FRACTION_BITS = {32: 23, 64: 52}


def argument(json: Mapping[str, Any]) -> Value:
    """Read a value that is given to a function."""
    kind, content = json["type"], json.get("value")
    if kind == "v128":
        width = _LANE_BITS[json["lane_type"]]
        lanes = [int(lane) % (1 << width) << width * at for at, lane in enumerate(content)]
        return Value(kind, sum(lanes))
    return Value(kind, None if content == "null" else int(content))


def is_as_expected(value: Value, json: Mapping[str, Any]) -> bool:
    """Whether a result is what a test expects."""
    kind, content = json["type"], json.get("value")
    if value.kind != kind:
        return False
    if kind == "v128":
        width = _LANE_BITS[json["lane_type"]]
        assert value.bits is not None
        lanes = [value.bits >> width * at & (1 << width) - 1 for at in range(128 // width)]
        return all(_is_number(lane, width, one) for lane, one in zip(lanes, content, strict=True))
    if kind in {"externref", "funcref"}:
        if content in (None, "null"):
            return (value.bits is None) == (content == "null")
        return value.bits == int(content)
    assert value.bits is not None
    return _is_number(value.bits, _LANE_BITS[kind], content)


def _is_number(bits: int, width: int, expected: str) -> bool:
    """Whether bits are a number, or the NaN that arithmetic gives: everywhere the canonical one.

    The suite would allow other NaNs than that where it says nan:arithmetic.
    """
    if expected in {"nan:canonical", "nan:arithmetic"}:
        fraction = _FRACTION_BITS[width]
        without_sign = bits & (1 << width - 1) - 1
        exponent = (1 << width - 1 - fraction) - 1 << fraction
        return without_sign == exponent | 1 << fraction - 1
    return bits == int(expected) % (1 << width)
