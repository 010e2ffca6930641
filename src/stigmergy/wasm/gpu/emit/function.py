"""Writes one lowered function as WGSL. Pure.

Labels become `loop` blocks, and branches `break` and `continue` where those reach the label, else
`exit` holds the label's number and every loop on the way is left. An agent that stops or traps
leaves in the same way, to the function's end, where its frame is saved.

In a function that goes on after a stop, `resume` is the point where it does, and 0 from there on:
before a point p, `resume` is 0 or at least p. So `resume <= q` enters a statement whose last point
is q, and `resume == 0u` is for statements without points.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.gpu.emit.choosing import MOST_CASES
from stigmergy.wasm.gpu.emit.names import LEAF, Halted, result_type, wgsl_types
from stigmergy.wasm.gpu.expressions import wgsl_type
from stigmergy.wasm.gpu.lowered import (
    ENTRY_POINT,
    LEAVE,
    Block,
    Call,
    Check,
    Fail,
    Goto,
    If,
    LeftAtHead,
    Line,
    Loop,
    Lowered,
    Pause,
    Statement,
    Suspend,
    Switch,
    condition_at_end,
    is_flat,
    left_at_head,
    loop_end,
    points_of,
)

__all__ = ["emit_function"]

_DEEPEST = 60
_FEW_JUMPS = 6
_NOWHERE: frozenset[int] = frozenset()


def emit_function(lowered: Lowered, offset: int = 0) -> str:
    """Return the WGSL function `f<index>`, whose frame begins at a word of `frame`.

    Raises:
        UnsupportedError: Its constructs are nested too deeply for shader compilers.
    """
    return _Emitter(lowered, offset).text()


@dataclass(slots=True)
class _Way:
    """A loop or switch of WGSL that is being written: where `break` and `continue` lead."""

    ends: frozenset[int]
    head: int | None = None
    is_switch: bool = False
    jumps: int = 0
    """How often it is left."""
    escapes: set[int] = field(default_factory=set[int])
    """The labels beyond it that are branched to from inside."""


class _Emitter:
    """The lines written so far, and where in the function that is."""

    def __init__(self, lowered: Lowered, offset: int) -> None:
        self._lowered = lowered
        self._offset = offset
        self._lines: list[str] = []
        self._depth = 0
        self._ways: list[_Way] = []
        self._passed = ENTRY_POINT
        self._bound = lowered.points

    def text(self) -> str:
        lowered = self._lowered
        params = lowered.type.params
        arguments = ", ".join(f"p{at}: {wgsl_type(one)}" for at, one in enumerate(params))
        arrow = f" -> {result_type(lowered.type)}" if lowered.type.results else ""
        self._open(f"fn f{lowered.function}({arguments}){arrow} {{")
        self._declare()
        self._open("if (rewinding) {")
        self._restore()
        self._close()
        self._open("loop {")
        ends = frozenset((0, LEAVE))
        self._ways.append(_Way(ends))
        self._entry()
        self._list(lowered.body, ends)
        self._end_of_block(self._ways.pop())
        self._leave()
        results = [f"r{at}" for at in range(len(lowered.type.results))]
        if len(results) == 1:
            self._line(f"return {results[0]};")
        elif results:
            self._line(f"return {result_type(lowered.type)}({', '.join(results)});")
        self._close()
        return "\n".join(self._lines) + "\n"

    # --- lines ---

    def _line(self, text: str) -> None:
        self._lines.append("  " * self._depth + text)

    def _open(self, text: str) -> None:
        self._line(text)
        self._depth += 1
        if self._depth > _DEEPEST:
            message = (
                f"function {self._lowered.function} nests its blocks more deeply than shader "
                "compilers take"
            )
            raise UnsupportedError(message)

    def _close(self, text: str = "}") -> None:
        self._depth -= 1
        self._line(text)

    # --- the function's frame ---

    def _declare(self) -> None:
        lowered = self._lowered
        for at, (name, type_) in enumerate(lowered.variables.items()):
            if at < len(lowered.type.params):
                self._line(f"var {name} = p{at};")
            else:
                self._line(f"var {name}: {type_};")
        for at, type_ in enumerate(wgsl_types(lowered.type.results)):
            self._line(f"var r{at}: {type_};")
        for at in range(lowered.flags):
            self._line(f"var c{at}: bool;")
        self._line("var resume = 0u;")
        self._line("var point = 0u;")
        self._line("var exit = 0u;")

    def _frame(self) -> list[tuple[int, str, str]]:
        """Return the words of the frame: where, the variable, and its part."""
        words: list[tuple[int, str, str]] = []
        for name, type_ in self._lowered.variables.items():
            for part in ("",) if type_ == "u32" else (".x", ".y"):
                words.append((self._offset + len(words), name, part))
        return words

    def _restore(self) -> None:
        words = self._frame()
        for at, name, part in words:
            self._line(f"{name}{part} = frame[{at}];")
        self._line(f"resume = frame[{self._offset + len(words)}] & {LEAF - 1}u;")
        self._line(f"rewinding = (frame[{self._offset + len(words)}] & {LEAF}u) == 0u;")
        # The entry's own instruction was counted before the stop.
        self._line(f"if (resume == {ENTRY_POINT}u) {{ resume = 0u; fuel -= 1u; }}")

    def _leave(self) -> None:
        words = self._frame()
        self._open("if (halted == 0u) {")
        self._line("saved = fuel;")
        self._close(f"}} else if (halted != {Halted.TRAP}u) {{")
        self._depth += 1
        for at, name, part in words:
            self._line(f"frame[{at}] = {name}{part};")
        self._line(f"frame[{self._offset + len(words)}] = point;")
        self._line(f"if ((point & {LEAF}u) != 0u) {{ first = {self._offset}u; }}")
        self._close()

    def _entry(self) -> None:
        guarded = self._lowered.points > ENTRY_POINT
        if guarded:
            self._open("if (resume == 0u) {")
        self._line("fuel += 1u;")
        self._stop_at_limit(ENTRY_POINT)
        if guarded:
            self._close()

    def _stop_at_limit(self, point: int) -> None:
        self._stop_if("fuel >= limit", point)

    def _stop_if(self, condition: str, point: int) -> None:
        self._open(f"if ({condition}) {{")
        self._line(f"halted = {Halted.STOP}u;")
        self._line(f"point = {point | LEAF}u;")
        self._goto(LEAVE, _NOWHERE)
        self._close()

    # --- statements ---

    def _list(self, statements: Sequence[Statement], follow: frozenset[int]) -> None:
        """Write statements in order; `follow` are the labels that their end leads to."""
        at = 0
        while at < len(statements):
            start = at
            while at < len(statements) and points_of(statements[at]) is None:
                at += 1
            if at > start:
                self._plain(statements[start:at], follow if at == len(statements) else _NOWHERE)
                continue
            at += 1
            self._stopping(statements[start], follow if at == len(statements) else _NOWHERE)

    def _plain(self, statements: Sequence[Statement], follow: frozenset[int]) -> None:
        guarded = self._passed < self._bound
        if guarded:
            self._open("if (resume == 0u) {")
        bound, self._bound = self._bound, self._passed
        last = len(statements) - 1
        for at, one in enumerate(statements):
            after = statements[at + 1] if at < last else None
            if isinstance(after, Goto) and at + 1 == last and _branches(one):
                # Both ways branch: written as one, so that one of them may need no jump.
                assert isinstance(one, If)
                self._if(one.condition, one.then, [*one.otherwise, after], follow)
                break
            self._statement(one, follow if at == last else _NOWHERE)
        self._bound = bound
        if guarded:
            self._close()

    def _statement(self, one: Statement, follow: frozenset[int]) -> None:
        match one:
            case Line():
                self._line(one.text)
            case Check():
                kind = one.kind if isinstance(one.kind, str) else f"{int(one.kind)}u"
                self._open(f"if ({one.condition}) {{")
                self._line(f"trap({kind}, {one.offset}u);")
                self._goto(LEAVE, _NOWHERE)
                self._close()
            case Fail():
                self._line(f"trap({int(one.kind)}u, {one.offset}u);")
                self._goto(LEAVE, follow)
            case Goto():
                self._goto(one.label, follow)
            case Block():
                self._block(one, follow)
            case If():
                self._if(one.condition, one.then, one.otherwise, follow)
            case Switch():
                self._switch(one, follow)
            case Loop() | Call() | Suspend() | Pause():
                raise AssertionError("a statement with points is not plain")

    def _stopping(self, one: Statement, follow: frozenset[int]) -> None:
        """Write a statement that holds points."""
        points = points_of(one)
        assert points is not None
        match one:
            case Block():
                self._block(one, follow)
            case Loop():
                self._loop(one, follow)
            case If():
                self._resumable_if(one, points, follow)
            case Call():
                self._call(one)
            case Suspend():
                self._suspend(one)
            case Pause():
                self._pause(one)
            case _:
                raise AssertionError("a statement that holds no points")
        self._passed = points[1]

    def _block(self, one: Block, follow: frozenset[int]) -> None:
        if is_flat(one.body, one.label):
            self._list(one.body, follow | {one.label})
            return
        way = _Way(frozenset((one.label,)) | follow)
        self._ways.append(way)
        self._open("loop {")
        self._list(one.body, way.ends)
        self._end_of_block(self._ways.pop())
        self._after(way, follow)

    def _end_of_block(self, way: _Way) -> None:
        if way.jumps <= _FEW_JUMPS:
            self._line("break;")
        else:
            # Mesa unrolls a loop that runs once, and nests what follows each break; at 80 levels
            # llvmpipe crashes. It does not know that the limit is never 0.
            self._line("continuing { break if (limit != 0u); }")
        self._close()

    def _loop(self, one: Loop, follow: frozenset[int]) -> None:
        guarded = one.last_point < self._bound
        if guarded:
            self._open(f"if (resume <= {one.last_point}u) {{")
        single = one.point == one.last_point
        if single:
            self._line("resume = 0u;")
        again = condition_at_end(one) if single else None
        left = left_at_head(one) if single else None
        if again is not None:
            self._loop_until(one, again, follow)
        elif left is not None and left.label in follow | {loop_end(one.label)}:
            self._loop_while(one, left)
        else:
            self._loop_from(one, follow, single=single)
        if guarded:
            self._close()

    def _loop_from(self, one: Loop, follow: frozenset[int], *, single: bool) -> None:
        """Write a loop that may stop at its head."""
        way = _Way(frozenset((-2 - one.label,)) | follow, one.label)
        self._ways.append(way)
        self._open("loop {")
        if single:
            self._stop_at_limit(one.point)
        else:
            self._open(f"if (resume <= {one.point}u) {{")
            self._line("resume = 0u;")
            self._stop_at_limit(one.point)
            self._close()
        bound, self._bound = self._bound, one.last_point
        self._passed = one.point
        self._list(one.body, frozenset((one.label,)))
        self._bound = bound
        self._close()
        self._ways.pop()
        self._after(way, follow)

    # For shader compilers every way out of a loop has its price. So where it can be, whether an
    # agent stops and whether the loop is done are asked at once.

    def _loop_while(self, one: Loop, left: LeftAtHead) -> None:
        """Write a loop that is left at its head alone."""
        way = _Way(_NOWHERE, one.label)
        self._ways.append(way)
        self._open("loop {")
        self._line(f"if ((fuel >= limit) | {left.condition}) {{ break; }}")
        bound, self._bound = self._bound, one.last_point
        self._passed = one.point
        self._list([left.counting, *one.body[2:]], frozenset((one.label,)))
        self._bound = bound
        self._close()
        self._ways.pop()
        self._stop_at_limit(one.point)
        self._list([left.counting], _NOWHERE)
        assert not way.escapes

    def _loop_until(self, one: Loop, condition: str, follow: frozenset[int]) -> None:
        """Write a loop that goes round at its end alone."""
        again = f"again{one.point}"
        self._stop_at_limit(one.point)
        self._line(f"var {again}: bool;")
        way = _Way(_NOWHERE)
        self._ways.append(way)
        self._open("loop {")
        bound, self._bound = self._bound, one.last_point
        self._passed = one.point
        self._list(one.body[:-2], _NOWHERE)
        self._bound = bound
        self._line(f"{again} = {condition};")
        self._line(f"if (!{again} | (fuel >= limit)) {{ break; }}")
        self._close()
        self._ways.pop()
        # Every other jump out of the loop sets `exit`: then `again` is of an earlier round.
        self._stop_if(f"{again} && exit == 0u" if way.escapes else again, one.point)
        self._after(way, follow)

    def _if(
        self,
        condition: str,
        then: Sequence[Statement],
        otherwise: Sequence[Statement],
        follow: frozenset[int],
    ) -> None:
        lines, self._lines = self._lines, []
        self._depth += 1
        self._list(then, follow)
        then_lines, self._lines = self._lines, []
        self._list(otherwise, follow)
        otherwise_lines, self._lines = self._lines, lines
        self._depth -= 1
        if not then_lines and not otherwise_lines:
            return
        if not then_lines:
            condition, then_lines, otherwise_lines = f"!{condition}", otherwise_lines, []
        self._open(f"if ({condition}) {{")
        self._lines += then_lines
        if otherwise_lines:
            self._close("} else {")
            self._depth += 1
            self._lines += otherwise_lines
        self._close()

    def _resumable_if(self, one: If, points: tuple[int, int], follow: frozenset[int]) -> None:
        guarded = points[1] < self._bound
        if guarded:
            self._open(f"if (resume <= {points[1]}u) {{")
        inside = [points_of(some) for some in one.then]
        then_points = [some[1] for some in inside if some is not None]
        last_of_then = then_points[-1] if then_points else None
        if last_of_then is None:
            condition = f"resume == 0u && {one.condition}"
        elif last_of_then == points[1]:
            condition = f"resume != 0u || {one.condition}"
        else:
            condition = f"select(resume <= {last_of_then}u, {one.condition}, resume == 0u)"
        bound = self._bound
        self._open(f"if ({condition}) {{")
        self._bound = self._passed if last_of_then is None else last_of_then
        self._list(one.then, follow)
        if one.otherwise:
            self._close("} else {")
            self._depth += 1
            if last_of_then is not None:
                self._passed = last_of_then
            self._bound = points[1]
            self._list(one.otherwise, follow)
        self._close()
        self._bound = bound
        if guarded:
            self._close()

    def _switch(self, one: Switch, follow: frozenset[int]) -> None:
        many = len(one.cases) > MOST_CASES
        way = _Way(_NOWHERE if many else follow, is_switch=True)
        self._ways.append(way)
        for start in range(0, max(1, len(one.cases)), MOST_CASES):
            part = one.cases[start : start + MOST_CASES]
            if start:
                # The cases before all set the exit.
                self._open("if (exit == 0u) {")
            self._open(f"switch ({one.selector}) {{")
            for values, body in part:
                self._open(f"case {', '.join(f'{value}u' for value in values)}: {{")
                self._list(body, _NOWHERE)
                self._close()
            self._open("default: {")
            if start + MOST_CASES >= len(one.cases):
                self._list(one.default, _NOWHERE)
            self._close()
            self._close()
            if start:
                self._close()
        self._ways.pop()
        self._after(way, follow)

    def _call(self, one: Call) -> None:
        guarded = one.point < self._bound
        if guarded:
            self._open(f"if (resume <= {one.point}u) {{")
        self._line("resume = 0u;")
        for line in one.lines:
            self._line(line)
        self._open("if (halted != 0u) {")
        self._line(f"point = {one.point}u;")
        self._goto(LEAVE, _NOWHERE)
        self._close()
        if guarded:
            self._close()

    def _pause(self, one: Pause) -> None:
        self._open("if (resume == 0u) {")
        self._stop_if(f"{one.condition} && fuel >= limit", one.point)
        self._close(f"}} else if (resume == {one.point}u) {{")
        self._depth += 1
        self._line("resume = 0u;")
        self._close()

    def _suspend(self, one: Suspend) -> None:
        self._open("if (resume == 0u) {")
        if one.push is None:
            self._line(f"halted = {Halted.WAIT}u;")
        else:
            needed = self._lowered.frame_words + 1
            at = 0
            for text, type_ in one.push.arguments:
                for part in ("",) if type_ == "u32" else (".x", ".y"):
                    self._line(f"passed[{at}] = {text}{part};")
                    at += 1
            self._line(f"callee = {one.push.callee};")
            self._line(f"halted = {Halted.CALL}u;")
            self._open(f"if (top + {needed}u + STACK_RESERVE > STACK_WORDS) {{")
            self._line(f"trap(STACK_OVERFLOW, {one.offset}u);")
            self._close()
        self._line(f"point = {one.point | LEAF}u;")
        self._goto(LEAVE, _NOWHERE)
        self._close(f"}} else if (resume == {one.point}u) {{")
        self._depth += 1
        self._line("resume = 0u;")
        for line in one.after:
            self._line(line)
        self._close()

    # --- branches ---

    def _goto(self, label: int, follow: frozenset[int]) -> None:
        if label in follow:
            return
        jump = self._jump(label)
        if jump is None:
            self._line(f"exit = {_number(label)}u;")
            self._ways[-1].escapes.add(label)
            jump = "break;"
        self._ways[-1].jumps += 1
        self._line(jump)

    def _jump(self, label: int) -> str | None:
        """Return the jump that reaches a label from here; None if there is more than one loop."""
        way = self._ways[-1]
        if way.head == label:
            return "continue;"
        if label in way.ends:
            return "break;"
        if way.is_switch:
            loops = [one for one in self._ways if not one.is_switch]
            if loops[-1].head == label:
                return "continue;"
        return None

    def _after(self, way: _Way, follow: frozenset[int]) -> None:
        """Go on with the branches that left a loop or switch for a label beyond it."""
        far: set[int] = set()
        if way.escapes & follow:
            numbers = " || ".join(
                f"exit == {_number(one)}u" for one in sorted(way.escapes & follow)
            )
            self._line(f"if ({numbers}) {{ exit = 0u; }}")
        self._ways[-1].jumps += len(way.escapes - follow)
        for label in sorted(way.escapes - follow):
            jump = self._jump(label)
            if jump is None:
                far.add(label)
            else:
                self._line(f"if (exit == {_number(label)}u) {{ exit = 0u; {jump} }}")
        if far:
            self._ways[-1].escapes |= far
            self._line("if (exit != 0u) { break; }")


def _branches(statement: Statement) -> bool:
    """Whether this is an if whose body never goes on behind it."""
    return (
        isinstance(statement, If)
        and bool(statement.then)
        and isinstance(statement.then[-1], Goto | Fail)
    )


def _number(label: int) -> int:
    """Return how `exit` names a label."""
    return 0xFFFF if label == LEAVE else label + 1
