"""Which functions call which, and which of them must go through the call stack. Pure.

WGSL has no recursion. A function from which a cycle of calls can be reached is *stacked*: it is
called only by the shader's main loop, and calls other stacked functions by pushing a frame. All
others are plain functions that are called in place.

Drivers copy a plain function to every place that calls it. So one that is large with all copies in
it, and what calls it, is stacked too.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.gpu.structure import build_tree
from stigmergy.wasm.gpu.tree import Construct, Jump, Node, Operation, Tree
from stigmergy.wasm.module.instructions import Instruction
from stigmergy.wasm.module.model import FunctionType, Module

__all__ = ["CallGraph", "operations"]

_MOST_INSTRUCTIONS = 600
_MOST_DEPTH = 20
"""Of a plain function, those of its callees counted for each call."""


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


def _extent(nodes: Sequence[Node]) -> tuple[int, int]:
    """Return how many instructions there are, and how deeply their constructs are nested."""
    weight, depth = 0, 0
    for node in nodes:
        weight += 1
        if isinstance(node, Construct):
            for body in (node.body, node.otherwise):
                inner_weight, inner_depth = _extent(body)
                weight += inner_weight
                depth = max(depth, inner_depth + 1)
    return weight, depth


class CallGraph:
    """The trees and calls of a module's functions, each made when first asked for."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self._imported = len(module.imported_functions)
        self._trees: dict[int, Tree] = {}
        self._callees: dict[int, tuple[int, ...]] = {}
        self._settled: set[int] = set()
        self._recursive: set[int] = set()
        self._stacked: set[int] = set()
        self._sizes: dict[int, tuple[int, int]] = {}

    def tree(self, function: int) -> Tree:
        """Return the typed tree of a function of the module's own.

        Raises:
            UnsupportedError: It cannot be decoded, or has values that are not supported.
        """
        if function not in self._trees:
            self._trees[function] = build_tree(self.module, function)
        return self._trees[function]

    def instructions(self, function: int) -> int:
        """Return how many instructions of a function can be reached."""
        return _extent(self.tree(function).root.body)[0]

    def indirect_targets(self, type_: FunctionType) -> tuple[int, ...]:
        """Return the functions that a call through a table may reach, imported ones too."""
        return self._by_type.get(type_, ())

    def callees(self, function: int) -> tuple[int, ...]:
        """Return the functions of the module's own that a function may call."""
        if function not in self._callees:
            self._callees[function] = tuple(sorted(self._calls(function)))
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

    def usable(
        self, functions: Iterable[int], make: Callable[[int], object]
    ) -> tuple[tuple[int, ...], UnsupportedError | None]:
        """Return those from which only functions are reached that can be made, and why not all.

        `functions` are all that may be reached from one of them.
        """
        reason: UnsupportedError | None = None
        callers: dict[int, list[int]] = {}
        refused: set[int] = set()
        every = tuple(functions)
        for one in every:
            try:
                make(one)
                for callee in self.callees(one):
                    callers.setdefault(callee, []).append(one)
            except UnsupportedError as error:
                reason = reason or error
                refused.add(one)
        waiting = list(refused)
        while waiting:
            for caller in callers.get(waiting.pop(), ()):
                if caller not in refused:
                    refused.add(caller)
                    waiting.append(caller)
        return tuple(one for one in every if one not in refused), reason

    def is_recursive(self, function: int) -> bool:
        """Whether a cycle of calls can be reached from a function."""
        self._settle(function)
        return function in self._recursive

    def is_stacked(self, function: int) -> bool:
        """Whether a function is called through the call stack only.

        It depends on what the function reaches only, so it is the same in every shader.
        """
        self._settle(function)
        return function in self._stacked

    def _settle(self, function: int) -> None:
        if function in self._settled:
            return
        functions = self._unsettled(function)
        # What is left when functions whose callees are all taken away are taken away, is recursive.
        callers: dict[int, list[int]] = {one: [] for one in functions}
        waiting: dict[int, int] = {}
        for one in functions:
            waiting[one] = 0
            for callee in self.callees(one):
                if callee in callers:
                    callers[callee].append(one)
                # One that is settled as recursive is never taken away.
                waiting[one] += callee in callers or callee in self._recursive
        self._settled.update(functions)
        order = [one for one in functions if not waiting[one]]
        for one in order:
            for caller in callers[one]:
                waiting[caller] -= 1
                if not waiting[caller]:
                    order.append(caller)
        self._recursive.update(set(functions) - set(order))
        self._stacked.update(set(functions) - set(order))
        for one in order:
            self._weigh(one)

    def _unsettled(self, function: int) -> tuple[int, ...]:
        """Return those of the functions that it may call that are not decided about, sorted."""
        found: set[int] = set()
        waiting = [function]
        while waiting:
            one = waiting.pop()
            if one not in found and one not in self._settled:
                found.add(one)
                waiting.extend(self.callees(one))
        return tuple(sorted(found))

    def _weigh(self, function: int) -> None:
        """Decide about a function whose callees are decided about."""
        if function in self._sizes:
            return
        weight, own_depth = _extent(self.tree(function).root.body)
        depth = own_depth
        for callee, places in self._calls(function).items():
            if callee in self._stacked:
                self._stacked.add(function)
            else:
                inner_weight, inner_depth = self._sizes[callee]
                weight += places * inner_weight
                depth = max(depth, own_depth + inner_depth)
        self._sizes[function] = (weight, depth)
        if weight > _MOST_INSTRUCTIONS or depth > _MOST_DEPTH:
            self._stacked.add(function)

    def places(self, function: int) -> int:
        """Return how many calls of functions of the module's own its code must hold.

        A call through a table is one of each function that the table may name.
        """
        return sum(self._calls(function).values())

    def _calls(self, function: int) -> Counter[int]:
        """Return the callees of a function, and how many places call each."""
        found: Counter[int] = Counter()
        through_tables: Counter[FunctionType] = Counter()
        for one in operations(self.tree(function).root.body):
            if one.name == "call":
                found[one.instruction.argument()] += 1
            elif one.name == "call_indirect":
                through_tables[self.module.types[one.instruction.argument()]] += 1
        for type_, places in through_tables.items():
            for target in self.indirect_targets(type_):
                found[target] += places
        return Counter({one: times for one, times in found.items() if one >= self._imported})

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
                try:
                    nodes = self.tree(function).root.body
                except UnsupportedError:
                    continue  # it never runs here, so its references come into no table
                constant.extend(one.instruction for one in operations(nodes))
        found |= {one.argument() for one in constant if one.name == "ref.func"}
        by_type: dict[FunctionType, list[int]] = {}
        for function in sorted(found):
            by_type.setdefault(module.functions[function], []).append(function)
        return {type_: tuple(found) for type_, found in by_type.items()}
