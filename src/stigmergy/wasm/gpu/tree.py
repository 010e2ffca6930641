"""The typed tree of a function: its instructions by the construct that they stand in. Values only.

Dead code is gone, so every node can be reached, and the height and the types of the operand stack
are known everywhere.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from stigmergy.wasm.module.instructions import Instruction
from stigmergy.wasm.module.model import FunctionType, ValueType

__all__ = ["Construct", "Jump", "Label", "Node", "Operation", "Tree", "show_tree"]


@dataclass(slots=True)
class Label:
    """Where branches go: back to the head of a loop, else to the end of the construct."""

    number: int
    """Counts constructs from the outside; the function's own label is 0."""
    kind: Literal["function", "block", "loop", "if"]
    height: int
    """The operand stack below the construct's parameters."""
    params: tuple[ValueType, ...]
    results: tuple[ValueType, ...]
    targeted: bool = False
    """Whether any branch goes there."""

    @property
    def carried(self) -> tuple[ValueType, ...]:
        """The types that a branch brings along."""
        return self.params if self.kind == "loop" else self.results


@dataclass(frozen=True, slots=True)
class Operation:
    """An instruction that goes on to the next one, or traps."""

    instruction: Instruction
    inputs: tuple[ValueType, ...]
    outputs: tuple[ValueType, ...]

    @property
    def name(self) -> str:
        """The instruction's name."""
        return self.instruction.name


@dataclass(frozen=True, slots=True)
class Jump:
    """`br`, `br_if`, `br_table` (the default last), or `return`, with its labels."""

    instruction: Instruction
    labels: tuple[Label, ...]

    @property
    def name(self) -> str:
        """The instruction's name."""
        return self.instruction.name


@dataclass(slots=True)
class Construct:
    """A block, loop or if, or the whole function. `otherwise` is an if's else."""

    label: Label
    body: list["Node"] = field(default_factory=list["Node"])
    otherwise: list["Node"] = field(default_factory=list["Node"])
    body_ends: bool = True
    """Whether the end of the body can be reached."""
    otherwise_ends: bool = True
    stops: bool = False
    """Whether an agent can stop inside: there is a loop, a call or a wait."""
    assigned: set[int] = field(default_factory=set[int])
    """The locals that are set inside."""

    @property
    def goes_on(self) -> bool:
        """Whether what follows can be reached."""
        if self.label.kind == "loop":
            return self.body_ends
        other = self.label.kind == "if" and self.otherwise_ends
        return self.body_ends or other or self.label.targeted


Node: TypeAlias = Operation | Jump | Construct


@dataclass(frozen=True, slots=True)
class Tree:
    """A function: its type, its own locals, and its body."""

    function: int
    type: FunctionType
    locals: tuple[ValueType, ...]
    """Of the parameters too."""
    root: Construct
    labels: int
    """How many labels there are."""


def show_tree(tree: Tree) -> str:
    """Return a tree as text for people, one instruction a line."""
    lines = [f"function {tree.function} {tree.type} locals {' '.join(tree.locals) or 'none'}"]
    _show(tree.root.body, lines, "  ")
    return "\n".join(lines) + "\n"


def _show(nodes: list[Node], lines: list[str], indent: str) -> None:
    for node in nodes:
        match node:
            case Operation():
                types = f"({' '.join(node.inputs)}) -> ({' '.join(node.outputs)})"
                lines.append(f"{indent}{node.instruction}  {types}")
            case Jump():
                labels = " ".join(f"@{label.number}" for label in node.labels)
                lines.append(f"{indent}{node.name} {labels}".rstrip())
            case Construct():
                label = node.label
                types = f"({' '.join(label.params)}) -> ({' '.join(label.results)})"
                lines.append(f"{indent}{label.kind} @{label.number} {types}")
                _show(node.body, lines, indent + "  ")
                if node.otherwise:
                    lines.append(f"{indent}else")
                    _show(node.otherwise, lines, indent + "  ")
