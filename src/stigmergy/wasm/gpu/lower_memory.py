"""Lowers loads, stores and the other instructions of linear memory. Pure.

An access is checked against the agent's own size without overflow: address > size - needed.
"""

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.engine import TrapKind
from stigmergy.wasm.gpu.expressions import Expression, WgslType, wgsl_type
from stigmergy.wasm.gpu.lowered import Fail
from stigmergy.wasm.gpu.surroundings import Surroundings
from stigmergy.wasm.gpu.tree import Operation
from stigmergy.wasm.gpu.writer import Writer
from stigmergy.wasm.module.model import PAGE_BYTES

__all__ = ["lower_memory", "range_fault"]

_FAULT = TrapKind.MEMORY_OUT_OF_BOUNDS
_MOST = 0xFFFFFFFF
_MOST_PAGES = 65_536


def lower_memory(writer: Writer, around: Surroundings, operation: Operation) -> None:
    """Write an instruction that concerns the memory."""
    name = operation.name
    if ".load" in name:
        _load(writer, around, operation)
    elif ".store" in name:
        _store(writer, around, operation)
    elif name == "data.drop":
        writer.line(f"drop_data({operation.instruction.argument()}u);")
        writer.lowered.support.add("drop_data")
    elif name == "memory.size":
        writer.push(writer.named(Expression("pages", "u32")))
    elif name == "memory.grow":
        brief = writer.is_brief(writer.stack[-1])
        delta = writer.pop_named()
        writer.lowered.support.add("memory_grow")
        writer.push(writer.named(Expression(f"memory_grow({delta.text})", "u32")))
        writer.spend_length(delta, brief=brief, may_fail=True)
    else:
        _bulk(writer, around, operation)


def range_fault(around: Surroundings, start: str, length: str) -> str:
    """Return the condition that a range of bytes is not within the memory."""
    size = _size(around)
    return f"({length} > {size} || {start} > {size} - {length})"


def _size(around: Surroundings) -> str:
    return "memory_bytes" if around.memory_grows else f"{around.memory_bytes}u"


def _largest(around: Surroundings) -> int:
    """Return the most bytes that the CPU engine declares the memory with."""
    limits, allowed = around.module.all_memories[0].limits, around.settings.memory_bytes
    if limits.minimum * PAGE_BYTES > allowed:
        return allowed
    pages = min(allowed // PAGE_BYTES, _MOST_PAGES)
    return PAGE_BYTES * (pages if limits.maximum is None else min(limits.maximum, pages))


def _address(writer: Writer, around: Surroundings, operation: Operation, width: int) -> str | None:
    """Take an address, check it, and return it with the offset added; None if it always traps."""
    offset = operation.instruction.argument(1)
    address = writer.pop_named()
    needed, trap_offset = offset + width, operation.instruction.offset
    most = around.settings.memory_bytes if around.memory_grows else around.memory_bytes
    if needed > min(most, largest := _largest(around)):
        if needed > largest:  # known beforehand, so wasmtime counts up to here
            writer.save_count()
        writer.out.append(Fail(_FAULT, trap_offset))
        return None
    if not around.memory_grows:
        fault = f"({address.text} > {around.memory_bytes - needed}u)"
    elif needed <= around.memory_bytes:
        fault = f"({address.text} > memory_bytes - {needed}u)"
    else:
        fault = f"(memory_bytes < {needed}u || {address.text} > memory_bytes - {needed}u)"
    known = int(address.text[:-1]) if address.constant else None
    if known is None or known + needed > around.memory_bytes:
        writer.check(fault, _FAULT, trap_offset)
    if known is not None:
        return f"{(known + offset) & _MOST}u"
    return f"({address.text} + {offset}u)" if offset else address.text


def _width(name: str) -> int:
    """Return how many bytes an access touches: 1 for i64.load8_u."""
    tail = name.partition(".")[2].removeprefix("load").removeprefix("store")
    digits = tail.partition("_")[0]
    if digits:
        return int(digits) // 8
    return 8 if name.startswith(("i64", "f64")) else 4


def _load(writer: Writer, around: Surroundings, operation: Operation) -> None:
    name, width = operation.name, _width(operation.name)
    type_ = wgsl_type(operation.outputs[0])
    address = _address(writer, around, operation, width)
    if address is None:
        writer.push(Expression("0u" if type_ == "u32" else "vec2<u32>(0u, 0u)", type_))
        return
    function = f"load{width * 8}"
    writer.lowered.support.add(function)
    loaded = writer.named(Expression(f"{function}({address})", type_ if width == 8 else "u32"))
    text = loaded.text
    if name.endswith("_s") and width < 4:
        shift = f"{32 - width * 8}u"
        text = f"bitcast<u32>(bitcast<i32>({text} << {shift}) >> {shift})"
    if type_ == "vec2<u32>" and width < 8:
        high = "0u"
        if name.endswith("_s"):
            text = writer.named(Expression(text, "u32", settled=text == loaded.text)).text
            high = f"bitcast<u32>(bitcast<i32>({text}) >> 31u)"
        text = f"vec2<u32>({text}, {high})"
    writer.push(Expression(text, type_, settled=text == loaded.text))


def _store(writer: Writer, around: Surroundings, operation: Operation) -> None:
    width = _width(operation.name)
    value = writer.pop_named()
    address = _address(writer, around, operation, width)
    if address is None:
        return
    function = f"store{width * 8}"
    writer.lowered.support.add(function)
    text = f"{value.text}.x" if value.type == "vec2<u32>" and width < 8 else value.text
    writer.line(f"{function}({address}, {text});")


def _bulk(writer: Writer, around: Surroundings, operation: Operation) -> None:
    brief = writer.is_brief(writer.stack[-1])
    length, source, target = writer.pop_named(), writer.pop_named(), writer.pop_named()
    offset = operation.instruction.offset
    arguments = f"{target.text}, {source.text}, {length.text}"
    match operation.name:
        case "memory.fill":
            function = "memory_fill"
        case "memory.copy":
            function = "memory_copy"
            fault = range_fault(around, source.text, length.text)
            writer.check(fault, _FAULT, offset)
        case "memory.init":
            function = "memory_init"
            segment = operation.instruction.argument()
            size = _data_size(writer, segment)
            fault = f"({length.text} > {size.text} || {source.text} > {size.text} - {length.text})"
            writer.check(fault, _FAULT, offset)
            arguments = f"{segment}u, {arguments}"
        case name:
            message = f"the instruction {name} is not supported on the GPU"
            raise UnsupportedError(message)
    writer.check(range_fault(around, target.text, length.text), _FAULT, offset)
    writer.lowered.support.add(function)
    writer.line(f"{function}({arguments});")
    writer.spend_length(length, brief=brief)


def _data_size(writer: Writer, segment: int) -> Expression:
    writer.lowered.support.add("data_size")
    return writer.named(Expression(f"data_size({segment}u)", _WORD))


_WORD: WgslType = "u32"
