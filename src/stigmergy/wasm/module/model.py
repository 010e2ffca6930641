"""A decoded module: what it imports, holds and exports. Bodies are decoded when asked for."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Literal, TypeVar

from stigmergy.wasm.module.instructions import Instruction

__all__ = [
    "PAGE_BYTES",
    "Code",
    "Data",
    "Element",
    "Export",
    "ExternKind",
    "FunctionBody",
    "FunctionType",
    "Global",
    "GlobalType",
    "Import",
    "Limits",
    "MemoryType",
    "Module",
    "TableType",
    "ValueType",
]

PAGE_BYTES = 65_536
"""The unit in which a linear memory is declared and grows."""

ValueType = Literal["i32", "i64", "f32", "f64", "v128", "funcref", "externref"]
ExternKind = Literal["func", "table", "memory", "global"]


@dataclass(frozen=True, slots=True)
class FunctionType:
    """The types of a function's parameters and results."""

    params: tuple[ValueType, ...]
    results: tuple[ValueType, ...]

    def __str__(self) -> str:
        return f"({', '.join(self.params)}) -> ({', '.join(self.results)})"


@dataclass(frozen=True, slots=True)
class Limits:
    """A size at the start and at most, in pages or elements; `maximum` None is no limit."""

    minimum: int
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryType:
    """A linear memory; its limits are in pages of 64 KiB."""

    limits: Limits
    shared: bool = False
    is_64_bit: bool = False


@dataclass(frozen=True, slots=True)
class TableType:
    """A table of references; its limits are in elements."""

    element: ValueType
    limits: Limits


@dataclass(frozen=True, slots=True)
class GlobalType:
    """A global's type and whether it may change."""

    value: ValueType
    mutable: bool


@dataclass(frozen=True, slots=True)
class Import:
    """Something a module asks for, by the name of another module and a name in it."""

    module: str
    name: str
    type: FunctionType | TableType | MemoryType | GlobalType


_Extern = TypeVar("_Extern", FunctionType, TableType, MemoryType, GlobalType)


@dataclass(frozen=True, slots=True)
class Export:
    """Something a module offers, by its index among its kind (imports count first)."""

    name: str
    kind: ExternKind
    index: int


@dataclass(frozen=True, slots=True)
class Global:
    """A global of the module's own, with the constant expression that starts it."""

    type: GlobalType
    start: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Element:
    """References for a table. `mode` active: written at `offset` when an instance begins.

    `items` are constant expressions, each one `ref.func`, `ref.null` or `global.get`.
    """

    mode: Literal["active", "passive", "declarative"]
    type: ValueType
    items: tuple[tuple[Instruction, ...], ...]
    table: int = 0
    offset: tuple[Instruction, ...] = ()


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes for a memory. `mode` active: written at `offset` when an instance begins."""

    mode: Literal["active", "passive"]
    content: bytes
    memory: int = 0
    offset: tuple[Instruction, ...] = ()


@dataclass(frozen=True, slots=True)
class Code:
    """Where a function's body lies in the module's bytes (after its size field)."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class FunctionBody:
    """A function's own locals and its instructions, the last an `end`."""

    locals: tuple[ValueType, ...]
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True)
class Module:
    """A module's parts. Index spaces hold the imports first, then the module's own."""

    wasm: bytes = field(repr=False)
    types: tuple[FunctionType, ...] = ()
    imports: tuple[Import, ...] = ()
    function_types: tuple[int, ...] = ()
    """For each function of the module's own, the index of its type."""
    tables: tuple[TableType, ...] = ()
    memories: tuple[MemoryType, ...] = ()
    globals: tuple[Global, ...] = ()
    exports: tuple[Export, ...] = ()
    start: int | None = None
    elements: tuple[Element, ...] = ()
    data: tuple[Data, ...] = ()
    code: tuple[Code, ...] = ()
    names: tuple[tuple[int, str], ...] = ()
    """Names of functions from the custom section `name`, as (function index, name)."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the module's bytes, in hexadecimal: what modules are told apart by."""
        return sha256(self.wasm).hexdigest()

    @cached_property
    def functions(self) -> tuple[FunctionType, ...]:
        """The type of every function, imported ones first."""
        own = tuple(self.types[index] for index in self.function_types)
        return tuple(self._imported(FunctionType)) + own

    @cached_property
    def all_tables(self) -> tuple[TableType, ...]:
        """Every table, imported ones first."""
        return tuple(self._imported(TableType)) + self.tables

    @cached_property
    def all_memories(self) -> tuple[MemoryType, ...]:
        """Every memory, imported ones first."""
        return tuple(self._imported(MemoryType)) + self.memories

    @cached_property
    def all_globals(self) -> tuple[GlobalType, ...]:
        """The type of every global, imported ones first."""
        return tuple(self._imported(GlobalType)) + tuple(one.type for one in self.globals)

    @cached_property
    def imported_functions(self) -> tuple[Import, ...]:
        """The imports that are functions: their positions are their function indices."""
        return tuple(one for one in self.imports if isinstance(one.type, FunctionType))

    @cached_property
    def imported_globals(self) -> tuple[Import, ...]:
        """The imports that are globals: their positions are their global indices."""
        return tuple(one for one in self.imports if isinstance(one.type, GlobalType))

    @cached_property
    def exported_functions(self) -> dict[str, int]:
        """The index of each exported function, by name."""
        return {one.name: one.index for one in self.exports if one.kind == "func"}

    def body(self, function: int) -> FunctionBody:
        """Decode the body of a function of the module's own, by its index among all functions.

        Raises:
            UnsupportedError: It holds an instruction of a proposal that is not decoded.
        """
        from stigmergy.wasm.module.bodies import decode_body

        code = self.code[function - len(self.imported_functions)]
        return decode_body(self.wasm, code.start, code.end)

    def function_name(self, function: int) -> str:
        """Return what people know a function by: its export, its debug name or its index."""
        return self.known_names.get(function, f"function {function}")

    @cached_property
    def known_names(self) -> dict[int, str]:
        """What functions are exported as, or else called in the debug section, by index."""
        exports = reversed(self.exported_functions.items())
        return {**dict(self.names), **{index: name for name, index in exports}}

    def function_at(self, offset: int) -> int | None:
        """Return the index of the function whose body holds this byte of the module."""
        for position, code in enumerate(self.code):
            if code.start <= offset < code.end:
                return position + len(self.imported_functions)
        return None

    def _imported(self, kind: type[_Extern]) -> Iterator[_Extern]:
        return (one.type for one in self.imports if isinstance(one.type, kind))
