"""Lowers the typed tree of a function to statements of WGSL. Pure.

Instructions are counted as engine.py says, and added to the count before control flow, calls and
loops; a trap keeps the count of the last call, entry or return.
"""

from collections.abc import Sequence

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.engine import TrapKind
from stigmergy.wasm.gpu.expressions import Expression, WgslType, constant, wgsl_type, zero
from stigmergy.wasm.gpu.lower_calls import lower_call, lower_call_indirect
from stigmergy.wasm.gpu.lower_memory import lower_memory
from stigmergy.wasm.gpu.lower_numbers import lower_number
from stigmergy.wasm.gpu.lower_tables import lower_table
from stigmergy.wasm.gpu.lowered import (
    Block,
    Fail,
    Goto,
    If,
    Loop,
    Lowered,
    Statement,
    Switch,
    loop_end,
)
from stigmergy.wasm.gpu.surroundings import Surroundings
from stigmergy.wasm.gpu.tree import Construct, Jump, Label, Node, Operation, Tree
from stigmergy.wasm.gpu.writer import Writer

__all__ = ["lower"]

_FREE = frozenset({"nop", "drop", "unreachable", "return"})
_FEW_CASES = 3
_MOST_POINTS = 0x7FFF


def lower(tree: Tree, around: Surroundings) -> Lowered:
    """Lower a function.

    Raises:
        UnsupportedError: It has something that cannot be said in WGSL.
    """
    variables: dict[str, WgslType] = {
        f"l{at}": wgsl_type(type_) for at, type_ in enumerate(tree.locals)
    }
    lowered = Lowered(tree.function, tree.type, variables)
    _Lowering(tree, around, Writer(lowered)).function()
    if lowered.points > _MOST_POINTS:
        message = f"function {tree.function} has more than {_MOST_POINTS} loops and calls"
        raise UnsupportedError(message)
    return lowered


