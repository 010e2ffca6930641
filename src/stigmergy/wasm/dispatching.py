"""One dispatch: agents run in turns, and messages are delivered between two of them.

One that fails in the middle can be told as far as it came: every agent's count, and how often
messages were delivered. Done again with these as bounds, it comes to the same.
"""

import threading
from collections.abc import Callable, Iterator
from time import perf_counter

import numpy as np

from stigmergy.wasm.engine import Counts, Slots, Status
from stigmergy.wasm.population import Population
from stigmergy.wasm.post import Post
from stigmergy.wasm.result import SwarmResult
from stigmergy.wasm.seats import Seated
from stigmergy.wasm.telling import tell

__all__ = ["Dispatch", "Watch"]

_MOST_INSTRUCTIONS = 1 << 62
_FIRST_PART = 256
_PART_S = 0.2


class Watch:
    """Who looks on at a dispatch: asked between two parts of it whether it shall end."""

    def __init__(
        self,
        stop: threading.Event | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._stop = stop
        self._progress = progress

    @property
    def is_there(self) -> bool:
        """Whether anybody looks on: else there is no need for parts."""
        return self._stop is not None or self._progress is not None

    def says_stop(self) -> bool:
        """Whether it shall end."""
        return self._stop is not None and self._stop.is_set()

    def see(self, done: int, agents: int) -> None:
        """Tell that so many of the agents have run."""
        if self._progress is not None:
            self._progress(done, agents)


class Dispatch:
    """Runs agents that have their places to targets, which are counts: shape (n,)."""

    def __init__(
        self,
        population: Population,
        slots: Slots,
        targets: Counts,
        watch: Watch | None = None,
    ) -> None:
        self._watch = watch or Watch()
        roster = population.roster
        self._population = population
        self._slots = slots
        self._targets = targets
        self._groups = population.seating.by_seat(slots)
        self._turns = [
            (seat, roster.cohort_slots[slots[places]], places)
            for seat, places in self._groups
            if seat is not None
        ]
        self._post = Post(roster, population.seating, population.settings)
        self._deliveries = 0
        self.is_delivering = False
        """Whether messages are on their way: a failure then leaves some here and some there."""
        self.is_cut = False
        """Whether it was ended early, by who looks on."""

    @classmethod
    def of(
        cls,
        population: Population,
        slots: Slots,
        max_instructions: int,
        watch: Watch | None = None,
    ) -> "Dispatch":
        """Make one that gives each agent so many instructions more."""
        # More than can be counted is as good as no bound, and must not wrap around.
        budget = np.uint64(min(max_instructions, _MOST_INSTRUCTIONS))
        return cls(population, slots, population.counts(slots) + budget, watch)

    @property
    def undeliverable(self) -> int:
        """How many messages were lost."""
        return self._post.undeliverable

    def run(self, most_deliveries: int | None = None) -> None:
        """Run until nobody can go on: in turns, where agents wait for each other's messages."""
        post = self._post
        post.expect(
            seat
            for seat, in_cohort, _ in self._turns
            if (seat.cohort.statuses(in_cohort) == Status.READY).any()
        )
        while True:
            self._run_turn()
            if self.is_cut:
                return
            if not post.has_letters or self._deliveries == most_deliveries:
                return
            self.is_delivering = True
            goes_on = post.deliver()
            self.is_delivering = False
            if not goes_on:
                return
            self._deliveries += 1

    def _run_turn(self) -> None:
        done = 0
        for seat, in_cohort, places in self._turns:
            for part in self._parts(seat, len(places)):
                if self._watch.says_stop():
                    self.is_cut = True
                    return
                seat.run(in_cohort[part], self._targets[places[part]])
                done += len(places[part])
                self._watch.see(done, len(self._slots))

    def _parts(self, seat: Seated, agents: int) -> Iterator[slice]:
        """Yield all positions, on the CPU in parts that take a moment each if anybody looks on."""
        size = _FIRST_PART if self._watch.is_there and seat.placed.engine.name == "cpu" else agents
        at = 0
        while at < agents:
            begun = perf_counter()
            yield slice(at, at + size)
            at += size
            took = perf_counter() - begun
            if took < _PART_S:
                size *= 2
            elif took > 4 * _PART_S:
                size = max(1, size // 4)

    def so_far(self) -> dict[str, object]:
        """Return what was done until now, as an operation `advance` of the journal.

        Who is at rest came there by itself, and would again; who is not was stopped at its count.
        """
        targets = self._targets.copy()
        for seat, in_cohort, places in self._turns:
            stopped = seat.cohort.statuses(in_cohort) == Status.READY
            targets[places[stopped]] = seat.cohort.counts(in_cohort)[stopped]
        return {
            "agent_ids": self._population.roster.agent_ids[self._slots],
            "targets": targets,
            "deliveries": self._deliveries,
        }

    def told(self, population: Population) -> SwarmResult:
        """Return what the agents came to, where they are now: they may have been made again."""
        slots, groups = self._slots, self._groups
        if population is not self._population:
            slots = population.seated(self._population.roster.agent_ids[slots].tolist())
            groups = population.seating.by_seat(slots)
        result = tell(population.roster, slots, groups, population.programs.entries)
        result.undeliverable = self._post.undeliverable
        return result
