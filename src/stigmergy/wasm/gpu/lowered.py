"""The lowered form of a function: statements of WGSL, their control flow and where they stop.

An agent can stop at a *point*. Points are numbered from 1 in the order of the text, so those inside
a statement are a range; a function that goes on after a stop skips every statement whose range does
not hold its point. Values only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from stigmergy.wasm.engine import TrapKind
from stigmergy.wasm.gpu.expressions import WgslType
from stigmergy.wasm.module.model import FunctionType

__all__ = [
    "ENTRY_POINT",
    "LEAVE",
    "Block",
    "Call",
    "Check",
    "Fail",
    "Goto",
    "If",
    "LeftAtHead",
    "Line",
    "Loop",
    "Lowered",
    "Pause",
    "Push",
    "Statement",
    "Suspend",
    "Switch",
    "condition_at_end",
    "is_flat",
    "left_at_head",
    "loop_end",
    "points_of",
    "show_lowered",
]

ENTRY_POINT = 1
LEAVE = -1
"""The label of the function's end for an agent that stops or traps."""


def loop_end(label: int) -> int:
    """Return the label behind a loop, whose own label is its head."""
    return -2 - label


@dataclass(frozen=True, slots=True)
class Line:
    """One statement of WGSL without control flow."""

    text: str


@dataclass(frozen=True, slots=True)
class Check:
    """A trap if the condition holds. `kind` may be an expression that gives a TrapKind."""

    condition: str
    kind: TrapKind | str
    offset: int


@dataclass(frozen=True, slots=True)
class Fail:
    """A trap."""

    kind: TrapKind
    offset: int


@dataclass(frozen=True, slots=True)
class Goto:
    """A branch; what it carries was moved before."""

    label: int


@dataclass(frozen=True, slots=True)
class Block:
    """Statements with a label at their end."""

    label: int
    body: "list[Statement]"


@dataclass(frozen=True, slots=True)
class Loop:
    """Statements with a label at their head, where an agent can stop; their end goes there too."""

    label: int
    body: "list[Statement]"
    point: int
    last_point: int


@dataclass(frozen=True, slots=True)
class LeftAtHead:
    """A loop begins by counting, and goes to a label on a condition."""

    counting: Line
    condition: str
    label: int


@dataclass(frozen=True, slots=True)
class If:
    """One of two bodies."""

    condition: str
    then: "list[Statement]"
    otherwise: "list[Statement]"


@dataclass(frozen=True, slots=True)
class Switch:
    """One of many bodies, none of which goes on behind it; the last is for all other values."""

    selector: str
    cases: "list[tuple[tuple[int, ...], list[Statement]]]"
    default: "list[Statement]"


@dataclass(frozen=True, slots=True)
class Call:
    """A call within the shader; when the callee stops, so does the caller, at this point."""

    point: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Push:
    """The frame of a callee that is put on the call stack when the caller has put its own."""

    arguments: tuple[tuple[str, WgslType], ...]
    callee: str
    """An expression: the function's index."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """A stop that the function itself asks for: a call through the call stack, or `wait`.

    `push` None is a wait. `after` runs when the function goes on.
    """

    point: int
    push: Push | None
    after: tuple[str, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Pause:
    """A place where an agent stops that has reached its target, if the condition holds."""

    point: int
    condition: str


Statement: TypeAlias = (
    Line | Check | Fail | Goto | Block | Loop | If | Switch | Call | Suspend | Pause
)


@dataclass(slots=True)
class Lowered:
    """A function ready to be written."""

    function: int
    type: FunctionType
    variables: dict[str, WgslType]
    """What a frame keeps: locals, then operands that outlive a stop."""
    flags: int = 0
    """How many variables c0 … of type bool hold the condition of an if that can stop."""
    body: list[Statement] = field(default_factory=list[Statement])
    points: int = ENTRY_POINT
    calls: set[int] = field(default_factory=set[int])
    """The points at which a callee within the shader stopped."""
    library: set[str] = field(default_factory=set[str])
    """The functions of the arithmetic library that it needs."""
    support: set[str] = field(default_factory=set[str])
    """The functions of the shader's own support that it needs."""
    globals: set[int] = field(default_factory=set[int])
    """The globals that it reads or writes and that are no constants."""

    @property
    def frame_words(self) -> int:
        """The words of its frame: the variables, then where it goes on."""
        return 1 + sum(2 if type_ == "vec2<u32>" else 1 for type_ in self.variables.values())


def points_of(statement: Statement) -> tuple[int, int] | None:
    """Return the first and last point inside a statement, or None."""
    match statement:
        case Loop():
            return statement.point, statement.last_point
        case Call() | Suspend() | Pause():
            return statement.point, statement.point
        case Block():
            return _range(statement.body)
        case If():
            return _range([*statement.then, *statement.otherwise])
        case _:  # what a switch holds are branches
            return None


