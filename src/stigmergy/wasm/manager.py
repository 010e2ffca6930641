"""The swarm: agents are spawned, dispatched and killed here, whatever engine runs them."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from stigmergy.errors import CorruptError, UsageError
from stigmergy.wasm.engine import CohortSettings, FloatMode, Slots
from stigmergy.wasm.engines import EngineName, Engines
from stigmergy.wasm.given import (
    arguments_of,
    bytes_of,
    columns_of,
    entry_point_of,
    source_of,
    whole,
)
from stigmergy.wasm.hostcalls import Imports
from stigmergy.wasm.journal import Journal, same_arrays
from stigmergy.wasm.post import Post
from stigmergy.wasm.programs import BytecodeMissingError, Programs
from stigmergy.wasm.replaying import replay
from stigmergy.wasm.result import SwarmResult
from stigmergy.wasm.roster import ActiveAgents, AgentState, Roster
from stigmergy.wasm.seating import Seating
from stigmergy.wasm.seats import Seated
from stigmergy.wasm.snapshot import Snapshot, read_snapshot, write_snapshot
from stigmergy.wasm.telling import tell
from stigmergy.wasm.values import Number

__all__ = ["BytecodeMissingError", "SwarmManager", "SwarmResult"]

_MOST_INSTRUCTIONS = 1 << 62
_SAVED_SETTINGS = (
    "floats",
    "seed",
    "clock_start_ns",
    "mailbox_messages",
    "message_bytes",
    "call_stack_bytes",
)


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
        journal: write down what is done to the swarm, so that `save` can save it; what that takes
            is freed whenever the swarm is empty.

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
        journal: bool = True,
    ) -> None:
        most = self.MAX_AGENTS if max_agents is None else max_agents
        self.max_agents = whole("max_agents", most, 1)
        memory = self.AGENT_MEMORY_SIZE if agent_memory_size is None else agent_memory_size
        output = self.OUTPUT_SIZE_PER_AGENT if output_size is None else output_size
        memory, output = whole("agent_memory_size", memory, 1), whole("output_size", output, 0)
        mailbox_messages = whole("mailbox_messages", mailbox_messages, 1)
        message_bytes = whole("message_bytes", message_bytes, 1)
        call_stack_bytes = whole("call_stack_bytes", call_stack_bytes, 1)
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
        self._journal = Journal(kept=journal)
        self._programs = Programs(self.settings.imports)
        self._roster = Roster(self.max_agents)
        self._seating = Seating(self._roster, Engines(engine), self._programs, self.settings)
        self._closed = False
        self.active_agents: Mapping[int, AgentState] = ActiveAgents(
            self._roster, self._programs.named
        )
        """The agents by number."""

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._roster):,} agents"
        return f"<{type(self).__name__}: {state} of at most {self.max_agents:,}>"

    def _check_open(self) -> None:
        if self._closed:
            message = "the swarm is closed: its agents are gone; make another"
            raise UsageError(message)

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
            UsageError: It is neither bytes nor text, or the swarm is closed.
        """
        self._check_open()
        digest = self._programs.load(source_of(wasm))
        module = self._programs.program(digest).module
        self._journal.add("load", wasm=module.wasm, digest=digest)
        return digest

    def unload_bytecode(self, digest: str) -> None:
        """Forget a module and free what was compiled for it.

        Raises:
            NotFoundError: No such module is loaded.
            UsageError: Agents run it: kill them first.
        """
        program = self._programs.program(digest)
        entries = [at for at, one in self._programs.entries.items() if one.program is program]
        used = int(np.isin(self._roster.entries[self._roster.slots()], entries).sum())
        if used:
            message = f"{used} agents run the module {digest[:12]}: kill them first"
            raise UsageError(message)
        self._seating.end(program)
        self._programs.forget(program)
        self._journal.add("unload", digest=digest)

    def exchanges_messages(self, digest: str) -> bool:
        """Whether agents of a loaded module can send, receive or wait.

        Raises:
            NotFoundError: No such module is loaded.
        """
        return self._programs.program(digest).exchanges_messages

    @property
    def bytecode_loaded(self) -> bool:
        """Whether there is a module to run."""
        return self._programs.current is not None

    _bytecode_loaded = bytecode_loaded

    @property
    def bytecode_size(self) -> int:
        """The bytes of the module that is spawned by default; 0 before one is loaded."""
        current = self._programs.current
        return len(current.module.wasm) if current else 0

    @property
    def placements(self) -> list[str]:
        """For each module in use and each engine that runs it: which, on what, and why."""
        return [seat.told() for seat in self._seating.seats]

    @property
    def devices(self) -> list[str]:
        """What agents run on, each once."""
        return sorted({seat.device for seat in self._seating.seats})

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
        identity: int | None = None,
    ) -> int:
        """Seat a new agent, which runs from the next dispatch on. Returns its number.

        Args:
            entry_point: the function to call: its index (imported ones count first), or the name
                of an export.
            memory_init: bytes for the start of its memory, over what the module puts there.
            args: the function's parameters. Where it has none, they go to the globals 1, 2 ….
            module: the digest of a loaded module; the one loaded last if not given.
            identity: the number that the agent itself is told, and that its random values follow
                from; its number in the swarm if not given.

        Raises:
            BytecodeMissingError: No module is loaded.
            SwarmFullError: Every slot is taken.
            UsageError: There is no such function, or the arguments are not what it takes; or the
                swarm is closed.
        """
        self._check_open()
        entry_point, given = entry_point_of(entry_point), arguments_of(args)
        content = bytes_of(memory_init, "memory_init") if memory_init is not None else None
        if identity is not None and not 0 <= identity < 1 << 32:
            message = f"identity is {identity}; agents are told a number of 32 bits"
            raise UsageError(message)
        number = self._programs.entry_number(entry_point, module)
        entry = self._programs.entries[number]
        self._seating.check_memory_init(entry.program, content)
        slot = self._roster.add_one(number, entry.argument_bits(given))
        if content:
            self._seating.memory_init[slot] = content
        if identity is not None:
            self._seating.identities[slot] = identity
        self._journal.add(
            "spawn",
            entry_point=entry_point,
            memory_init=content,
            args=given,
            module=entry.program.module.digest,
            identity=identity,
        )
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

        Where integers and floats are mixed, give `args` as lists or with the dtype object.

        Raises:
            As `spawn_agent`; then none was seated.
        """
        self._check_open()
        count, entry_point = whole("count", count, 0), entry_point_of(entry_point)
        content = bytes_of(memory_init, "memory_init") if memory_init is not None else None
        number = self._programs.entry_number(entry_point, module)
        entry = self._programs.entries[number]
        self._seating.check_memory_init(entry.program, content)
        columns = np.zeros((count, 0)) if args is None else columns_of(args)
        if columns.ndim == 1:
            columns = columns[:, np.newaxis]
        if len(columns) != count:
            message = f"there are arguments for {len(columns)} agents, and {count} are spawned"
            raise UsageError(message)
        slots = self._roster.add(count, number, entry.argument_words(columns))
        if content:
            self._seating.memory_init.update(dict.fromkeys(slots.tolist(), content))
        self._journal.add(
            "spawn_many",
            count=count,
            entry_point=entry_point,
            args=columns,
            memory_init=content,
            module=entry.program.module.digest,
        )
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
        self._check_open()
        entry_point, given = entry_point_of(entry_point), arguments_of(args)
        slots = self._roster.slots_of([agent_id])
        digest = self._programs.entries[int(self._roster.entries[slots[0]])].program.module.digest
        number = self._programs.entry_number(entry_point, digest)
        entry = self._programs.entries[number]
        bits = entry.argument_bits(given)
        self._seating.seat(slots)
        words = np.array(bits, dtype=np.uint64).reshape(1, len(bits))
        for seat, _ in self._seating.by_seat(slots):
            if seat is not None:
                seat.begin(self._roster.cohort_slots[slots], entry, words)
        self._roster.entries[slots] = number
        self._journal.add("restart", agent_id=agent_id, entry_point=entry_point, args=given)

    def kill_agent(self, agent_id: int) -> None:
        """Take an agent off; its slot is free for another.

        Raises:
            NotFoundError: There is no such agent (a KeyError).
        """
        self.kill_agents([agent_id])

    def kill_agents(self, agent_ids: Sequence[int]) -> None:
        """Take many agents off at once.

        Raises:
            NotFoundError: One of them is not there (a KeyError); none was taken off.
        """
        slots = self._roster.slots_of(agent_ids)
        numbers = self._roster.agent_ids[slots]
        self._seating.leave(slots)
        self._roster.remove(slots)
        self._journal.add("kill", agent_ids=numbers)
        if not len(self._roster):
            self._journal.forget(self._roster.next_agent_id, self._programs.has)

    def device_of(self, agent_id: int) -> str:
        """Return what an agent runs on; empty where it was never dispatched, or needs nothing.

        Raises:
            NotFoundError: There is no such agent (a KeyError).
        """
        seat = self._seating.seat_of(self._roster.slot(agent_id))
        return seat.device if seat else ""

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
        self._check_open()
        slots = self._roster.slots_of(agent_ids)
        self._seating.seat(slots)
        sizes = self._seating.memory_sizes(slots)
        if size is None:
            if len(set(sizes.tolist())) > 1:
                message = "the agents' memories differ in size: say how many bytes are wanted"
                raise UsageError(message)
            size = int(sizes[0]) - offset if len(sizes) else 0
        _check_part(offset, size, int(sizes.min(initial=2**62)))
        return self._seating.read_memory(slots, offset, size)

    def set_agent_memory(self, agent_id: int, data: bytes, offset: int = 0) -> None:
        """Write to an agent's memory.

        Raises:
            NotFoundError: There is no such agent (a KeyError).
            UsageError: The part lies outside of its memory; nothing was written.
        """
        self._check_open()
        content = bytes_of(data, "data")
        slots = self._roster.slots_of([agent_id])
        self._seating.seat(slots)
        _check_part(offset, len(content), int(self._seating.memory_sizes(slots)[0]))
        self._seating.write_memory(slots, offset, content)
        self._journal.add("write", agent_id=agent_id, data=content, offset=offset)

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
            UsageError: `max_instructions` is no such number, or the swarm is closed.
        """
        self._check_open()
        max_instructions = whole("max_instructions", max_instructions, 1)
        begun = time.perf_counter()
        roster = self._roster
        slots = roster.slots() if agent_ids is None else roster.slots_of(agent_ids)
        self._seating.seat(slots)
        groups = self._seating.by_seat(slots)
        undeliverable = self._run(slots, groups, max_instructions)
        told = None if agent_ids is None else roster.agent_ids[slots]
        self._journal.add("dispatch", agent_ids=told, max_instructions=max_instructions)
        result = tell(roster, slots, groups, self._programs.entries)
        result.undeliverable = undeliverable
        result.total_time_ms = (time.perf_counter() - begun) * 1000
        return result

    def _run(
        self,
        slots: Slots,
        groups: Sequence[tuple[Seated | None, Slots]],
        max_instructions: int,
    ) -> int:
        """Run until nobody can go on: in turns, where agents wait for each other's messages.

        Returns how many messages could not be delivered.
        """
        turns = [
            (seat, self._roster.cohort_slots[slots[places]]) for seat, places in groups if seat
        ]
        # More than can be counted is as good as no bound, and must not wrap around.
        budget = np.uint64(min(max_instructions, _MOST_INSTRUCTIONS))
        targets = [seat.cohort.counts(in_cohort) + budget for seat, in_cohort in turns]
        post = Post(self._roster, self._seating, self.settings)
        while True:
            for (seat, in_cohort), target in zip(turns, targets, strict=True):
                seat.run(in_cohort, target)
            if not post.has_letters or not post.deliver():
                break
        return post.undeliverable

    # --- saving ---

    def save(self, path: Path | str) -> None:
        """Save the whole swarm to a file, agents in the middle of their calls included.

        Raises:
            UsageError: It was made without a journal or is closed, or the file cannot be written.
        """
        self._check_open()
        if not self._journal.kept:
            message = "this swarm was made with journal=False: it cannot be saved"
            raise UsageError(message)
        settings = {
            "max_agents": self.max_agents,
            "agent_memory_size": self.settings.memory_bytes,
            "output_size": self.settings.output_bytes,
            **{name: getattr(self.settings, name) for name in _SAVED_SETTINGS},
        }
        journal = self._journal
        snapshot = Snapshot(
            settings, journal.operations, journal.first_agent, self._seating.state()
        )
        write_snapshot(Path(path), snapshot)

    @classmethod
    def restore(
        cls,
        path: Path | str,
        engine: EngineName = "auto",
        *,
        imports: Imports | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Make a saved swarm again, on any engine: what was done to it is done again.

        That takes as long as its agents ran. `progress` is told how many operations are done, and
        of how many.

        Raises:
            UsageError: There is no such file, or it is of a later version.
            CorruptError: It is damaged, or the agents did not come to where they were: on a GPU
                with `fast` floats, that may be so.
        """
        path = Path(path)
        snapshot = read_snapshot(path)
        Engines(engine)  # what is wrong with the name is not the file's fault
        try:
            swarm = cls(engine, imports=imports, **snapshot.settings)
        except (TypeError, OverflowError, UsageError) as error:
            raise _damaged(path, error) from error
        try:
            swarm._roster.begin_at(snapshot.first_agent)
            swarm._journal.first_agent = snapshot.first_agent
            for done, operation in enumerate(snapshot.operations, 1):
                replay(swarm, operation)
                if progress:
                    progress(done, len(snapshot.operations))
            if not same_arrays(swarm._seating.state(), snapshot.state):
                message = f"the swarm of {path} did not come to where it was when it was saved"
                raise CorruptError(message, where=str(path))
        except (TypeError, AttributeError, LookupError, ValueError, ArithmeticError) as error:
            swarm.close()
            raise _damaged(path, error) from error
        except BaseException:
            swarm.close()
            raise
        return swarm

    # --- the end ---

    def close(self) -> None:
        """Free the engines and all agents: a closed swarm runs nothing more. Idempotent."""
        self._closed = True
        self._seating.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _damaged(path: Path, error: Exception) -> CorruptError:
    message = f"{path} is no saved swarm, or it is damaged ({error})"
    return CorruptError(message, where=str(path))


def _check_part(offset: int, size: int, limit: int) -> None:
    if offset < 0 or size < 0 or offset + size > limit:
        message = (
            f"{size} bytes from {offset} on lie outside of the agent's memory of {limit} bytes"
        )
        raise UsageError(message)
