"""Decodes a module's bytes into its parts. Pure; validity is wasmtime's to judge.

Source: WebAssembly Core Specification 2.0, section 5.5.
"""

from collections.abc import Callable
from typing import TypeVar

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.module.bodies import read_expression, read_value_type
from stigmergy.wasm.module.bytesreader import BytesReader, MalformedModuleError
from stigmergy.wasm.module.instructions import Instruction
from stigmergy.wasm.module.model import (
    Code,
    Data,
    Element,
    Export,
    ExternKind,
    FunctionType,
    Global,
    GlobalType,
    Import,
    Limits,
    MemoryType,
    Module,
    TableType,
    ValueType,
)

__all__ = ["decode"]

_MAGIC = b"\0asm"
_VERSION = b"\1\0\0\0"
_FUNCTION_FORM = 0x60
_KINDS: tuple[ExternKind, ...] = ("func", "table", "memory", "global")

_Item = TypeVar("_Item")


def decode(wasm: bytes) -> Module:
    """Decode a module that is valid; of one that is not, most faults are found, not all.

    Raises:
        MalformedModuleError: The bytes are no module.
        UnsupportedError: It belongs to a proposal that is not supported, which is named.
    """
    if wasm[:4] != _MAGIC:
        raise MalformedModuleError("it does not begin with \\0asm", offset=0)
    if wasm[4:8] != _VERSION:
        if wasm[6:8] == b"\1\0":
            message = "it is a component, not a core module"
            raise UnsupportedError(message)
        raise MalformedModuleError("its version is not 1", offset=4)
    return _Decoder(wasm).module()


class _Decoder:
    """The sections of one module, each read into the part that it describes."""

    def __init__(self, wasm: bytes) -> None:
        self._wasm = wasm
        self._types: tuple[FunctionType, ...] = ()
        self._parts: dict[str, object] = {}

    def module(self) -> Module:
        reader = BytesReader(self._wasm, len(_MAGIC) + len(_VERSION))
        while reader:
            section, size = reader.byte(), reader.unsigned()
            start = reader.position
            reader.take(size)
            self._section(section, BytesReader(self._wasm, start, reader.position))
        return Module(self._wasm, **self._parts)  # pyright: ignore[reportArgumentType] - by name

    def _section(self, section: int, reader: BytesReader) -> None:
        """Read one section. What a later version adds is an error, a custom section is not."""
        match section:
            case 0:
                if reader.name() == "name":
                    self._parts["names"] = _function_names(reader)
            case 1:
                self._parts["types"] = self._types = _many(reader, _function_type)
            case 2:
                self._parts["imports"] = _many(reader, self._import)
            case 3:
                self._parts["function_types"] = _many(reader, _index)
            case 4:
                self._parts["tables"] = _many(reader, _table_type)
            case 5:
                self._parts["memories"] = _many(reader, _memory_type)
            case 6:
                self._parts["globals"] = _many(reader, _global)
            case 7:
                self._parts["exports"] = _many(reader, _export)
            case 8:
                self._parts["start"] = reader.unsigned()
            case 9:
                self._parts["elements"] = _many(reader, _element)
            case 10:
                self._parts["code"] = _many(reader, _code)
            case 11:
                self._parts["data"] = _many(reader, _data)
            case 12:
                reader.unsigned()  # how many data segments follow: section 11 says it again
            case 13:
                message = "it uses exceptions"
                raise UnsupportedError(message)
            case _:
                raise reader.error(f"there is no section {section}")

    def _import(self, reader: BytesReader) -> Import:
        module, name = reader.name(), reader.name()
        match reader.byte():
            case 0:
                index = reader.unsigned()
                if index >= len(self._types):
                    raise reader.error(f"there is no type {index}")
                return Import(module, name, self._types[index])
            case 1:
                return Import(module, name, _table_type(reader))
            case 2:
                return Import(module, name, _memory_type(reader))
            case 3:
                return Import(module, name, _global_type(reader))
            case kind:
                message = f"it imports a kind of thing ({kind}) that is not supported"
                raise UnsupportedError(message)


