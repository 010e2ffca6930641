"""Makes what cohorts know of their agents into the result of a dispatch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from stigmergy.wasm.engine import Slots, Status, Trap
from stigmergy.wasm.hostcalls import HostCall
from stigmergy.wasm.module.model import Module
from stigmergy.wasm.result import AgentArrays, SwarmResult
from stigmergy.wasm.roster import Roster, distinct
from stigmergy.wasm.seats import Entry, Seated
from stigmergy.wasm.values import array_of

__all__ = ["tell"]


def tell(
    roster: Roster,
    slots: Slots,
    groups: Sequence[tuple[Seated | None, Slots]],
    entries: Mapping[int, Entry],
) -> SwarmResult:
    """Return what these agents came to; `groups` as of `Seating.by_seat`."""
    result = SwarmResult()
    for seat, places in groups:
        ids = roster.agent_ids[slots[places]]
        if seat is None:
            _tell_idle(ids, result)
            continue
        in_cohort = roster.cohort_slots[slots[places]]
        table = _Table(seat, in_cohort, ids, roster.entries[slots[places]])
        table.tell_counts(result)
        table.tell_ends(result)
        table.tell_values(result, entries)
    result.unfinished.sort()
    return result


def _tell_idle(ids: npt.NDArray[np.int64], result: SwarmResult) -> None:
    """Agents of a module without functions finish at once, with 0."""
    result.result_arrays.append(AgentArrays(ids, np.zeros(len(ids), dtype=np.int32)))
    result.count_arrays.append(AgentArrays(ids, np.zeros(len(ids), dtype=np.uint64)))


@dataclass(frozen=True, slots=True)
class _Table:
    """The agents of one cohort: their slots in it, their numbers, and their entries' numbers."""

    seat: Seated
    in_cohort: Slots
    ids: npt.NDArray[np.int64]
    entries: npt.NDArray[np.int32]

    def tell_counts(self, result: SwarmResult) -> None:
        """Tell what each used and wrote, and where they ran."""
        counts = self.seat.cohort.counts(self.in_cohort)
        result.count_arrays.append(AgentArrays(self.ids, counts))
        if self.seat.program.calls(HostCall.OUTPUT, HostCall.LOG):
            result.output_lists.append((self.ids, self.seat.cohort.outputs(self.in_cohort)))
        there = result.agents_on.get(self.seat.device, 0)
        result.agents_on[self.seat.device] = there + len(self.ids)

    def tell_ends(self, result: SwarmResult) -> None:
        """Tell who goes on, who trapped, and who had nothing to do."""
        statuses = self.seat.cohort.statuses(self.in_cohort)
        if (statuses == Status.FINISHED).all():
            return
        going_on = (statuses == Status.READY) | (statuses == Status.WAITING)
        result.unfinished.extend(self.ids[going_on].tolist())
        trapped = np.flatnonzero(statuses == Status.TRAPPED)
        if len(trapped):
            numbers: list[int] = self.ids[trapped].tolist()
            traps = self.seat.cohort.traps(self.in_cohort[trapped])
            named = cache(partial(_named, self.seat.program.module))
            for number, trap in zip(numbers, traps, strict=True):
                if trap is not None:
                    result.traps[number] = named(trap)
        idle = self.ids[statuses == Status.IDLE]
        if len(idle):
            result.result_arrays.append(AgentArrays(idle, np.zeros(len(idle), dtype=np.int32)))

    def tell_values(self, result: SwarmResult, entries: Mapping[int, Entry]) -> None:
        """Tell what those that finished gave."""
        statuses = self.seat.cohort.statuses(self.in_cohort)
        finished = np.flatnonzero(statuses == Status.FINISHED)
        for number in distinct(self.entries[finished]):
            chosen = finished[self.entries[finished] == number]
            values = _values(self.seat, self.in_cohort[chosen], entries[number])
            result.result_arrays.append(AgentArrays(self.ids[chosen], values))


def _named(module: Module, trap: Trap) -> Trap:
    """Return the trap with the name that people know its function by."""
    name = None if trap.function is None else module.known_names.get(trap.function)
    return trap if name is None else replace(trap, name=name)


def _values(seat: Seated, in_cohort: Slots, entry: Entry) -> npt.NDArray[Any]:
    """Return the first result of each agent, or its global 0, or 0."""
    if entry.function is not None and entry.type.results:
        words = seat.cohort.results(in_cohort, entry.function)
        return array_of(entry.type.results[0], words[:, 0])
    if entry.program.module.all_globals:
        words = seat.cohort.read_globals(in_cohort)
        return array_of(entry.program.module.all_globals[0].value, words[:, 0])
    return np.zeros(len(in_cohort), dtype=np.int32)
