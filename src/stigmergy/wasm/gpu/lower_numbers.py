"""Lowers numeric instructions: constants, arithmetic and what can trap in it. Pure."""

from stigmergy.wasm.engine import TrapKind
from stigmergy.wasm.gpu.expressions import Expression, constant, library_name, numeric
from stigmergy.wasm.gpu.tree import Operation
from stigmergy.wasm.gpu.writer import Writer

__all__ = ["lower_number"]

_SMALLEST = {
    "u32": ("2147483648u", "4294967295u"),
    "vec2<u32>": ("vec2<u32>(0u, 2147483648u)", "vec2<u32>(4294967295u, 4294967295u)"),
}


def lower_number(writer: Writer, operation: Operation) -> None:
    """Write a numeric instruction."""
    name = operation.name
    result = operation.outputs[0]
    if name.endswith(".const"):
        writer.push(constant(operation.instruction.argument(), result))
        return
    prefix, _, rest = name.partition(".")
    if prefix in ("i32", "i64") and rest.startswith(("div_", "rem_")):
        _divide(writer, operation)
        return
    if rest.startswith("trunc_f"):
        _truncate(writer, operation)
        return
    operands = [writer.stack.pop() for _ in operation.inputs][::-1]
    if name == "i32.eqz" and operands[0].type == "bool" and not operands[0].constant:
        writer.push(numeric(name, operands, result)[0])
        return
    operands = writer.unfolded([one.number for one in operands])
    expression, function = numeric(name, operands, result)
    if function:
        writer.lowered.library.add(function)
    writer.push(expression)


def _divide(writer: Writer, operation: Operation) -> None:
    divisor, dividend = writer.pop_named(), writer.pop_named()
    [dividend] = writer.unfolded([dividend])
    if _is_zero(divisor):
        [divisor] = writer.unfolded([divisor])
    offset = operation.instruction.offset
    if not divisor.constant:
        if divisor.type == "u32":
            condition = f"({divisor.text} == 0u)"
        else:
            condition = f"(({divisor.text}.x | {divisor.text}.y) == 0u)"
        writer.check(condition, TrapKind.INTEGER_DIVISION_BY_ZERO, offset)
    smallest, minus_one = _SMALLEST[divisor.type]
    if operation.name.endswith("div_s") and not (divisor.constant and divisor.text != minus_one):
        condition = f"({dividend.text} == {smallest}) && ({divisor.text} == {minus_one})"
        if divisor.type == "vec2<u32>":
            condition = f"all({dividend.text} == {smallest}) && all({divisor.text} == {minus_one})"
        writer.check(condition, TrapKind.INTEGER_OVERFLOW, offset)
    quotient, function = numeric(operation.name, (dividend, divisor), operation.outputs[0])
    if function:
        writer.lowered.library.add(function)
    writer.push(writer.named(quotient))


def _is_zero(divisor: Expression) -> bool:
    return divisor.text in ("0u", "vec2<u32>(0u, 0u)")


def _truncate(writer: Writer, operation: Operation) -> None:
    operand = writer.named(writer.unfolded([writer.pop()])[0])
    function = library_name(operation.name)
    writer.lowered.library |= {function, f"{function}_trap"}
    fault = writer.named(Expression(f"{function}_trap({operand.text})", "u32"))
    kinds = (int(TrapKind.INTEGER_OVERFLOW), int(TrapKind.BAD_CONVERSION_TO_INTEGER))
    kind = f"select({kinds[0]}u, {kinds[1]}u, {fault.text} == 1u)"
    writer.check(f"({fault.text} != 0u)", kind, operation.instruction.offset)
    kind_of_result = "vec2<u32>" if operation.outputs[0] == "i64" else "u32"
    writer.push(writer.named(Expression(f"{function}({operand.text})", kind_of_result)))
