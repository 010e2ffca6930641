"""Lowers the instructions of tables. Pure."""

from stigmergy.wasm.engine import TrapKind
from stigmergy.wasm.gpu.expressions import Expression
from stigmergy.wasm.gpu.surroundings import Surroundings
from stigmergy.wasm.gpu.tree import Operation
from stigmergy.wasm.gpu.writer import Writer

__all__ = ["lower_table", "table_element"]

_FAULT = TrapKind.TABLE_OUT_OF_BOUNDS


def lower_table(writer: Writer, around: Surroundings, operation: Operation) -> None:
    """Write an instruction that concerns a table or an element segment."""
    _ = around
    instruction = operation.instruction
    match operation.name:
        case "table.get":
            index = writer.pop_named()
            writer.push(table_element(writer, instruction.argument(), index, instruction.offset))
        case "table.set":
            value, index = writer.pop_named(), writer.pop_named()
            table = instruction.argument()
            writer.lowered.support |= {"table_size", "table_set"}
            writer.check(f"({index.text} >= table_size({table}u))", _FAULT, instruction.offset)
            writer.line(f"table_set({table}u, {index.text}, {value.text});")
        case "table.size":
            writer.lowered.support.add("table_size")
            text = f"table_size({instruction.argument()}u)"
            writer.push(writer.named(Expression(text, "u32")))
        case "table.grow":
            brief = writer.is_brief(writer.stack[-1])
            delta, value = writer.pop_named(), writer.pop_named()
            writer.lowered.support.add("table_grow")
            text = f"table_grow({instruction.argument()}u, {value.text}, {delta.text})"
            writer.push(writer.named(Expression(text, "u32")))
            writer.spend_length(delta, brief=brief, may_fail=True)
        case "elem.drop":
            writer.lowered.support.add("drop_element")
            writer.line(f"drop_element({instruction.argument()}u);")
        case _:
            _bulk(writer, operation)


def table_element(writer: Writer, table: int, index: Expression, offset: int) -> Expression:
    """Return an element of a table, its index checked."""
    writer.lowered.support |= {"table_size", "table_get"}
    writer.check(f"({index.text} >= table_size({table}u))", _FAULT, offset)
    return writer.named(Expression(f"table_get({table}u, {index.text})", "u32"))


def _bulk(writer: Writer, operation: Operation) -> None:
    instruction = operation.instruction
    brief = writer.is_brief(writer.stack[-1])
    length, second, target = writer.pop_named(), writer.pop_named(), writer.pop_named()
    table, support = instruction.argument(), writer.lowered.support
    support.add("table_size")
    match operation.name:
        case "table.fill":
            call = f"table_fill({table}u, {target.text}, {second.text}, {length.text});"
            support.add("table_fill")
        case "table.copy":
            from_table = instruction.argument(1)
            _check(writer, f"table_size({from_table}u)", second, length, instruction.offset)
            call = (
                f"table_copy({table}u, {from_table}u, {target.text}, {second.text}, {length.text});"
            )
            support.add("table_copy")
        case _:  # table.init: the segment, then the table
            segment, table = instruction.argument(), instruction.argument(1)
            _check(writer, f"element_size({segment}u)", second, length, instruction.offset)
            call = f"table_init({table}u, {segment}u, {target.text}, {second.text}, {length.text});"
            support |= {"element_size", "table_init"}
    _check(writer, f"table_size({table}u)", target, length, instruction.offset)
    writer.line(call)
    writer.spend_length(length, brief=brief)


def _check(
    writer: Writer, size_text: str, start: Expression, length: Expression, offset: int
) -> None:
    size = writer.named(Expression(size_text, "u32")).text
    fault = f"({length.text} > {size} || {start.text} > {size} - {length.text})"
    writer.check(fault, _FAULT, offset)
