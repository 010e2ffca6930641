"""Makes a typed tree of a function's flat instructions, without what cannot be reached. Pure.

The module is valid: stack types are followed, not judged.
"""

from collections.abc import Iterator
from typing import cast

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.gpu.signatures import numeric_type
from stigmergy.wasm.gpu.tree import Construct, Jump, Label, Node, Operation, Tree
from stigmergy.wasm.module.instructions import Instruction
from stigmergy.wasm.module.model import FunctionType, Module, ValueType

__all__ = ["build_tree"]

_OPENING = frozenset({"block", "loop", "if"})
_COUNTING_LENGTHS = frozenset(
    [
        "memory.grow",
        "memory.fill",
        "memory.copy",
        "memory.init",
        "table.grow",
        "table.fill",
        "table.copy",
        "table.init",
    ]
)
_MOST_NESTED = 100
_NEVER_ON = frozenset({"br", "br_table", "return", "unreachable"})


def build_tree(module: Module, function: int) -> Tree:
    """Decode a function's body and give it its structure.

    Raises:
        UnsupportedError: It has an instruction that is not decoded, v128 values, or too many
            blocks inside each other.
    """
    body = module.body(function)
    type_ = module.functions[function]
    local_types = type_.params + body.locals
    if "v128" in (*local_types, *type_.results):
        message = f"function {function} uses vectors (SIMD): values of v128"
        raise UnsupportedError(message)
    builder = _Builder(module, local_types, iter(body.instructions))
    root = Construct(Label(0, "function", 0, (), type_.results))
    builder.fill(root)
    return Tree(function, type_, local_types, root, builder.labels)


