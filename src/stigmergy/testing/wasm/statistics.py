"""Counts what random modules do when they run: how many trap, how far they come."""

from collections import Counter
from statistics import quantiles

from stigmergy.testing.wasm.cases import Case
from stigmergy.testing.wasm.coverage import reached_blocks
from stigmergy.testing.wasm.oracle import PlainWasmtime
from stigmergy.wasm.engine import Status
from stigmergy.wasm.module.instructions import INSTRUCTIONS, PREFIXED

__all__ = ["Statistics"]

_MORE_FOR_MARKS = 3
"""The marks that tell what is reached count too."""


class Statistics:
    """Adds up cases; as text, a table for people."""

    def __init__(self) -> None:
        self.cases = 0
        self.statuses: Counter[Status] = Counter()
        self.traps: Counter[str] = Counter()
        self.reached: Counter[str] = Counter()
        self._counts: list[int] = []
        self._sizes: list[int] = []
        self._blocks = (0, 0)
        self._functions = (0, 0)

    def add(self, oracle: PlainWasmtime, case: Case, *, budget: int) -> None:
        """Run a case and add what it did."""
        self.cases += 1
        for one in oracle.run(case, budget):
            self.statuses[one.status] += 1
            if one.trap is not None:
                nowhere = one.trap.function is None and one.memory is None
                self.traps["a segment does not fit" if nowhere else str(one.trap.kind)] += 1
            elif one.count is not None:
                self._counts.append(one.count)
        self._sizes.append(sum(len(one.body) for one in case.spec.functions))
        reached = reached_blocks(oracle, case, budget * _MORE_FOR_MARKS)
        self.reached.update(reached.names)
        self._blocks = _sum(self._blocks, reached.blocks)
        self._functions = _sum(self._functions, reached.functions)

    @property
    def share_trapped(self) -> float:
        """Which part of the runs trapped."""
        return self.statuses[Status.TRAPPED] / self.statuses.total()

    @property
    def share_cut(self) -> float:
        """Which part of the runs used up the budget."""
        return self.statuses[Status.READY] / self.statuses.total()

    @property
    def share_functions_entered(self) -> float:
        """Which part of the functions some call entered."""
        return self._functions[0] / self._functions[1]

    @property
    def median_count(self) -> float:
        """How many instructions a run took that finished."""
        return quantiles(self._counts, n=2)[0]

    def never_reached(self) -> set[str]:
        """Return the instructions that stood in no block that was entered."""
        names = {name for name, _ in (*INSTRUCTIONS.values(), *PREFIXED.values())}
        return names - set(self.reached)

    def __str__(self) -> str:
        runs = self.statuses.total()
        tenths = quantiles(self._counts, n=10)
        unreached = ", ".join(sorted(self.never_reached()))
        shares = [
            (self.statuses[Status.FINISHED] / runs, "finished"),
            (self.share_trapped, "trapped"),
            *((count / runs, f"  {kind}") for kind, count in self.traps.most_common()),
            (self.share_cut, "cut by the budget"),
        ]
        lines = [
            f"{self.cases} modules, {runs} runs",
            *(f"{share:7.1%}  {what}" for share, what in shares),
            "instructions of a run that finished:",
            f"  median {self.median_count:.0f}, most {max(self._counts)}",
            f"  a tenth below {tenths[0]:.0f}, a tenth above {tenths[-1]:.0f}",
            f"instructions of a module: median {quantiles(self._sizes, n=2)[0]:.0f}",
            f"functions entered: {self.share_functions_entered:.1%}",
            f"blocks entered: {self._blocks[0] / self._blocks[1]:.1%} (some never can be)",
            f"instructions that no run reached: {unreached or 'none'}",
        ]
        return "\n".join(lines)


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]
