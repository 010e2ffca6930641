"""What the agents of a cohort share: the module, compiled, with its imports resolved."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.cpu import binding
from stigmergy.wasm.cpu.binding import Cell, Pointer
from stigmergy.wasm.cpu.hosting import Hosting
from stigmergy.wasm.cpu.runtime import Runtime
from stigmergy.wasm.cpu.traps import access_before, take_failure
from stigmergy.wasm.engine import CohortSettings, Trap, TrapKind
from stigmergy.wasm.hostcalls import HostCall, resolve_imports
from stigmergy.wasm.module.model import (
    PAGE_BYTES,
    ExternKind,
    Limits,
    MemoryType,
    Module,
    TableType,
)
from stigmergy.wasm.module.patching import MemoryShape, export_name, patch, uses_memory_size

__all__ = ["Program"]

_MOST_ELEMENTS = 1 << 20
"""Of all tables of an agent when it begins: there may be thousands of agents."""


class Program:
    """A module ready to be instantiated many times."""

    def __init__(self, runtime: Runtime, module: Module, settings: CohortSettings) -> None:
        self.runtime = runtime
        self.module = module
        self.settings = settings
        resolved = resolve_imports(module, settings.imports)
        memories = [_memory_shape(module, one, settings) for one in _memories(module, settings)]
        self.memory_bytes: int | None = None
        if memories:
            unit = 1 if memories[0].in_bytes else PAGE_BYTES
            self.memory_bytes = memories[0].minimum * unit
        patched = patch(
            module,
            memories=memories,
            tables=[_table(one, settings) for one in _tables(module, settings)],
            imported_globals=resolved.globals,
        )
        self.shift = patched.shift
        self.start = module.start
        self.hosting = Hosting(settings)
        self._waits = HostCall.WAIT in resolved.functions
        self._compiled = runtime.compile(patched.wasm)
        self._linker = binding.linker_new(runtime.address)
        self._instance_pre: Pointer = 0
        self.hosting.define(self._linker, module, resolved.functions)
        found = Cell()
        error = binding.linker_instantiate_pre(self._linker, self._compiled.address, found.address)
        if error:
            raise take_failure(error)
        self._instance_pre = found[0]
        self.export_names = cache(self._export_name)
        self._accesses = cache(partial(access_before, module))

    def instantiate(self, context: Pointer, instance: Pointer, trap: Pointer) -> Pointer | None:
        """Make an instance; returns an error, and writes a trap to the first of two words."""
        if not self._waits:
            return binding.instance_pre_instantiate(self._instance_pre, context, instance, trap)
        # With a function that suspends its caller in it, a store is asynchronous from the start.
        future = binding.instance_pre_instantiate_async(
            self._instance_pre, context, instance, trap, trap + 8
        )
        done = binding.future_poll(future)
        assert done, "nothing in an instantiation waits"
        binding.future_delete(future)
        return binding.peek_word(trap + 8)

    def located(self, trap: Trap) -> Trap:
        """Return the trap at the instruction that made it, wherever wasmtime saw it."""
        if (
            trap.kind is not TrapKind.MEMORY_OUT_OF_BOUNDS
            or trap.function is None
            or trap.offset is None
        ):
            return trap
        return replace(trap, offset=self._accesses(trap.function, trap.offset))

    def close(self) -> None:
        """Free the code. Idempotent; agents must be closed before."""
        pre, self._instance_pre = self._instance_pre, 0
        linker, self._linker = self._linker, 0
        if pre:
            binding.instance_pre_delete(pre)
        if linker:
            binding.linker_delete(linker)
        self._compiled.close()

    @staticmethod
    def _export_name(kind: ExternKind, index: int) -> bytes:
        return export_name(kind, index).encode()


def _memories(module: Module, settings: CohortSettings) -> list[MemoryType]:
    """Return the memory's type, that of an imported one as the imports give it."""
    given = [
        settings.imports.memories[one.module, one.name]
        for one in module.imports
        if isinstance(one.type, MemoryType)
    ]
    memories = [*given, *module.memories]
    if len(memories) > 1:
        message = "it uses several memories"
        raise UnsupportedError(message)
    if any(one.shared for one in memories):
        message = "it uses a memory shared between threads"
        raise UnsupportedError(message)
    return memories


def _tables(module: Module, settings: CohortSettings) -> list[TableType]:
    given = [
        settings.imports.tables[one.module, one.name]
        for one in module.imports
        if isinstance(one.type, TableType)
    ]
    tables = [*given, *module.tables]
    elements = sum(one.limits.minimum for one in tables)
    if elements > _MOST_ELEMENTS:
        message = f"its tables begin with {elements} elements, and agents have {_MOST_ELEMENTS}"
        raise UnsupportedError(message)
    return tables


def _memory_shape(module: Module, memory: MemoryType, settings: CohortSettings) -> MemoryShape:
    """Return what an agent's memory is: as declared, as far as the settings allow it.

    Raises:
        UnsupportedError: It is to be less than declared, and the module would notice.
    """
    allowed, limits = settings.memory_bytes, memory.limits
    if limits.minimum * PAGE_BYTES <= allowed:
        pages = allowed // PAGE_BYTES
        maximum = pages if limits.maximum is None else min(limits.maximum, pages)
        if not memory.is_64_bit:
            maximum = min(maximum, 1 << 16)
        return MemoryShape(limits.minimum, maximum, is_64_bit=memory.is_64_bit)
    try:
        is_noticed = uses_memory_size(module)
    except UnsupportedError as error:
        message = f"whether it could live with less memory than it declares is unknown: {error}"
        raise UnsupportedError(message) from error
    if is_noticed:
        message = (
            f"it declares {limits.minimum * PAGE_BYTES} bytes of memory and asks for the memory's "
            f"size, so it cannot have {allowed}"
        )
        raise UnsupportedError(message)
    return MemoryShape(allowed, allowed, in_bytes=True, is_64_bit=memory.is_64_bit)


def _table(table: TableType, settings: CohortSettings) -> TableType:
    """Return a table's type with its growth bounded by the settings."""
    most = max(table.limits.minimum, settings.table_elements)
    if table.limits.maximum is not None:
        most = min(most, table.limits.maximum)
    return TableType(table.element, Limits(table.limits.minimum, most))
