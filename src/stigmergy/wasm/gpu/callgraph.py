"""Which functions call which, and which of them must go through the call stack. Pure.

WGSL has no recursion. A function from which a cycle of calls can be reached is *stacked*: it is
called only by the shader's main loop, and calls other stacked functions by pushing a frame. All
others are plain functions that are called in place.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from stigmergy.wasm.gpu.structure import build_tree
from stigmergy.wasm.gpu.tree import Construct, Jump, Node, Operation, Tree
from stigmergy.wasm.module.instructions import Instruction
from stigmergy.wasm.module.model import FunctionType, Module

__all__ = ["CallGraph", "operations"]


def operations(nodes: Sequence[Node]) -> Iterator[Operation]:
    """Yield the operations of a tree in order."""
    for node in nodes:
        match node:
            case Operation():
                yield node
            case Construct():
                yield from operations(node.body)
                yield from operations(node.otherwise)
            case Jump():
                pass


class CallGraph:
    """The trees and calls of a module's functions, each made when first asked for."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self._imported = len(module.imported_functions)
        self._trees: dict[int, Tree] = {}
        self._callees: dict[int, tuple[int, ...]] = {}
        self._stacked: dict[int, bool] = {}

    def tree(self, function: int) -> Tree:
        """Return the typed tree of a function of the module's own.

        Raises:
            UnsupportedError: It cannot be decoded, or has values that are not supported.
        """
        if function not in self._trees:
            self._trees[function] = build_tree(self.module, function)
        return self._trees[function]

    def indirect_targets(self, type_: FunctionType) -> tuple[int, ...]:
        """Return the functions that a call through a table may reach, imported ones too."""
        return self._by_type.get(type_, ())

    def callees(self, function: int) -> tuple[int, ...]:
        """Return the functions of the module's own that a function may call."""
        if function not in self._callees:
            found: set[int] = set()
            for one in operations(self.tree(function).root.body):
                if one.name == "call":
                    found.add(one.instruction.argument())
                elif one.name == "call_indirect":
                    found |= set(
                        self.indirect_targets(self.module.types[one.instruction.argument()])
                    )
            self._callees[function] = tuple(sorted(one for one in found if one >= self._imported))
        return self._callees[function]

    def reachable(self, entries: Iterable[int]) -> tuple[int, ...]:
        """Return the functions of the module's own that these may call, and themselves, sorted."""
        found: set[int] = set()
        waiting = [one for one in entries if one >= self._imported]
        while waiting:
            function = waiting.pop()
            if function not in found:
                found.add(function)
                waiting.extend(self.callees(function))
        return tuple(sorted(found))

    def is_stacked(self, function: int) -> bool:
        """Whether a cycle of calls can be reached from a function.

        It depends on what the function reaches only, so it is the same in every shader.
        """
        if function not in self._stacked:
            self._mark(self.reachable([function]))
        return self._stacked.get(function, False)

    def _mark(self, functions: tuple[int, ...]) -> None:
        """Settle functions of which all callees are among them."""
        # What is left when functions whose callees are all settled as plain are taken away.
        callers: dict[int, list[int]] = {one: [] for one in functions}
        open_callees: dict[int, int] = {}
        for one in functions:
            open_callees[one] = len(self.callees(one))
            for callee in self.callees(one):
                callers[callee].append(one)
        plain = [one for one in functions if not open_callees[one]]
        for one in plain:
            for caller in callers[one]:
                open_callees[caller] -= 1
                if not open_callees[caller]:
                    plain.append(caller)
        settled = set(plain)
        self._stacked.update({one: one not in settled for one in functions})

    @cached_property
    def _by_type(self) -> dict[FunctionType, tuple[int, ...]]:
        module = self.module
        found: set[int] = set()
        constant: list[Instruction] = []
        for element in module.elements:
            constant.extend(instruction for item in element.items for instruction in item)
        for one in module.globals:
            constant.extend(one.start)
        if module.all_tables and any(
            b"\xd2" in module.wasm[one.start : one.end] for one in module.code
        ):
            for function in range(self._imported, len(module.functions)):
                constant.extend(
                    one.instruction for one in operations(self.tree(function).root.body)
                )
        found |= {one.argument() for one in constant if one.name == "ref.func"}
        by_type: dict[FunctionType, list[int]] = {}
        for function in sorted(found):
            by_type.setdefault(module.functions[function], []).append(function)
        return {type_: tuple(found) for type_, found in by_type.items()}
