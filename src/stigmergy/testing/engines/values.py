"""What the rules of the engine contract are stated with: a small crew of agents of one module."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from stigmergy.wasm.engine import (
    Cohort,
    CohortSettings,
    Engine,
    Mail,
    Slots,
    Status,
    Trap,
)
from stigmergy.wasm.module.model import Module
from stigmergy.wasm.module.reading import read_module

__all__ = ["FIRST_ID", "PLENTY", "Crew", "crew", "mail", "offset_of"]

PLENTY = 50_000_000
"""A target that no call of the rules reaches, but one that never ends."""
FIRST_ID = 1_000
"""The number of the agent in slot 0; the others count on from it."""


class Crew:
    """The agents of one module in the slots 0 … size - 1 of a cohort, all created."""

    def __init__(self, cohort: Cohort, size: int) -> None:
        self.cohort = cohort
        self.size = size

    @property
    def module(self) -> Module:
        """What they run."""
        return self.cohort.module

    def slots(self, *chosen: int) -> Slots:
        """Return these slots, or all if none is named."""
        return np.array(chosen or range(self.size), dtype=np.int64)

    def create(self, *chosen: int) -> None:
        """Begin fresh instances."""
        slots = self.slots(*chosen)
        self.cohort.create(slots, (FIRST_ID + slots).astype(np.uint32))

    def function(self, name: str) -> int:
        """Return the index of an exported function."""
        return self.module.exported_functions[name]

    def begin(self, name: str, *arguments: int | Sequence[int], slots: Slots | None = None) -> None:
        """Give agents a call; an argument is one number for all, or one for each."""
        slots = self.slots() if slots is None else slots
        words = np.zeros((len(slots), len(arguments)), dtype=np.uint64)
        for column, argument in enumerate(arguments):
            many = [argument] * len(slots) if isinstance(argument, int) else argument
            words[:, column] = [number % 2**64 for number in many]
        self.cohort.begin(slots, self.function(name), words)

    def run(
        self, target: int | Sequence[int] = PLENTY, *, slots: Slots | None = None
    ) -> list[Status]:
        """Run agents to a target, one for all or one for each."""
        slots = self.slots() if slots is None else slots
        targets = np.empty(len(slots), dtype=np.uint64)
        targets[:] = target
        statuses = self.cohort.run(slots, targets)
        assert statuses.shape == slots.shape
        assert statuses.dtype == np.uint8
        return [Status(status) for status in statuses]

    def results(self, name: str, slots: Slots | None = None) -> list[tuple[int, ...]]:
        """Return what calls of a function gave."""
        slots = self.slots() if slots is None else slots
        words = self.cohort.results(slots, self.function(name))
        assert words.dtype == np.uint64
        assert words.shape == (
            len(slots),
            len(self.module.functions[self.function(name)].results),
        )
        return [tuple(int(word) for word in row) for row in words]

    def call(
        self, name: str, *arguments: int | Sequence[int], slots: Slots | None = None
    ) -> list[tuple[int, ...]]:
        """Run a call that must finish, and return what it gave each agent."""
        slots = self.slots() if slots is None else slots
        self.begin(name, *arguments, slots=slots)
        statuses = self.run(slots=slots)
        assert statuses == [Status.FINISHED] * len(slots), self.traps(slots)
        return self.results(name, slots)

    def counts(self, slots: Slots | None = None) -> list[int]:
        """Return the instructions of each agent's call."""
        counts = self.cohort.counts(self.slots() if slots is None else slots)
        assert counts.dtype == np.uint64
        return [int(count) for count in counts]

    def statuses(self, slots: Slots | None = None) -> list[Status]:
        """Return what each agent is about."""
        return [
            Status(one) for one in self.cohort.statuses(self.slots() if slots is None else slots)
        ]

    def traps(self, slots: Slots | None = None) -> list[Trap | None]:
        """Return why each agent trapped."""
        return list(self.cohort.traps(self.slots() if slots is None else slots))

    def memory(self, offset: int = 0, size: int | None = None) -> list[bytes]:
        """Return a part of each agent's memory, or all of it where their sizes are one."""
        if size is None:
            (size,) = set(self.cohort.memory_sizes(self.slots()).tolist())
            assert size is not None
            size -= offset
        content = self.cohort.read_memory(self.slots(), offset, size)
        assert content.shape == (self.size, size)
        assert content.dtype == np.uint8
        return [row.tobytes() for row in content]

    def globals(self) -> list[tuple[int, ...]]:
        """Return all globals of each agent."""
        words = self.cohort.read_globals(self.slots())
        assert words.shape == (self.size, len(self.module.all_globals))
        return [tuple(int(word) for word in row) for row in words]

    def outputs(self) -> list[bytes]:
        """Return what each agent wrote."""
        return list(self.cohort.outputs(self.slots()))


@contextmanager
def crew(
    engine: Engine,
    wat: str,
    *,
    size: int = 4,
    **settings: Any,
) -> Generator[Crew]:
    """Make agents of a module on an engine, and end them. Settings are those of a cohort."""
    cohort = engine.cohort(read_module(wat), CohortSettings(**settings))
    try:
        cohort.reserve(size)
        made = Crew(cohort, size)
        made.create()
        yield made
    finally:
        cohort.close()


def mail(message_bytes: int, *messages: tuple[int, int, bytes]) -> Mail:
    """Write messages, each (slot, peer, content), in order of slot."""
    contents = np.zeros((len(messages), message_bytes), dtype=np.uint8)
    for row, (_, _, content) in enumerate(messages):
        contents[row, : len(content)] = np.frombuffer(content, dtype=np.uint8)
    return Mail(
        np.array([slot for slot, _, _ in messages], dtype=np.int64),
        np.array([peer for _, peer, _ in messages], dtype=np.uint32),
        np.array([len(content) for _, _, content in messages], dtype=np.uint32),
        contents,
    )


def offset_of(module: Module, function: int, name: str) -> int:
    """Return where the last instruction of this name stands in a function."""
    found = [one.offset for one in module.body(function).instructions if one.name == name]
    return found[-1]
