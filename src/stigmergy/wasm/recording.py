"""What is done to a swarm: done with its agents here, and written down in its journal.

What is done comes first, so the journal holds nothing that was refused.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from stigmergy.errors import StigmergyError
from stigmergy.wasm.dispatching import Dispatch, Watch
from stigmergy.wasm.engine import CohortSettings, DeviceLostError
from stigmergy.wasm.engines import EngineName, Engines
from stigmergy.wasm.journal import Journal, Verb
from stigmergy.wasm.keeping import Keeper
from stigmergy.wasm.population import Population
from stigmergy.wasm.result import SwarmResult
from stigmergy.wasm.values import Number

__all__ = ["Record"]

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


class Record:
    """A swarm with its history. What is given is of the right types."""

    def __init__(
        self, engine: EngineName, max_agents: int, settings: CohortSettings, *, journal: bool
    ) -> None:
        self._max_agents = max_agents
        self._settings = settings
        self.engines = Engines(engine)
        self.journal = Journal(kept=journal)
        self.keeper = Keeper(self._empty, self.journal, self.engines)
        self.undeliverable = 0
        """Messages that were lost since the swarm was made."""

    def _empty(self, first_agent: int) -> Population:
        return Population(self._max_agents, self._settings, self.engines, first_agent=first_agent)

    @property
    def population(self) -> Population:
        """Who is there, and what is loaded."""
        return self.keeper.population

    def load(self, wasm: bytes | str) -> str:
        """Load a module; returns its digest."""
        digest = self.population.load(wasm)
        module = self.population.programs.program(digest).module
        self.journal.add("load", wasm=module.wasm, digest=digest)
        return digest

    def unload(self, digest: str) -> None:
        """Forget a module."""
        self.population.unload(digest)
        self.journal.add("unload", digest=digest)

    def spawn(
        self,
        entry_point: int | str,
        memory_init: bytes | None,
        args: Sequence[Number],
        *,
        module: str | None,
        identity: int | None,
    ) -> int:
        """Spawn an agent; returns its number."""
        return self._do(
            "spawn",
            self.population.spawn,
            entry_point=entry_point,
            memory_init=memory_init,
            args=args,
            module=self.population.programs.digest(module),
            identity=identity,
        )

    def spawn_many(
        self,
        count: int,
        entry_point: int | str,
        args: np.ndarray,
        *,
        memory_init: bytes | None,
        module: str | None,
    ) -> range:
        """Spawn agents with arguments of shape (count, arguments); returns their numbers."""
        return self._do(
            "spawn_many",
            self.population.spawn_many,
            count=count,
            entry_point=entry_point,
            args=args,
            memory_init=memory_init,
            module=self.population.programs.digest(module),
        )

    def _do(
        self, verb: Verb, act: Callable[_Given, _Answer], *args: _Given.args, **given: _Given.kwargs
    ) -> _Answer:
        """Do something that needs no engine, and write down that very thing."""
        answer = act(*args, **given)
        self.journal.add(verb, **given)
        return answer

    def restart(self, agent_id: int, entry_point: int | str, args: Sequence[Number]) -> None:
        """Give an agent another call."""
        self.keeper.do(
            lambda agents: agents.restart(agent_id=agent_id, entry_point=entry_point, args=args)
        )
        self.journal.add("restart", agent_id=agent_id, entry_point=entry_point, args=args)

    def kill(self, agent_ids: Iterable[int]) -> None:
        """Take agents off."""
        numbers = self.population.kill(agent_ids)
        self.journal.add("kill", agent_ids=numbers)
        roster = self.population.roster
        if not len(roster):
            self.journal.forget(roster.next_agent_id, self.population.programs.has)
            self.keeper.begin_anew()

    def memories(
        self, agent_ids: Sequence[int], size: int | None, offset: int
    ) -> npt.NDArray[np.uint8]:
        """Return the same part of agents' memories."""
        return self.keeper.do(lambda agents: agents.memories(agent_ids, size, offset))

    def write(self, agent_id: int, data: bytes, offset: int) -> None:
        """Write to an agent's memory."""
        self.keeper.do(lambda agents: agents.write(agent_id=agent_id, data=data, offset=offset))
        self.journal.add("write", agent_id=agent_id, data=data, offset=offset)

    def dispatch(
        self, agent_ids: Sequence[int] | None, max_instructions: int, watch: Watch
    ) -> SwarmResult:
        """Run agents; returns what they came to."""
        dispatch = self.keeper.do(
            lambda agents: self._run(agents, agent_ids, max_instructions, watch)
        )
        # Apart, for a device that is lost now has been there when they ran: that is written down.
        return self.keeper.do(dispatch.told)

    def _run(
        self,
        population: Population,
        agent_ids: Sequence[int] | None,
        max_instructions: int,
        watch: Watch,
    ) -> Dispatch:
        """Run agents, and write down what was done: all, or as far as it came."""
        slots = population.seated(agent_ids)
        dispatch = Dispatch.of(population, slots, max_instructions, watch)
        try:
            dispatch.run()
        except DeviceLostError:
            raise
        except BaseException as error:
            if isinstance(error, StigmergyError) and not dispatch.is_delivering:
                self._add_part(dispatch)
            else:  # it may have come at any place
                self.keeper.tear()
            raise
        if dispatch.is_cut:
            self._add_part(dispatch)
            return dispatch
        numbers = None if agent_ids is None else population.roster.agent_ids[slots]
        self.journal.add("dispatch", agent_ids=numbers, max_instructions=max_instructions)
        self.undeliverable += dispatch.undeliverable
        return dispatch

    def _add_part(self, dispatch: Dispatch) -> None:
        self.journal.add("advance", **dispatch.so_far())
        self.undeliverable += dispatch.undeliverable