class _Lowering:
    """Walks one tree."""

    def __init__(self, tree: Tree, around: Surroundings, writer: Writer) -> None:
        self._tree = tree
        self._around = around
        self._writer = writer

    def function(self) -> None:
        root, own = self._tree.root, range(len(self._tree.type.params), len(self._tree.locals))
        self._writer.known = {f"l{at}": 0 for at in own}
        self._nodes(root.body)
        if root.body_ends:
            self._writer.flush_count()
            self._writer.move(self._targets(root.label))

    def _nodes(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            match node:
                case Operation():
                    self._writer.spend(0 if node.name in _FREE else 1)
                    self._operation(node)
                case Jump():
                    self._writer.spend(0 if node.name in _FREE else 1)
                    self._jump(node)
                case Construct():
                    self._construct(node)

    # --- constructs ---

    def _construct(self, construct: Construct) -> None:
        writer, label = self._writer, construct.label
        condition = None
        if label.kind == "if":
            writer.spend(1)
            condition = self._condition_of_if(construct)
        if label.kind in ("if", "loop"):
            writer.flush_count()
        if construct.stops:
            writer.spill()
        else:
            writer.settle()
        changed = {f"l{local}" for local in construct.assigned}
        known = {name: value for name, value in writer.known.items() if name not in changed}
        match label.kind:
            case "loop":
                self._loop(construct)
            case "if":
                assert condition is not None
                self._if(construct, condition)
            case _:
                self._block(construct)
        writer.known = known
        del writer.stack[label.height :]
        for at, type_ in enumerate(label.results):
            writer.push(writer.slot_expression(label.height + at, type_))

    def _condition_of_if(self, construct: Construct) -> Expression:
        """Take the condition; one that a stop inside would lose gets a variable."""
        writer = self._writer
        condition = writer.pop_condition()
        if not construct.stops:
            return writer.named(condition)
        name = f"c{writer.lowered.flags}"
        writer.lowered.flags += 1
        writer.line(f"{name} = {condition.text};")
        return Expression(name, "bool")

    def _block(self, construct: Construct) -> None:
        body = self._body(construct, construct.body, ends=construct.body_ends)
        if construct.label.targeted:
            self._writer.out.append(Block(construct.label.number, body))
        else:
            self._writer.out.extend(body)

    def _loop(self, construct: Construct) -> None:
        writer, label = self._writer, construct.label
        for at in range(label.height, label.height + len(label.params)):
            writer.to_slot(at, writer.stack[at].number)
        point = writer.new_point()
        writer.known = {}
        body = self._body(construct, construct.body, ends=construct.body_ends)
        if construct.body_ends:
            body.append(Goto(loop_end(label.number)))
        writer.out.append(Loop(label.number, body, point, writer.lowered.points))

    def _if(self, construct: Construct, condition: Expression) -> None:
        label = construct.label
        stack, known = list(self._writer.stack), dict(self._writer.known)
        then = self._body(construct, construct.body, ends=construct.body_ends)
        self._writer.stack[:], self._writer.known = stack, known
        otherwise = self._body(construct, construct.otherwise, ends=construct.otherwise_ends)
        statement = If(condition.text, then, otherwise)
        self._writer.out.append(Block(label.number, [statement]) if label.targeted else statement)

    def _body(self, construct: Construct, nodes: Sequence[Node], *, ends: bool) -> list[Statement]:
        """Lower one body of a construct apart; its results go to their slots."""
        writer = self._writer
        outer, writer.out = writer.out, []
        self._nodes(nodes)
        if ends:
            writer.flush_count()
            writer.move(self._results(construct.label))
        body, writer.out = writer.out, outer
        return body

    def _results(self, label: Label) -> list[str]:
        return [
            self._writer.slot(label.height + at, type_) for at, type_ in enumerate(label.results)
        ]

    # --- branches ---

    def _targets(self, label: Label) -> list[str]:
        """Return the variables that what a branch carries is moved to."""
        if label.kind == "function":
            return [f"r{at}" for at in range(len(label.results))]
        return [
            self._writer.slot(label.height + at, type_) for at, type_ in enumerate(label.carried)
        ]

    def _jump(self, jump: Jump) -> None:
        writer = self._writer
        match jump.name:
            case "br_if":
                condition = writer.pop_condition()
                writer.flush_count()
                writer.out.append(If(condition.text, self._branch(jump.labels[0]), []))
            case "br_table":
                selector = writer.pop_named()
                writer.flush_count()
                self._branch_by_table(selector.text, jump.labels)
            case _:
                writer.flush_count()
                writer.out.extend(self._branch(jump.labels[0]))

    def _branch(self, label: Label) -> list[Statement]:
        writer = self._writer
        outer, writer.out = writer.out, []
        writer.move(self._targets(label))
        writer.out.append(Goto(label.number))
        body, writer.out = writer.out, outer
        return body

    def _branch_by_table(self, selector: str, labels: Sequence[Label]) -> None:
        default = labels[-1]
        values: dict[int, list[int]] = {}
        by_number = {label.number: label for label in labels}
        for value, label in enumerate(labels[:-1]):
            if label is not default:
                values.setdefault(label.number, []).append(value)
        out = self._writer.out
        if len(values) <= _FEW_CASES and all(len(some) <= _FEW_CASES for some in values.values()):
            for number, some in values.items():
                condition = " || ".join(f"{selector} == {value}u" for value in some)
                out.append(If(f"({condition})", self._branch(by_number[number]), []))
            out.extend(self._branch(default))
            return
        cases = [(tuple(some), self._branch(by_number[number])) for number, some in values.items()]
        out.append(Switch(selector, cases, self._branch(default)))

    # --- operations ---

    def _operation(self, operation: Operation) -> None:
        writer, instruction = self._writer, operation.instruction
        match operation.name:
            case "nop":
                pass
            case "unreachable":
                writer.save_count()
                writer.out.append(Fail(TrapKind.UNREACHABLE, instruction.offset))
            case "drop":
                writer.stack.pop()
            case "select" | "select_t":
                self._select()
            case "local.get" | "local.set" | "local.tee":
                self._local(operation)
            case "global.get" | "global.set":
                self._global(operation)
            case "call":
                lower_call(writer, self._around, operation)
            case "call_indirect":
                lower_call_indirect(writer, self._around, operation)
            case "ref.null":
                writer.push(zero("funcref"))
            case "ref.func":
                writer.push(constant(instruction.argument() + 1, "funcref"))
            case "ref.is_null":
                self._writer.push(Expression(f"({writer.pop_named().text} == 0u)", "bool"))
            case name if name.startswith(("memory.", "data.")) or ".load" in name:
                lower_memory(writer, self._around, operation)
            case name if ".store" in name:
                lower_memory(writer, self._around, operation)
            case name if name.startswith(("table.", "elem.")):
                lower_table(writer, self._around, operation)
            case _:
                lower_number(writer, operation)

    def _select(self) -> None:
        writer = self._writer
        condition = writer.pop_condition()
        second, first = writer.pop(), writer.pop()
        text = f"select({second.text}, {first.text}, {condition.text})"
        reads = condition.reads | first.reads | second.reads
        writer.push(Expression(text, first.type, reads))

    def _local(self, operation: Operation) -> None:
        writer = self._writer
        name = f"l{operation.instruction.argument()}"
        if operation.name != "local.get":
            value = writer.pop()
            writer.before_assigning(name)
            if value.text != name:
                writer.line(f"{name} = {value.text};")
            writer.known.pop(name, None)
            if value.constant and value.type == "u32":
                writer.known[name] = int(value.text[:-1])
        if operation.name != "local.set":
            type_ = wgsl_type(operation.outputs[0])
            writer.push(Expression(name, type_, frozenset((name,))))

    def _global(self, operation: Operation) -> None:
        writer, index = self._writer, operation.instruction.argument()
        if operation.name == "global.get":
            known = self._around.constants.get(index)
            if known is not None:
                writer.push(known)
                return
        name = f"g{index}"
        writer.lowered.globals.add(index)
        if operation.name == "global.get":
            writer.push(Expression(name, wgsl_type(operation.outputs[0]), frozenset((name,))))
            return
        value = writer.pop()
        writer.before_assigning(name)
        writer.line(f"{name} = {value.text};")
