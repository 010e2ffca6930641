"""What a fresh instance holds: globals, tables, segments, memory. Pure.

Source: WebAssembly Core Specification 2.0, section 4.5.4. Element segments are written first, then
data; what does not fit ends it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.engine import Status, TrapKind
from stigmergy.wasm.gpu.layout import Header, StateLayout
from stigmergy.wasm.module.instructions import Instruction
from stigmergy.wasm.module.model import Module

__all__ = ["Instance", "constant_words", "global_values", "instantiate"]

_NOWHERE = 0xFFFFFFFF
_MASK_32 = 0xFFFFFFFF
_MASK_64 = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Instance:
    """The state before the stack, shape (layout.stack,), and the memory up to its last byte."""

    state: npt.NDArray[np.uint32]
    memory: npt.NDArray[np.uint8]


def global_values(module: Module, imported: Sequence[int]) -> tuple[int, ...]:
    """Return the bits that each global begins with, imported ones first."""
    values = list(imported)
    for one in module.globals:
        values.append(_evaluate(one.start, values))
    return tuple(values)


def instantiate(
    module: Module, layout: StateLayout, values: Sequence[int], memory_bytes: int
) -> Instance:
    """Make what an instance begins with; `values` are those of its globals.

    A segment that does not fit makes the status TRAPPED.
    """
    state = np.zeros(layout.stack, np.uint32)
    memory = bytearray()
    state[Header.TRAP_OFFSET] = _NOWHERE
    for type_ in module.all_memories:
        state[Header.PAGES] = type_.limits.minimum
    for at, value in zip(layout.globals, values, strict=True):
        state[at] = value & _MASK_32
        state[at + 1] = value >> 32
    for at, table in zip(layout.tables, module.all_tables, strict=True):
        state[at] = table.limits.minimum
    fault = _write_elements(module, layout, values, state)
    if fault is TrapKind.NONE:
        fault = _write_data(module, layout, values, state, memory, memory_bytes)
    if fault is not TrapKind.NONE:
        state[Header.STATUS] = Status.TRAPPED
        state[Header.TRAP_KIND] = fault
    content = bytes(memory).rstrip(b"\0")
    return Instance(state, np.frombuffer(content, np.uint8))


def constant_words(module: Module, values: Sequence[int]) -> npt.NDArray[np.uint32]:
    """Return the buffer of constants: where each segment lies and its size, then the contents.

    Data segments come first. Sizes are in bytes of data and in elements.
    """
    entries = 2 * (len(module.data) + len(module.elements))
    index: list[int] = []
    contents: list[npt.NDArray[np.uint32]] = []
    end = entries
    for segment in module.data:
        content = segment.content if segment.mode == "passive" else b""
        words = np.frombuffer(content + bytes(-len(content) % 4), "<u4")
        index += [end, len(content)]
        contents.append(words)
        end += len(words)
    for element in module.elements:
        items = element.items if element.mode == "passive" else ()
        words = np.array([_evaluate(item, values) for item in items], np.uint32)
        index += [end, len(words)]
        contents.append(words)
        end += len(words)
    return np.concatenate([np.array(index, np.uint32), *contents]).astype(np.uint32)


def _write_elements(
    module: Module, layout: StateLayout, values: Sequence[int], state: npt.NDArray[np.uint32]
) -> TrapKind:
    for position, element in enumerate(module.elements):
        if element.mode != "passive":
            state[layout.dropped + len(module.data) + position] = 1
        if element.mode != "active":
            continue
        start = _evaluate(element.offset, values) & _MASK_32
        first = layout.tables[element.table]
        if start + len(element.items) > state[first]:
            return TrapKind.TABLE_OUT_OF_BOUNDS
        for at, item in enumerate(element.items):
            state[first + 1 + start + at] = _evaluate(item, values)
    return TrapKind.NONE


def _write_data(
    module: Module,
    layout: StateLayout,
    values: Sequence[int],
    state: npt.NDArray[np.uint32],
    memory: bytearray,
    memory_bytes: int,
) -> TrapKind:
    for position, segment in enumerate(module.data):
        if segment.mode == "passive":
            continue
        state[layout.dropped + position] = 1
        start = _evaluate(segment.offset, values) & _MASK_32
        end = start + len(segment.content)
        if end > memory_bytes:
            return TrapKind.MEMORY_OUT_OF_BOUNDS
        memory.extend(bytes(max(0, end - len(memory))))
        memory[start:end] = segment.content
    return TrapKind.NONE


def _evaluate(expression: Sequence[Instruction], values: Sequence[int]) -> int:
    """Compute a constant expression: bits, a function's index + 1, or 0 for null."""
    stack: list[int] = []
    for one in expression:
        match one.name:
            case "i32.const":
                stack.append(one.argument() & _MASK_32)
            case "i64.const":
                stack.append(one.argument() & _MASK_64)
            case "f32.const" | "f64.const":
                stack.append(one.argument())
            case "global.get":
                stack.append(values[one.argument()])
            case "ref.func":
                stack.append(one.argument() + 1)
            case "ref.null":
                stack.append(0)
            case name:
                second, first = stack.pop(), stack.pop()
                stack.append(_arithmetic(name, first, second))
    return stack[-1]


def _arithmetic(name: str, first: int, second: int) -> int:
    """Compute an instruction of extended constant expressions."""
    type_, _, operation = name.partition(".")
    mask = _MASK_32 if type_ == "i32" else _MASK_64
    match operation:
        case "add":
            return (first + second) & mask
        case "sub":
            return (first - second) & mask
        case "mul":
            return (first * second) & mask
        case _:
            message = f"a constant expression holds {name}, which is not supported"
            raise UnsupportedError(message)
