"""Runs compiled modules on a device, slice by slice, and the same in wasmtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import wasmtime

from stigmergy.wasm.engine import CohortSettings, Status, TrapKind
from stigmergy.wasm.gpu.compile import CompiledModule, compile_module
from stigmergy.wasm.gpu.layout import Header, memory_index
from stigmergy.wasm.gpu.program import CompilerOptions, Shader
from stigmergy.wasm.module.model import Module
from stigmergy.wasm.module.reading import read_module

WORKGROUP = 64
ENOUGH = 1 << 40
_MOST_DISPATCHES = 20_000
_CALL_OF_START = 2
"""What wasmtime's own code counts that calls a start function."""
_KINDS = {
    wasmtime.TrapCode.UNREACHABLE: TrapKind.UNREACHABLE,
    wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS: TrapKind.MEMORY_OUT_OF_BOUNDS,
    wasmtime.TrapCode.TABLE_OUT_OF_BOUNDS: TrapKind.TABLE_OUT_OF_BOUNDS,
    wasmtime.TrapCode.INDIRECT_CALL_TO_NULL: TrapKind.INDIRECT_CALL_TO_NULL,
    wasmtime.TrapCode.BAD_SIGNATURE: TrapKind.BAD_SIGNATURE,
    wasmtime.TrapCode.INTEGER_OVERFLOW: TrapKind.INTEGER_OVERFLOW,
    wasmtime.TrapCode.INTEGER_DIVISION_BY_ZERO: TrapKind.INTEGER_DIVISION_BY_ZERO,
    wasmtime.TrapCode.BAD_CONVERSION_TO_INTEGER: TrapKind.BAD_CONVERSION_TO_INTEGER,
    wasmtime.TrapCode.STACK_OVERFLOW: TrapKind.STACK_OVERFLOW,
}


@dataclass
class Outcome:
    """What became of one agent's call."""

    status: Status
    results: tuple[int, ...] = ()
    count: int = 0
    trap: TrapKind = TrapKind.NONE
    offset: int = 0
    memory: bytes = b""
    globals: tuple[int, ...] = ()
    stops: list[int] = field(default_factory=list[int], compare=False)
    """The counts at which it stopped on the way."""


class Gpu:
    """A device, and pipelines by their WGSL."""

    def __init__(self) -> None:
        import wgpu

        self.wgpu = wgpu
        adapter = wgpu.gpu.request_adapter_sync(force_fallback_adapter=True)
        limits = ("max-storage-buffer-binding-size", "max-buffer-size")
        self.device = adapter.request_device_sync(
            required_limits={name: adapter.limits[name] for name in limits}
        )
        self._pipelines: dict[str, Any] = {}

    def pipeline(self, wgsl: str) -> Any:
        if wgsl not in self._pipelines:
            module = self.device.create_shader_module(code=wgsl)
            self._pipelines[wgsl] = self.device.create_compute_pipeline(
                layout="auto", compute={"module": module, "entry_point": "main"}
            )
        return self._pipelines[wgsl]

    def buffer(self, content: np.ndarray[Any, Any], *, uniform: bool = False) -> Any:
        usage = self.wgpu.BufferUsage
        kind = usage.UNIFORM if uniform else usage.STORAGE
        content = content if content.nbytes else np.zeros(4, np.uint32)
        flags = kind | usage.COPY_SRC | usage.COPY_DST
        return self.device.create_buffer_with_data(data=content, usage=flags)


