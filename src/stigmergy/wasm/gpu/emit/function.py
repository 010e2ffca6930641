"""Writes one lowered function as WGSL. Pure.

Labels become `loop` blocks, and branches `break` and `continue` where those reach the label, else
`exit` holds the label's number and every loop on the way is left. An agent that stops or traps
leaves in the same way, to the function's end, where its frame is saved.

In a function that goes on after a stop, `resume` is the point where it does, and 0 from there on:
before a point p, `resume` is 0 or at least p. So `resume <= q` enters a statement whose last point
is q, and `resume == 0u` is for statements without points.
"""

from collections.abc import Sequence
from itertools import takewhile

from stigmergy.wasm.gpu.emit.branches import NOWHERE, Branches, Way
from stigmergy.wasm.gpu.emit.choosing import MOST_CASES
from stigmergy.wasm.gpu.emit.frame import Frame
from stigmergy.wasm.gpu.emit.names import LEAF, Halted, result_type
from stigmergy.wasm.gpu.emit.text import Text
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

_FRESH = "if (resume == 0u) {"


def emit_function(lowered: Lowered, offset: int = 0) -> str:
    """Return the WGSL function `f<index>`, whose frame begins at a word of `frame`.

    Raises:
        UnsupportedError: Its constructs are nested too deeply for shader compilers.
    """
    return _Emitter(lowered, offset).text()


