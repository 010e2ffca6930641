"""A function's body while it is written: its instructions, labels, locals and what it may cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from stigmergy.testing.wasm.choices import Choices
from stigmergy.testing.wasm.plan import ModulePlan, constant
from stigmergy.testing.wasm.spec import op
from stigmergy.wasm.module.instructions import Instruction
from stigmergy.wasm.module.model import FunctionType, ValueType

__all__ = ["Body", "Label"]

_FREE = frozenset({"nop", "drop", "block", "loop", "else", "end", "return", "unreachable"})


@dataclass(frozen=True, slots=True)
class Label:
    """What a branch can go to: the values that it takes, and the counter of a loop."""

    types: tuple[ValueType, ...]
    counter: int | None = None
    """The local that bounds how often the loop is begun anew; None: the label is an end."""


class Body:
    """Instructions so far. `cost` is the most that running them may count."""

    def __init__(
        self, plan: ModulePlan, choices: Choices, function: int, costs: Sequence[int], limit: int
    ) -> None:
        self.plan = plan
        self.choices = choices
        self.function = function
        self.costs = costs
        """What each function before this one may cost, by its index among all."""
        self.type: FunctionType = plan.type_of(function)
        self.instructions: list[Instruction] = []
        self.local_types: list[ValueType] = list(self.type.params)
        self.counters: set[int] = set()
        """Locals that bound loops: only their loops write to them."""
        self.labels: list[Label] = [Label(self.type.results)]
        self.cost: int = 1
        self.limit = limit
        self.multiplier: int = 1
        self.size_limit = plan.features.size // 2 + choices.below(plan.features.size)
        self._spare: dict[ValueType, int] = {}

    @property
    def exhausted(self) -> bool:
        """Whether what follows must be short."""
        return self.cost >= self.limit or len(self.instructions) >= self.size_limit

    def emit(self, name: str, *arguments: object) -> None:
        """Append an instruction."""
        self.instructions.append(op(name, *arguments))
        if name not in _FREE:
            self.cost += self.multiplier

    def constant(self, type_: ValueType, value: int) -> None:
        """Append a constant, given as a number or as bits."""
        width = 64 if type_ in ("i64", "f64") else 32
        one = constant(type_, value & ((1 << width) - 1))
        self.emit(one.name, *one.arguments)

    def readable(self, type_: ValueType) -> list[int]:
        """Return the locals of a type."""
        return [at for at, one in enumerate(self.local_types) if one == type_]

    def writable(self, type_: ValueType) -> list[int]:
        """Return the locals of a type that anything may write to."""
        return [at for at in self.readable(type_) if at not in self.counters]

    def new_local(self, type_: ValueType) -> int:
        """Add a local."""
        self.local_types.append(type_)
        return len(self.local_types) - 1

    def target(self, type_: ValueType) -> int:
        """Return a local of a type that may be written to, a new one if there is none."""
        found = self.writable(type_)
        if not found or (len(found) < 3 and self.choices.chance(25)):
            return self.new_local(type_)
        return self.choices.pick(found)

    def block_type(
        self, params: Sequence[ValueType], results: Sequence[ValueType]
    ) -> int | ValueType | None:
        """Return what stands behind a block's code; at times an index where a type would do."""
        if not params and len(results) < 2 and not self.choices.chance(10):
            return results[0] if results else None
        return self.plan.type_index(FunctionType(tuple(params), tuple(results)))

    def is_careless(self) -> bool:
        """Choose whether the next instruction that can trap is written without care."""
        return self.choices.chance(self.plan.danger)
