"""Stacking a batch: candidates on one another, and why some are left out. Moves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stigmergy.coding.git.repository import Repository
from stigmergy.coding.merge.batch import Candidate
from stigmergy.coding.merge.stack import (
    AlreadyIn,
    Conflicted,
    NoCommit,
    Stacked,
    StackResult,
    Strategy,
    stack,
)

__all__ = ["Assembler", "Assembly", "Layer"]


@dataclass(frozen=True, slots=True)
class Layer:
    """A candidate in a stack."""

    candidate: Candidate
    stacked: Stacked


@dataclass(slots=True)
class Assembly:
    """What came of stacking candidates on `onto`, in order."""

    onto: str
    layers: list[Layer] = field(default_factory=list[Layer])
    on_target: dict[str, NoCommit | AlreadyIn | Conflicted] = field(
        default_factory=dict[str, NoCommit | AlreadyIn | Conflicted]
    )
    """By task id: what the candidate is on the target alone, where it could not be stacked."""
    after_others: list[str] = field(default_factory=list[str])
    """Task ids that stack on the target, but not on the other candidates: their turn comes when
    those are decided."""

    @property
    def tip(self) -> str:
        """The commit on top."""
        return self.layers[-1].stacked.commit if self.layers else self.onto

    @property
    def task_ids(self) -> tuple[str, ...]:
        """The candidates that are in the stack, lowest first."""
        return tuple(layer.candidate.task_id for layer in self.layers)


class Assembler:
    """Stacks under one strategy, and remembers what it stacked: bisection asks for it again."""

    def __init__(
        self, repository: Repository, strategy: Strategy, clock: Callable[[], float]
    ) -> None:
        self._repository = repository
        self._strategy = strategy
        self._clock = clock
        self._known: dict[tuple[str, str], StackResult] = {}

    def forget(self) -> None:
        """Drop what is remembered: it is of use within one round of landing only."""
        self._known.clear()

    def assemble(self, onto: str, candidates: Sequence[Candidate]) -> Assembly:
        """Stack the candidates in the order given; those that do not fit are left out."""
        assembly = Assembly(onto)
        for candidate in candidates:
            result = self._stack(candidate, assembly.tip)
            if isinstance(result, Stacked):
                assembly.layers.append(Layer(candidate, result))
                continue
            # Only what holds on the target itself may be held against a candidate: the others
            # in the stack may never land.
            alone = result if assembly.tip == onto else self._stack(candidate, onto)
            if isinstance(alone, Stacked):
                assembly.after_others.append(candidate.task_id)
            else:
                assembly.on_target[candidate.task_id] = alone
        return assembly

    def _stack(self, candidate: Candidate, onto: str) -> StackResult:
        key = (onto, candidate.task_id)
        if key not in self._known:
            self._known[key] = stack(
                self._repository,
                candidate,
                onto=onto,
                strategy=self._strategy,
                when=self._clock(),
            )
        return self._known[key]
