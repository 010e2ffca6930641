"""What runs the suite's modules: instances linked in one store, or an agent of an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from stigmergy.errors import StigmergyError, UnsupportedError
from stigmergy.wasm.cpu.linked import LinkedInstance, LinkedStore, TrappedError, Value
from stigmergy.wasm.cpu.runtime import Runtime
from stigmergy.wasm.engine import Cohort, CohortSettings, Engine, FloatMode, Status
from stigmergy.wasm.hostcalls import HostCall, Imports
from stigmergy.wasm.module.model import (
    PAGE_BYTES,
    FunctionType,
    GlobalType,
    Limits,
    MemoryType,
    Module,
    TableType,
    ValueType,
)
from stigmergy.wasm.module.patching import uses_memory_size
from stigmergy.wasm.module.reading import read_module

_SPECTEST = """(module
  (func (export "print"))
  (func (export "print_i32") (param i32))
  (func (export "print_i64") (param i64))
  (func (export "print_f32") (param f32))
  (func (export "print_f64") (param f64))
  (func (export "print_i32_f32") (param i32 f32))
  (func (export "print_f64_f64") (param f64 f64))
  (global (export "global_i32") i32 (i32.const 666))
  (global (export "global_i64") i64 (i64.const 666))
  (global (export "global_f32") f32 (f32.const 666.6))
  (global (export "global_f64") f64 (f64.const 666.6))
  (table (export "table") 10 20 funcref)
  (memory (export "memory") 1 2))
"""
"""The module that the suite's host offers."""
_MOST_MEMORY = 1 << 32
_MOST_GROWTH = 900
"""Pages: what the suite's modules grow by where they succeed."""
_MOST_ELEMENTS = 10_000_000
_MOST_INSTRUCTIONS = 4_000_000_000


class RefusedError(Exception):
    """The engine cannot express it, for the reason given: neither passed nor failed."""


class UnlinkableError(Exception):
    """An import is not there, or of another type."""