def _many(reader: BytesReader, read: Callable[[BytesReader], _Item]) -> tuple[_Item, ...]:
    return tuple(read(reader) for _ in range(reader.unsigned()))


def _index(reader: BytesReader) -> int:
    return reader.unsigned()


def _function_type(reader: BytesReader) -> FunctionType:
    form = reader.byte()
    if form != _FUNCTION_FORM:
        message = f"it defines a type of the form {form:#x}, of a proposal that is not supported"
        raise UnsupportedError(message)
    return FunctionType(_many(reader, read_value_type), _many(reader, read_value_type))


def _limits(reader: BytesReader, flags: int) -> Limits:
    bits = 64 if flags & 4 else 32
    minimum = reader.unsigned(bits)
    return Limits(minimum, reader.unsigned(bits) if flags & 1 else None)


def _table_type(reader: BytesReader) -> TableType:
    element, flags = read_value_type(reader), reader.byte()
    if flags & 4:
        message = "it has a table with addresses of 64 bits"
        raise UnsupportedError(message)
    return TableType(element, _limits(reader, flags))


def _memory_type(reader: BytesReader) -> MemoryType:
    flags = reader.byte()
    return MemoryType(_limits(reader, flags), shared=bool(flags & 2), is_64_bit=bool(flags & 4))


def _global_type(reader: BytesReader) -> GlobalType:
    value = read_value_type(reader)
    return GlobalType(value, mutable=reader.byte() == 1)


def _global(reader: BytesReader) -> Global:
    return Global(_global_type(reader), read_expression(reader))


def _export(reader: BytesReader) -> Export:
    name, kind = reader.name(), reader.byte()
    if kind >= len(_KINDS):
        message = f"it exports a kind of thing ({kind}) that is not supported"
        raise UnsupportedError(message)
    return Export(name, _KINDS[kind], reader.unsigned())


def _element(reader: BytesReader) -> Element:
    """Read one of the eight forms that three flags choose.

    Bit 0: not active; bit 1: an explicit table, or declarative; bit 2: expressions, not indices.
    """
    flags = reader.unsigned()
    if flags > 7:
        raise reader.error(f"there is no form {flags} of element segments")
    is_active, has_type, are_expressions = not flags & 1, bool(flags & 3), bool(flags & 4)
    table = reader.unsigned() if is_active and flags & 2 else 0
    offset = read_expression(reader) if is_active else ()
    element_type: ValueType = "funcref"
    if has_type and are_expressions:
        element_type = read_value_type(reader)
    elif has_type and reader.byte() != 0:
        raise reader.error("an element segment's kind is not 'function'")
    read = read_expression if are_expressions else _function_reference
    items = _many(reader, read)
    mode = "active" if is_active else "declarative" if flags & 2 else "passive"
    return Element(mode, element_type, items, table, offset)


def _function_reference(reader: BytesReader) -> tuple[Instruction, ...]:
    offset = reader.position
    return (Instruction("ref.func", (reader.unsigned(),), offset),)


def _data(reader: BytesReader) -> Data:
    flags = reader.unsigned()
    if flags > 2:
        raise reader.error(f"there is no form {flags} of data segments")
    memory = reader.unsigned() if flags == 2 else 0
    offset = read_expression(reader) if flags != 1 else ()
    content = reader.take(reader.unsigned())
    return Data("passive" if flags == 1 else "active", content, memory, offset)


def _code(reader: BytesReader) -> Code:
    size = reader.unsigned()
    start = reader.position
    reader.take(size)
    return Code(start, reader.position)


def _function_names(reader: BytesReader) -> tuple[tuple[int, str], ...]:
    """Read the functions' names of the custom section `name`; a damaged one names nothing."""
    try:
        while reader:
            kind, size = reader.byte(), reader.unsigned()
            if kind == 1:
                return _many(reader, lambda one: (one.unsigned(), one.name()))
            reader.take(size)
    except MalformedModuleError:
        pass
    return ()
