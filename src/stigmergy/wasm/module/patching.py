"""Rewrites a module so that everything in it can be reached from outside. Pure.

What an engine needs beyond the module's own exports: each function (any may be called), the memory,
the globals. Exports are replaced by ones named after kind and index. Imported memories, tables and
globals become the module's own, which keeps every index, for they stand first. The start function
is left out: an engine calls it as any other. Bodies are not touched, so an instruction is moved by
the same number of bytes as every other.

Source: WebAssembly Core Specification 2.0, section 5.5; the custom-page-sizes proposal.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stigmergy.wasm.module.bytesreader import BytesReader
from stigmergy.wasm.module.model import (
    ExternKind,
    FunctionType,
    GlobalType,
    Limits,
    Module,
    TableType,
    ValueType,
)

__all__ = ["MemoryShape", "PatchedModule", "export_name", "patch", "uses_memory_size"]

_HEADER = b"\0asm\1\0\0\0"
_CODE_SECTION = 10
_CUSTOM_PAGE_SIZE = 0x08
_VALUE_CODES: Mapping[ValueType, int] = {
    "i32": 0x7F,
    "i64": 0x7E,
    "f32": 0x7D,
    "f64": 0x7C,
    "v128": 0x7B,
    "funcref": 0x70,
    "externref": 0x6F,
}
_EXPORT_CODES: Mapping[ExternKind, int] = {"func": 0, "table": 1, "memory": 2, "global": 3}


@dataclass(frozen=True, slots=True)
class MemoryShape:
    """A memory's size at the start and at most, in pages of 64 KiB, or in bytes."""

    minimum: int
    maximum: int | None
    in_bytes: bool = False
    is_64_bit: bool = False


@dataclass(frozen=True, slots=True)
class PatchedModule:
    """A rewritten module; `shift` is what was added to the offset of every instruction."""

    wasm: bytes
    shift: int


def export_name(kind: ExternKind, index: int) -> str:
    """Return the name under which a rewritten module exports a thing."""
    return f"{kind} {index}"


def patch(
    module: Module,
    *,
    memories: Sequence[MemoryShape],
    tables: Sequence[TableType],
    imported_globals: Sequence[int],
) -> PatchedModule:
    """Rewrite a module.

    Args:
        module: A valid module.
        memories: The shape of every memory, imported ones first.
        tables: The type of every table, imported ones first.
        imported_globals: The bits of each imported global; of a reference they must be 0.
    """
    kept = dict(_sections(module.wasm))
    sections = {
        **kept,
        2: _vector(_function_imports(module)),
        4: _vector(_table(one) for one in tables),
        5: _vector(_memory(one) for one in memories),
        6: _globals(module, kept.get(6), imported_globals),
        7: _vector(_exports(module)),
    }
    sections.pop(8, None)
    wasm, code_start = bytearray(_HEADER), 0
    # The data count stands before the code, though its number is higher.
    for number in (1, 2, 3, 4, 5, 6, 7, 9, 12, 10, 11):
        content = sections.get(number)
        if content is None:
            continue
        wasm += bytes([number]) + unsigned(len(content))
        if number == _CODE_SECTION:
            code_start = len(wasm)
        wasm += content
    return PatchedModule(
        bytes(wasm), shift=code_start - _code_start(module.wasm) if module.code else 0
    )


def uses_memory_size(module: Module) -> bool:
    """Whether a module asks for its memory's size or grows it.

    Raises:
        UnsupportedError: It has instructions that are not decoded, so this cannot be told.
    """
    names = {"memory.size", "memory.grow"}
    first = len(module.imported_functions)
    return any(
        instruction.name in names
        for function in range(first, first + len(module.code))
        for instruction in module.body(function).instructions
    )


def unsigned(value: int) -> bytes:
    """Encode a number as unsigned LEB128."""
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    content.append(value)
    return bytes(content)


