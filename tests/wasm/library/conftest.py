"""Runs one function over arrays: the WGSL of the library on a device, the instruction in wasmtime.

An array is a row of 32-bit words for each value, the low word first: floats go by their
bits.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import wasmtime

from stigmergy.wasm.gpu.library import SIGNATURES, Floats, link

WORKGROUP = 64
PAGE_BYTES = 65_536

Words = np.ndarray[Any, np.dtype[np.uint32]]
Bits = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True)
class Operation:
    """An instruction by the name of its WGSL function."""

    name: str

    @property
    def operand(self) -> str:
        """The wasm type of what it takes."""
        source = re.search(
            r"_(?:trunc|sat|convert|demote|promote|extend|wrap)_([if]\d\d)", self.name
        )
        return source[1] if source else self.name[:3]

    @property
    def result(self) -> str:
        return "i32" if self.signature.result == "bool" else self.name[:3]

    @property
    def instruction(self) -> str:
        return self.name.replace("_", ".", 1)

    @property
    def signature(self) -> Any:
        return SIGNATURES[self.name]

    @property
    def arity(self) -> int:
        return len(self.signature.params)

    def defined(self, operands: tuple[Words, ...]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows the instruction does not trap on: those that divide, and fit."""
        if not re.search(r"^i.*_(div|rem)_", self.name):
            return np.ones(len(operands[0]), dtype=np.bool_)
        divisible = operands[1].any(axis=1)
        if not self.name.endswith("div_s"):
            return divisible
        least = (operands[0][:, -1] == 0x8000_0000) & ~operands[0][:, :-1].any(axis=1)
        return divisible & ~(least & (operands[1] == 0xFFFF_FFFF).all(axis=1))


def words_of(wasm_type: str) -> int:
    return int(wasm_type[1:]) // 32


# --- operands ---


@dataclass(frozen=True)
class Format:
    """Where the parts of a float are."""

    significand_bits: int
    exponent_bits: int

    @property
    def bits(self) -> int:
        return 1 + self.exponent_bits + self.significand_bits

    @property
    def bias(self) -> int:
        return 2 ** (self.exponent_bits - 1) - 1

    def power(self, exponent: int) -> int:
        """The bits of 2^exponent, subnormal or not."""
        biased = exponent + self.bias
        if biased <= 0:
            return 1 << max(self.significand_bits - 1 + biased, 0)
        return biased << self.significand_bits


FORMATS = {"f32": Format(23, 8), "f64": Format(52, 11)}


class Operands:
    """Values on which arithmetic goes wrong, and random ones that look for more of them."""

    def __init__(self, seed: int) -> None:
        self._draw = np.random.default_rng(seed)

    def special(self, operation: Operation) -> tuple[Words, ...]:
        """A table of values, crossed with itself for two operands."""
        values = special_bits(operation.operand)
        columns = np.meshgrid(*[values] * operation.arity, indexing="ij")
        return tuple(as_words(column.ravel(), operation.operand) for column in columns)

    def random(self, operation: Operation, count: int) -> tuple[Words, ...]:
        """Rows of all magnitudes; in half of them the second operand is next to the first.

        Of integers, the first is in many a multiple of the second, or next to one.
        """
        draw = self._floats if operation.operand[0] == "f" else self._integers
        first = draw(operation.operand, count)
        if operation.arity == 1:
            return (as_words(first, operation.operand),)
        beside = self._beside(operation.operand, first)
        near = self._draw.integers(0, 2, count) == 0
        second = np.where(near, beside, draw(operation.operand, count))
        if operation.operand[0] == "i":
            step = self._draw.integers(0, 3, count, dtype=np.uint64) - np.uint64(1)
            multiple = self._draw.integers(0, 3, count) == 0
            first = np.where(multiple, first * second + step, first)
        return as_words(first, operation.operand), as_words(second, operation.operand)

    def _floats(self, wasm_type: str, count: int) -> Bits:
        """A quarter each: any exponent, around 1 and the integers, subnormal, about to overflow.

        Half of them have a short significand, so that results are exact or half-way.
        """
        form = FORMATS[wasm_type]
        top = 2**form.exponent_bits
        ranges = [(0, top), (form.bias - 30, form.bias + 70), (0, 30), (top - 4, top)]
        exponents = [self._draw.integers(low, high, count) for low, high in ranges]
        exponent = np.choose(self._draw.integers(0, 4, count), exponents).astype(np.uint64)
        significand = self._draw.integers(0, 2**form.significand_bits, count, dtype=np.uint64)
        cut = self._draw.integers(0, form.significand_bits + 1, count, dtype=np.uint64)
        cut *= self._draw.integers(0, 2, count, dtype=np.uint64)
        sign = self._draw.integers(0, 2, count, dtype=np.uint64)
        return (
            (sign << np.uint64(form.bits - 1))
            | (exponent << np.uint64(form.significand_bits))
            | ((significand >> cut) << cut)
        )

    def _integers(self, wasm_type: str, count: int) -> Bits:
        """Every length is as likely as another, both signs too."""
        bits = int(wasm_type[1:])
        values = self._draw.integers(0, 2**bits, count, dtype=np.uint64)
        values >>= self._draw.integers(0, bits, count, dtype=np.uint64)
        negative = self._draw.integers(0, 2, count) == 0
        return np.where(negative, ~values, values) & np.uint64(2**bits - 1)

    def _beside(self, wasm_type: str, bits: Bits) -> Bits:
        """Differs in the lowest bits and, of a float, by a few in the exponent and in the sign."""
        count = len(bits)
        changed = bits ^ self._draw.integers(0, 8, count, dtype=np.uint64)
        if wasm_type in FORMATS:
            form = FORMATS[wasm_type]
            exponent = self._draw.integers(0, 4, count, dtype=np.uint64)
            changed ^= exponent << np.uint64(form.significand_bits)
            sign = self._draw.integers(0, 2, count, dtype=np.uint64)
            changed ^= sign << np.uint64(form.bits - 1)
        return changed


