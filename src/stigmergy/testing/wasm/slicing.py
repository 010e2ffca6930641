"""Runs a case on an engine, in several slicings at once, and observes every agent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stigmergy.testing.wasm.cases import Case
from stigmergy.testing.wasm.observing import Observation, differences
from stigmergy.wasm.engine import Cohort, Engine, Mail, Slots, Status
from stigmergy.wasm.module.decode import decode

__all__ = ["SLICINGS", "Slicing", "differences_between_slicings", "run_case"]

_MOST_WAITS = 200


@dataclass(frozen=True, slots=True)
class Slicing:
    """Targets in steps of so many instructions, so many times; then the whole budget."""

    step: int
    times: int

    def target(self, slice_: int, budget: int) -> int:
        """Return the target of a slice, counted from 0."""
        return budget if slice_ >= self.times else min(budget, self.step * (slice_ + 1))


SLICINGS = (Slicing(0, 0), Slicing(1, 60), Slicing(7, 60), Slicing(100, 25), Slicing(1_000, 5))
"""One big target first."""


def run_case(
    engine: Engine, case: Case, *, budget: int, slicings: Sequence[Slicing] = SLICINGS
) -> list[list[Observation]]:
    """Return for each slicing what became of the agent of each call.

    Raises:
        UnsupportedError: The engine cannot run the module.
    """
    module = decode(case.wasm)
    cohort = engine.cohort(module, case.settings)
    try:
        agents = len(case.calls)
        run = _Run(cohort, case, slicings, budget)
        run.begin()
        run.run()
        seen = run.observe()
        return [seen[at : at + agents] for at in range(0, len(seen), agents)]
    finally:
        cohort.close()


def differences_between_slicings(runs: Sequence[Sequence[Observation]]) -> list[str]:
    """Return what differs between the slicings of a case on one engine, a line each.

    The count of an agent that trapped depends on where it stopped before.
    """

    def comparable(one: Observation) -> Observation:
        count = None if one.status is Status.TRAPPED else one.count
        return replace(one, stops=None, count=count)

    first = list(map(comparable, runs[0]))
    return [
        f"slicing 0 and {number}: {line}"
        for number, other in enumerate(runs[1:], start=1)
        for line in differences(first, list(map(comparable, other)))
    ]


class _Run:
    """The agents of one case: those of a slicing behind those of the one before it."""

    def __init__(
        self, cohort: Cohort, case: Case, slicings: Sequence[Slicing], budget: int
    ) -> None:
        self._cohort = cohort
        self._case = case
        self._slicings = slicings
        self._budget = budget
        self._agents = len(case.calls)
        self._slots = np.arange(self._agents * len(slicings), dtype=np.int64)
        self._stops: list[tuple[list[Status], list[int]]] = []

    def begin(self) -> None:
        cohort, case, slots = self._cohort, self._case, self._slots
        cohort.reserve(len(slots))
        cohort.create(slots, (slots % self._agents).astype(np.uint32))
        if case.memory_start:
            content = np.frombuffer(case.memory_start, dtype=np.uint8)
            there = slots[cohort.memory_sizes(slots) >= len(content)]
            cohort.write_memory(there, 0, np.tile(content, (len(there), 1)))
        if case.inbox:
            cohort.write_mail(slots, "inbox", self._mail())
        for function in sorted({call.function for call in case.calls}):
            called = [at for at, call in enumerate(case.calls) if call.function == function]
            chosen = np.concatenate(
                [np.array(called) + self._agents * at for at in range(len(self._slicings))]
            ).astype(np.int64)
            arguments = [case.calls[at].arguments for at in called] * len(self._slicings)
            width = len(arguments[0])
            words = np.array(arguments, dtype=np.uint64).reshape(len(arguments), width)
            cohort.begin(chosen, function, words)

    def _mail(self) -> Mail:
        inbox, size = self._case.inbox, self._case.settings.message_bytes
        contents = np.zeros((len(inbox), size), dtype=np.uint8)
        for at, (_, content) in enumerate(inbox):
            contents[at, : len(content)] = list(content)
        every = len(self._slots)
        return Mail(
            slots=np.repeat(self._slots, len(inbox)),
            peers=np.tile(np.array([sender for sender, _ in inbox], dtype=np.uint32), every),
            lengths=np.tile(np.array([len(one) for _, one in inbox], dtype=np.uint32), every),
            contents=np.tile(contents, (every, 1)),
        )

    def run(self) -> None:
        """Run all slices, and then on until every agent has ended or used its budget."""
        slices = max(one.times for one in self._slicings) + 1
        for slice_ in range(slices + _MOST_WAITS):
            targets = np.array(
                [one.target(slice_, self._budget) for one in self._slicings], dtype=np.uint64
            ).repeat(self._agents)
            statuses = self._cohort.run(self._slots, targets)
            counts = self._cohort.counts(self._slots)
            self._stops.append(
                ([Status(int(one)) for one in statuses], [int(one) for one in counts])
            )
            waiting = self._slots[statuses == Status.WAITING]
            if len(waiting):
                self._cohort.wake(waiting)
            elif slice_ + 1 >= slices or not bool(np.any(statuses == Status.READY)):
                break

    def observe(self) -> list[Observation]:
        """Return what became of each agent."""
        cohort, slots = self._cohort, self._slots
        statuses = [Status(int(one)) for one in cohort.statuses(slots)]
        counts = [int(one) for one in cohort.counts(slots)]
        results = self._results(statuses)
        traps = cohort.traps(slots)
        memories = _memories(cohort, slots)
        globals_ = cohort.read_globals(slots)
        outputs = cohort.outputs(slots)
        outboxes, inboxes = self._box("outbox"), self._box("inbox")
        # Where a segment did not fit there may be no instance to look into.
        unfit = [trap is not None and trap.function is None for trap in traps]
        return [
            Observation(
                status,
                count=counts[slot],
                results=results.get(slot),
                trap=traps[slot],
                memory=None if unfit[slot] else memories[slot],
                globals=None if unfit[slot] else tuple(int(one) for one in globals_[slot]),
                output=outputs[slot],
                outbox=tuple(outboxes[slot]),
                inbox=tuple(inboxes[slot]),
                stops=tuple((status[slot], count[slot]) for status, count in self._stops),
            )
            for slot, status in enumerate(statuses)
        ]

    def _results(self, statuses: Sequence[Status]) -> dict[int, tuple[int, ...]]:
        found: dict[int, tuple[int, ...]] = {}
        for function in sorted({call.function for call in self._case.calls}):
            chosen = [
                slot
                for slot, status in enumerate(statuses)
                if status is Status.FINISHED
                and self._case.calls[slot % self._agents].function == function
            ]
            if chosen:
                words = self._cohort.results(np.array(chosen, dtype=np.int64), function)
                for slot, row in zip(chosen, words, strict=True):
                    found[slot] = tuple(int(value) for value in row)
        return found

    def _box(self, box: str) -> list[list[tuple[int, bytes]]]:
        found: list[list[tuple[int, bytes]]] = [[] for _ in self._slots]
        mail = self._cohort.read_mail(self._slots, "inbox" if box == "inbox" else "outbox")
        for slot, peer, length, content in zip(
            mail.slots, mail.peers, mail.lengths, mail.contents, strict=True
        ):
            found[int(slot)].append((int(peer), bytes(content[: int(length)])))
        return found


def _memories(cohort: Cohort, slots: Slots) -> list[bytes]:
    sizes = cohort.memory_sizes(slots)
    found = [b""] * len(slots)
    for size in sorted({int(one) for one in sizes} - {0}):
        chosen = slots[sizes == size]
        for slot, row in zip(chosen, cohort.read_memory(chosen, 0, size), strict=True):
            found[int(slot)] = row.tobytes()
    return found
