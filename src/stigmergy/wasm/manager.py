"""The swarm: agents are spawned, dispatched and killed here, whatever engine runs them."""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import ClassVar, Final, Self

import numpy as np
import numpy.typing as npt

from stigmergy.errors import NotFoundError, UsageError
from stigmergy.wasm.engine import CohortSettings, FloatMode, Slots, Status
from stigmergy.wasm.engines import EngineName, Engines
from stigmergy.wasm.hostcalls import HostCall, Imports, resolve_imports
from stigmergy.wasm.module.model import Module
from stigmergy.wasm.module.reading import read_module
from stigmergy.wasm.post import Post
from stigmergy.wasm.result import SwarmResult
from stigmergy.wasm.roster import ActiveAgents, Roster
from stigmergy.wasm.seats import Entry, Program, Seated
from stigmergy.wasm.values import Number, numbers_of

__all__ = ["BytecodeMissingError", "SwarmManager", "SwarmResult"]

_NO_ARGUMENTS: Final = np.zeros((1, 0), dtype=np.uint64)


class BytecodeMissingError(UsageError, RuntimeError):
    """Agents were asked for before there was a module for them to run."""


class SwarmManager:
    """Runs many agents of WebAssembly modules, each with memory and globals of its own.

    Args:
        engine: `cpu` (wasmtime), `gpu` (compiled to WGSL), or `auto`: the GPU where there is a
            hardware one and it can run the module; `placements` says what was chosen and why.
        max_agents: the most agents at a time.
        agent_memory_size: the most linear memory of an agent, in bytes: it grows up to that. Less
            than the module declares is allowed where it neither asks for nor grows its memory.
        output_size: bytes of output kept of each agent.
        floats: `strict` gives the same bits on every engine; `fast` lets the GPU use its own
            single-precision arithmetic.
        seed: what agents' random numbers follow from.
        clock_start_ns: what the agents' clock begins with; see `hostcalls.clock_ns`.
        mailbox_messages: the most messages in an agent's inbox, and in its outbox.
        message_bytes: the longest message.
        call_stack_bytes: what the GPU engine keeps for recursion of each agent.
        imports: what else modules may import.

    Use it as a context manager, or call `close`. Not thread-safe.
    """

    MAX_AGENTS: ClassVar[int] = 1024
    AGENT_MEMORY_SIZE: ClassVar[int] = 65_536
    GLOBALS_PER_AGENT: ClassVar[int] = 16
    """What the first design had; a module may have any number of globals."""
    OUTPUT_SIZE_PER_AGENT: ClassVar[int] = 4_096

    def __init__(
        self,
        engine: EngineName = "auto",
        max_agents: int | None = None,
        agent_memory_size: int | None = None,
        *,
        output_size: int | None = None,
        floats: FloatMode = "strict",
        seed: int = 0,
        clock_start_ns: int = 0,
        mailbox_messages: int = 16,
        message_bytes: int = 64,
        call_stack_bytes: int = 16_384,
        imports: Imports | None = None,
    ) -> None:
        self.max_agents = self.MAX_AGENTS if max_agents is None else max_agents
        memory = self.AGENT_MEMORY_SIZE if agent_memory_size is None else agent_memory_size
        output = self.OUTPUT_SIZE_PER_AGENT if output_size is None else output_size
        _check_sizes(max_agents=self.max_agents, agent_memory_size=memory, output_size=output + 1)
        _check_sizes(mailbox_messages=mailbox_messages, message_bytes=message_bytes)
        if floats not in ("strict", "fast"):
            message = f"floats is {floats!r}; it is strict or fast"
            raise UsageError(message)
        self.settings = CohortSettings(
            memory_bytes=memory,
            output_bytes=output,
            mailbox_messages=mailbox_messages,
            message_bytes=message_bytes,
            call_stack_bytes=call_stack_bytes,
            floats=floats,
            seed=seed,
            clock_start_ns=clock_start_ns,
            imports=imports or Imports(),
        )
        self._engines = Engines(engine)
        self._roster = Roster(self.max_agents)
        self._programs: dict[str, Program] = {}
        self._current: Program | None = None
        self._entries: list[Entry] = []
        self._entry_numbers: dict[tuple[str, int | str], int] = {}
        self._named: list[tuple[int | str, str]] = []
        self._seated: list[Seated] = []
        self._memory_init: dict[int, bytes] = {}
        self._scratch: dict[int, bytearray] = {}
        self.active_agents: Mapping[int, object] = ActiveAgents(self._roster, self._named)

    # --- modules ---

    @classmethod
    def from_wasm(cls, wasm: bytes | str, engine: EngineName = "auto", **settings: object) -> Self:
        """Make a swarm with a module loaded; settings as for the class."""
        manager = cls(engine, **settings)  # pyright: ignore[reportArgumentType] - checked there
        manager.load_bytecode(wasm)
        return manager

    def load_bytecode(self, wasm: bytes | str) -> str:
        """Load a module, binary or text (WAT), which agents spawned from now on run.

        Returns its digest, by which `spawn_agent` can choose among several. Agents that are there
        already keep theirs.

        Raises:
            InvalidModuleError: It is no valid module; the message has the reason.
            UnsupportedError: It imports what is not there, or needs what no engine has.
        """
        module = read_module(wasm)
        program = self._programs.get(module.digest)
        if program is None:
            program = Program(module, resolve_imports(module, self.settings.imports))
            self._programs[module.digest] = program
        self._current = program
        return module.digest

    @property
    def bytecode_loaded(self) -> bool:
        """Whether there is a module to run."""
        return self._current is not None

    _bytecode_loaded = bytecode_loaded

    @property
    def bytecode_size(self) -> int:
        """The bytes of the module that is spawned by default; 0 before one is loaded."""
        return len(self._current.module.wasm) if self._current else 0

    @property
    def placements(self) -> list[str]:
        """For each module in use and each engine that runs it: which, on what, and why."""
        return [one.told() for one in self._seated]

    @property
    def free_slots(self) -> Sequence[int]:
        """The slots that no agent has."""
        return self._roster.free_slots

    # --- agents ---

    def spawn_agent(
        self,
        entry_point: int | str = 0,
        memory_init: bytes | None = None,
        args: Sequence[Number] | None = None,
        *,
        module: str | None = None,
    ) -> int:
        """Seat a new agent, which runs from the next dispatch on. Returns its number.

        Args:
            entry_point: the function to call: its index (imported ones count first), or the name
                of an export.
            memory_init: bytes for the start of its memory, over what the module puts there.
            args: the function's parameters. Where it has none, they go to the globals 1, 2 ….
            module: the digest of a loaded module; the one loaded last if not given.

        Raises:
            BytecodeMissingError: No module is loaded.
            SwarmFullError: Every slot is taken.
            UsageError: There is no such function, or the arguments are not what it takes.
        """
        number = self._entry_number(entry_point, module)
        entry = self._entries[number]
        if memory_init:
            self._check_memory_init(entry.program.module, memory_init)
        slot = self._roster.add_one(number, entry.argument_bits(args or ()))
        if memory_init:
            self._memory_init[slot] = bytes(memory_init)
        return self._roster.next_agent_id - 1

    def spawn_agents(
        self,
        count: int,
        entry_point: int | str = 0,
        args: npt.ArrayLike | None = None,
        *,
        memory_init: bytes | None = None,
        module: str | None = None,
    ) -> range:
        """Seat many agents at once; `args` of shape (count, parameters). Returns their numbers.

        Raises:
            As `spawn_agent`; then none was seated.
        """
        if count < 0:
            message = f"{count} agents cannot be spawned"
            raise UsageError(message)
        number = self._entry_number(entry_point, module)
        entry = self._entries[number]
        if memory_init:
            self._check_memory_init(entry.program.module, memory_init)
        columns = np.zeros((count, 0)) if args is None else np.asarray(args)
        if columns.ndim == 1:
            columns = columns[:, np.newaxis]
        if len(columns) != count:
            message = f"there are arguments for {len(columns)} agents, and {count} are spawned"
            raise UsageError(message)
        slots = self._roster.add(count, number, entry.argument_words(columns))
        if memory_init:
            self._memory_init.update(dict.fromkeys(slots.tolist(), bytes(memory_init)))
        return range(self._roster.next_agent_id - count, self._roster.next_agent_id)

    def restart_agent(
        self, agent_id: int, entry_point: int | str = 0, args: Sequence[Number] | None = None
    ) -> None:
        """Give an agent another call; its memory, globals and output stay as they are.

        A call that was not finished is given up.

        Raises:
            NotFoundError: There is no such agent.
            UsageError, UnsupportedError: As for `spawn_agent` and `dispatch`.
        """
        slots = self._roster.slots_of([agent_id])
        digest = self._entry(int(slots[0])).program.module.digest
        self._seat(slots)
        number = self._entry_number(entry_point, digest)
        entry = self._entries[number]
        bits = entry.argument_bits(args or ())
        words = np.array(bits, dtype=np.uint64).reshape(1, len(bits))
        seat = self._seated[int(self._roster.cohorts[slots[0]])] if self._is_seated(slots) else None
        if seat is not None:
            seat.begin(self._roster.cohort_slots[slots], entry, words)
        self._roster.entries[slots] = number

    def kill_agent(self, agent_id: int) -> None:
        """Take an agent off; its slot is free for another.

        Raises:
            NotFoundError: There is no such agent (a KeyError).
        """
        slots = self._roster.slots_of([agent_id])
        if self._is_seated(slots):
            self._seated[int(self._roster.cohorts[slots[0]])].leave(
                self._roster.cohort_slots[slots]
            )
        self._roster.remove(agent_id)
        self._memory_init.pop(int(slots[0]), None)
        self._scratch.pop(int(slots[0]), None)

    # --- memory ---

    def get_agent_memory(self, agent_id: int, size: int | None = None, offset: int = 0) -> bytes:
        """Return a part of an agent's memory; all of it if not said otherwise.

        Of a module without a memory, `agent_memory_size` bytes stand for it, which only the host
        sees.

        Raises:
            NotFoundError: There is no such agent (a KeyError).
            UsageError: The part lies outside of its memory.
        """
        return self.get_memories([agent_id], size, offset).tobytes()

    def get_memories(
        self, agent_ids: Sequence[int], size: int | None = None, offset: int = 0
    ) -> npt.NDArray[np.uint8]:
        """Return the same part of many agents' memories: shape (agents, size).

        Raises:
            As `get_agent_memory`; with no size given, UsageError where the agents' sizes differ.
        """
        slots = self._roster.slots_of(agent_ids)
        self._seat(slots)
        sizes = self._memory_sizes(slots)
        if size is None:
            if len(set(sizes.tolist())) > 1:
                message = "the agents' memories differ in size: say how many bytes are wanted"
                raise UsageError(message)
            size = int(sizes[0]) - offset if len(sizes) else 0
        _check_part(offset, size, int(sizes.min(initial=2**62)))
        memories = np.zeros((len(slots), size), dtype=np.uint8)
        for seat, places in self._by_seat(slots):
            if seat is None:
                self._read_scratch(slots, places, memories, offset)
            else:
                in_cohort = self._roster.cohort_slots[slots[places]]
                memories[places] = seat.cohort.read_memory(in_cohort, offset, size)
        return memories

    def set_agent_memory(self, agent_id: int, data: bytes, offset: int = 0) -> None:
        """Write to an agent's memory.

        Raises:
            NotFoundError: There is no such agent (a KeyError).
            UsageError: The part lies outside of its memory; nothing was written.
        """
        slots = self._roster.slots_of([agent_id])
        self._seat(slots)
        size = int(self._memory_sizes(slots)[0])
        _check_part(offset, len(data), size)
        if not self._is_seated(slots) or not self._entry(int(slots[0])).program.has_memory:
            scratch = self._scratch.setdefault(int(slots[0]), bytearray(size))
            scratch[offset : offset + len(data)] = data
            return
        content = np.frombuffer(data, dtype=np.uint8).reshape(1, len(data))
        seat = self._seated[int(self._roster.cohorts[slots[0]])]
        seat.cohort.write_memory(self._roster.cohort_slots[slots], offset, content)

    # --- dispatch ---

    def dispatch(
        self, agent_ids: Sequence[int] | None = None, max_instructions: int = 10_000
    ) -> SwarmResult:
        """Run agents, all or these, each for so many instructions at most.

        One that has not finished then goes on in the next dispatch; one that has is told again,
        and does not run. Where an agent stops exactly: see `engine`. Agents that wait for messages
        get them in this dispatch if every agent of the swarm has finished, trapped or waits.

        Raises:
            NotFoundError: One of them is not there (a KeyError); none was run.
            UnsupportedError: The engine cannot run a module; the message has the reason.
        """
        if max_instructions < 1:
            message = f"max_instructions is {max_instructions}; an agent needs at least 1"
            raise UsageError(message)
        begun = time.perf_counter()
        roster = self._roster
        slots = roster.slots() if agent_ids is None else roster.slots_of(agent_ids)
        self._seat(slots)
        result = SwarmResult()
        groups = self._by_seat(slots)
        self._run(slots, groups, max_instructions, result)
        ids = roster.agent_ids[slots]
        for seat, places in groups:
            if seat is None:
                _tell_idle(ids[places].tolist(), result)
            else:
                entries = roster.entries[slots[places]]
                self._tell(seat, roster.cohort_slots[slots[places]], ids[places], entries, result)
        result.unfinished.sort()
        result.total_time_ms = (time.perf_counter() - begun) * 1000
        return result

    def _run(
        self,
        slots: Slots,
        groups: Sequence[tuple[Seated | None, Slots]],
        max_instructions: int,
        result: SwarmResult,
    ) -> None:
        """Run until nobody can go on: in turns, where agents wait for each other's messages."""
        turns = [
            (seat, self._roster.cohort_slots[slots[places]]) for seat, places in groups if seat
        ]
        targets = [
            seat.cohort.counts(in_cohort) + np.uint64(max_instructions) for seat, in_cohort in turns
        ]
        post = Post(self._roster, self._seated, self.settings)
        while True:
            for (seat, in_cohort), target in zip(turns, targets, strict=True):
                seat.run(in_cohort, target)
            if not post.has_letters or not post.deliver():
                break
        result.undeliverable = post.undeliverable

    def _tell(
        self,
        seat: Seated,
        in_cohort: Slots,
        ids: npt.NDArray[np.int64],
        entries: npt.NDArray[np.int32],
        result: SwarmResult,
    ) -> None:
        """Write what agents of one cohort came to into the result."""
        numbers = ids.tolist()
        statuses = seat.cohort.statuses(in_cohort)
        counts = seat.cohort.counts(in_cohort).tolist()
        result.instruction_counts.update(zip(numbers, counts, strict=True))
        result.agents_on[seat.device] = result.agents_on.get(seat.device, 0) + len(numbers)
        outputs: Sequence[bytes] = [b""] * len(numbers)
        if seat.program.calls(HostCall.OUTPUT, HostCall.LOG):
            outputs = seat.cohort.outputs(in_cohort)
        result.agent_outputs.update(zip(numbers, outputs, strict=True))
        going_on = (statuses == Status.READY) | (statuses == Status.WAITING)
        result.unfinished.extend(ids[going_on].tolist())
        trapped = np.flatnonzero(statuses == Status.TRAPPED)
        if len(trapped):
            traps = seat.cohort.traps(in_cohort[trapped])
            found = zip(ids[trapped].tolist(), traps, strict=True)
            result.traps.update((number, trap) for number, trap in found if trap is not None)
        idle = ids[statuses == Status.IDLE].tolist()
        result.agent_results.update(dict.fromkeys(idle, 0))
        finished = np.flatnonzero(statuses == Status.FINISHED)
        numbers_of_entries: list[int] = np.unique(entries[finished]).tolist()
        for number in numbers_of_entries:
            chosen = finished[entries[finished] == number]
            values = self._values(seat, in_cohort[chosen], self._entries[number])
            result.agent_results.update(zip(ids[chosen].tolist(), values, strict=True))

    def _values(self, seat: Seated, in_cohort: Slots, entry: Entry) -> list[Number]:
        """Return the first result of each agent, or its global 0, or 0."""
        module = entry.program.module
        if entry.function is not None and entry.type.results:
            words = seat.cohort.results(in_cohort, entry.function)
            return numbers_of(entry.type.results[0], words[:, 0])
        if module.all_globals:
            words = seat.cohort.read_globals(in_cohort)
            return numbers_of(module.all_globals[0].value, words[:, 0])
        return [0] * len(in_cohort)

    # --- seats: which cohort has whom ---

    def _entry_number(self, entry_point: int | str, digest: str | None) -> int:
        """Return the position among the entries of a function of a loaded module."""
        program = self._current
        if program is None:
            message = "no bytecode is loaded: call load_bytecode() with a module first"
            raise BytecodeMissingError(message)
        if digest is not None:
            program = self._programs.get(digest)
            if program is None:
                message = f"no module with the digest {digest!r} is loaded"
                raise NotFoundError(message)
        key = (program.module.digest, entry_point)
        number = self._entry_numbers.get(key)
        if number is None:
            self._entries.append(Entry.find(program, entry_point))
            self._named.append((entry_point, program.module.digest))
            number = self._entry_numbers[key] = len(self._entries) - 1
        return number

    def _entry(self, slot: int) -> Entry:
        return self._entries[int(self._roster.entries[slot])]

    def _is_seated(self, slots: Slots) -> bool:
        return bool(self._roster.cohorts[slots[0]] >= 0)

    def _by_seat(self, slots: Slots) -> list[tuple[Seated | None, Slots]]:
        """Return the positions among `slots` of each cohort's agents; None has those without."""
        cohorts = self._roster.cohorts[slots]
        return [
            (self._seated[number] if number >= 0 else None, np.flatnonzero(cohorts == number))
            for number in np.unique(cohorts).tolist()
        ]

    def _seat(self, slots: Slots) -> None:
        """Give agents that have none yet a place in a cohort, and their call."""
        roster = self._roster
        waiting = slots[roster.cohorts[slots] < 0]
        numbers: list[int] = np.unique(roster.entries[waiting]).tolist()
        for number in numbers:
            entry = self._entries[number]
            if not entry.program.needs_engine:
                continue
            chosen = waiting[roster.entries[waiting] == number]
            seat = self._seat_for(entry)
            in_cohort = seat.enter(chosen, roster.agent_ids[chosen].astype(np.uint32))
            roster.cohort_slots[chosen] = in_cohort
            roster.cohorts[chosen] = self._seated.index(seat)
            self._fill_memory(seat, chosen, in_cohort)
            for width in np.unique(roster.widths[chosen]).tolist():
                of_width = np.flatnonzero(roster.widths[chosen] == width)
                words = roster.arguments[chosen[of_width], :width]
                seat.begin(in_cohort[of_width], entry, words)

    def _seat_for(self, entry: Entry) -> Seated:
        have = [seat for seat in self._seated if seat.program is entry.program]
        placed = self._engines.place(
            entry.program.module, self.settings, entry.function, [seat.placed for seat in have]
        )
        for seat in have:
            if seat.placed is placed:
                return seat
        self._seated.append(Seated(entry.program, placed, self.max_agents))
        return self._seated[-1]

    def _fill_memory(self, seat: Seated, slots: Slots, in_cohort: Slots) -> None:
        """Write the bytes that agents were spawned with, those with the same ones together."""
        if not self._memory_init:
            return
        same: dict[bytes, list[int]] = {}
        for slot, place in zip(slots.tolist(), in_cohort.tolist(), strict=True):
            content = self._memory_init.pop(slot, None)
            if content is not None and seat.program.has_memory:
                same.setdefault(content, []).append(place)
            elif content is not None:
                self._scratch[slot] = bytearray(content.ljust(self.settings.memory_bytes, b"\0"))
        for content, places in same.items():
            row = np.frombuffer(content, dtype=np.uint8)
            rows = np.broadcast_to(row, (len(places), len(row)))
            seat.cohort.write_memory(np.array(places, dtype=np.int64), 0, rows)

    def _check_memory_init(self, module: Module, content: bytes) -> None:
        size = self.settings.memory_bytes
        if module.all_memories:
            size = min(size, module.all_memories[0].limits.minimum * 65_536)
        if len(content) > size:
            message = f"memory_init has {len(content)} bytes; the agent's memory begins with {size}"
            raise UsageError(message)

    def _memory_sizes(self, slots: Slots) -> npt.NDArray[np.int64]:
        sizes = np.full(len(slots), self.settings.memory_bytes, dtype=np.int64)
        for seat, places in self._by_seat(slots):
            if seat is not None and seat.program.has_memory:
                sizes[places] = seat.cohort.memory_sizes(self._roster.cohort_slots[slots[places]])
        return sizes

    def _read_scratch(
        self, slots: Slots, places: Slots, memories: npt.NDArray[np.uint8], offset: int
    ) -> None:
        for place in places.tolist():
            slot = int(slots[place])
            content = self._scratch.get(slot, self._memory_init.get(slot, b""))
            part = content[offset : offset + memories.shape[1]]
            memories[place, : len(part)] = np.frombuffer(part, dtype=np.uint8)

    # --- the end ---

    def close(self) -> None:
        """Free the engines and all agents. Idempotent."""
        for seat in self._seated:
            seat.cohort.close()
        self._seated.clear()
        self._engines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _tell_idle(ids: list[int], result: SwarmResult) -> None:
    """Agents of a module without functions finish at once, with 0."""
    result.agent_results.update(dict.fromkeys(ids, 0))
    result.agent_outputs.update(dict.fromkeys(ids, b""))
    result.instruction_counts.update(dict.fromkeys(ids, 0))


def _check_part(offset: int, size: int, limit: int) -> None:
    if offset < 0 or size < 0 or offset + size > limit:
        message = (
            f"{size} bytes from {offset} on lie outside of the agent's memory of {limit} bytes"
        )
        raise UsageError(message)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            message = f"{name} is {size}; it must be at least 1"
            raise UsageError(message)
