"""The swarm: agents are spawned, dispatched and killed here, whatever engine runs them.

What is given is checked here. What is done with it, and written down, is in `recording`.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self, cast

import numpy as np
import numpy.typing as npt

from stigmergy.errors import UsageError
from stigmergy.wasm.dispatching import Watch
from stigmergy.wasm.engine import FloatMode
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
from stigmergy.wasm.limits import settings_of
from stigmergy.wasm.population import Population
from stigmergy.wasm.programs import BytecodeMissingError
from stigmergy.wasm.recording import Record
from stigmergy.wasm.result import SwarmResult
from stigmergy.wasm.roster import ActiveAgents, AgentState
from stigmergy.wasm.saving import fill, naming_damage, snapshot_of
from stigmergy.wasm.snapshot import read_snapshot, write_snapshot
from stigmergy.wasm.values import Number

__all__ = ["BytecodeMissingError", "SwarmManager", "SwarmResult"]


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
        journal: write down what is done to the swarm, so that `save` can save it, and a GPU's
            device that is lost loses nothing; what that takes is freed whenever the swarm is empty.

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
        self.settings = settings_of(
            memory=memory,
            output=self.OUTPUT_SIZE_PER_AGENT if output_size is None else output_size,
            mailbox_messages=mailbox_messages,
            message_bytes=message_bytes,
            call_stack_bytes=call_stack_bytes,
            floats=floats,
            seed=seed,
            clock_start_ns=clock_start_ns,
            imports=imports,
        )
        self._record = Record(engine, self.max_agents, self.settings, journal=journal)
        self._closed = False

    @property
    def _population(self) -> Population:
        return self._record.population

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._population.roster):,} agents"
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
        return self._record.load(source_of(wasm))

    def unload_bytecode(self, digest: str) -> None:
        """Forget a module and free what was compiled for it.

        Raises:
            NotFoundError: No such module is loaded.
            UsageError: Agents run it: kill them first.
        """
        self._record.unload(digest)

    def exchanges_messages(self, digest: str) -> bool:
        """Whether agents of a loaded module can send, receive or wait.

        Raises:
            NotFoundError: No such module is loaded.
        """
        return self._population.programs.program(digest).exchanges_messages

    @property
    def bytecode_loaded(self) -> bool:
        """Whether there is a module to run."""
        return self._population.programs.current is not None

    _bytecode_loaded = bytecode_loaded

    @property
    def bytecode_size(self) -> int:
        """The bytes of the module that is spawned by default; 0 before one is loaded."""
        current = self._population.programs.current
        return len(current.module.wasm) if current else 0

    @property
    def placements(self) -> list[str]:
        """For each module in use and each engine that runs it: which, on what, and why."""
        return [seat.told() for seat in self._population.seating.seats]

    @property
    def devices(self) -> list[str]:
        """What agents run on, each once."""
        return sorted({seat.device for seat in self._population.seating.seats})

    @property
    def free_slots(self) -> Sequence[int]:
        """The slots that no agent has."""
        return self._population.roster.free_slots

    @property
    def active_agents(self) -> Mapping[int, AgentState]:
        """The agents by number."""
        return ActiveAgents(self._population.roster, self._population.programs.named)

    @property
    def losses(self) -> Sequence[str]:
        """The devices that were lost while they were used, and what was done about it."""
        return tuple(self._record.keeper.losses)

    @property
    def undeliverable(self) -> int:
        """Messages so far to agents that are not there, or do not receive."""
        return self._record.undeliverable

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
        return self._record.spawn(entry_point, content, given, module=module, identity=identity)

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
        columns = np.zeros((count, 0)) if args is None else columns_of(args)
        if columns.ndim == 1:
            columns = columns[:, np.newaxis]
        return self._record.spawn_many(
            count, entry_point, columns, memory_init=content, module=module
        )

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
        self._record.restart(agent_id, entry_point_of(entry_point), arguments_of(args))

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
        self._record.kill(agent_ids)

    def device_of(self, agent_id: int) -> str:
        """Return what an agent runs on; empty where it was never dispatched, or needs nothing.

        Raises:
            NotFoundError: There is no such agent (a KeyError).
        """
        population = self._population
        seat = population.seating.seat_of(population.roster.slot(agent_id))
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
        return self._record.memories(_listed(agent_ids), size, offset)

    def set_agent_memory(self, agent_id: int, data: bytes, offset: int = 0) -> None:
        """Write to an agent's memory.

        Raises:
            NotFoundError: There is no such agent (a KeyError).
            UsageError: The part lies outside of its memory; nothing was written.
        """
        self._check_open()
        self._record.write(agent_id, bytes_of(data, "data"), offset)

    # --- dispatch ---

    def dispatch(
        self,
        agent_ids: Sequence[int] | None = None,
        max_instructions: int = 10_000,
        *,
        stop: threading.Event | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> SwarmResult:
        """Run agents, all or these, each for so many instructions at most.

        One that has not finished then goes on in the next dispatch; one that has is told again,
        and does not run. Where an agent stops exactly: see `engine`. Agents that wait for messages
        get them in this dispatch if every agent of the swarm has finished, trapped or waits.

        `progress` is told now and then how many have run, and of how many: on the CPU several times
        a second, on a GPU when all of a module have. Where `stop` is looked at as well: once it is
        set, the dispatch ends, and those who did not run are unfinished.

        Raises:
            NotFoundError: One of them is not there (a KeyError); none was run.
            UnsupportedError: The engine cannot run a module; the message has the reason.
            DeviceLostError: The GPU's device was lost several times in a row, or there is no
                journal to make its agents again from.
            UsageError: `max_instructions` is no such number, or the swarm is closed.
        """
        self._check_open()
        max_instructions = whole("max_instructions", max_instructions, 1)
        begun = time.perf_counter()
        chosen = None if agent_ids is None else _listed(agent_ids)
        result = self._record.dispatch(chosen, max_instructions, Watch(stop, progress))
        result.total_time_ms = (time.perf_counter() - begun) * 1000
        return result

    # --- saving ---

    def save(self, path: Path | str) -> None:
        """Save the whole swarm to a file, agents in the middle of their calls included.

        Raises:
            UsageError: It was made without a journal or is closed, or the file cannot be written.
        """
        self._check_open()
        snapshot = snapshot_of(self._record, self.settings, max_agents=self.max_agents)
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
        with naming_damage(path):
            swarm = cls(engine, imports=imports, **snapshot.settings)
            try:
                fill(swarm._record, snapshot, path, progress)
            except BaseException:
                swarm.close()
                raise
        return swarm

    # --- the end ---

    def close(self) -> None:
        """Free the engines and all agents: a closed swarm runs nothing more. Idempotent."""
        self._closed = True
        self._population.seating.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _listed(agent_ids: Iterable[int]) -> Sequence[int]:
    """Return numbers that can be gone through again: an iterator yields them once."""
    return cast("Sequence[int]", list(agent_ids) if isinstance(agent_ids, Iterator) else agent_ids)