class Driver(Protocol):
    """One file's modules: instances by name, and those that others may import from."""

    def instantiate(self, module: Module) -> object:
        """Make an instance.

        Raises:
            UnlinkableError: An import is not there, or of another type.
            TrappedError: It trapped.
            RefusedError: The engine cannot.
        """
        ...

    def try_instance(self, module: Module) -> None:
        """Make an instance that should trap.

        Raises:
            TrappedError: It did.
            RefusedError: The engine cannot tell.
        """
        ...

    def register(self, name: str, instance: object) -> None:
        """Let others import from an instance, or know the name of one that was refused."""
        ...

    def call(self, instance: object, name: str, arguments: Sequence[Value]) -> list[Value]:
        """Call an export.

        Raises:
            TrappedError: It trapped.
            RefusedError: The engine cannot.
        """
        ...

    def global_value(self, instance: object, name: str) -> Value:
        """Read an exported global."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


class LinkedDriver:
    """All in one store of the CPU engine: refuses nothing."""

    def __init__(self, runtime: Runtime) -> None:
        self._store = LinkedStore(runtime)
        self.register("spectest", self.instantiate(read_module(_SPECTEST)))

    def instantiate(self, module: Module) -> LinkedInstance:
        try:
            return self._store.instantiate(module)
        except UnsupportedError as error:
            raise UnlinkableError(str(error)) from error

    def try_instance(self, module: Module) -> None:
        self._store.instantiate(module)

    def register(self, name: str, instance: object) -> None:
        assert isinstance(instance, LinkedInstance)
        self._store.register(name, instance)

    def call(self, instance: object, name: str, arguments: Sequence[Value]) -> list[Value]:
        assert isinstance(instance, LinkedInstance)
        return instance.call(name, arguments)

    def global_value(self, instance: object, name: str) -> Value:
        assert isinstance(instance, LinkedInstance)
        return instance.global_value(name)

    def close(self) -> None:
        self._store.close()


class AgentDriver:
    """Each instance is an agent of a cohort of its own.

    Whoever imports from another instance is refused, and from then on the other one too: what the
    refused one would have done to it is missing. So it is after a call that was refused.
    """

    def __init__(self, engine: Engine, floats: FloatMode) -> None:
        self._engine = engine
        self._floats: FloatMode = floats
        self._cohorts: list[Cohort] = []
        self._registered: dict[str, object] = {}
        self._missed: list[tuple[object, str]] = []
        self._host = read_module(_SPECTEST)

    def instantiate(self, module: Module) -> Cohort:
        others = {one.module for one in module.imports} & self._registered.keys()
        if others:
            why = "another instance that was refused would have changed it"
            self._missed.extend((self._registered[name], why) for name in others)
            message = f"it imports from another instance, {min(others)}"
            raise RefusedError(message)
        imports = self._imports(module)
        settings = CohortSettings(
            memory_bytes=self._memory_bytes(module),
            table_elements=_MOST_ELEMENTS,
            floats=self._floats,
            imports=imports,
        )
        try:
            cohort = self._engine.cohort(module, settings)
        except UnsupportedError as error:
            raise RefusedError(str(error)) from error
        self._cohorts.append(cohort)
        cohort.reserve(1)
        cohort.create(_SLOT, np.zeros(1, dtype=np.uint32))
        return cohort

    def try_instance(self, module: Module) -> None:
        """Begin a call: agents meet what is wrong with them in their first one."""
        cohort = self.instantiate(module)
        if module.start is not None:
            self._run(cohort, module.start, [])
            return
        for function in range(len(module.imported_functions), len(module.functions)):
            if not _carried(module.functions[function]):
                self._run(cohort, function, [0] * len(module.functions[function].params), most=1)
                return
        message = "it has no function that can be called, so it is never made"
        raise RefusedError(message)

    def register(self, name: str, instance: object) -> None:
        self._registered[name] = instance

    def call(self, instance: object, name: str, arguments: Sequence[Value]) -> list[Value]:
        cohort = _cohort(instance)
        function = cohort.module.exported_functions[name]
        self._run(cohort, function, [value.bits or 0 for value in arguments])
        words = cohort.results(_SLOT, function)[0].tolist()
        kinds = cohort.module.functions[function].results
        return [Value(kind, word) for kind, word in zip(kinds, words, strict=True)]

    def global_value(self, instance: object, name: str) -> Value:
        cohort = _cohort(instance)
        self._refuse_what_missed(cohort)
        index = next(
            one.index for one in cohort.module.exports if one.name == name and one.kind == "global"
        )
        kind = cohort.module.all_globals[index].value
        if kind in {"v128", "funcref", "externref"}:
            message = f"a global that is a {kind} cannot be read"
            raise RefusedError(message)
        return Value(kind, cohort.read_globals(_SLOT)[0].tolist()[index])

    def close(self) -> None:
        for cohort in self._cohorts:
            cohort.close()

    def _run(
        self, cohort: Cohort, function: int, bits: list[int], *, most: int = _MOST_INSTRUCTIONS
    ) -> None:
        self._refuse_what_missed(cohort)
        if kind := _carried(cohort.module.functions[function]):
            self._missed.append((cohort, "an earlier call of it was refused"))
            message = f"a call cannot carry a {kind}"
            raise RefusedError(message)
        try:
            cohort.begin(_SLOT, function, np.array([bits], dtype=np.uint64).reshape(1, len(bits)))
        except UnsupportedError as error:
            self._missed.append((cohort, "an earlier call of it was refused"))
            raise RefusedError(str(error)) from error
        status = cohort.run(_SLOT, np.array([most], dtype=np.uint64))[0]
        trap = cohort.traps(_SLOT)[0]
        if trap is not None:
            raise TrappedError(trap)
        if status != Status.FINISHED and most == _MOST_INSTRUCTIONS:
            message = f"after {most} instructions it is {Status(status).name.lower()}"
            raise StigmergyError(message)

    def _refuse_what_missed(self, cohort: Cohort) -> None:
        for one, why in self._missed:
            if one is cohort:
                raise RefusedError(why)

    def _imports(self, module: Module) -> Imports:
        """Offer what the suite's host offers, where the types agree."""
        functions: dict[tuple[str, str], HostCall] = {}
        values: dict[tuple[str, str], tuple[GlobalType, int]] = {}
        memories: dict[tuple[str, str], MemoryType] = {}
        tables: dict[tuple[str, str], TableType] = {}
        for one in module.imports:
            key = (one.module, one.name)
            offered = _offer(self._host, one.name) if one.module == "spectest" else None
            match one.type, offered:
                case (FunctionType(), FunctionType()) if one.type == offered:
                    functions[key] = HostCall.NOTHING
                case (GlobalType(), GlobalType()) if one.type == offered:
                    values[key] = (offered, _GLOBAL_BITS[offered.value])
                case (MemoryType(), MemoryType()) if _fits(offered.limits, one.type.limits):
                    memories[key] = offered
                case (TableType(), TableType()) if offered.element == one.type.element and _fits(
                    offered.limits, one.type.limits
                ):
                    tables[key] = offered
                case _:
                    message = f"there is no {one.module}.{one.name} of this type"
                    raise UnlinkableError(message)
        return Imports(functions=functions, globals=values, memories=memories, tables=tables)

    def _memory_bytes(self, module: Module) -> int:
        if self._engine.name == "cpu":
            return _MOST_MEMORY
        # On a GPU all that may be used is there from the start.
        declared = [
            _offer(self._host, one.name) if one.module == "spectest" else one.type
            for one in module.imports
            if isinstance(one.type, MemoryType)
        ]
        for memory in (*declared, *module.memories):
            assert isinstance(memory, MemoryType)
            most = memory.limits.minimum
            if _may_grow(module):
                most += _MOST_GROWTH
            maximum = memory.limits.maximum
            return PAGE_BYTES * (most if maximum is None else min(most, maximum))
        return 0


_SLOT = np.zeros(1, dtype=np.int64)
_GLOBAL_BITS: dict[ValueType, int] = {
    "i32": 666,
    "i64": 666,
    "f32": int(np.float32(666.6).view(np.uint32)),
    "f64": int(np.float64(666.6).view(np.uint64)),
}


def _may_grow(module: Module) -> bool:
    try:
        return uses_memory_size(module)
    except UnsupportedError:
        return True


def _cohort(instance: object) -> Cohort:
    return instance  # pyright: ignore[reportReturnType] - what instantiate returned


def _carried(kind: FunctionType) -> ValueType | None:
    """Return a type that this function takes or gives and that a call cannot carry."""
    for one in (*kind.params, *kind.results):
        if one in {"v128", "funcref", "externref"}:
            return one
    return None


def _offer(host: Module, name: str) -> FunctionType | GlobalType | MemoryType | TableType | None:
    for one in host.exports:
        if one.name == name:
            match one.kind:
                case "func":
                    return host.functions[one.index]
                case "global":
                    return host.all_globals[one.index]
                case "memory":
                    return host.all_memories[one.index]
                case "table":
                    return host.all_tables[one.index]
    return None


def _fits(offered: Limits, wanted: Limits) -> bool:
    if offered.minimum < wanted.minimum:
        return False
    if wanted.maximum is None:
        return True
    return offered.maximum is not None and offered.maximum <= wanted.maximum
