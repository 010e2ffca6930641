"""Which cohort an agent sits in, and what the host keeps for it outside of any cohort."""

import numpy as np
import numpy.typing as npt

from stigmergy.errors import UsageError
from stigmergy.wasm.engine import CohortSettings, Slots
from stigmergy.wasm.engines import Engines
from stigmergy.wasm.module.model import PAGE_BYTES
from stigmergy.wasm.programs import Programs
from stigmergy.wasm.roster import Roster, distinct
from stigmergy.wasm.seats import Entry, Program, Seated
from stigmergy.wasm.slotindex import slot_index

__all__ = ["Seating"]


class Seating:
    """Gives agents their place when they are needed first: spawning only writes them down.

    Of a module without a memory, the host keeps as many bytes as an agent may have, once somebody
    writes them: the agent cannot see them.
    """

    def __init__(
        self, roster: Roster, engines: Engines, programs: Programs, settings: CohortSettings
    ) -> None:
        self.memory_init: dict[int, bytes] = {}
        """Bytes for the memory of agents that have no place yet, by slot."""
        self.identities: dict[int, int] = {}
        """The numbers that agents are told where it is not their own, by slot, until seated."""
        self._roster = roster
        self._engines = engines
        self._programs = programs
        self._settings = settings
        self._seats: dict[int, Seated] = {}
        """By the number that is written in the roster; a number is never given twice."""
        self._next = 0
        self._scratch: dict[int, bytearray] = {}
        self._closed = False

    @property
    def seats(self) -> list[Seated]:
        """All cohorts."""
        return list(self._seats.values())

    def seat_of(self, slot: int) -> Seated | None:
        """Return where an agent sits; None where it has no place, or needs none."""
        return self._seats.get(int(self._roster.cohorts[slot]))

    def by_seat(self, slots: Slots) -> list[tuple[Seated | None, Slots]]:
        """Return the positions among `slots` of each cohort's agents; None has those without."""
        cohorts = self._roster.cohorts[slots]
        return [(self._seats.get(one), np.flatnonzero(cohorts == one)) for one in distinct(cohorts)]

    def has_unseated(self) -> bool:
        """Whether an agent was spawned that has a call and was not dispatched yet."""
        slots = self._roster.slots()
        numbers = np.unique(self._roster.entries[slots[self._roster.cohorts[slots] < 0]])
        return any(self._programs.entries[int(one)].program.needs_engine for one in numbers)

    def seat(self, slots: Slots) -> None:
        """Give those agents that have none yet a place in a cohort, and their call.

        Raises:
            UnsupportedError: No engine can run a module, or not the one asked for.
            UsageError: The swarm was closed.
        """
        if self._closed:
            message = "the swarm was closed, and its agents are gone: make another"
            raise UsageError(message)
        roster = self._roster
        waiting = slots[roster.cohorts[slots] < 0]
        for number in distinct(roster.entries[waiting]):
            entry = self._programs.entries[number]
            if not entry.program.needs_engine:
                continue
            chosen = waiting[roster.entries[waiting] == number]
            cohort, seat = self._seat_for(entry)
            in_cohort = seat.enter(chosen, self._identities_of(chosen))
            try:
                self._fill_memory(seat, chosen, in_cohort)
                self._begin(seat, entry, chosen, in_cohort)
            except BaseException:
                # An agent in a cohort without its call would be one that has nothing to do.
                seat.leave(in_cohort)
                raise
            rows = slot_index(chosen)
            roster.cohort_slots[rows] = in_cohort
            roster.cohorts[rows] = cohort
            for slot in chosen.tolist() if self.memory_init or self.identities else ():
                self.identities.pop(slot, None)
                if entry.program.has_memory:
                    self.memory_init.pop(slot, None)

    def _begin(self, seat: Seated, entry: Entry, slots: Slots, in_cohort: Slots) -> None:
        roster = self._roster
        widths = roster.widths[slot_index(slots)]
        several = distinct(widths)
        if len(several) == 1:
            seat.begin(in_cohort, entry, roster.arguments[slot_index(slots), : several[0]])
            return
        for width in several:
            rows = np.flatnonzero(widths == width)
            seat.begin(in_cohort[rows], entry, roster.arguments[slots[rows], :width])

    def _identities_of(self, slots: Slots) -> npt.NDArray[np.uint32]:
        identities = self._roster.agent_ids[slots].astype(np.uint32)
        if self.identities:
            for position, slot in enumerate(slots.tolist()):
                if slot in self.identities:
                    identities[position] = self.identities[slot]
        return identities

    def leave(self, slots: Slots) -> None:
        """End the instances of agents that are taken off."""
        for seat, places in self.by_seat(slots):
            if seat is not None:
                seat.leave(self._roster.cohort_slots[slots[places]])
        for kept in (self.memory_init, self.identities, self._scratch):
            if kept:
                for slot in slots.tolist():
                    kept.pop(slot, None)

    def end(self, program: Program) -> None:
        """Close the cohorts of a program that nobody runs."""
        for number in [at for at, seat in self._seats.items() if seat.program is program]:
            self._seats.pop(number).cohort.close()

    def end_strays(self) -> None:
        """Close the cohorts of an engine that was lost, where nobody sits any more."""
        for number, seat in list(self._seats.items()):
            if not self._engines.has(seat.placed) and not (seat.owners >= 0).any():
                self._seats.pop(number).cohort.close()

    def close(self) -> None:
        """Close everything. Idempotent."""
        self._closed = True
        for seat in self._seats.values():
            seat.cohort.close()
        self._seats.clear()
        self._engines.close()

    def state(self) -> dict[str, npt.NDArray[np.int64] | npt.NDArray[np.uint64]]:
        """Return what all agents came to: their numbers, statuses and counts."""
        slots = self._roster.slots()
        statuses = np.zeros(len(slots), dtype=np.int64)
        counts = np.zeros(len(slots), dtype=np.uint64)
        for seat, places in self.by_seat(slots):
            if seat is not None:
                in_cohort = self._roster.cohort_slots[slots[places]]
                statuses[places] = seat.cohort.statuses(in_cohort)
                counts[places] = seat.cohort.counts(in_cohort)
        agents = self._roster.agent_ids[slots]
        return {"agents": agents, "statuses": statuses, "counts": counts}

    # --- memory ---

    def check_memory_init(self, program: Program, content: bytes | None) -> None:
        """See whether bytes fit into a new agent's memory.

        Raises:
            UsageError: They do not.
        """
        size = self._settings.memory_bytes
        if program.has_memory:
            size = min(size, program.module.all_memories[0].limits.minimum * PAGE_BYTES)
        if content and len(content) > size:
            message = f"memory_init has {len(content)} bytes; the agent's memory begins with {size}"
            raise UsageError(message)

    def memory_sizes(self, slots: Slots) -> npt.NDArray[np.int64]:
        """Return the bytes that can be read and written of each agent: shape (n,)."""
        sizes = np.full(len(slots), self._settings.memory_bytes, dtype=np.int64)
        for seat, places in self.by_seat(slots):
            if seat is not None and seat.program.has_memory:
                sizes[places] = seat.cohort.memory_sizes(self._roster.cohort_slots[slots[places]])
        return sizes

    def read_memory(self, slots: Slots, offset: int, size: int) -> npt.NDArray[np.uint8]:
        """Return a part of each agent's memory, which is there: shape (n, size)."""
        memories = np.zeros((len(slots), size), dtype=np.uint8)
        for seat, places in self.by_seat(slots):
            if seat is not None and seat.program.has_memory:
                in_cohort = self._roster.cohort_slots[slots[places]]
                memories[places] = seat.cohort.read_memory(in_cohort, offset, size)
                continue
            for place in places.tolist():
                slot = int(slots[place])
                content = self._scratch.get(slot, self.memory_init.get(slot, b""))
                part = content[offset : offset + size]
                memories[place, : len(part)] = np.frombuffer(part, dtype=np.uint8)
        return memories

    def write_memory(self, slots: Slots, offset: int, data: bytes) -> None:
        """Write the same bytes into each agent's memory, where there is room for them."""
        row = np.frombuffer(data, dtype=np.uint8)
        for seat, places in self.by_seat(slots):
            if seat is not None and seat.program.has_memory:
                rows = np.broadcast_to(row, (len(places), len(row)))
                in_cohort = self._roster.cohort_slots[slots[places]]
                seat.cohort.write_memory(in_cohort, offset, rows)
                continue
            for slot in slots[places].tolist():
                first = self.memory_init.pop(slot, b"").ljust(self._settings.memory_bytes, b"\0")
                scratch = self._scratch.setdefault(slot, bytearray(first))
                scratch[offset : offset + len(data)] = data

    def _seat_for(self, entry: Entry) -> tuple[int, Seated]:
        """Return a cohort for agents with this entry, a new one if need be, and its number."""
        have = {at: seat for at, seat in self._seats.items() if seat.program is entry.program}
        placed = self._engines.place(
            entry.program.module,
            self._settings,
            entry.function,
            [seat.placed for seat in have.values()],
        )
        for number, seat in have.items():
            if seat.placed is placed:
                return number, seat
        number, self._next = self._next, self._next + 1
        self._seats[number] = Seated(entry.program, placed, self._roster.free_slots.limit)
        return number, self._seats[number]

    def _fill_memory(self, seat: Seated, slots: Slots, in_cohort: Slots) -> None:
        """Write the bytes that agents were spawned with, those with the same ones together."""
        if not self.memory_init or not seat.program.has_memory:
            return
        same: dict[bytes, list[int]] = {}
        for slot, place in zip(slots.tolist(), in_cohort.tolist(), strict=True):
            content = self.memory_init.get(slot)
            if content is not None:
                same.setdefault(content, []).append(place)
        for content, places in same.items():
            row = np.frombuffer(content, dtype=np.uint8)
            rows = np.broadcast_to(row, (len(places), len(row)))
            seat.cohort.write_memory(np.array(places, dtype=np.int64), 0, rows)
