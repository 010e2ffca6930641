"""Writes a module's bytes from its parts: the decoder's inverse. Pure; judges nothing.

Source: WebAssembly Core Specification 2.0, section 5.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from stigmergy.testing.wasm.spec import FunctionSpec, ModuleSpec
from stigmergy.wasm.module.bodies import VALUE_TYPES
from stigmergy.wasm.module.instructions import (
    INSTRUCTIONS,
    PREFIXED,
    Immediate,
    Instruction,
)
from stigmergy.wasm.module.model import (
    Data,
    Element,
    Export,
    FunctionType,
    Global,
    GlobalType,
    Import,
    Limits,
    MemoryType,
    TableType,
    ValueType,
)

__all__ = ["encode", "signed_leb128", "unsigned_leb128"]

_TYPE_CODES = {name: code for code, name in VALUE_TYPES.items()}
_KIND_CODES = {"func": 0, "table": 1, "memory": 2, "global": 3}


def unsigned_leb128(value: int) -> bytes:
    """Write a number that is not negative, as short as it can be."""
    written = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        written.append(low | (0x80 if value else 0))
        if not value:
            return bytes(written)


def signed_leb128(value: int) -> bytes:
    """Write a number that may be negative, as short as it can be."""
    written = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        if value == (-1 if low & 0x40 else 0):
            written.append(low)
            return bytes(written)
        written.append(low | 0x80)


def encode(spec: ModuleSpec) -> bytes:
    """Return the bytes of a module."""
    sections: list[tuple[int, bytes | None]] = [
        (1, _filled(map(_function_type, spec.types))),
        (2, _filled(_import(one, spec.types) for one in spec.imports)),
        (3, _filled(unsigned_leb128(one.type) for one in spec.functions)),
        (4, _filled(map(_table_type, spec.tables))),
        (5, _filled(map(_memory_type, spec.memories))),
        (6, _filled(map(_global, spec.globals))),
        (7, _filled(map(_export, spec.exports))),
        (8, None if spec.start is None else unsigned_leb128(spec.start)),
        (9, _filled(map(_element, spec.elements))),
        (12, unsigned_leb128(len(spec.data)) if spec.data else None),
        (10, _filled(map(_code, spec.functions))),
        (11, _filled(map(_data, spec.data))),
    ]
    written = (bytes([number]) + _sized(content) for number, content in sections if content)
    return b"\0asm\1\0\0\0" + b"".join(written)


def _vector(items: Iterable[bytes]) -> bytes:
    written = list(items)
    return unsigned_leb128(len(written)) + b"".join(written)


def _filled(items: Iterable[bytes]) -> bytes | None:
    """Write a section's items; without any there is no section."""
    written = list(items)
    return _vector(written) if written else None


def _sized(content: bytes) -> bytes:
    return unsigned_leb128(len(content)) + content


def _name(text: str) -> bytes:
    return _sized(text.encode())


def _type(name: ValueType) -> bytes:
    return bytes([_TYPE_CODES[name]])


def _function_type(one: FunctionType) -> bytes:
    return b"\x60" + _vector(map(_type, one.params)) + _vector(map(_type, one.results))


def _limits(limits: Limits, flags: int = 0) -> bytes:
    if limits.maximum is None:
        return bytes([flags]) + unsigned_leb128(limits.minimum)
    return bytes([flags | 1]) + unsigned_leb128(limits.minimum) + unsigned_leb128(limits.maximum)


def _table_type(one: TableType) -> bytes:
    return _type(one.element) + _limits(one.limits)


def _memory_type(one: MemoryType) -> bytes:
    return _limits(one.limits, (2 if one.shared else 0) | (4 if one.is_64_bit else 0))


def _global_type(one: GlobalType) -> bytes:
    return _type(one.value) + bytes([one.mutable])


def _import(one: Import, types: Sequence[FunctionType]) -> bytes:
    match one.type:
        case FunctionType():
            described = b"\0" + unsigned_leb128(types.index(one.type))
        case TableType():
            described = b"\1" + _table_type(one.type)
        case MemoryType():
            described = b"\2" + _memory_type(one.type)
        case GlobalType():
            described = b"\3" + _global_type(one.type)
    return _name(one.module) + _name(one.name) + described


