"""Writes the statements of one function: operands as expressions, names, slots, points.

An operand is an expression until something could change what it reads, or until its text is long:
then it gets a name (`let t3 = …`), which holds in the WGSL block that it stands in. What must
outlive a stop, or comes from several ways, is put into a slot: a variable of the function, named by
its place on the operand stack (`s2` and `d2` for 32 and 64 bits).
"""

from collections.abc import Sequence

from stigmergy.wasm.engine import TrapKind
from stigmergy.wasm.gpu.expressions import Expression, WgslType, wgsl_type
from stigmergy.wasm.gpu.lowered import Check, Line, Lowered, Pause, Statement
from stigmergy.wasm.module.model import ValueType

__all__ = ["Writer"]

_LONG_TEXT = 100
_BRIEF = 128


class Writer:
    """The statements written so far, and the operand stack behind them."""

    def __init__(self, lowered: Lowered) -> None:
        self.lowered = lowered
        self.out: list[Statement] = lowered.body
        self.stack: list[Expression] = []
        self.known: dict[str, int] = {}
        """Locals that can only hold one number here."""
        self._names = 0
        self._cost = 0

    def line(self, text: str) -> None:
        """Write a plain statement."""
        self.out.append(Line(text))

    def check(self, condition: str, kind: TrapKind | str, offset: int) -> None:
        """Write a trap under a condition."""
        self.out.append(Check(condition, kind, offset))

    # --- counting ---

    def spend(self, instructions: int) -> None:
        """Count instructions; they are added when next something else could be counted."""
        self._cost += instructions

    def flush_count(self) -> None:
        """Add what was spent to the agent's count."""
        if self._cost:
            self.line(f"fuel += {self._cost}u;")
            self._cost = 0

    def save_count(self) -> None:
        """Make what is counted so far the count of a trap that follows."""
        self.flush_count()
        self.line("saved = fuel;")

    def spend_length(self, length: Expression, *, brief: bool, may_fail: bool = False) -> None:
        """Count a length for what was just done; an agent can stop behind it.

        `brief`: it is too short to stop for, as `is_brief` says. `may_fail`: what was done gave
        the operand on top, and is not counted where that is -1; a brief length always is, for
        wasmtime counts it beforehand.
        """
        self.flush_count()
        done = f"{self.stack[-1].text} != 0xffffffffu" if may_fail and not brief else ""
        added = f"select(0u, {length.text}, {done})" if done else length.text
        self.line(f"fuel += {added};")
        if not brief:
            self.spill()
            done = f"{self.stack[-1].text} != 0xffffffffu" if may_fail else "true"
            self.out.append(Pause(self.new_point(), done))

    def is_brief(self, length: Expression) -> bool:
        """Whether a length is known, and too short for wasmtime to look at the count behind it."""
        known = int(length.text[:-1]) if length.constant else self.known.get(length.text)
        return known is not None and known <= _BRIEF

    # --- operands ---

    def push(self, expression: Expression) -> None:
        """Put an operand on the stack."""
        if len(expression.text) > _LONG_TEXT:
            expression = self.named(expression)
        self.stack.append(expression)

    def pop(self) -> Expression:
        """Take an operand, as a number."""
        return self.stack.pop().number

    def pop_condition(self) -> Expression:
        """Take an operand, as a condition."""
        return self.stack.pop().condition

    def named(self, expression: Expression) -> Expression:
        """Give an expression a name here, unless it has one already or is a constant."""
        if expression.constant or expression.settled:
            return expression
        return self._name(expression)

    def pop_named(self) -> Expression:
        """Take an operand that is used more than once."""
        return self.named(self.pop())

    def unfolded(self, operands: Sequence[Expression]) -> list[Expression]:
        """Keep WGSL from computing what is constant: the first gets a name if all are constants."""
        if all(one.constant for one in operands):
            return [self._name(operands[0]), *operands[1:]]
        return list(operands)

    def _name(self, expression: Expression) -> Expression:
        name = f"t{self._names}"
        self._names += 1
        self.line(f"let {name} = {expression.text};")
        return Expression(name, expression.type, settled=True)

    def before_assigning(self, variable: str) -> None:
        """Name the operands that read a variable which is about to change."""
        for at, one in enumerate(self.stack):
            if variable in one.reads:
                self.stack[at] = self.named(one)

    # --- slots ---

    def slot(self, depth: int, type_: ValueType | WgslType) -> str:
        """Return the variable for an operand at a depth of the stack."""
        wide = type_ in ("i64", "f64", "vec2<u32>")
        name = f"{'d' if wide else 's'}{depth}"
        self.lowered.variables.setdefault(name, "vec2<u32>" if wide else "u32")
        return name

    def slot_expression(self, depth: int, type_: ValueType) -> Expression:
        """Return what stands in a slot."""
        name = self.slot(depth, type_)
        return Expression(name, wgsl_type(type_), frozenset((name,)))

    def settle(self) -> None:
        """Name all operands, for what follows may not be reached in one way only."""
        for at, one in enumerate(self.stack):
            if not self._in_own_slot(at, one):
                self.stack[at] = self.named(one)

    def spill(self) -> None:
        """Put all operands but constants into their slots."""
        for at, one in enumerate(self.stack):
            if one.constant or self._in_own_slot(at, one):
                continue
            value = one.number
            self.to_slot(at, value)

    def to_slot(self, depth: int, value: Expression) -> None:
        """Put a value into the slot of a depth, and let the stack there be the slot."""
        name = self.slot(depth, value.type)
        self.before_assigning(name)
        self.line(f"{name} = {value.text};")
        if depth < len(self.stack):
            self.stack[depth] = Expression(name, value.type, frozenset((name,)))

    def move(self, targets: Sequence[str]) -> None:
        """Assign the topmost operands to variables; the stack stays."""
        if not targets:
            return
        values = [one.number for one in self.stack[len(self.stack) - len(targets) :]]
        pairs = [(name, one) for name, one in zip(targets, values, strict=True) if name != one.text]
        written = {name for name, _ in pairs}
        if len(pairs) > 1 and any(one.reads & written for _, one in pairs):
            pairs = [(name, self.named(one)) for name, one in pairs]
        for name, one in pairs:
            self.line(f"{name} = {one.text};")

    def _in_own_slot(self, depth: int, expression: Expression) -> bool:
        return expression.text in (f"s{depth}", f"d{depth}")

    # --- points ---

    def new_point(self, *, call: bool = False) -> int:
        """Return the next point."""
        self.lowered.points += 1
        if call:
            self.lowered.calls.add(self.lowered.points)
        return self.lowered.points
