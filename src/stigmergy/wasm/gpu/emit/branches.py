"""How a branch to a label becomes `break` and `continue` of WGSL.

Where those do not reach the label, `exit` holds its number, and every loop on the way is left.
"""

from dataclasses import dataclass, field

from stigmergy.wasm.gpu.emit.text import Text
from stigmergy.wasm.gpu.lowered import LEAVE

__all__ = ["NOWHERE", "Branches", "Way"]

NOWHERE: frozenset[int] = frozenset()
_FEW_JUMPS = 6


@dataclass(slots=True)
class Way:
    """A loop or switch of WGSL that is being written: where `break` and `continue` lead."""

    ends: frozenset[int]
    head: int | None = None
    is_switch: bool = False
    jumps: int = 0
    """How often it is left."""
    escapes: set[int] = field(default_factory=set[int])
    """The labels beyond it that are branched to from inside."""


class Branches:
    """The ways that a place in the text is in, the innermost last."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._ways: list[Way] = []

    def enter(self, way: Way) -> Way:
        """Write what is inside of a way from here on."""
        self._ways.append(way)
        return way

    def leave(self, follow: frozenset[int]) -> None:
        """End the innermost way, and go on with the branches that left it for a label beyond it."""
        self.resume(self.end(), follow)

    def end(self) -> Way:
        """End the innermost way; `resume` is to follow."""
        return self._ways.pop()

    def close_block(self) -> None:
        """Write the end of a loop that stands for a block, the innermost way: it runs once."""
        if self._ways[-1].jumps <= _FEW_JUMPS:
            self._text.line("break;")
        else:
            # Mesa unrolls a loop that runs once, and nests what follows each break; at 80 levels
            # llvmpipe crashes. It does not know that the limit is never 0.
            self._text.line("continuing { break if (limit != 0u); }")
        self._text.close()

    def goto(self, label: int, follow: frozenset[int]) -> None:
        """Write a branch; `follow` are the labels that the next line leads to anyhow."""
        if label in follow:
            return
        jump = self._jump(label)
        if jump is None:
            self._text.line(f"exit = {_number(label)}u;")
            self._ways[-1].escapes.add(label)
            jump = "break;"
        self._ways[-1].jumps += 1
        self._text.line(jump)

    def resume(self, way: Way, follow: frozenset[int]) -> None:
        """Write where the branches lead that left a way for a label beyond it."""
        far: set[int] = set()
        if way.escapes & follow:
            numbers = " || ".join(
                f"exit == {_number(one)}u" for one in sorted(way.escapes & follow)
            )
            self._text.line(f"if ({numbers}) {{ exit = 0u; }}")
        self._ways[-1].jumps += len(way.escapes - follow)
        for label in sorted(way.escapes - follow):
            jump = self._jump(label)
            if jump is None:
                far.add(label)
            else:
                self._text.line(f"if (exit == {_number(label)}u) {{ exit = 0u; {jump} }}")
        if far:
            self._ways[-1].escapes |= far
            self._text.line("if (exit != 0u) { break; }")

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


def _number(label: int) -> int:
    """Return how `exit` names a label."""
    return 0xFFFF if label == LEAVE else label + 1
