"""Names and numbers that the parts of a shader agree on."""

from collections.abc import Sequence
from enum import IntEnum

from stigmergy.wasm.gpu.expressions import WgslType, wgsl_type
from stigmergy.wasm.module.model import FunctionType, ValueType

__all__ = ["FRESH", "LEAF", "Halted", "result_struct", "result_type", "wgsl_types", "words_of"]

LEAF = 0x8000
"""In the last word of a function's frame, beside its point: it stopped itself, not a callee."""
FRESH = 0xFFFF
"""In the last word of a frame on the call stack: below it lie the arguments of a new call."""


class Halted(IntEnum):
    """Why functions return before their end; 0 while they do not."""

    TRAP = 1
    STOP = 2
    WAIT = 3
    CALL = 4
    """It wants another function to be entered, and goes on behind it."""

    def __str__(self) -> str:
        return str(self.value)


def wgsl_types(types: Sequence[ValueType]) -> tuple[WgslType, ...]:
    """Return the WGSL types of values."""
    return tuple(wgsl_type(one) for one in types)


def words_of(types: Sequence[ValueType]) -> int:
    """Return how many words values take."""
    return sum(2 if one == "vec2<u32>" else 1 for one in wgsl_types(types))


def result_type(type_: FunctionType) -> str:
    """Return the WGSL type of what a function gives; it has results."""
    types = wgsl_types(type_.results)
    if len(types) == 1:
        return types[0]
    return "Results_" + "".join("s" if one == "u32" else "d" for one in types)


def result_struct(type_: FunctionType) -> str:
    """Return the declaration of a function's result type; empty where it is no struct."""
    if len(type_.results) <= 1:
        return ""
    fields = ", ".join(f"r{at}: {one}" for at, one in enumerate(wgsl_types(type_.results)))
    return f"struct {result_type(type_)} {{ {fields} }}\n"