class _Emitter:
    """The lines written so far, and where in the function that is."""

    def __init__(self, lowered: Lowered, offset: int) -> None:
        self._lowered = lowered
        self._text = Text(f"function {lowered.function}")
        self._branches = Branches(self._text)
        self._frame = Frame(lowered, offset)
        self._passed = ENTRY_POINT
        self._bound = lowered.points

    def text(self) -> str:
        lowered = self._lowered
        params = lowered.type.params
        arguments = ", ".join(f"p{at}: {wgsl_type(one)}" for at, one in enumerate(params))
        arrow = f" -> {result_type(lowered.type)}" if lowered.type.results else ""
        self._text.open(f"fn f{lowered.function}({arguments}){arrow} {{")
        self._frame.declare(self._text)
        self._frame.restore(self._text)
        self._text.open("loop {")
        way = self._branches.enter(Way(frozenset((0, LEAVE))))
        self._entry()
        self._list(lowered.body, way.ends)
        self._branches.close_block()
        self._branches.end()
        self._frame.save(self._text)
        results = [f"r{at}" for at in range(len(lowered.type.results))]
        if len(results) == 1:
            self._text.line(f"return {results[0]};")
        elif results:
            self._text.line(f"return {result_type(lowered.type)}({', '.join(results)});")
        self._text.close()
        return str(self._text)

    def _entry(self) -> None:
        guarded = self._lowered.points > ENTRY_POINT
        if guarded:
            self._text.open("if (resume == 0u) {")
        self._text.line("fuel += 1u;")
        self._stop_at_limit(ENTRY_POINT)
        if guarded:
            self._text.close()

    def _stop_at_limit(self, point: int) -> None:
        self._stop_if("fuel >= limit", point)

    def _stop_if(self, condition: str, point: int) -> None:
        self._text.open(f"if ({condition}) {{")
        self._text.line(f"halted = {Halted.STOP}u;")
        self._text.line(f"point = {point | LEAF}u;")
        self._branches.goto(LEAVE, NOWHERE)
        self._text.close()

    # --- statements ---

    def _list(self, statements: Sequence[Statement], follow: frozenset[int]) -> None:
        """Write statements in order; `follow` are the labels that their end leads to."""
        at = 0
        while at < len(statements):
            start = at
            while at < len(statements) and points_of(statements[at]) is None:
                at += 1
            if at > start:
                self._plain(statements[start:at], follow if at == len(statements) else NOWHERE)
                continue
            at += 1
            self._stopping(statements[start], follow if at == len(statements) else NOWHERE)

    def _plain(self, statements: Sequence[Statement], follow: frozenset[int]) -> None:
        guarded = self._passed < self._bound
        if guarded:
            self._text.go_on(_FRESH)
        bound, self._bound = self._bound, self._passed
        last = len(statements) - 1
        for at, one in enumerate(statements):
            after = statements[at + 1] if at < last else None
            if isinstance(after, Goto) and at + 1 == last and _branches(one):
                # Both ways branch: written as one, so that one of them may need no jump.
                assert isinstance(one, If)
                self._if(one.condition, one.then, [*one.otherwise, after], follow)
                break
            self._statement(one, follow if at == last else NOWHERE)
        self._bound = bound
        if guarded:
            self._text.close_last(_FRESH)

    def _statement(self, one: Statement, follow: frozenset[int]) -> None:
        match one:
            case Line():
                self._text.line(one.text)
            case Check():
                kind = one.kind if isinstance(one.kind, str) else f"{int(one.kind)}u"
                self._text.open(f"if ({one.condition}) {{")
                self._text.line(f"trap({kind}, {one.offset}u);")
                self._branches.goto(LEAVE, NOWHERE)
                self._text.close()
            case Fail():
                self._text.line(f"trap({int(one.kind)}u, {one.offset}u);")
                self._branches.goto(LEAVE, follow)
            case Goto():
                self._branches.goto(one.label, follow)
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
        way = self._branches.enter(Way(frozenset((one.label,)) | follow))
        self._text.open("loop {")
        self._list(one.body, way.ends)
        self._branches.close_block()
        self._branches.leave(follow)

    def _loop(self, one: Loop, follow: frozenset[int]) -> None:
        guarded = one.last_point < self._bound
        if guarded:
            self._text.open(f"if (resume <= {one.last_point}u) {{")
        single = one.point == one.last_point
        if single:
            self._text.line("resume = 0u;")
        again = condition_at_end(one) if single else None
        left = left_at_head(one) if single else None
        if again is not None:
            self._loop_until(one, again, follow)
        elif left is not None and left.label in follow | {loop_end(one.label)}:
            self._loop_while(one, left)
        else:
            self._loop_from(one, follow, single=single)
        if guarded:
            self._text.close()

    def _loop_from(self, one: Loop, follow: frozenset[int], *, single: bool) -> None:
        """Write a loop that may stop at its head."""
        self._branches.enter(Way(frozenset((loop_end(one.label),)) | follow, one.label))
        self._text.open("loop {")
        body = one.body
        bound, self._bound = self._bound, one.last_point
        self._passed = one.point
        if single:
            self._stop_at_limit(one.point)
        else:
            self._text.open(f"if (resume <= {one.point}u) {{")
            self._text.line("resume = 0u;")
            self._stop_at_limit(one.point)
            # What comes before the first point inside needs no other guard than this.
            before = list(takewhile(lambda statement: points_of(statement) is None, body))
            body = body[len(before) :]
            self._bound = self._passed
            self._list(before, NOWHERE)
            self._bound = one.last_point
            self._text.close()
        self._list(body, frozenset((one.label,)))
        self._bound = bound
        self._text.close()
        self._branches.leave(follow)

    # For shader compilers every way out of a loop has its price. So where it can be, whether an
    # agent stops and whether the loop is done are asked at once.

    def _loop_while(self, one: Loop, left: LeftAtHead) -> None:
        """Write a loop that is left at its head alone."""
        self._branches.enter(Way(NOWHERE, one.label))
        self._text.open("loop {")
        self._text.line(f"if ((fuel >= limit) | {left.condition}) {{ break; }}")
        bound, self._bound = self._bound, one.last_point
        self._passed = one.point
        self._list([left.counting, *one.body[2:]], frozenset((one.label,)))
        self._bound = bound
        self._text.close()
        assert not self._branches.end().escapes
        self._stop_at_limit(one.point)
        self._list([left.counting], NOWHERE)

    def _loop_until(self, one: Loop, condition: str, follow: frozenset[int]) -> None:
        """Write a loop that goes round at its end alone."""
        again = f"again{one.point}"
        self._stop_at_limit(one.point)
        self._text.line(f"var {again}: bool;")
        self._branches.enter(Way(NOWHERE))
        self._text.open("loop {")
        bound, self._bound = self._bound, one.last_point
        self._passed = one.point
        self._list(one.body[:-2], NOWHERE)
        self._bound = bound
        self._text.line(f"{again} = {condition};")
        self._text.line(f"if (!{again} | (fuel >= limit)) {{ break; }}")
        self._text.close()
        way = self._branches.end()
        # Every other jump out of the loop sets `exit`: then `again` is of an earlier round.
        self._stop_if(f"{again} && exit == 0u" if way.escapes else again, one.point)
        self._branches.resume(way, follow)

    def _if(
        self,
        condition: str,
        then: Sequence[Statement],
        otherwise: Sequence[Statement],
        follow: frozenset[int],
    ) -> None:
        with self._text.aside() as then_lines:
            self._list(then, follow)
        with self._text.aside() as otherwise_lines:
            self._list(otherwise, follow)
        if not then_lines and not otherwise_lines:
            return
        if not then_lines:
            condition, then_lines, otherwise_lines = f"!{condition}", otherwise_lines, []
        self._text.open(f"if ({condition}) {{")
        self._text.add(then_lines)
        if otherwise_lines:
            self._text.close_and_open("} else {")
            self._text.add(otherwise_lines)
        self._text.close()

    def _resumable_if(self, one: If, points: tuple[int, int], follow: frozenset[int]) -> None:
        guarded = points[1] < self._bound
        if guarded:
            self._text.open(f"if (resume <= {points[1]}u) {{")
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
        self._text.open(f"if ({condition}) {{")
        self._bound = self._passed if last_of_then is None else last_of_then
        self._list(one.then, follow)
        if one.otherwise:
            self._text.close_and_open("} else {")
            if last_of_then is not None:
                self._passed = last_of_then
            self._bound = points[1]
            self._list(one.otherwise, follow)
        self._text.close()
        self._bound = bound
        if guarded:
            self._text.close()

    def _switch(self, one: Switch, follow: frozenset[int]) -> None:
        many = len(one.cases) > MOST_CASES
        self._branches.enter(Way(NOWHERE if many else follow, is_switch=True))
        for start in range(0, max(1, len(one.cases)), MOST_CASES):
            part = one.cases[start : start + MOST_CASES]
            if start:
                # The cases before all set the exit.
                self._text.open("if (exit == 0u) {")
            self._text.open(f"switch ({one.selector}) {{")
            for values, body in part:
                self._text.open(f"case {', '.join(f'{value}u' for value in values)}: {{")
                self._list(body, NOWHERE)
                self._text.close()
            self._text.open("default: {")
            if start + MOST_CASES >= len(one.cases):
                self._list(one.default, NOWHERE)
            self._text.close()
            self._text.close()
            if start:
                self._text.close()
        self._branches.leave(follow)

    def _call(self, one: Call) -> None:
        guarded = one.point < self._bound
        if guarded:
            self._text.open(f"if (resume <= {one.point}u) {{")
        self._text.line("resume = 0u;")
        for line in one.lines:
            self._text.line(line)
        self._text.open("if (halted != 0u) {")
        self._text.line(f"point = {one.point}u;")
        self._branches.goto(LEAVE, NOWHERE)
        self._text.close()
        if guarded:
            self._text.close()

    def _pause(self, one: Pause) -> None:
        self._text.open("if (resume == 0u) {")
        self._stop_if(f"{one.condition} && fuel >= limit", one.point)
        self._text.close_and_open(f"}} else if (resume == {one.point}u) {{")
        self._text.line("resume = 0u;")
        self._text.close()

    def _suspend(self, one: Suspend) -> None:
        self._text.open("if (resume == 0u) {")
        if one.push is None:
            self._text.line(f"halted = {Halted.WAIT}u;")
        else:
            needed = self._lowered.frame_words + 1
            at = 0
            for text, type_ in one.push.arguments:
                for part in ("",) if type_ == "u32" else (".x", ".y"):
                    self._text.line(f"passed[{at}] = {text}{part};")
                    at += 1
            self._text.line(f"callee = {one.push.callee};")
            self._text.line(f"halted = {Halted.CALL}u;")
            self._text.open(f"if (top + {needed}u + STACK_RESERVE > STACK_WORDS) {{")
            self._text.line(f"trap(STACK_OVERFLOW, {one.offset}u);")
            self._text.close()
        self._text.line(f"point = {one.point | LEAF}u;")
        self._branches.goto(LEAVE, NOWHERE)
        self._text.close_and_open(f"}} else if (resume == {one.point}u) {{")
        self._text.line("resume = 0u;")
        for line in one.after:
            self._text.line(line)
        self._text.close()


def _branches(statement: Statement) -> bool:
    """Whether this is an if whose body never goes on behind it."""
    return (
        isinstance(statement, If)
        and bool(statement.then)
        and isinstance(statement.then[-1], Goto | Fail)
    )
