"""A loaded module with its entries, and the cohorts that its agents sit in."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from stigmergy.errors import UsageError
from stigmergy.wasm.engine import Cohort, Counts, Slots, Status, Words
from stigmergy.wasm.engines import Placed
from stigmergy.wasm.hostcalls import HostCall, ResolvedImports
from stigmergy.wasm.module.model import FunctionType, Module, ValueType
from stigmergy.wasm.roster import FreeSlots
from stigmergy.wasm.slotindex import slot_index
from stigmergy.wasm.values import Number, to_bits, words_of

__all__ = ["Entry", "Program", "Seated"]

_SHOWN_EXPORTS = 8


@dataclass(frozen=True)
class Program:
    """A module, with what its imports stand for."""

    module: Module
    imports: ResolvedImports

    @property
    def has_memory(self) -> bool:
        """Whether its agents have a linear memory."""
        return bool(self.module.all_memories)

    @property
    def needs_engine(self) -> bool:
        """Whether there is anything for an engine to hold or to run."""
        return bool(self.module.code or self.module.all_memories or self.module.all_globals)

    @property
    def exchanges_messages(self) -> bool:
        """Whether its agents can send, receive or wait."""
        return self.calls(HostCall.SEND, HostCall.RECEIVE, HostCall.WAIT)

    def calls(self, *calls: HostCall) -> bool:
        """Whether it imports one of these."""
        return any(call in self.imports.functions for call in calls)


@dataclass(frozen=True)
class Entry:
    """A function that agents begin with; None in a module without functions."""

    program: Program
    function: int | None
    type: FunctionType

    @classmethod
    def find(cls, program: Program, entry_point: int | str) -> Self:
        """Find a function by index or by the name of an export.

        Raises:
            UsageError: There is no such function, or it is an import.
        """
        module = program.module
        if not module.code:
            return cls(program, None, FunctionType((), ()))
        if isinstance(entry_point, str):
            function = module.exported_functions.get(entry_point, -1)
        else:
            function = entry_point
        if not 0 <= function < len(module.functions):
            message = f"the module has no function {entry_point!r}: {_offered(module)}"
            raise UsageError(message)
        if function < len(module.imported_functions):
            one = module.imported_functions[function]
            message = (
                f"function {entry_point!r} is the import {one.module}.{one.name}, which cannot be "
                f"an entry point: {_offered(module)}"
            )
            raise UsageError(message)
        return cls(program, function, module.functions[function])

    @cached_property
    def prefilled(self) -> tuple[int, ...]:
        """The mutable globals from 1 on, which take arguments where there are no parameters."""
        globals_ = self.program.module.all_globals
        return tuple(index for index in range(1, len(globals_)) if globals_[index].mutable)

    def argument_bits(self, args: Sequence[Number]) -> list[int]:
        """Return the bits of one agent's arguments.

        Raises:
            UsageError: They are not what the function takes.
        """
        types = self._types(len(args))
        return [to_bits(kind, one) for kind, one in zip(types, args, strict=False)]

    def argument_words(self, columns: np.ndarray) -> npt.NDArray[np.uint64]:
        """Return the bits of many agents' arguments, shape (n, arguments)."""
        types = self._types(columns.shape[1])
        return words_of(types, columns[:, : len(types)])

    def _types(self, count: int) -> tuple[ValueType, ...]:
        """Return the types of so many arguments; none in a module without functions."""
        if self.function is None:
            return ()
        if self.type.params or count == 0:
            if count != len(self.type.params):
                name = self.program.module.function_name(self.function)
                message = f"{_count(count)} given, and {name} has the type {self.type}"
                raise UsageError(message)
            return self.type.params
        if count > len(self.prefilled):
            name = self.program.module.function_name(self.function)
            message = (
                f"{_count(count)} given; {name} takes none, and the module has "
                f"{len(self.prefilled)} mutable globals after global 0 to put them in"
            )
            raise UsageError(message)
        globals_ = self.program.module.all_globals
        return tuple(globals_[index].value for index in self.prefilled[:count])


class Seated:
    """A cohort with agents of one program in it: which of its slots is whose."""

    def __init__(self, program: Program, placed: Placed, max_agents: int) -> None:
        self.program = program
        self.placed = placed
        self._free = FreeSlots(max_agents)
        self.owners = np.full(0, -1, dtype=np.int64)
        """For each slot of the cohort, the slot of the agent in the roster, or -1."""

    @property
    def cohort(self) -> Cohort:
        """What runs its agents."""
        return self.placed.cohort

    @property
    def device(self) -> str:
        """What they run on, for people."""
        return self.placed.engine.device

    def told(self) -> str:
        """Say which module runs where, and why."""
        because = f": {self.placed.reason}" if self.placed.reason else ""
        digest = self.program.module.digest[:12]
        return f"module {digest} on {self.placed.engine.name} ({self.device}){because}"

    def enter(self, owners: Slots, agent_ids: npt.NDArray[np.uint32]) -> Slots:
        """Begin fresh instances for agents; returns their slots in the cohort."""
        used = self._free.used
        places = self._free.take(len(owners))
        try:
            if self._free.used > len(self.owners):
                capacity = min(max(self._free.used, 2 * len(self.owners)), self._free.limit)
                self.cohort.reserve(capacity)
                longer = np.full(capacity, -1, dtype=np.int64)
                longer[: len(self.owners)] = self.owners
                self.owners = longer
            self.cohort.create(places, agent_ids)
        except BaseException:
            self._free.undo(places, used)
            raise
        self.owners[slot_index(places)] = owners
        return places

    def leave(self, places: Slots) -> None:
        """End instances."""
        self.cohort.discard(places)
        self.owners[places] = -1
        self._free.give_back(places)

    def begin(self, places: Slots, entry: Entry, words: Words) -> None:
        """Give agents their call: arguments become parameters, or go to globals."""
        if entry.function is None:
            return
        if entry.type.params or words.shape[1] == 0:
            self.cohort.begin(places, entry.function, words)
            return
        self.cohort.write_globals(places, entry.prefilled[: words.shape[1]], words)
        self.cohort.begin(places, entry.function, words[:, :0])

    def run(self, places: Slots, targets: Counts) -> None:
        """Run those that are ready and below their target."""
        ready = self.cohort.statuses(places) == Status.READY
        chosen = ready & (self.cohort.counts(places) < targets)
        if chosen.any():
            self.cohort.run(places[chosen], targets[chosen])


def _count(arguments: int) -> str:
    words = {0: "no arguments are", 1: "1 argument is"}
    return words.get(arguments, f"{arguments} arguments are")


def _offered(module: Module) -> str:
    names = [repr(name) for name in module.exported_functions]
    if not names:
        first, last = len(module.imported_functions), len(module.functions) - 1
        return f"it exports none; by index there are {first} to {last}"
    more = ", …" if len(names) > _SHOWN_EXPORTS else ""
    return f"it exports {', '.join(names[:_SHOWN_EXPORTS])}{more}"