def _range(statements: list[Statement]) -> tuple[int, int] | None:
    found = [points for one in statements if (points := points_of(one)) is not None]
    return (found[0][0], found[-1][1]) if found else None


def is_flat(body: list[Statement], label: int) -> bool:
    """Whether a block needs no loop of its own: every branch to its end leaves its last statement.

    That is so in the last arm of all, and inside a loop or switch that is last: there a `break`
    leads to the end.
    """
    *others, last = body or [Goto(label)]
    if any(_goes_to(one, label) for one in others):
        return False
    match last:
        case If():
            return is_flat(last.then, label) and is_flat(last.otherwise, label)
        case Block():
            return is_flat(last.body, label)
        case _:
            return True


def condition_at_end(loop: Loop) -> str | None:
    """Return the condition on which a loop goes round, if its end alone decides."""
    match loop.body:
        case [*before, If(condition, [Goto(head)], []), Goto(end)]:
            ways = (loop.label, loop_end(loop.label))
            decides = (head, end) == ways and not any(
                _goes_to(one, label) for one in before for label in ways
            )
            return condition if decides else None
        case _:
            return None


def left_at_head(loop: Loop) -> LeftAtHead | None:
    """Return how a loop is left before it does anything but count, if it is left there alone."""
    match loop.body:
        case [Line(text) as counting, If(condition, [Goto(label)], []), *after]:
            alone = text.startswith("fuel +=") and label != loop.label
            if alone and _stays(after, frozenset((loop.label,))):
                return LeftAtHead(counting, condition, label)
        case _:
            pass
    return None


def _goes_to(statement: Statement, label: int) -> bool:
    match statement:
        case Goto():
            return statement.label == label
        case Block() | Loop():
            return any(_goes_to(one, label) for one in statement.body)
        case If():
            return any(_goes_to(one, label) for one in (*statement.then, *statement.otherwise))
        case Switch():
            bodies = [statement.default, *(body for _, body in statement.cases)]
            return any(_goes_to(one, label) for body in bodies for one in body)
        case _:
            return False


def _stays(statements: Sequence[Statement], labels: frozenset[int]) -> bool:
    """Whether these neither trap nor branch but to these labels and those of their own."""
    for one in statements:
        match one:
            case Line():
                stays = True
            case Goto():
                stays = one.label in labels
            case Block():
                stays = _stays(one.body, labels | {one.label})
            case If():
                stays = _stays(one.then, labels) and _stays(one.otherwise, labels)
            case _:
                stays = False
        if not stays:
            return False
    return True


def show_lowered(lowered: Lowered) -> str:
    """Return the lowered form as text for people."""
    lines = [f"function {lowered.function} {lowered.type}"]
    kept = " ".join(f"{name}:{type_}" for name, type_ in lowered.variables.items())
    lines.append(f"  keeps {kept or 'nothing'}; points 1 … {lowered.points}")
    _show(lowered.body, lines, "  ")
    return "\n".join(lines) + "\n"


def _show(statements: list[Statement], lines: list[str], indent: str) -> None:
    deeper = indent + "  "
    for one in statements:
        match one:
            case Line():
                lines.append(indent + one.text)
            case Check():
                lines.append(f"{indent}trap {one.kind} if {one.condition}")
            case Fail():
                lines.append(f"{indent}trap {one.kind}")
            case Goto():
                lines.append(indent + _goto_text(one.label))
            case Block():
                lines.append(f"{indent}block @{one.label}")
                _show(one.body, lines, deeper)
            case Loop():
                lines.append(f"{indent}loop @{one.label}  point {one.point}")
                _show(one.body, lines, deeper)
            case If():
                lines.append(f"{indent}if {one.condition}")
                _show(one.then, lines, deeper)
                if one.otherwise:
                    lines.append(f"{indent}else")
                    _show(one.otherwise, lines, deeper)
            case Switch():
                lines.append(f"{indent}switch {one.selector}")
                for values, body in one.cases:
                    lines.append(f"{indent}case {' '.join(map(str, values))}")
                    _show(body, lines, deeper)
                lines.append(f"{indent}default")
                _show(one.default, lines, deeper)
            case Call():
                lines.append(f"{indent}call  point {one.point}")
                lines.extend(deeper + line for line in one.lines)
            case Pause():
                lines.append(f"{indent}stop if {one.condition}  point {one.point}")
            case Suspend():
                what = "wait" if one.push is None else f"push and call {one.push.callee}"
                lines.append(f"{indent}{what}  point {one.point}")
                lines.extend(deeper + line for line in one.after)


def _goto_text(label: int) -> str:
    if label == LEAVE:
        return "leave"
    return f"go @{label}" if label >= 0 else f"go behind @{-2 - label}"
