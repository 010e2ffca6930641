"""Lowers calls: in place, through the call stack, through a table, and of the swarm's functions."""

from collections.abc import Sequence

from stigmergy.wasm.engine import TrapKind
from stigmergy.wasm.gpu.emit.choosing import choose
from stigmergy.wasm.gpu.expressions import Expression, wgsl_type, zero
from stigmergy.wasm.gpu.lower_memory import range_fault
from stigmergy.wasm.gpu.lower_tables import table_element
from stigmergy.wasm.gpu.lowered import Call, Fail, If, Push, Statement, Suspend
from stigmergy.wasm.gpu.surroundings import Surroundings
from stigmergy.wasm.gpu.tree import Operation
from stigmergy.wasm.gpu.writer import Writer
from stigmergy.wasm.hostcalls import HostCall
from stigmergy.wasm.module.model import FunctionType

__all__ = ["lower_call", "lower_call_indirect"]


def lower_call(writer: Writer, around: Surroundings, operation: Operation) -> None:
    """Write a call of a function that is known."""
    function, offset = operation.instruction.argument(), operation.instruction.offset
    type_ = around.module.functions[function]
    writer.save_count()
    if function < len(around.host):
        _call_host(writer, around, around.host[function], type_, offset)
        return
    writer.spill()
    arguments = [writer.pop() for _ in type_.params][::-1]
    depth = len(writer.stack)
    if around.graph.is_stacked(function):
        writer.out.append(_push(writer, type_, arguments, depth, f"{function}u", offset))
    else:
        point = writer.new_point(call=True)
        writer.out.append(Call(point, _call_lines(writer, function, type_, arguments, depth)))
    _push_results(writer, type_, depth)


def lower_call_indirect(writer: Writer, around: Surroundings, operation: Operation) -> None:
    """Write a call of a function that a table names."""
    instruction = operation.instruction
    type_ = around.module.types[instruction.argument()]
    writer.flush_count()
    writer.line("saved = fuel;")
    index = writer.pop_named()
    element = table_element(writer, instruction.argument(1), index, instruction.offset)
    writer.check(f"({element.text} == 0u)", TrapKind.INDIRECT_CALL_TO_NULL, instruction.offset)
    targets = around.graph.indirect_targets(type_)
    _check_type(writer, element, targets, instruction.offset)
    writer.spill()
    arguments = [writer.pop() for _ in type_.params][::-1]
    depth = len(writer.stack)
    # The element outlives a stop in the callee, so its slot is beyond the results.
    beyond = depth + max(len(type_.params), len(type_.results))
    writer.to_slot(beyond, Expression(element.text, "u32"))
    chosen = writer.slot(beyond, "u32")
    stacked = [one for one in targets if one >= len(around.host) and around.graph.is_stacked(one)]
    plain = [one for one in targets if one not in stacked]
    choices: list[tuple[list[int], Statement | list[Statement]]] = []
    if stacked:
        pushed = _push(writer, type_, arguments, depth, f"({chosen} - 1u)", instruction.offset)
        choices.append((stacked, pushed))
    own = [one for one in plain if one >= len(around.host)]
    if own:
        point = writer.new_point(call=True)
        cases = {one + 1: _call_lines(writer, one, type_, arguments, depth) for one in own}
        choices.append((own, Call(point, tuple(choose(chosen, cases)))))
    for function in plain:
        if function < len(around.host):
            body = _host_body(writer, around, function, arguments, depth, instruction.offset)
            choices.append(([function], body))
    writer.out.extend(_chosen(writer, chosen, choices))
    _push_results(writer, type_, depth)


def _check_type(writer: Writer, element: Expression, targets: Sequence[int], offset: int) -> None:
    """Trap where an element is none of the functions of the wanted type."""
    ranges: list[list[int]] = []
    for one in targets:
        if ranges and ranges[-1][1] == one:
            ranges[-1][1] = one + 1
        else:
            ranges.append([one, one + 1])
    wrong = " && ".join(
        f"({element.text} - {first + 1}u >= {end - first}u)" for first, end in ranges
    )
    writer.check(f"({wrong or 'true'})", TrapKind.BAD_SIGNATURE, offset)


