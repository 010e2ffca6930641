"""Decodes function bodies and constant expressions into instructions. Pure."""

from collections.abc import Callable, Mapping
from itertools import repeat

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.module.bytesreader import BytesReader
from stigmergy.wasm.module.instructions import (
    INSTRUCTIONS,
    PREFIXED,
    PREFIXED_REFUSED,
    PREFIXES_REFUSED,
    Immediate,
    Instruction,
)
from stigmergy.wasm.module.model import FunctionBody, ValueType

__all__ = ["VALUE_TYPES", "decode_body", "read_expression", "read_value_type"]

VALUE_TYPES: Mapping[int, ValueType] = {
    0x7F: "i32",
    0x7E: "i64",
    0x7D: "f32",
    0x7C: "f64",
    0x7B: "v128",
    0x70: "funcref",
    0x6F: "externref",
}
_MAXIMUM_LOCALS = 50_000
_PREFIX = 0xFC
_VECTOR_PREFIX = 0xFD
_VECTOR_CONSTANT = 12
_EMPTY_BLOCK = 0x40


def decode_body(wasm: bytes, start: int, end: int) -> FunctionBody:
    """Decode the bytes of one function's body.

    Raises:
        MalformedModuleError: The bytes are none.
        UnsupportedError: An instruction belongs to a proposal that is not decoded.
    """
    reader = BytesReader(wasm, start, end)
    local_types: list[ValueType] = []
    for _ in range(reader.unsigned()):
        count = reader.unsigned()
        if count + len(local_types) > _MAXIMUM_LOCALS:
            raise reader.error("a function has too many locals")
        local_types.extend(repeat(read_value_type(reader), count))
    instructions: list[Instruction] = []
    while reader:
        instructions.append(_read_instruction(reader))
    if not instructions or instructions[-1].name != "end":
        raise reader.error("a function's body has no end")
    return FunctionBody(tuple(local_types), tuple(instructions))


def read_expression(reader: BytesReader) -> tuple[Instruction, ...]:
    """Read a constant expression, without its `end`. It may be the constant of a vector."""
    instructions: list[Instruction] = []
    while True:
        if reader.peek() == _VECTOR_PREFIX:
            instruction = _read_vector_constant(reader)
        else:
            instruction = _read_instruction(reader)
        if instruction.name == "end":
            return tuple(instructions)
        instructions.append(instruction)


def read_value_type(reader: BytesReader) -> ValueType:
    """Read a value type."""
    code = reader.byte()
    if code not in VALUE_TYPES:
        message = f"the value type {code:#x} is of a proposal that is not supported"
        raise UnsupportedError(message)
    return VALUE_TYPES[code]


def _read_vector_constant(reader: BytesReader) -> Instruction:
    offset = reader.position
    reader.byte()
    if reader.unsigned() != _VECTOR_CONSTANT:
        raise reader.error("this instruction of vectors is not constant")
    return Instruction("v128.const", (reader.little_endian(16),), offset)


def _read_instruction(reader: BytesReader) -> Instruction:
    offset = reader.position
    code = reader.byte()
    if code == _PREFIX:
        code = reader.unsigned()
        found, refused = PREFIXED.get(code), PREFIXED_REFUSED.get(code)
    else:
        found, refused = INSTRUCTIONS.get(code), PREFIXES_REFUSED.get(code)
    if found is None and refused is not None:
        message = f"it uses {refused} (at byte {offset})"
        raise UnsupportedError(message)
    if found is None:
        raise reader.error(f"there is no instruction {code:#x}")
    name, immediate = found
    return Instruction(name, _IMMEDIATES[immediate](reader), offset)


def _index(reader: BytesReader) -> tuple[object, ...]:
    return (reader.unsigned(),)


def _two_indices(reader: BytesReader) -> tuple[object, ...]:
    return (reader.unsigned(), reader.unsigned())


def _block_type(reader: BytesReader) -> tuple[object, ...]:
    """Read a block's type: None, a value type's name, or the index of a function type."""
    code = reader.peek()
    if code == _EMPTY_BLOCK:
        reader.byte()
        return (None,)
    if code in VALUE_TYPES:
        return (read_value_type(reader),)
    return (reader.signed(33),)


def _labels(reader: BytesReader) -> tuple[object, ...]:
    count = reader.unsigned()
    if count > reader.end - reader.position:
        raise reader.error("a table of branches is longer than the module")
    return tuple(reader.unsigned() for _ in range(count + 1))


def _memory_argument(reader: BytesReader) -> tuple[object, ...]:
    alignment = reader.unsigned()
    if alignment & 0x40:
        message = f"it uses several memories (at byte {reader.position})"
        raise UnsupportedError(message)
    return (alignment, reader.unsigned(64))


def _value_types(reader: BytesReader) -> tuple[object, ...]:
    return tuple(read_value_type(reader) for _ in range(reader.unsigned()))


_IMMEDIATES: Mapping[Immediate, Callable[[BytesReader], tuple[object, ...]]] = {
    Immediate.NONE: lambda _reader: (),
    Immediate.BLOCK: _block_type,
    Immediate.LABEL: _index,
    Immediate.LABELS: _labels,
    Immediate.FUNCTION: _index,
    Immediate.TYPE_TABLE: _two_indices,
    Immediate.LOCAL: _index,
    Immediate.GLOBAL: _index,
    Immediate.TABLE: _index,
    Immediate.MEMORY_ARGUMENT: _memory_argument,
    Immediate.MEMORY: _index,
    Immediate.I32: lambda reader: (reader.signed(32),),
    Immediate.I64: lambda reader: (reader.signed(64),),
    Immediate.F32: lambda reader: (reader.little_endian(4),),
    Immediate.F64: lambda reader: (reader.little_endian(8),),
    Immediate.VALUE_TYPES: _value_types,
    Immediate.REFERENCE_TYPE: lambda reader: (read_value_type(reader),),
    Immediate.DATA_MEMORY: _two_indices,
    Immediate.DATA: _index,
    Immediate.MEMORY_MEMORY: _two_indices,
    Immediate.ELEMENT_TABLE: _two_indices,
    Immediate.ELEMENT: _index,
    Immediate.TABLE_TABLE: _two_indices,
}