class Cohort:
    """Agents of one module, all with a call of the same function, in buffers of their own."""

    def __init__(
        self,
        gpu: Gpu,
        compiled: CompiledModule,
        shader: Shader,
        module: Module,
        function: int,
        arguments: Sequence[Sequence[int]],
        *,
        block: int = 1,
        start: bool = True,
        settings: CohortSettings | None = None,
    ) -> None:
        self.gpu, self.module, self.layout, self.function = gpu, module, compiled.layout, function
        self.settings = settings or CohortSettings()
        self.agents, self.block = len(arguments), block
        self.stride = -(-self.agents // block) * block
        state = np.zeros((self.layout.words, self.stride), np.uint32)
        state[: self.layout.stack] = compiled.initial_state()[:, None]
        width = len(module.functions[function].params)
        words = np.array(arguments, np.uint64).reshape(self.agents, width)
        frames = compiled.entry_frames(function, words, start=start)
        depth = frames.shape[1]
        state[self.layout.stack : self.layout.stack + depth, : self.agents] = frames.T
        state[Header.STACK_WORDS] = depth
        state[Header.STATUS] = Status.READY
        state[Header.AGENT_ID, : self.agents] = np.arange(self.agents) + 100
        self.state = gpu.buffer(state)
        initial = np.zeros(4 * self.layout.memory_words, np.uint8)
        content = compiled.initial_memory()
        initial[: len(content)] = content
        self.index = self._memory_index()
        memory = np.zeros(self.stride * self.layout.memory_words, np.uint32)
        memory[self.index] = initial.view("<u4")
        self.buffers = {0: self.state, 4: gpu.buffer(np.arange(self.agents, dtype=np.uint32))}
        if shader.uses_memory:
            self.buffers[1] = gpu.buffer(memory)
        if shader.uses_output:
            size = self.layout.output_words * self.stride
            self.buffers[2] = gpu.buffer(np.zeros(size, np.uint32))
        if shader.uses_mail:
            size = self.layout.mail_words * self.stride
            self.buffers[3] = gpu.buffer(np.zeros(size, np.uint32))
        if len(shader.constants):
            self.buffers[5] = gpu.buffer(shader.constants)
        self.initial = memory
        self.pipeline = gpu.pipeline(shader.wgsl)

    def _memory_index(self) -> np.ndarray[Any, Any]:
        slots = np.arange(self.agents)[:, None]
        words = np.arange(self.layout.memory_words)[None, :]
        size = self.layout.memory_words
        first = (slots // self.block) * (size * self.block) + slots % self.block
        index = first + words * self.block
        if size and self.agents:
            assert index[-1, -1] == memory_index(
                self.agents - 1, size - 1, words=size, block=self.block
            )
        return index

    def read_state(self) -> np.ndarray[Any, Any]:
        content = self.gpu.device.queue.read_buffer(self.state)
        return np.frombuffer(content, np.uint32).reshape(self.layout.words, self.stride).copy()

    def read(self, binding: int) -> np.ndarray[Any, Any]:
        content = self.gpu.device.queue.read_buffer(self.buffers[binding])
        return np.frombuffer(content, np.uint32).copy()

    def write(self, binding: int, content: np.ndarray[Any, Any]) -> None:
        self.gpu.device.queue.write_buffer(self.buffers[binding], 0, content)

    def dispatch(self, target: int, most: int = 1 << 30) -> np.ndarray[Any, Any]:
        """Run one dispatch, everyone to the same target, and return the state."""
        queue, device = self.gpu.device.queue, self.gpu.device
        words = np.full((2, self.stride), 0, np.uint32)
        words[0], words[1] = target & 0xFFFFFFFF, target >> 32
        queue.write_buffer(self.state, int(Header.TARGET_LOW) * self.stride * 4, words)
        seed, clock = self.settings.seed, self.settings.clock_start_ns
        parameters = np.array(
            [self.agents, self.stride, most, 1 << 16, *_halves(clock), *_halves(seed)],
            np.uint32,
        )
        buffers = {**self.buffers, 6: self.gpu.buffer(parameters, uniform=True)}
        group = device.create_bind_group(
            layout=self.pipeline.get_bind_group_layout(0),
            entries=[
                {"binding": at, "resource": {"buffer": one, "offset": 0, "size": one.size}}
                for at, one in sorted(buffers.items())
            ],
        )
        encoder = device.create_command_encoder()
        one = encoder.begin_compute_pass()
        one.set_pipeline(self.pipeline)
        one.set_bind_group(0, group)
        one.dispatch_workgroups(-(-self.agents // WORKGROUP))
        one.end()
        queue.submit([encoder.finish()])
        return self.read_state()

    def run(self, slice_: int = ENOUGH, most: int = 1 << 30) -> list[Outcome]:
        """Run in slices until nobody is READY."""
        target, stops = 0, [list[int]() for _ in range(self.agents)]
        for _ in range(_MOST_DISPATCHES):
            target += slice_
            state = self.dispatch(target, most)
            ready = state[Header.STATUS, : self.agents] == Status.READY
            if not ready.any():
                return self.outcomes(state, stops)
            counts = self._counts(state)
            for slot in np.flatnonzero(ready):
                stops[slot].append(int(counts[slot]))
            target = target if slice_ < ENOUGH else 0
        raise AssertionError(f"still READY at {counts}")

    def outcomes(self, state: np.ndarray[Any, Any], stops: Sequence[list[int]]) -> list[Outcome]:
        """Read what became of the agents."""
        memory = self.read(1) if 1 in self.buffers else self.initial
        counts = self._counts(state)
        found: list[Outcome] = []
        results = len(self.module.functions[self.function].results)
        for slot in range(self.agents):
            status = Status(int(state[Header.STATUS, slot]))
            one = Outcome(status, count=int(counts[slot]), stops=stops[slot])
            if status is Status.FINISHED:
                at = [self.layout.results + 2 * one for one in range(results)]
                one.results = tuple(self._value(state, word, slot) for word in at)
            if status is Status.TRAPPED:
                one.trap = TrapKind(int(state[Header.TRAP_KIND, slot]))
                one.offset = int(state[Header.TRAP_OFFSET, slot])
            size = int(state[Header.PAGES, slot]) * 65_536
            one.memory = memory[self.index[slot]].tobytes()[:size].rstrip(b"\0")
            one.globals = tuple(self._value(state, word, slot) for word in self.layout.globals)
            found.append(one)
        return found

    def _value(self, state: np.ndarray[Any, Any], word: int, slot: int) -> int:
        return int(state[word, slot]) | int(state[word + 1, slot]) << 32

    def _counts(self, state: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        low = state[Header.COUNT_LOW, : self.agents].astype(np.uint64)
        high = state[Header.COUNT_HIGH, : self.agents].astype(np.uint64)
        return low | high << np.uint64(32)


def _halves(value: int) -> tuple[int, int]:
    return value & 0xFFFFFFFF, value >> 32


def oracle(
    module: Module, name: str, arguments: Sequence[Sequence[int]], fuel: int = ENOUGH
) -> list[Outcome]:
    """Run an exported function in wasmtime, once for each row of arguments (bits)."""
    config = wasmtime.Config()
    config.consume_fuel = True
    config.cranelift_nan_canonicalization = True
    engine = wasmtime.Engine(config)
    compiled = wasmtime.Module(engine, module.wasm)
    return [_run(engine, compiled, module, name, row, fuel) for row in arguments]


def _run(
    engine: wasmtime.Engine,
    compiled: wasmtime.Module,
    module: Module,
    name: str,
    row: Sequence[int],
    fuel: int,
) -> Outcome:
    store = wasmtime.Store(engine)
    store.set_fuel(fuel)
    outcome = Outcome(Status.FINISHED)
    type_ = module.functions[module.exported_functions[name]]
    instance = None
    try:
        instance = wasmtime.Instance(store, compiled, [])
        # To begin an instance counts nothing, but what its start function does.
        store.set_fuel(fuel if module.start is None else store.get_fuel() + _CALL_OF_START)
        function = instance.exports(store)[name]
        values = [_to_wasm(bits, kind) for bits, kind in zip(row, type_.params, strict=True)]
        given = function(store, *values)
        results = given if isinstance(given, list) else [given] if type_.results else []
        pairs = zip(results, type_.results, strict=True)
        outcome.results = tuple(_to_bits(value, kind) for value, kind in pairs)
    except wasmtime.Trap as trap:
        outcome.status = Status.TRAPPED
        code = trap.trap_code
        outcome.trap = _KINDS.get(code, TrapKind.NONE) if code is not None else TrapKind.NONE
        outcome.offset = trap.frames[0].module_offset
    outcome.count = fuel - store.get_fuel()
    if instance is not None:
        exports = instance.exports(store)
        for one in module.exports:
            if one.kind == "memory":
                memory = exports[one.name]
                outcome.memory = bytes(memory.read(store, 0)).rstrip(b"\0")
        by_index = {one.index: one.name for one in module.exports if one.kind == "global"}
        outcome.globals = tuple(
            _to_bits(exports[by_index[at]].value(store), type_.value)
            for at, type_ in enumerate(module.all_globals)
            if at in by_index
        )
    return outcome


def _to_wasm(bits: int, kind: str) -> Any:
    match kind:
        case "i32":
            return bits - (1 << 32) if bits >> 31 else bits
        case "i64":
            return bits - (1 << 64) if bits >> 63 else bits
        case "f32":
            return float(np.array([bits], np.uint32).view(np.float32)[0])
        case _:
            return float(np.array([bits], np.uint64).view(np.float64)[0])


def _to_bits(value: Any, kind: str) -> int:
    match kind:
        case "i32":
            return value & 0xFFFFFFFF
        case "i64":
            return value & 0xFFFFFFFFFFFFFFFF
        case "f32":
            return int(np.array([value], np.float32).view(np.uint32)[0])
        case "f64":
            return int(np.array([value], np.float64).view(np.uint64)[0])
        case _:
            return 0 if value is None else 1


class Bench:
    """Compiles a module once, and runs its functions on both sides."""

    def __init__(
        self,
        gpu: Gpu,
        source: str | bytes,
        *,
        settings: CohortSettings | None = None,
        block: int = 1,
    ) -> None:
        self.gpu = gpu
        self.module = read_module(source)
        self.settings = settings or CohortSettings()
        self.block = block
        self.compiled = compile_module(
            self.module, self.settings, CompilerOptions(memory_block=block)
        )
        self.shader = self.compiled.shader(frozenset(self.module.exported_functions.values()))

    def cohort(self, name: str, arguments: Sequence[Sequence[int]]) -> Cohort:
        return Cohort(
            self.gpu,
            self.compiled,
            self.shader,
            self.module,
            self.module.exported_functions[name],
            arguments,
            block=self.block,
            settings=self.settings,
        )

    def gpu_run(
        self,
        name: str,
        arguments: Sequence[Sequence[int]],
        slice_: int = ENOUGH,
        most: int = 1 << 30,
    ) -> list[Outcome]:
        return self.cohort(name, arguments).run(slice_, most)

    def agree(
        self, name: str, arguments: Sequence[Sequence[int]], slices: Sequence[int] = (ENOUGH,)
    ) -> list[Outcome]:
        """Check that every agent does as in wasmtime, in one go and in slices."""
        expected = oracle(self.module, name, arguments)
        for slice_ in slices:
            given = self.gpu_run(name, arguments, slice_)
            for row, one, other in zip(arguments, given, expected, strict=True):
                if not other.globals:
                    one.globals = ()
                if other.status is Status.TRAPPED and slice_ != ENOUGH:
                    # A stop counts all that was done before it; wasmtime did not stop.
                    assert one.count >= other.count
                    one.count = other.count
                if not any(kind.kind == "memory" for kind in self.module.exports):
                    one.memory = b""
                assert one == other, f"{name}{tuple(row)} in slices of {slice_}"
        return expected


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    return Gpu()


@pytest.fixture(scope="session")
def bench_of(gpu: Gpu) -> Callable[..., Bench]:
    """A bench for a module's text; each is compiled once."""

    @cache
    def bench(source: str, settings: CohortSettings | None = None, block: int = 1) -> Bench:
        return Bench(gpu, source, settings=settings, block=block)

    def hashed(source: str, *, block: int = 1, **settings: Any) -> Bench:
        if settings:  # settings hold a mapping and have no hash
            return Bench(gpu, source, settings=CohortSettings(**settings), block=block)
        return bench(source, None, block)

    return hashed