def _chosen(
    writer: Writer, chosen: str, choices: Sequence[tuple[list[int], Statement | list[Statement]]]
) -> list[Statement]:
    """Return the choices one after the other, each under its condition but the last."""
    rest: list[Statement] = [Fail(TrapKind.BAD_SIGNATURE, 0)]
    for at, (functions, choice) in enumerate(reversed(choices)):
        body = choice if isinstance(choice, list) else [choice]
        if at == 0:
            rest = body
            continue
        name = f"c{writer.lowered.flags}"
        writer.lowered.flags += 1
        condition = " || ".join(f"{chosen} == {one + 1}u" for one in functions)
        writer.line(f"{name} = {condition};")
        rest = [If(name, body, rest)]
    return rest


def _call_lines(
    writer: Writer,
    function: int,
    type_: FunctionType,
    arguments: Sequence[Expression],
    depth: int,
) -> tuple[str, ...]:
    """Return the statements that call a function in place and put its results into slots."""
    call = f"f{function}({', '.join(one.text for one in arguments)})"
    slots = [writer.slot(depth + at, one) for at, one in enumerate(type_.results)]
    if not slots:
        return (f"{call};",)
    if len(slots) == 1:
        return (f"{slots[0]} = {call};",)
    given = f"m{function}"
    assigned = tuple(f"{slot} = {given}.r{at};" for at, slot in enumerate(slots))
    return ("{", f"let {given} = {call};", *assigned, "}")


def _push(
    writer: Writer,
    type_: FunctionType,
    arguments: Sequence[Expression],
    depth: int,
    callee: str,
    offset: int,
) -> Suspend:
    slots = [writer.slot(depth + at, one) for at, one in enumerate(type_.results)]
    after: list[str] = []
    for at, (slot, result) in enumerate(zip(slots, type_.results, strict=True)):
        low, high = f"passed[{2 * at}]", f"passed[{2 * at + 1}]"
        wide = wgsl_type(result) == "vec2<u32>"
        after.append(f"{slot} = vec2<u32>({low}, {high});" if wide else f"{slot} = {low};")
    push = Push(tuple((one.text, one.type) for one in arguments), callee)
    return Suspend(writer.new_point(), push, tuple(after), offset)


def _push_results(writer: Writer, type_: FunctionType, depth: int) -> None:
    for at, result in enumerate(type_.results):
        writer.push(writer.slot_expression(depth + at, result))


# --- the swarm's own functions ---


def _host_body(
    writer: Writer,
    around: Surroundings,
    function: int,
    arguments: Sequence[Expression],
    depth: int,
    offset: int,
) -> list[Statement]:
    """Return the call of an imported function as one of several choices."""
    outer, writer.out = writer.out, []
    type_ = around.module.functions[function]
    writer.stack.extend(arguments)
    _call_host(writer, around, around.host[function], type_, offset)
    for at in range(len(type_.results)):
        writer.line(
            f"{writer.slot(depth + at, type_.results[at])} = {writer.stack[depth + at].text};"
        )
    del writer.stack[depth:]
    body, writer.out = writer.out, outer
    return body


def _call_host(
    writer: Writer, around: Surroundings, call: HostCall, type_: FunctionType, offset: int
) -> None:
    if call is HostCall.WAIT:
        writer.spill()
        writer.out.append(Suspend(writer.new_point(), None, (), offset))
        return
    arguments = [writer.pop_named() for _ in type_.params][::-1]
    if call is HostCall.NOTHING:
        for result in type_.results:
            writer.push(zero(result))
        return
    # A pointer and a length are the last two arguments of every call that has any.
    if arguments:
        pointer, length = arguments[-2:]
        fault = range_fault(around, pointer.text, length.text)
        writer.check(fault, TrapKind.MEMORY_OUT_OF_BOUNDS, offset)
    function = f"host_{call.import_name}"
    writer.lowered.support.add(function)
    text = f"{function}({', '.join(one.text for one in arguments)})"
    if not type_.results:
        writer.line(f"{text};")
    else:
        writer.push(writer.named(Expression(text, wgsl_type(type_.results[0]))))
