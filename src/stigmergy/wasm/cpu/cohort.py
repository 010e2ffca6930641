"""The agents of one module on the CPU."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Literal

import numpy as np
import numpy.typing as npt

from stigmergy.swarm.nursery import Nursery
from stigmergy.wasm.cpu import binding
from stigmergy.wasm.cpu.agent import Agent
from stigmergy.wasm.cpu.binding import EXTERN_WORDS, VALUE_KINDS, VALUE_WORDS, Cell
from stigmergy.wasm.cpu.calls import Calls, low_bits
from stigmergy.wasm.cpu.program import Program
from stigmergy.wasm.cpu.traps import take_failure
from stigmergy.wasm.engine import Counts, Mail, Slots, Status, Statuses, Trap, Words
from stigmergy.wasm.module.model import Module, ValueType

__all__ = ["CpuCohort"]

_SAMPLE = 16
"""How many agents are run before it is decided whether threads share the rest."""
_SHARED_EACH_S = 20e-6
"""What an agent must take for that: taking Python's lock from each other costs as much."""
_SHARED_S = 2e-3
"""And what the rest must take: threads take 0.1 ms to start."""


class CpuCohort:
    """Agents, each with a store of its own. Not thread-safe."""

    def __init__(self, program: Program, threads: int) -> None:
        self._program = program
        self._threads = threads
        self._agents = program.hosting.agents

    @property
    def module(self) -> Module:
        """What the agents run."""
        return self._program.module

    def check(self, function: int) -> None:
        """Do nothing: a module that could be compiled can begin with any of its functions."""

    def reserve(self, capacity: int) -> None:
        """Do nothing: an agent takes room when it is created."""

    def create(self, slots: Slots, agent_ids: npt.NDArray[np.uint32]) -> None:
        """Begin fresh instances, whatever these slots held; memory is taken when they are used."""
        self.discard(slots)
        for slot, agent_id in zip(_numbers(slots), agent_ids.tolist(), strict=True):
            self._agents[slot] = Agent(self._program, slot, agent_id)

    def discard(self, slots: Slots) -> None:
        """End instances and free what they used."""
        for slot in _numbers(slots):
            agent = self._agents.pop(slot, None)
            if agent is not None:
                agent.close()

    def begin(self, slots: Slots, function: int, arguments: Words) -> None:
        """Give each agent a call of a function, arguments of shape (n, parameters).

        Raises:
            UnsupportedError: The function takes or gives a reference or a vector.
        """
        calls = Calls(function, self.module.functions[function], arguments)
        for row, agent in enumerate(self._at(slots)):
            agent.begin(calls, row)

    def run(self, slots: Slots, targets: Counts) -> Statuses:
        """Run each READY agent until it finishes, traps, waits, or its count reaches its target.

        Threads share the work where it is worth it; what comes of it is the same.
        """
        agents = self._at(slots)
        ready = int(Status.READY)
        work = [
            (agent, target)
            for agent, target in zip(agents, targets.tolist(), strict=True)
            if agent.status == ready
        ]
        begun = perf_counter()
        _advance(work[:_SAMPLE])
        each_s, rest = (perf_counter() - begun) / _SAMPLE, work[_SAMPLE:]
        if self._threads > 1 and each_s > _SHARED_EACH_S and each_s * len(rest) > _SHARED_S:
            with Nursery() as nursery:
                for thread in range(self._threads):
                    # Dealt like cards: neighbours tend to take alike.
                    part = rest[thread :: self._threads]
                    work_on = partial(_advance, part, nursery.stop)
                    nursery.start(work_on, name=f"wasm {thread}")
        else:
            _advance(rest)
        return self.statuses(slots)

    def wake(self, slots: Slots) -> None:
        """Make WAITING agents READY."""
        for agent in self._at(slots):
            agent.wake()

    def statuses(self, slots: Slots) -> Statuses:
        """Return what each agent is about."""
        return np.array([agent.status for agent in self._at(slots)], dtype=np.uint8)

    def counts(self, slots: Slots) -> Counts:
        """Return the instructions of each agent's call so far."""
        return np.array([agent.count for agent in self._at(slots)], dtype=np.uint64)

    def results(self, slots: Slots, function: int) -> Words:
        """Return what a call of this function gave: shape (n, results). Only where FINISHED."""
        width = len(self.module.functions[function].results)
        words = np.zeros((len(slots), width), dtype=np.uint64)
        groups: dict[int, tuple[Calls, list[int], list[int]]] = {}
        for position, agent in enumerate(self._at(slots)):
            calls, row = agent.calls()
            assert calls is not None
            assert calls.function == function, f"slot {agent.slot} ran another function"
            _, positions, rows = groups.setdefault(id(calls), (calls, [], []))
            positions.append(position)
            rows.append(row)
        for calls, positions, rows in groups.values():
            words[positions] = calls.results(np.array(rows, dtype=np.int64))
        return words

    def traps(self, slots: Slots) -> Sequence[Trap | None]:
        """Return why and where each agent trapped, None where it did not."""
        return [agent.trap for agent in self._at(slots)]

    def memory_sizes(self, slots: Slots) -> npt.NDArray[np.int64]:
        """Return the size of each agent's memory now, in bytes; 0 without one."""
        return np.array([agent.memory()[1] for agent in self._at(slots)], dtype=np.int64)

    def read_memory(self, slots: Slots, offset: int, size: int) -> npt.NDArray[np.uint8]:
        """Return a part of each agent's memory: shape (n, size). The caller checked the bounds."""
        content = np.zeros((len(slots), size), dtype=np.uint8)
        start = content.ctypes.data
        for row, agent in enumerate(self._at(slots)):
            address, has = agent.memory()
            assert offset + size <= has, f"slot {agent.slot} has {has} bytes of memory"
            binding.poke(start + row * size, address + offset, size)
        return content

    def write_memory(self, slots: Slots, offset: int, content: npt.NDArray[np.uint8]) -> None:
        """Write to each agent's memory, shape (n, size). The caller checked the bounds."""
        content = np.ascontiguousarray(content)
        start, size = content.ctypes.data, content.shape[1]
        for row, agent in enumerate(self._at(slots)):
            address, has = agent.memory()
            assert offset + size <= has, f"slot {agent.slot} has {has} bytes of memory"
            binding.poke(address + offset, start + row * size, size)

    def read_globals(self, slots: Slots) -> Words:
        """Return all globals: shape (n, globals). References and vectors are 0."""
        kinds: tuple[ValueType, ...] = tuple(one.value for one in self.module.all_globals)
        words = np.zeros((len(slots), len(kinds)), dtype=np.uint64)
        handle, value = Cell(EXTERN_WORDS), Cell(VALUE_WORDS)
        numbers = [at for at, kind in enumerate(kinds) if kind in {"i32", "i64", "f32", "f64"}]
        for row, agent in enumerate(self._at(slots)):
            for index in numbers:
                if context := agent.find("global", index, handle):
                    binding.global_get(context, handle.address + 8, value.address)
                    words[row, index] = value[1]
        return low_bits(words, kinds)

    def write_globals(self, slots: Slots, indices: Sequence[int], values: Words) -> None:
        """Set some mutable globals that are numbers: shape (n, indices)."""
        handle, value = Cell(EXTERN_WORDS), Cell(VALUE_WORDS)
        for agent, row in zip(self._at(slots), values.tolist(), strict=True):
            for index, bits in zip(indices, row, strict=True):
                if context := agent.find("global", index, handle):
                    value[0] = VALUE_KINDS[self.module.all_globals[index].value]
                    value[1] = bits
                    error = binding.global_set(context, handle.address + 8, value.address)
                    if error:
                        raise take_failure(error)

    def outputs(self, slots: Slots) -> Sequence[bytes]:
        """Return what each agent wrote to its output since it was created."""
        return [bytes(agent.output or b"") for agent in self._at(slots)]

    def read_mail(self, slots: Slots, box: Literal["inbox", "outbox"]) -> Mail:
        """Return the messages in the inboxes or outboxes."""
        found = [
            (agent.slot, peer, content)
            for agent in sorted(self._at(slots), key=lambda one: one.slot)
            for peer, content in (getattr(agent, box) or ())
        ]
        contents = np.zeros((len(found), self._program.settings.message_bytes), dtype=np.uint8)
        for row, (_, _, content) in enumerate(found):
            contents[row, : len(content)] = np.frombuffer(content, dtype=np.uint8)
        return Mail(
            np.array([slot for slot, _, _ in found], dtype=np.int64),
            np.array([peer for _, peer, _ in found], dtype=np.uint32),
            np.array([len(content) for _, _, content in found], dtype=np.uint32),
            contents,
        )

    def write_mail(self, slots: Slots, box: Literal["inbox", "outbox"], mail: Mail) -> None:
        """Replace the contents of the inboxes or outboxes of these slots."""
        boxes: dict[int, deque[tuple[int, bytes]]] = {}
        for agent in self._at(slots):
            boxes[agent.slot] = deque()
            setattr(agent, box, boxes[agent.slot])
        for row, (slot, peer, length) in enumerate(
            zip(mail.slots.tolist(), mail.peers.tolist(), mail.lengths.tolist(), strict=True)
        ):
            boxes[slot].append((peer, mail.contents[row, :length].tobytes()))

    def close(self) -> None:
        """Free everything. Idempotent."""
        self.discard(np.array(list(self._agents), dtype=np.int64))
        self._program.close()

    def _at(self, slots: Slots) -> list[Agent]:
        agents = self._agents
        return [agents[slot] for slot in _numbers(slots)]


def _numbers(slots: Slots) -> list[int]:
    return slots.tolist()


def _advance(work: list[tuple[Agent, int]], stop: threading.Event | None = None) -> None:
    """Run agents to their targets, one after the other; asked to stop, leave the rest READY."""
    cell = Cell()
    for agent, target in work:
        if stop is not None and stop.is_set():
            return
        agent.advance(target, cell)