class _Builder:
    """Reads instructions once; the stack holds the types of the operands."""

    def __init__(
        self,
        module: Module,
        local_types: tuple[ValueType, ...],
        instructions: Iterator[Instruction],
    ) -> None:
        self._module = module
        self._locals = local_types
        self._instructions = instructions
        self._stack: list[ValueType] = []
        self._open: list[Construct] = []
        self.labels = 0

    def fill(self, construct: Construct) -> None:
        """Read a construct's instructions up to its end."""
        self.labels += 1
        self._open.append(construct)
        closing, construct.body_ends = self._read(construct.body)
        label = construct.label
        if closing == "else":
            del self._stack[label.height :]
            self._stack.extend(label.params)
            _, construct.otherwise_ends = self._read(construct.otherwise)
        self._open.pop()
        del self._stack[label.height :]
        self._stack.extend(label.results)
        for outer in self._open[-1:]:
            outer.stops |= construct.stops
            outer.assigned |= construct.assigned

    def _read(self, nodes: list[Node]) -> tuple[str, bool]:
        """Read nodes up to an `else` or `end`; return it, and whether it can be reached."""
        for instruction in self._instructions:
            name = instruction.name
            if name in ("end", "else"):
                return name, True
            if name in _OPENING:
                construct = self._construct(instruction)
                self.fill(construct)
                nodes.append(construct)
                if not construct.goes_on:
                    return self._skip(), False
                continue
            nodes.append(self._node(instruction))
            if name in _NEVER_ON:
                return self._skip(), False
        raise AssertionError("a body without an end was not decoded")

    def _skip(self) -> str:
        """Pass over dead code to the end or else that closes it."""
        depth = 0
        for instruction in self._instructions:
            if instruction.name in _OPENING:
                depth += 1
            elif instruction.name == "end" and depth:
                depth -= 1
            elif instruction.name in ("end", "else") and not depth:
                return instruction.name
        raise AssertionError("a body without an end was not decoded")

    def _construct(self, instruction: Instruction) -> Construct:
        if len(self._open) > _MOST_NESTED:
            message = f"it nests more than {_MOST_NESTED} blocks (at byte {instruction.offset})"
            raise UnsupportedError(message)
        kind = instruction.name
        assert kind in ("block", "loop", "if")
        type_ = self._block_type(instruction.arguments[0])
        if kind == "if":
            self._stack.pop()
        height = len(self._stack) - len(type_.params)
        label = Label(self.labels, kind, height, type_.params, type_.results)
        return Construct(label, stops=kind == "loop")

    def _block_type(self, immediate: object) -> FunctionType:
        if immediate is None:
            return FunctionType((), ())
        if isinstance(immediate, int):
            return self._module.types[immediate]
        assert isinstance(immediate, str)
        return FunctionType((), (immediate,))  # pyright: ignore[reportArgumentType] - a value type

    def _node(self, instruction: Instruction) -> Node:
        if instruction.name in ("br", "br_if", "br_table", "return"):
            return self._jump(instruction)
        type_ = self._type_of(instruction)
        if type_.params:
            del self._stack[-len(type_.params) :]
        self._stack.extend(type_.results)
        if instruction.name in _COUNTING_LENGTHS:
            self._open[-1].stops = True
        if instruction.name in ("local.set", "local.tee"):
            self._open[-1].assigned.add(instruction.argument())
        return Operation(instruction, type_.params, type_.results)

    def _jump(self, instruction: Instruction) -> Jump:
        depths = [] if instruction.name == "return" else list(instruction.arguments)
        labels: list[Label] = []
        for depth in depths:
            assert isinstance(depth, int)
            labels.append(self._open[-1 - depth].label)
        if instruction.name == "return":
            labels = [self._open[0].label]
        if instruction.name in ("br_if", "br_table"):
            self._stack.pop()
        for label in labels:
            label.targeted = True
        return Jump(instruction, tuple(labels))

    def _type_of(self, instruction: Instruction) -> FunctionType:
        module, stack = self._module, self._stack
        match instruction.name:
            case "nop" | "unreachable" | "data.drop" | "elem.drop":
                return FunctionType((), ())
            case "drop":
                return FunctionType((stack[-1],), ())
            case "select" | "select_t":
                return FunctionType((stack[-2], stack[-2], "i32"), (stack[-2],))
            case "call":
                self._open[-1].stops = True
                return module.functions[instruction.argument()]
            case "call_indirect":
                self._open[-1].stops = True
                type_ = module.types[instruction.argument()]
                return FunctionType((*type_.params, "i32"), type_.results)
            case "local.get":
                return FunctionType((), (self._locals[instruction.argument()],))
            case "local.set":
                return FunctionType((self._locals[instruction.argument()],), ())
            case "local.tee":
                type_ = self._locals[instruction.argument()]
                return FunctionType((type_,), (type_,))
            case "global.get":
                return FunctionType((), (module.all_globals[instruction.argument()].value,))
            case "global.set":
                return FunctionType((module.all_globals[instruction.argument()].value,), ())
            case "ref.null":
                return FunctionType((), (cast("ValueType", instruction.arguments[0]),))
            case "ref.func":
                return FunctionType((), ("funcref",))
            case "ref.is_null":
                return FunctionType((stack[-1],), ("i32",))
            case "memory.size":
                return FunctionType((), ("i32",))
            case "memory.grow":
                return FunctionType(("i32",), ("i32",))
            case "memory.fill" | "memory.copy" | "memory.init" | "table.copy" | "table.init":
                return FunctionType(("i32", "i32", "i32"), ())
            case name if name.startswith("table."):
                return self._type_of_table(name, instruction)
            case name:
                return numeric_type(name)

    def _type_of_table(self, name: str, instruction: Instruction) -> FunctionType:
        element = self._module.all_tables[instruction.argument()].element
        match name:
            case "table.get":
                return FunctionType(("i32",), (element,))
            case "table.set":
                return FunctionType(("i32", element), ())
            case "table.size":
                return FunctionType((), ("i32",))
            case "table.grow":
                return FunctionType((element, "i32"), ("i32",))
            case _:  # table.fill
                return FunctionType(("i32", element, "i32"), ())
