"""What an active function keeps: its variables, and how they come from its frame and go back."""

from stigmergy.wasm.gpu.emit.names import LEAF, Halted, wgsl_types
from stigmergy.wasm.gpu.emit.text import Text
from stigmergy.wasm.gpu.lowered import ENTRY_POINT, Lowered

__all__ = ["Frame"]


class Frame:
    """The frame of a function, from the word `offset` of `frame` on: variables, then the point."""

    def __init__(self, lowered: Lowered, offset: int) -> None:
        self._lowered = lowered
        self._offset = offset
        self._words: list[tuple[int, str]] = []
        """Where in `frame`, and the variable or its half."""
        for name, type_ in lowered.variables.items():
            for part in ("",) if type_ == "u32" else (".x", ".y"):
                self._words.append((offset + len(self._words), name + part))
        self._point = offset + len(self._words)

    def declare(self, text: Text) -> None:
        """Write the variables."""
        lowered = self._lowered
        for at, (name, type_) in enumerate(lowered.variables.items()):
            if at < len(lowered.type.params):
                text.line(f"var {name} = p{at};")
            else:
                text.line(f"var {name}: {type_};")
        for at, type_ in enumerate(wgsl_types(lowered.type.results)):
            text.line(f"var r{at}: {type_};")
        for at in range(lowered.flags):
            text.line(f"var c{at}: bool;")
        text.line("var resume = 0u;")
        text.line("var point = 0u;")
        text.line("var exit = 0u;")

    def restore(self, text: Text) -> None:
        """Write how a function begins that goes on after a stop."""
        text.open("if (rewinding) {")
        for at, variable in self._words:
            text.line(f"{variable} = frame[{at}];")
        text.line(f"resume = frame[{self._point}] & {LEAF - 1}u;")
        text.line(f"rewinding = (frame[{self._point}] & {LEAF}u) == 0u;")
        # The entry's own instruction was counted before the stop.
        text.line(f"if (resume == {ENTRY_POINT}u) {{ resume = 0u; fuel -= 1u; }}")
        text.close()

    def save(self, text: Text) -> None:
        """Write how a function ends, or puts itself away."""
        text.open("if (halted == 0u) {")
        text.line("saved = fuel;")
        text.close_and_open(f"}} else if (halted != {Halted.TRAP}u) {{")
        for at, variable in self._words:
            text.line(f"frame[{at}] = {variable};")
        text.line(f"frame[{self._point}] = point;")
        text.line(f"if ((point & {LEAF}u) != 0u) {{ first = {self._offset}u; }}")
        text.close()
