"""The instructions of WebAssembly: their codes, names and immediates.

Source: WebAssembly Core Specification 2.0, section 5.4 (vector instructions are left out: only the
CPU engine runs them, and it does not read bodies).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

__all__ = [
    "INSTRUCTIONS",
    "PREFIXED",
    "PREFIXED_REFUSED",
    "PREFIXES_REFUSED",
    "Immediate",
    "Instruction",
]


class Immediate(Enum):
    """What follows an instruction's code."""

    NONE = auto()
    BLOCK = auto()  # a block type
    LABEL = auto()
    LABELS = auto()  # br_table: labels, then the default
    FUNCTION = auto()
    TYPE_TABLE = auto()  # call_indirect: type, table
    LOCAL = auto()
    GLOBAL = auto()
    TABLE = auto()
    MEMORY_ARGUMENT = auto()  # alignment (as a power of two), offset
    MEMORY = auto()
    I32 = auto()
    I64 = auto()
    F32 = auto()  # its bits
    F64 = auto()  # its bits
    VALUE_TYPES = auto()
    REFERENCE_TYPE = auto()
    DATA_MEMORY = auto()
    DATA = auto()
    MEMORY_MEMORY = auto()
    ELEMENT_TABLE = auto()
    ELEMENT = auto()
    TABLE_TABLE = auto()


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a function's body.

    `arguments` are its immediates, integers all but a block type and the types of a `select`;
    constants of floats are their bits. `offset` counts bytes from the start of the module.
    """

    name: str
    arguments: tuple[object, ...]
    offset: int

    def argument(self, position: int = 0) -> int:
        """Return an immediate that is a number."""
        value = self.arguments[position]
        assert isinstance(value, int)
        return value

    def __str__(self) -> str:
        return " ".join([self.name, *(str(argument) for argument in self.arguments)])


_CONTROL: Mapping[int, tuple[str, Immediate]] = {
    0x00: ("unreachable", Immediate.NONE),
    0x01: ("nop", Immediate.NONE),
    0x02: ("block", Immediate.BLOCK),
    0x03: ("loop", Immediate.BLOCK),
    0x04: ("if", Immediate.BLOCK),
    0x05: ("else", Immediate.NONE),
    0x0B: ("end", Immediate.NONE),
    0x0C: ("br", Immediate.LABEL),
    0x0D: ("br_if", Immediate.LABEL),
    0x0E: ("br_table", Immediate.LABELS),
    0x0F: ("return", Immediate.NONE),
    0x10: ("call", Immediate.FUNCTION),
    0x11: ("call_indirect", Immediate.TYPE_TABLE),
    0x1A: ("drop", Immediate.NONE),
    0x1B: ("select", Immediate.NONE),
    0x1C: ("select_t", Immediate.VALUE_TYPES),
    0x20: ("local.get", Immediate.LOCAL),
    0x21: ("local.set", Immediate.LOCAL),
    0x22: ("local.tee", Immediate.LOCAL),
    0x23: ("global.get", Immediate.GLOBAL),
    0x24: ("global.set", Immediate.GLOBAL),
    0x25: ("table.get", Immediate.TABLE),
    0x26: ("table.set", Immediate.TABLE),
    0x3F: ("memory.size", Immediate.MEMORY),
    0x40: ("memory.grow", Immediate.MEMORY),
    0x41: ("i32.const", Immediate.I32),
    0x42: ("i64.const", Immediate.I64),
    0x43: ("f32.const", Immediate.F32),
    0x44: ("f64.const", Immediate.F64),
    0xD0: ("ref.null", Immediate.REFERENCE_TYPE),
    0xD1: ("ref.is_null", Immediate.NONE),
    0xD2: ("ref.func", Immediate.FUNCTION),
}

_FROM_0X28 = (
    "i32.load i64.load f32.load f64.load i32.load8_s i32.load8_u i32.load16_s i32.load16_u "
    "i64.load8_s i64.load8_u i64.load16_s i64.load16_u i64.load32_s i64.load32_u "
    "i32.store i64.store f32.store f64.store i32.store8 i32.store16 i64.store8 i64.store16 "
    "i64.store32"
).split()

_FROM_0X45 = (
    "i32.eqz i32.eq i32.ne i32.lt_s i32.lt_u i32.gt_s i32.gt_u i32.le_s i32.le_u i32.ge_s i32.ge_u "
    "i64.eqz i64.eq i64.ne i64.lt_s i64.lt_u i64.gt_s i64.gt_u i64.le_s i64.le_u i64.ge_s i64.ge_u "
    "f32.eq f32.ne f32.lt f32.gt f32.le f32.ge f64.eq f64.ne f64.lt f64.gt f64.le f64.ge "
    "i32.clz i32.ctz i32.popcnt i32.add i32.sub i32.mul i32.div_s i32.div_u i32.rem_s i32.rem_u "
    "i32.and i32.or i32.xor i32.shl i32.shr_s i32.shr_u i32.rotl i32.rotr "
    "i64.clz i64.ctz i64.popcnt i64.add i64.sub i64.mul i64.div_s i64.div_u i64.rem_s i64.rem_u "
    "i64.and i64.or i64.xor i64.shl i64.shr_s i64.shr_u i64.rotl i64.rotr "
    "f32.abs f32.neg f32.ceil f32.floor f32.trunc f32.nearest f32.sqrt f32.add f32.sub f32.mul "
    "f32.div f32.min f32.max f32.copysign "
    "f64.abs f64.neg f64.ceil f64.floor f64.trunc f64.nearest f64.sqrt f64.add f64.sub f64.mul "
    "f64.div f64.min f64.max f64.copysign "
    "i32.wrap_i64 i32.trunc_f32_s i32.trunc_f32_u i32.trunc_f64_s i32.trunc_f64_u "
    "i64.extend_i32_s i64.extend_i32_u i64.trunc_f32_s i64.trunc_f32_u i64.trunc_f64_s "
    "i64.trunc_f64_u f32.convert_i32_s f32.convert_i32_u f32.convert_i64_s f32.convert_i64_u "
    "f32.demote_f64 f64.convert_i32_s f64.convert_i32_u f64.convert_i64_s f64.convert_i64_u "
    "f64.promote_f32 i32.reinterpret_f32 i64.reinterpret_f64 f32.reinterpret_i32 "
    "f64.reinterpret_i64 i32.extend8_s i32.extend16_s i64.extend8_s i64.extend16_s i64.extend32_s"
).split()

INSTRUCTIONS: Mapping[int, tuple[str, Immediate]] = {
    **_CONTROL,
    **{0x28 + at: (name, Immediate.MEMORY_ARGUMENT) for at, name in enumerate(_FROM_0X28)},
    **{0x45 + at: (name, Immediate.NONE) for at, name in enumerate(_FROM_0X45)},
}
"""The instructions of one byte."""

_SATURATING = (
    "i32.trunc_sat_f32_s i32.trunc_sat_f32_u i32.trunc_sat_f64_s i32.trunc_sat_f64_u "
    "i64.trunc_sat_f32_s i64.trunc_sat_f32_u i64.trunc_sat_f64_s i64.trunc_sat_f64_u"
).split()

PREFIXED: Mapping[int, tuple[str, Immediate]] = {
    **{at: (name, Immediate.NONE) for at, name in enumerate(_SATURATING)},
    8: ("memory.init", Immediate.DATA_MEMORY),
    9: ("data.drop", Immediate.DATA),
    10: ("memory.copy", Immediate.MEMORY_MEMORY),
    11: ("memory.fill", Immediate.MEMORY),
    12: ("table.init", Immediate.ELEMENT_TABLE),
    13: ("elem.drop", Immediate.ELEMENT),
    14: ("table.copy", Immediate.TABLE_TABLE),
    15: ("table.grow", Immediate.TABLE),
    16: ("table.size", Immediate.TABLE),
    17: ("table.fill", Immediate.TABLE),
}
"""The instructions after the byte 0xFC."""

PREFIXED_REFUSED: Mapping[int, str] = dict.fromkeys(range(0x13, 0x17), "wide arithmetic")
"""Codes after it of proposals beyond what is decoded, with the proposal's name."""

PREFIXES_REFUSED: Mapping[int, str] = {
    0x06: "exceptions",
    0x07: "exceptions",
    0x08: "exceptions",
    0x09: "exceptions",
    0x0A: "exceptions",
    0x12: "tail calls",
    0x13: "tail calls",
    0x14: "typed function references",
    0x15: "typed function references",
    0x18: "exceptions",
    0x19: "exceptions",
    0x1F: "exceptions",
    0xD3: "garbage collection",
    0xD4: "typed function references",
    0xD5: "typed function references",
    0xD6: "typed function references",
    0xFB: "garbage collection",
    0xFD: "vectors (SIMD)",
    0xFE: "threads",
}
"""Codes of proposals beyond what is decoded, with the proposal's name."""