def special_bits(wasm_type: str) -> Bits:
    if wasm_type in FORMATS:
        magnitudes = _special_floats(FORMATS[wasm_type])
        sign = 1 << (FORMATS[wasm_type].bits - 1)
        found = magnitudes | {magnitude | sign for magnitude in magnitudes}
    else:
        bits = int(wasm_type[1:])
        powers = [2**k for k in (0, 1, 2, 3, 7, 8, 15, 16, 30, 31, 32, 33, 62, 63)]
        positive = {p + d for p in powers for d in (-1, 0, 1)} | {10, 0x5555_5555, 0x1_8000_8001}
        found = {sign * value % 2**bits for value in positive for sign in (1, -1)}
    return np.array(sorted(found), dtype=np.uint64)


def _special_floats(form: Format) -> set[int]:
    one_and_half = 1 << (form.significand_bits - 1)
    infinity = form.power(form.bias + 1)
    edges = {0, 1, 2, 3, form.power(1 - form.bias), form.power(0), infinity}
    # Halves and units at the ends of the integers' ranges and of the significand's.
    for k in (-1, 1, 2, 31, 32, 63, 64, form.significand_bits - 1, form.significand_bits):
        edges |= {form.power(k), form.power(k) | one_and_half}
    # Where f64 leaves the range of f32, and the middle of its last bit.
    edges |= {form.power(k) for k in (-150, -149, -127, -126, 128) if abs(k) <= form.bias + 23}
    ties = {form.power(0) + (k << max(form.significand_bits - 24, 0)) for k in (1, 3)}
    whole = {b for edge in edges | ties for b in (edge - 1, edge, edge + 1) if 0 <= b <= infinity}
    fractions = {form.power(k) + one_and_half + one_and_half // 2 for k in (-1, 0, 1)}
    nans = {infinity + 1, infinity + one_and_half - 1, infinity + one_and_half}
    last_f32 = {0x47EF_FFFF_E000_0000, 0x47EF_FFFF_EFFF_FFFF, 0x47EF_FFFF_F000_0000}
    past_i32 = {0x41DF_FFFF_FFE0_0000, 0x41E0_0000_0010_0000, 0x41E0_0000_001F_FFFF}
    wide = last_f32 | past_i32 | {0x41E0_0000_0020_0000, 0x41EF_FFFF_FFF0_0000}
    payload = infinity + one_and_half + 0x1234
    return whole | fractions | nans | {payload} | (wide if form.bits == 64 else set())


def as_words(bits: Bits, wasm_type: str) -> Words:
    if words_of(wasm_type) == 1:
        return (bits & np.uint64(0xFFFF_FFFF)).astype(np.uint32).reshape(-1, 1)
    return np.ascontiguousarray(bits).view(np.uint32).reshape(-1, 2)


@pytest.fixture
def operands(rng: random.Random) -> Operands:
    return Operands(rng.getrandbits(32))


@pytest.fixture(scope="session")
def operation() -> type[Operation]:
    return Operation


# --- the device ---


class Device:
    """Dispatches a function over arrays of operands, each of which is a row of words."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self._pipelines: dict[tuple[str, Floats], Any] = {}

    def run(self, name: str, *operands: Words, floats: Floats = "strict") -> Words:
        import wgpu

        device = self.device
        pipeline = self._pipeline(name, floats)
        usage = wgpu.BufferUsage.STORAGE
        buffers = [
            device.create_buffer_with_data(data=np.ascontiguousarray(words), usage=usage)
            for words in operands
        ]
        count = len(operands[0])
        width = 2 if SIGNATURES[name].result == "vec2<u32>" else 1
        result = device.create_buffer(
            size=count * width * 4, usage=usage | wgpu.BufferUsage.COPY_SRC
        )
        group = device.create_bind_group(
            layout=pipeline.get_bind_group_layout(0),
            entries=[
                {"binding": binding, "resource": {"buffer": buffer}}
                for binding, buffer in enumerate([*buffers, result])
            ],
        )
        encoder = device.create_command_encoder()
        compute = encoder.begin_compute_pass()
        compute.set_pipeline(pipeline)
        compute.set_bind_group(0, group)
        compute.dispatch_workgroups(-(-count // WORKGROUP))
        compute.end()
        device.queue.submit([encoder.finish()])
        read = np.frombuffer(device.queue.read_buffer(result), dtype=np.uint32)
        return read.reshape(count, width).copy()

    def _pipeline(self, name: str, floats: Floats) -> Any:
        key = (name, floats)
        if key not in self._pipelines:
            module = self.device.create_shader_module(code=shader(name, floats))
            self._pipelines[key] = self.device.create_compute_pipeline(
                layout="auto", compute={"module": module, "entry_point": "main"}
            )
        return self._pipelines[key]


def shader(name: str, floats: Floats) -> str:
    """A shader that applies a function to each row of its operands."""
    signature = SIGNATURES[name]
    stored = "u32" if signature.result == "bool" else signature.result
    operands = "\n".join(
        f"@group(0) @binding({i}) var<storage, read> operand{i}: array<{param}>;"
        for i, param in enumerate(signature.params)
    )
    arguments = ", ".join(f"operand{i}[id.x]" for i in range(len(signature.params)))
    return f"""{link([name], floats=floats)}
{operands}
@group(0) @binding({len(signature.params)}) var<storage, read_write> result: array<{stored}>;
@compute @workgroup_size({WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
    if (id.x < arrayLength(&result)) {{
        result[id.x] = {stored}({name}({arguments}));
    }}
}}
"""


@pytest.fixture(scope="session")
def device() -> Iterator[Device]:
    import wgpu

    with pytest.MonkeyPatch.context() as patch:
        # Mesa would write its cache from a thread, with files open when a test ends.
        patch.setenv("MESA_SHADER_CACHE_DISABLE", "true")
        adapter = wgpu.gpu.request_adapter_sync()
        device = Device(adapter.request_device_sync())
        # What the driver opens once for the process is opened here, not in the first test.
        device.run("i64_eqz", np.zeros((1, 2), dtype=np.uint32))
        yield device
        device.device.destroy()


# --- the oracle ---


class Oracle:
    """wasmtime with canonical NaNs; the loop over the arrays is in the module."""

    def __init__(self) -> None:
        config = wasmtime.Config()
        config.cranelift_nan_canonicalization = True
        self._engine = wasmtime.Engine(config)

    def run(self, name: str, *operands: Words) -> Words:
        operation = Operation(name)
        return self.run_code(operation.instruction, operation.operand, operation.result, *operands)

    def run_code(self, code: str, operand: str, result: str, *operands: Words) -> Words:
        """`code` takes its operands from the stack and may read the first as `local.get $x`."""
        store = wasmtime.Store(self._engine)
        count = len(operands[0])
        starts = [i * count * 8 for i in range(3)]
        pages = -(-count * 24 // PAGE_BYTES) + 1
        text = _loop(code, operand, result, starts, len(operands), pages)
        module = wasmtime.Module(self._engine, wasmtime.wat2wasm(text))
        instance = wasmtime.Instance(store, module, [])
        exports = instance.exports(store)
        memory: Any = exports["memory"]
        run: Any = exports["run"]
        for start, words in zip(starts, operands, strict=False):
            memory.write(store, words.tobytes(), start)
        run(store, count)
        width = words_of(result)
        read = memory.read(store, starts[2], starts[2] + count * width * 4)
        return np.frombuffer(bytes(read), dtype=np.uint32).reshape(count, width)

    def trap(self, name: str) -> Callable[[float], wasmtime.TrapCode | None]:
        """A function of one float: why the instruction traps on it, or None."""
        operation = Operation(name)
        store = wasmtime.Store(self._engine)
        text = f"""(module (func (export "run") (param {operation.operand})
            (drop ({operation.instruction} (local.get 0)))))"""
        module = wasmtime.Module(self._engine, wasmtime.wat2wasm(text))
        run: Any = wasmtime.Instance(store, module, []).exports(store)["run"]

        def probe(value: float) -> wasmtime.TrapCode | None:
            try:
                run(store, value)
            except wasmtime.Trap as trap:
                return trap.trap_code
            return None

        return probe


def _loop(code: str, operand: str, result: str, starts: list[int], arity: int, pages: int) -> str:
    loads = [
        f"({operand}.load offset={start} (i32.mul (local.get $i) "
        f"(i32.const {words_of(operand) * 4})))"
        for start in starts[:arity]
    ]
    rest = " ".join(loads[1:])
    return f"""(module (memory (export "memory") {pages})
      (func (export "run") (param $n i32) (local $i i32) (local $x {operand})
        (block $end (loop $next
          (br_if $end (i32.ge_u (local.get $i) (local.get $n)))
          (i32.mul (local.get $i) (i32.const {words_of(result) * 4}))
          (local.set $x {loads[0]})
          (local.get $x) {rest}
          {code}
          {result}.store offset={starts[2]}
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next)))))"""


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    return Oracle()
