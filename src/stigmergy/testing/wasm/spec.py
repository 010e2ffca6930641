"""A module as its author sees it: parts that `encode` writes, and that people can read."""

from dataclasses import dataclass

from stigmergy.wasm.module.instructions import Instruction
from stigmergy.wasm.module.model import (
    Data,
    Element,
    Export,
    FunctionType,
    Global,
    Import,
    MemoryType,
    TableType,
    ValueType,
)

__all__ = ["FunctionSpec", "ModuleSpec", "op"]


def op(name: str, *arguments: object) -> Instruction:
    """Make an instruction that lies nowhere yet."""
    return Instruction(name, arguments, 0)


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """A function of the module's own: the index of its type, its own locals, its instructions.

    The body's last instruction is its `end`.
    """

    type: int
    locals: tuple[ValueType, ...]
    body: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """A module's parts; index spaces hold the imports first. Offsets of instructions are 0."""

    types: tuple[FunctionType, ...] = ()
    imports: tuple[Import, ...] = ()
    functions: tuple[FunctionSpec, ...] = ()
    tables: tuple[TableType, ...] = ()
    memories: tuple[MemoryType, ...] = ()
    globals: tuple[Global, ...] = ()
    exports: tuple[Export, ...] = ()
    start: int | None = None
    elements: tuple[Element, ...] = ()
    data: tuple[Data, ...] = ()

    @property
    def imported_functions(self) -> int:
        """How many functions are imported."""
        return sum(isinstance(one.type, FunctionType) for one in self.imports)

    def type_of(self, function: int) -> FunctionType:
        """Return the type of a function by its index among all."""
        imported = [one.type for one in self.imports if isinstance(one.type, FunctionType)]
        if function < len(imported):
            return imported[function]
        return self.types[self.functions[function - len(imported)].type]