def _global(one: Global) -> bytes:
    return _global_type(one.type) + _expression(one.start)


def _export(one: Export) -> bytes:
    return _name(one.name) + bytes([_KIND_CODES[one.kind]]) + unsigned_leb128(one.index)


def _element(one: Element) -> bytes:
    """Write an element segment, by indices where all items are functions."""
    by_index = one.type == "funcref" and all(item[0].name == "ref.func" for item in one.items)
    flags = 0 if by_index else 4
    named_type = b"\0" if by_index else _type(one.type)
    if by_index:
        items = _vector(unsigned_leb128(item[0].argument()) for item in one.items)
    else:
        items = _vector(map(_expression, one.items))
    match one.mode:
        case "active" if one.table == 0 and one.type == "funcref":
            return bytes([flags]) + _expression(one.offset) + items
        case "active":
            table = unsigned_leb128(one.table)
            return bytes([flags | 2]) + table + _expression(one.offset) + named_type + items
        case "passive":
            return bytes([flags | 1]) + named_type + items
        case "declarative":
            return bytes([flags | 3]) + named_type + items


def _data(one: Data) -> bytes:
    if one.mode == "passive":
        return b"\1" + _sized(one.content)
    return b"\0" + _expression(one.offset) + _sized(one.content)


def _code(one: FunctionSpec) -> bytes:
    runs: list[tuple[int, ValueType]] = []
    for local in one.locals:
        if runs and runs[-1][1] == local:
            runs[-1] = (runs[-1][0] + 1, local)
        else:
            runs.append((1, local))
    locals_ = _vector(unsigned_leb128(count) + _type(name) for count, name in runs)
    return _sized(locals_ + b"".join(map(_instruction, one.body)))


def _expression(instructions: Sequence[Instruction]) -> bytes:
    return b"".join(map(_instruction, instructions)) + b"\x0b"


def _instruction(one: Instruction) -> bytes:
    code, immediate = _CODES[one.name]
    return code + _IMMEDIATES[immediate](one.arguments)


def _indices(arguments: Sequence[object]) -> bytes:
    return b"".join(unsigned_leb128(_number(argument)) for argument in arguments)


def _number(argument: object) -> int:
    assert isinstance(argument, int)
    return argument


def _value_type(argument: object) -> bytes:
    assert isinstance(argument, str)
    return bytes([_TYPE_CODES[argument]])


def _block_type(arguments: Sequence[object]) -> bytes:
    match arguments[0]:
        case None:
            return b"\x40"
        case int(index):
            return signed_leb128(index)
        case other:
            return _value_type(other)


def _labels(arguments: Sequence[object]) -> bytes:
    return unsigned_leb128(len(arguments) - 1) + _indices(arguments)


def _signed(arguments: Sequence[object]) -> bytes:
    return signed_leb128(_number(arguments[0]))


_CODES: Mapping[str, tuple[bytes, Immediate]] = {
    **{name: (bytes([code]), immediate) for code, (name, immediate) in INSTRUCTIONS.items()},
    **{
        name: (b"\xfc" + unsigned_leb128(code), immediate)
        for code, (name, immediate) in PREFIXED.items()
    },
}

_IMMEDIATES: Mapping[Immediate, Callable[[Sequence[object]], bytes]] = {
    **dict.fromkeys(Immediate, _indices),
    Immediate.BLOCK: _block_type,
    Immediate.LABELS: _labels,
    Immediate.I32: _signed,
    Immediate.I64: _signed,
    Immediate.F32: lambda arguments: _number(arguments[0]).to_bytes(4, "little"),
    Immediate.F64: lambda arguments: _number(arguments[0]).to_bytes(8, "little"),
    Immediate.VALUE_TYPES: lambda arguments: _vector(map(_value_type, arguments)),
    Immediate.REFERENCE_TYPE: lambda arguments: _value_type(arguments[0]),
}
