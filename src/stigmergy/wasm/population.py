"""The agents of a swarm with their modules and places: what a journal tells of, and can make again.

Every verb is done whole or not at all. Nothing is written down here, and no device is opened anew:
see `manager` and `recovery`.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from stigmergy.errors import UsageError
from stigmergy.wasm.engine import CohortSettings, Counts, Slots
from stigmergy.wasm.engines import Engines
from stigmergy.wasm.programs import Programs
from stigmergy.wasm.roster import Roster
from stigmergy.wasm.seating import Seating
from stigmergy.wasm.values import Number

__all__ = ["Population"]


class Population:
    """Agents by number, from `first_agent` on. What is given to it is of the right types."""

    def __init__(
        self,
        max_agents: int,
        settings: CohortSettings,
        engines: Engines,
        *,
        first_agent: int = 0,
    ) -> None:
        self.settings = settings
        self.programs = Programs(settings.imports, lambda module: engines.offer(module, settings))
        self.roster = Roster(max_agents)
        self.roster.begin_at(first_agent)
        self.seating = Seating(self.roster, engines, self.programs, settings)

    # --- modules ---

    def load(self, wasm: bytes | str) -> str:
        """Load a module; returns its digest."""
        return self.programs.load(wasm)

    def unload(self, digest: str) -> None:
        """Forget a module that no agent runs.

        Raises:
            NotFoundError: No such module is loaded.
            UsageError: Agents run it.
        """
        program = self.programs.program(digest)
        entries = [at for at, one in self.programs.entries.items() if one.program is program]
        used = int(np.isin(self.roster.entries[self.roster.slots()], entries).sum())
        if used:
            message = f"{used} agents run the module {digest[:12]}: kill them first"
            raise UsageError(message)
        self.seating.end(program)
        self.programs.forget(program)

    # --- agents ---

    def spawn(
        self,
        *,
        entry_point: int | str,
        memory_init: bytes | None,
        args: Sequence[Number],
        module: str | None,
        identity: int | None,
    ) -> int:
        """Write a new agent down; returns its number."""
        number = self.programs.entry_number(entry_point, module)
        entry = self.programs.entries[number]
        self.seating.check_memory_init(entry.program, memory_init)
        slot = self.roster.add_one(number, entry.argument_bits(args))
        if memory_init:
            self.seating.memory_init[slot] = memory_init
        if identity is not None:
            self.seating.identities[slot] = identity
        return self.roster.next_agent_id - 1

    def spawn_many(
        self,
        *,
        count: int,
        entry_point: int | str,
        args: np.ndarray,
        memory_init: bytes | None,
        module: str | None,
    ) -> range:
        """Write new agents down, with arguments of shape (count, arguments)."""
        number = self.programs.entry_number(entry_point, module)
        entry = self.programs.entries[number]
        self.seating.check_memory_init(entry.program, memory_init)
        if len(args) != count:
            message = f"there are arguments for {len(args)} agents, and {count} are spawned"
            raise UsageError(message)
        slots = self.roster.add(count, number, entry.argument_words(args))
        if memory_init:
            self.seating.memory_init.update(dict.fromkeys(slots.tolist(), memory_init))
        return range(self.roster.next_agent_id - count, self.roster.next_agent_id)

    def restart(self, *, agent_id: int, entry_point: int | str, args: Sequence[Number]) -> None:
        """Give an agent another call."""
        roster, seating = self.roster, self.seating
        slots = roster.slots_of([agent_id])
        digest = self.programs.entries[int(roster.entries[slots[0]])].program.module.digest
        number = self.programs.entry_number(entry_point, digest)
        entry = self.programs.entries[number]
        bits = entry.argument_bits(args)
        seating.seat(slots)
        words = np.array(bits, dtype=np.uint64).reshape(1, len(bits))
        for seat, _ in seating.by_seat(slots):
            if seat is not None:
                seat.begin(roster.cohort_slots[slots], entry, words)
        roster.entries[slots] = number

    def kill(self, agent_ids: Iterable[int]) -> npt.NDArray[np.int64]:
        """Take agents off; returns their numbers."""
        slots = self.roster.slots_of(agent_ids)
        numbers = self.roster.agent_ids[slots]
        self.seating.leave(slots)
        self.roster.remove(slots)
        self.seating.end_strays()
        return numbers

    # --- memory ---

    def memories(
        self, agent_ids: Sequence[int], size: int | None, offset: int
    ) -> npt.NDArray[np.uint8]:
        """Return the same part of agents' memories: shape (agents, size).

        Raises:
            UsageError: It lies outside of one; or no size is given, and theirs differ.
        """
        slots = self.roster.slots_of(agent_ids)
        self.seating.seat(slots)
        sizes = self.seating.memory_sizes(slots)
        if size is None:
            if len(set(sizes.tolist())) > 1:
                message = "the agents' memories differ in size: say how many bytes are wanted"
                raise UsageError(message)
            size = int(sizes[0]) - offset if len(sizes) else 0
        _check_part(offset, size, int(sizes.min(initial=2**62)))
        return self.seating.read_memory(slots, offset, size)

    def write(self, *, agent_id: int, data: bytes, offset: int) -> None:
        """Write to an agent's memory.

        Raises:
            UsageError: The part lies outside of it.
        """
        slots = self.roster.slots_of([agent_id])
        self.seating.seat(slots)
        _check_part(offset, len(data), int(self.seating.memory_sizes(slots)[0]))
        self.seating.write_memory(slots, offset, data)

    # --- running ---

    def seated(self, agent_ids: Sequence[int] | None) -> Slots:
        """Return the slots of all agents or of these, once each has its place."""
        slots = self.roster.slots() if agent_ids is None else self.roster.slots_of(agent_ids)
        self.seating.seat(slots)
        return slots

    def counts(self, slots: Slots) -> Counts:
        """Return the instructions of each agent's call so far."""
        counts = np.zeros(len(slots), dtype=np.uint64)
        for seat, places in self.seating.by_seat(slots):
            if seat is not None:
                counts[places] = seat.cohort.counts(self.roster.cohort_slots[slots[places]])
        return counts

    # --- the end ---

    def release(self) -> None:
        """Close all cohorts; who is there, and what they run, stays known. Idempotent."""
        for seat in self.seating.seats:
            self.seating.end(seat.program)


def _check_part(offset: int, size: int, limit: int) -> None:
    if offset < 0 or size < 0 or offset + size > limit:
        message = (
            f"{size} bytes from {offset} on lie outside of the agent's memory of {limit} bytes"
        )
        raise UsageError(message)
