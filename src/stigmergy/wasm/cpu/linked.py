"""Instances that import from each other, in one store: what agents, who share nothing, cannot be.

The conformance suite needs it. Configuration and calls are those of agents; there are no slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stigmergy.errors import StigmergyError, UnsupportedError
from stigmergy.wasm.cpu import binding
from stigmergy.wasm.cpu.binding import EXTERN_WORDS, VALUE_KINDS, VALUE_WORDS, Cell, Pointer
from stigmergy.wasm.cpu.runtime import CompiledModule, Runtime
from stigmergy.wasm.cpu.traps import take_failure, take_trap
from stigmergy.wasm.engine import Trap
from stigmergy.wasm.module.model import Module, ValueType

__all__ = ["LinkedInstance", "LinkedStore", "TrappedError", "Value"]

_FULL = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Value:
    """A value by its bits. Of an externref they are a number of the user's, None is null.

    A funcref that is not null is 0: it cannot be told which function it is.
    """

    kind: ValueType
    bits: int | None


class TrappedError(StigmergyError):
    """A call, or the making of an instance, trapped."""

    def __init__(self, trap: Trap) -> None:
        super().__init__(str(trap))
        self.trap = trap


class LinkedStore:
    """A store with instances in it. Not thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._store: Pointer = binding.store_new(runtime.address, None, None)
        self.context: Pointer = binding.store_context(self._store)
        self._linker: Pointer = binding.linker_new(runtime.address)
        binding.linker_allow_shadowing(self._linker, 1)
        self._modules: list[CompiledModule] = []
        binding.set_fuel(self.context, _FULL)

    def instantiate(self, module: Module) -> LinkedInstance:
        """Make an instance that imports what is registered; its start function runs.

        Raises:
            UnsupportedError: An import is not there, or of another type.
            TrappedError: A segment does not fit, or the start function trapped.
        """
        compiled = self._runtime.compile(module.wasm)
        self._modules.append(compiled)
        handle, ends = Cell(2), Cell(2)
        future = binding.linker_instantiate_async(
            self._linker,
            self.context,
            compiled.address,
            handle.address,
            ends.address,
            ends.address + 8,
        )
        _finish(future)
        if ends[1]:
            raise UnsupportedError(binding.take_message(error=ends[1]))
        if ends[0]:
            raise TrappedError(take_trap(ends[0], 0))
        return LinkedInstance(self, module, handle)

    def register(self, name: str, instance: LinkedInstance) -> None:
        """Let later instances import what this one exports, from a module of this name."""
        content = name.encode()
        error = binding.linker_define_instance(
            self._linker, self.context, content, len(content), instance.handle.address
        )
        if error:
            raise take_failure(error)

    def close(self) -> None:
        """Free the store and all its instances. Idempotent."""
        store, self._store = self._store, 0
        if store:
            binding.linker_delete(self._linker)
            binding.store_delete(store)
        for module in self._modules:
            module.close()


class LinkedInstance:
    """An instance, called by the names of its exports."""

    def __init__(self, store: LinkedStore, module: Module, handle: Cell) -> None:
        self._store = store
        self.module = module
        self.handle = handle

    def call(self, name: str, arguments: Sequence[Value]) -> list[Value]:
        """Call an exported function.

        Raises:
            TrappedError: It trapped.
        """
        context = self._store.context
        export = self._export(name)
        results = self.module.functions[self.module.exported_functions[name]].results
        given, gives = _Values(len(arguments)), _Values(len(results))
        for position, value in enumerate(arguments):
            given.put(context, position, value)
        ends = Cell(2)
        binding.set_fuel(context, _FULL)
        future = binding.call_async(
            context,
            export.address + 8,
            given.address,
            len(arguments),
            gives.address,
            len(results),
            ends.address,
            ends.address + 8,
        )
        _finish(future)
        given.forget()
        if ends[1]:
            raise take_failure(ends[1])
        if ends[0]:
            raise TrappedError(take_trap(ends[0], 0))
        values = [gives.take(context, position) for position in range(len(results))]
        gives.forget()
        return values

    def global_value(self, name: str) -> Value:
        """Return what an exported global holds."""
        export, found = self._export(name), _Values(1)
        binding.global_get(self._store.context, export.address + 8, found.address)
        value = found.take(self._store.context, 0)
        found.forget()
        return value

    def _export(self, name: str) -> Cell:
        export, content = Cell(EXTERN_WORDS), name.encode()
        found = binding.instance_export_get(
            self._store.context, self.handle.address, content, len(content), export.address
        )
        if not found:
            message = f"the instance exports no {name!r}"
            raise UnsupportedError(message)
        return export


_KIND_NAMES: dict[int, ValueType] = {
    code: kind  # pyright: ignore[reportAssignmentType] - the names are those of value types
    for kind, code in VALUE_KINDS.items()
}


class _Values:
    """Some values in wasmtime's layout."""

    def __init__(self, count: int) -> None:
        self._words = Cell(max(1, count * VALUE_WORDS))
        self._count = count
        self.address = self._words.address

    def put(self, context: Pointer, position: int, value: Value) -> None:
        at = position * VALUE_WORDS
        words = self._words
        words[at] = VALUE_KINDS[value.kind]
        if value.kind in {"externref", "funcref"}:
            if value.bits is not None:
                # A null pointer is no number that can be told from an absent one.
                made = value.kind == "externref" and binding.externref_new(
                    context, value.bits + 1, None, self.address + (at + 1) * 8
                )
                assert made, "no room for an external reference"
            return
        assert value.bits is not None
        words[at + 1] = value.bits & _FULL
        words[at + 2] = value.bits >> 64

    def take(self, context: Pointer, position: int) -> Value:
        at = position * VALUE_WORDS
        words = self._words
        kind = _KIND_NAMES[words[at] & 0xFF]
        first = words[at + 1]
        match kind:
            case "i32" | "f32":
                return Value(kind, first & 0xFFFF_FFFF)
            case "i64" | "f64":
                return Value(kind, first)
            case "v128":
                return Value(kind, first | words[at + 2] << 64)
            case "funcref":
                return Value(kind, 0 if first else None)
            case "externref":
                if not first:
                    return Value(kind, None)
                number = binding.externref_data(context, self.address + (at + 1) * 8)
                return Value(kind, (number or 1) - 1)

    def forget(self) -> None:
        """Let go of references."""
        for position in range(self._count):
            binding.value_unroot(self.address + position * VALUE_WORDS * 8)


def _finish(future: Pointer) -> None:
    done = binding.future_poll(future)
    assert done, "nothing in a linked store waits"
    binding.future_delete(future)
