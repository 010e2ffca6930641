"""Finds which parts of a random module its calls reach: a global is set in every block."""

from dataclasses import replace

from stigmergy.testing.wasm.cases import Case
from stigmergy.testing.wasm.oracle import PlainWasmtime
from stigmergy.testing.wasm.spec import op
from stigmergy.wasm.module.instructions import Instruction
from stigmergy.wasm.module.model import Global, GlobalType

__all__ = ["Reached", "reached_blocks"]

_OPENERS = frozenset({"block", "loop", "if", "else"})
_MARK = Global(GlobalType("i32", mutable=True), (op("i32.const", 0),))


class Reached:
    """The blocks of a module, and which of them some call entered.

    `blocks`, `functions`: how many were entered, and how many there are.
    `names`: how often an instruction of a name stands in a block that was entered.
    """

    def __init__(
        self, blocks: list[list[Instruction]], entered: list[bool], firsts: list[int]
    ) -> None:
        self.blocks = (sum(entered), len(blocks))
        self.functions = (sum(entered[at] for at in firsts), len(firsts))
        inside = [block for block, is_in in zip(blocks, entered, strict=True) if is_in]
        self.names = [one.name for block in inside for one in block]


def reached_blocks(oracle: PlainWasmtime, case: Case, budget: int) -> Reached:
    """Run a case with marks in it, and return what was reached."""
    spec = case.spec
    first = len(spec.globals) + sum(isinstance(one.type, GlobalType) for one in spec.imports)
    blocks: list[list[Instruction]] = []
    firsts: list[int] = []
    functions = list(spec.functions)
    for number, function in enumerate(spec.functions):
        body: list[Instruction] = []
        firsts.append(len(blocks))
        for position, one in enumerate((None, *function.body)):
            if one is not None:
                body.append(one)
                blocks[-1].append(one)
            if position == 0 or (one is not None and one.name in _OPENERS):
                body += [op("i32.const", 1), op("global.set", first + len(blocks))]
                blocks.append([])
        functions[number] = replace(function, body=tuple(body))
    marked = replace(
        spec,
        functions=tuple(functions),
        globals=(*spec.globals, *([_MARK] * len(blocks))),
    )
    watched = tuple(range(first, first + len(blocks)))
    seen = oracle.run(replace(case, spec=marked), budget, watched=watched)
    entered = [
        any(one.globals is not None and one.globals[at] for one in seen)
        for at in range(len(blocks))
    ]
    return Reached(blocks, entered, firsts)
