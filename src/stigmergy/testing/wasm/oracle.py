"""Runs a case by plain wasmtime, one store an agent, by its public interface: the judge of engines.

The module is changed a little, so that floats pass as bits and everything can be seen: wrappers
around the functions that are called, and getters of globals, stand behind its own functions.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from stigmergy.testing.wasm.cases import Call, Case
from stigmergy.testing.wasm.encoding import encode
from stigmergy.testing.wasm.observing import Observation
from stigmergy.testing.wasm.plan import constant
from stigmergy.testing.wasm.spec import FunctionSpec, ModuleSpec, op
from stigmergy.wasm.engine import Status, Trap, TrapKind
from stigmergy.wasm.hostcalls import (
    NO_MESSAGE,
    Imports,
    SendAnswer,
    clock_ns,
    random_bits,
)
from stigmergy.wasm.module.decode import decode
from stigmergy.wasm.module.instructions import Instruction
from stigmergy.wasm.module.model import (
    Export,
    FunctionType,
    Global,
    GlobalType,
    MemoryType,
    TableType,
    ValueType,
)

__all__ = ["PlainWasmtime", "bare"]

_BITS: Mapping[ValueType, ValueType] = {"f32": "i32", "f64": "i64"}
_ENDLESS = 1 << 40
_Answer = int | None


class _HostTrapError(Exception):
    """A host call named memory that is not there."""


class PlainWasmtime:
    """Runs cases. One object may be used for many."""

    def __init__(self) -> None:
        from wasmtime import Config, Engine

        config = Config()
        config.consume_fuel = True
        config.cranelift_nan_canonicalization = True
        config.parallel_compilation = False
        config.memory_init_cow = False  # it would hold a file for each module
        self._engine = Engine(config)

    def validate(self, wasm: bytes) -> str | None:
        """Return why bytes are no valid module, None if they are one."""
        from wasmtime import Module, WasmtimeError

        try:
            Module.validate(self._engine, wasm)
        except WasmtimeError as error:
            return str(error)
        return None

    def run(
        self,
        case: Case,
        budget: int,
        *,
        watched: tuple[int, ...] | None = None,
    ) -> list[Observation]:
        """Run each call in an instance of its own until it ends or has used the budget.

        `watched`: globals to observe, where not all.
        """
        from wasmtime import Module

        spec = bare(case)
        wasm = encode(spec)
        shifts = _shifts(case.wasm, wasm)
        indices = range(len(_globals(case.spec))) if watched is None else watched
        seen: list[Observation] = []
        with closing(Module(self._engine, wasm)) as module:
            for number in range(len(case.calls)):
                agent = _Agent(self._engine, case, spec, number)
                seen.append(agent.run(module, budget, shifts, tuple(indices)))
                agent.close()
        return seen


class _Agent:
    """One call in one store."""

    def __init__(self, engine: Any, case: Case, spec: ModuleSpec, agent: int) -> None:
        from wasmtime import Store

        self._engine = engine
        self._case = case
        self._spec = spec
        self._id = agent
        self._draws = 0
        self._output = bytearray()
        self._outbox: list[tuple[int, bytes]] = []
        self._inbox = list(case.inbox)
        self._budget = 0
        self._memory: Any = None
        self._linker: Any = None
        self._store = Store(engine)
        self._store.set_limits(
            memory_size=case.settings.memory_bytes, table_elements=case.settings.table_elements
        )

    def run(
        self, module: Any, budget: int, shifts: tuple[int, ...], watched: tuple[int, ...]
    ) -> Observation:
        from wasmtime import Linker, TrapCode
        from wasmtime import Trap as WasmtimeTrap

        call = self._case.calls[self._id]
        linker = self._linker = Linker(self._engine)
        for one in self._spec.imports:
            assert isinstance(one.type, FunctionType)
            self._define(linker, one.module, one.name, one.type)
        self._budget = budget
        self._store.set_fuel(_ENDLESS)
        status, results, trap = Status.FINISHED, None, None
        exports: Any = None
        try:
            exports = linker.instantiate(self._store, module).exports(self._store)
            self._store.set_fuel(budget)  # beginning an instance counts nothing
            self._memory = exports.get("memory")
            if self._memory is not None and self._case.memory_start:
                self._memory.write(self._store, self._case.memory_start)
            if self._case.spec.start is not None:
                self._call(exports, Call(self._case.spec.start, ()))
            results = self._call(exports, call)
        except _HostTrapError:
            status, trap = Status.TRAPPED, Trap(TrapKind.MEMORY_OUT_OF_BOUNDS)
        except WasmtimeTrap as error:
            if error.trap_code is TrapCode.OUT_OF_FUEL:
                return Observation(Status.READY)
            status, trap = Status.TRAPPED, _trap(error, shifts)
        if exports is None:
            return Observation(status, count=0, trap=trap)
        # wasmtime counts up to an access that it knows to be out of bounds: it depends on how the
        # memory is declared.
        is_vague = trap is not None and trap.kind is TrapKind.MEMORY_OUT_OF_BOUNDS
        return Observation(
            status,
            count=None if is_vague else budget - self._store.get_fuel(),
            results=results,
            trap=trap,
            memory=b"" if self._memory is None else bytes(self._memory.read(self._store, 0)),
            globals=self._globals(exports, watched),
            output=bytes(self._output),
            outbox=tuple(self._outbox),
            inbox=tuple(self._inbox),
        )

    def close(self) -> None:
        """Free the instance."""
        self._linker.close()
        self._store.close()

    def _call(self, exports: Any, call: Call) -> tuple[int, ...]:
        """Make a call by its wrapper, whose own instructions are not taken from the fuel."""
        self._store.set_fuel(self._store.get_fuel() + _cost_before(self._spec, call))
        type_ = self._spec.type_of(call.function)
        arguments = [
            _signed(bits, one) for bits, one in zip(call.arguments, type_.params, strict=True)
        ]
        given: Any = exports[f"call {call.function}"](self._store, *arguments)
        values: list[int] = [given] if len(type_.results) == 1 else (given or [])
        self._store.set_fuel(self._store.get_fuel() + _cost_after(self._spec, call))
        return tuple(
            value & ((1 << _width(one)) - 1)
            for value, one in zip(values, type_.results, strict=True)
        )

    def _globals(self, exports: Any, watched: tuple[int, ...]) -> tuple[int, ...]:
        self._store.set_fuel(_ENDLESS)
        found: list[int] = []
        for index in watched:
            type_ = _globals(self._spec)[index].value
            if type_ in ("funcref", "externref"):
                found.append(0)
                continue
            value = exports[f"get {index}"](self._store)
            found.append(value & ((1 << _width(type_)) - 1))
        return tuple(found)

    # --- what the swarm offers ---

    def _define(self, linker: Any, module: str, name: str, type_: FunctionType) -> None:
        from wasmtime import FuncType, ValType

        kinds = {"i32": ValType.i32(), "i64": ValType.i64()}
        answers: Mapping[str, Callable[..., _Answer]] = {
            "agent_id": lambda: self._id,
            "output": self._write_output,
            "log": self._log,
            "clock": self._clock,
            "random": self._random,
            "send": self._send,
            "receive": self._receive,
            "wait": lambda: None,
        }

        def answer(*arguments: int) -> _Answer:
            unsigned = [argument & 0xFFFFFFFF for argument in arguments]
            given = answers[name](*unsigned)
            return given if given is None else _signed(given, type_.results[0])

        linker.define_func(
            module,
            name,
            FuncType([kinds[one] for one in type_.params], [kinds[one] for one in type_.results]),
            answer,
        )

    def _read(self, pointer: int, length: int) -> bytes:
        if self._memory is None:
            if pointer + length:
                raise _HostTrapError
            return b""
        if pointer + length > self._memory.data_len(self._store):
            raise _HostTrapError
        return bytes(self._memory.read(self._store, pointer, pointer + length))

    def _write_output(self, pointer: int, length: int) -> int:
        content = self._read(pointer, length)
        room = self._case.settings.output_bytes - len(self._output)
        self._output += content[:room]
        return min(length, room)

    def _log(self, pointer: int, length: int) -> None:
        line = self._read(pointer, length) + b"\n"
        self._output += line[: self._case.settings.output_bytes - len(self._output)]

    def _clock(self) -> int:
        count = self._budget - self._store.get_fuel()
        return clock_ns(self._case.settings.clock_start_ns, count)

    def _random(self) -> int:
        self._draws += 1
        return random_bits(self._case.settings.seed, self._id, self._draws - 1)

    def _send(self, recipient: int, pointer: int, length: int) -> int:
        content = self._read(pointer, length)
        if length > self._case.settings.message_bytes:
            return SendAnswer.TOO_LONG
        if len(self._outbox) >= self._case.settings.mailbox_messages:
            return SendAnswer.OUTBOX_FULL
        self._outbox.append((recipient, content))
        return SendAnswer.SENT

    def _receive(self, pointer: int, capacity: int) -> int:
        self._read(pointer, capacity)
        if not self._inbox:
            return NO_MESSAGE
        sender, content = self._inbox.pop(0)
        if content[:capacity]:
            self._memory.write(self._store, content[:capacity], pointer)
        return sender << 32 | len(content)


def bare(case: Case) -> ModuleSpec:
    """Return a module that imports functions only, and exports all that an observer needs.

    Indices of functions, globals and tables are those of the case's module.
    """
    spec = case.spec
    imports = case.settings.imports
    functions = tuple(one for one in spec.imports if isinstance(one.type, FunctionType))
    memories = tuple(one.type for one in spec.imports if isinstance(one.type, MemoryType))
    tables = tuple(one.type for one in spec.imports if isinstance(one.type, TableType))
    changed = replace(
        spec,
        imports=functions,
        memories=memories + spec.memories,
        tables=tables + spec.tables,
        globals=_own_globals(spec, imports),
        exports=(Export("memory", "memory", 0),) if memories + spec.memories else (),
        start=None,
    )
    called = {call.function for call in case.calls}
    for function in sorted(called if spec.start is None else called | {spec.start}):
        changed = _with_function(changed, f"call {function}", *_wrapper(changed, function))
    for index, type_ in enumerate(_globals(changed)):
        if type_.value not in ("funcref", "externref"):
            changed = _with_function(changed, f"get {index}", *_getter(index, type_.value))
    return changed


def _own_globals(spec: ModuleSpec, imports: Imports) -> tuple[Global, ...]:
    given: list[Global] = []
    for one in spec.imports:
        if isinstance(one.type, GlobalType):
            bits = imports.globals[(one.module, one.name)][1]
            given.append(Global(one.type, (constant(one.type.value, bits),)))

    def start(expression: tuple[Instruction, ...]) -> tuple[Instruction, ...]:
        if expression[0].name == "global.get":
            return given[expression[0].argument()].start
        return expression

    return (*given, *(Global(one.type, start(one.start)) for one in spec.globals))


def _globals(spec: ModuleSpec) -> list[GlobalType]:
    imported = [one.type for one in spec.imports if isinstance(one.type, GlobalType)]
    return imported + [one.type for one in spec.globals]


def _with_function(
    spec: ModuleSpec, name: str, type_: FunctionType, body: list[Instruction]
) -> ModuleSpec:
    types = spec.types if type_ in spec.types else (*spec.types, type_)
    index = spec.imported_functions + len(spec.functions)
    added = FunctionSpec(types.index(type_), type_.results, tuple(body))
    return replace(
        spec,
        types=types,
        functions=(*spec.functions, added),
        exports=(*spec.exports, Export(name, "func", index)),
    )


def _wrapper(spec: ModuleSpec, function: int) -> tuple[FunctionType, list[Instruction]]:
    type_ = spec.type_of(function)
    wrapped = FunctionType(
        tuple(_BITS.get(one, one) for one in type_.params),
        tuple(_BITS.get(one, one) for one in type_.results),
    )
    body: list[Instruction] = []
    for at, one in enumerate(type_.params):
        body.append(op("local.get", at))
        if one in _BITS:
            body.append(op(f"{one}.reinterpret_{_BITS[one]}"))
    body.append(op("call", function))
    first = len(type_.params)
    for at, one in reversed(list(enumerate(type_.results))):
        if one in _BITS:
            body.append(op(f"{_BITS[one]}.reinterpret_{one}"))
        body.append(op("local.set", first + at))
    body += [op("local.get", first + at) for at in range(len(type_.results))]
    return wrapped, [*body, op("end")]


def _getter(index: int, type_: ValueType) -> tuple[FunctionType, list[Instruction]]:
    bits = _BITS.get(type_, type_)
    convert = [op(f"{bits}.reinterpret_{type_}")] if type_ in _BITS else []
    return FunctionType((), (bits,)), [op("global.get", index), *convert, op("end")]


def _cost_before(spec: ModuleSpec, call: Call) -> int:
    """Return what a wrapper counts until its call is made."""
    params = spec.type_of(call.function).params
    return 1 + len(params) + sum(one in _BITS for one in params) + 1


def _cost_after(spec: ModuleSpec, call: Call) -> int:
    results = spec.type_of(call.function).results
    return 2 * len(results) + sum(one in _BITS for one in results)


def _shifts(wasm: bytes, changed: bytes) -> tuple[int, ...]:
    """Return by how much each function's code lies further on in the changed module."""
    own, others = decode(wasm), decode(changed)
    none = (0,) * len(own.imported_functions)
    pairs = zip(others.code, own.code, strict=False)
    return none + tuple(new.start - old.start for new, old in pairs)


def _trap(error: Any, shifts: tuple[int, ...]) -> Trap:
    kind = TrapKind[error.trap_code.name]
    if not error.frames:
        return Trap(kind)
    frame = error.frames[0]
    if kind is TrapKind.MEMORY_OUT_OF_BOUNDS:
        # A load that faults may have become a part of the instruction that uses it.
        return Trap(kind, int(frame.func_index))
    function, offset = int(frame.func_index), int(frame.module_offset)
    return Trap(kind, function, offset - shifts[function])


def _width(type_: ValueType) -> int:
    return 64 if type_ in ("i64", "f64") else 32


def _signed(bits: int, type_: ValueType) -> int:
    width = _width(type_)
    bits &= (1 << width) - 1
    return bits - (1 << width) if bits >> (width - 1) else bits