def signed(value: int) -> bytes:
    """Encode a number as signed LEB128."""
    content = bytearray()
    while not -0x40 <= value < 0x40:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    content.append(value & 0x7F)
    return bytes(content)


def _sections(wasm: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each section; custom ones say nothing that an engine needs."""
    reader = BytesReader(wasm, len(_HEADER))
    while reader:
        number, size = reader.byte(), reader.unsigned()
        content = reader.take(size)
        if number != 0:
            yield number, content


def _code_start(wasm: bytes) -> int:
    reader = BytesReader(wasm, len(_HEADER))
    while reader:
        number, size = reader.byte(), reader.unsigned()
        if number == _CODE_SECTION:
            return reader.position
        reader.take(size)
    raise AssertionError("a module with bodies has a code section")


def _vector(items: Iterable[bytes]) -> bytes:
    content = list(items)
    return unsigned(len(content)) + b"".join(content)


def _name(text: str) -> bytes:
    content = text.encode()
    return unsigned(len(content)) + content


def _function_imports(module: Module) -> Iterator[bytes]:
    indices = {kind: index for index, kind in enumerate(module.types)}
    for one in module.imported_functions:
        assert isinstance(one.type, FunctionType)
        yield _name(one.module) + _name(one.name) + b"\0" + unsigned(indices[one.type])


def _limits(limits: Limits, flags: int = 0) -> bytes:
    has_maximum = limits.maximum is not None
    content = bytes([flags | has_maximum]) + unsigned(limits.minimum)
    return content + unsigned(limits.maximum) if limits.maximum is not None else content


def _table(table: TableType) -> bytes:
    return bytes([_VALUE_CODES[table.element]]) + _limits(table.limits)


def _memory(memory: MemoryShape) -> bytes:
    flags = (_CUSTOM_PAGE_SIZE if memory.in_bytes else 0) | (4 if memory.is_64_bit else 0)
    content = _limits(Limits(memory.minimum, memory.maximum), flags)
    return content + b"\0" if memory.in_bytes else content


def _globals(module: Module, own: bytes | None, values: Sequence[int]) -> bytes:
    """Put the imported globals before the module's own, which are copied as they are."""
    imported = [one.type for one in module.imported_globals]
    definitions = b""
    for one, bits in zip(imported, values, strict=True):
        assert isinstance(one, GlobalType)
        start = bytes([_VALUE_CODES[one.value], one.mutable])
        definitions += start + constant(one.value, bits) + b"\x0b"
    reader = BytesReader(own or b"\0")
    count = reader.unsigned()
    return unsigned(len(imported) + count) + definitions + reader.content[reader.position :]


def constant(kind: ValueType, bits: int) -> bytes:
    """Encode the instruction that gives these bits."""
    match kind:
        case "i32":
            return b"\x41" + signed((bits & 0xFFFF_FFFF ^ 1 << 31) - (1 << 31))
        case "i64":
            return b"\x42" + signed((bits & (1 << 64) - 1 ^ 1 << 63) - (1 << 63))
        case "f32":
            return b"\x43" + (bits & 0xFFFF_FFFF).to_bytes(4, "little")
        case "f64":
            return b"\x44" + (bits & (1 << 64) - 1).to_bytes(8, "little")
        case "v128":
            return b"\xfd\x0c" + bits.to_bytes(16, "little")
        case "funcref" | "externref":
            return b"\xd0" + bytes([_VALUE_CODES[kind]])


def _exports(module: Module) -> Iterator[bytes]:
    counts: tuple[tuple[ExternKind, int], ...] = (
        ("func", len(module.functions)),
        ("memory", len(module.all_memories)),
        ("table", len(module.all_tables)),
        ("global", len(module.all_globals)),
    )
    for kind, count in counts:
        for index in range(count):
            yield _name(export_name(kind, index)) + bytes([_EXPORT_CODES[kind]]) + unsigned(index)
