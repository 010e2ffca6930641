"""The instructions that only compute, by what they give, and what makes some of them trap."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from stigmergy.testing.wasm.constants import NUMBERS, NumberType
from stigmergy.wasm.module.instructions import INSTRUCTIONS, PREFIXED, Immediate

__all__ = ["INTEGERS", "LOADS", "OPERATIONS", "STORES", "Access", "Operation"]

INTEGERS: tuple[NumberType, ...] = ("i32", "i64")
_FIRST_OPERATION = 0x45
_SATURATING_CODES = range(8)
_COMPARISON = re.compile(r"(eq|ne|[lg][te](_[su])?)$")
_UNARY = re.compile(r"(clz|ctz|popcnt|abs|neg|ceil|floor|trunc|nearest|sqrt|extend\d+_s)$")
_CONVERSION = re.compile(r"(wrap|extend|trunc|trunc_sat|convert|demote|promote|reinterpret)_")


@dataclass(frozen=True, slots=True)
class Operation:
    """An instruction that takes operands and gives one value."""

    name: str
    operands: tuple[NumberType, ...]
    result: NumberType

    @property
    def can_trap(self) -> bool:
        """Whether some operands make it trap."""
        is_division = "div_" in self.name or "rem_" in self.name
        is_truncation = "trunc_f" in self.name
        return is_division or is_truncation

    @property
    def uses_floats(self) -> bool:
        """Whether an operand or the result is a float."""
        return any(type_ not in INTEGERS for type_ in (*self.operands, self.result))


@dataclass(frozen=True, slots=True)
class Access:
    """A load or a store: what it moves, and how many bytes."""

    name: str
    value: NumberType
    width: int


def _number_type(name: str) -> NumberType:
    return next(type_ for type_ in NUMBERS if type_ == name)


def _operation(name: str) -> Operation:
    prefix, rest = name.split(".")
    own = _number_type(prefix)
    if rest == "eqz":
        return Operation(name, (own,), "i32")
    if _COMPARISON.match(rest):
        return Operation(name, (own, own), "i32")
    if _UNARY.match(rest):
        return Operation(name, (own,), own)
    if _CONVERSION.match(rest):
        source = next(part for part in rest.split("_") if part in NUMBERS)
        return Operation(name, (_number_type(source),), own)
    return Operation(name, (own, own), own)


def _access(name: str) -> Access:
    prefix, rest = name.split(".")
    value = _number_type(prefix)
    bits = re.search(r"\d+", rest)
    return Access(name, value, int(bits[0] if bits else value[1:]) // 8)


_ALL = [
    _operation(name)
    for name in (
        *(name for code, (name, _) in INSTRUCTIONS.items() if _FIRST_OPERATION <= code < 0xD0),
        *(PREFIXED[code][0] for code in _SATURATING_CODES),
    )
]
_ACCESSES = [
    _access(name)
    for name, immediate in INSTRUCTIONS.values()
    if immediate is Immediate.MEMORY_ARGUMENT
]

OPERATIONS: Mapping[NumberType, tuple[Operation, ...]] = {
    type_: tuple(one for one in _ALL if one.result == type_) for type_ in NUMBERS
}
"""All that compute a value of a type."""
LOADS: Mapping[NumberType, tuple[Access, ...]] = {
    type_: tuple(one for one in _ACCESSES if ".load" in one.name and one.value == type_)
    for type_ in NUMBERS
}
STORES: tuple[Access, ...] = tuple(one for one in _ACCESSES if ".store" in one.name)
