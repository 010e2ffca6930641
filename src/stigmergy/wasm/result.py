"""What a dispatch of a swarm came to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from stigmergy.wasm.engine import Trap
from stigmergy.wasm.values import Number

__all__ = ["AgentArrays", "SwarmResult"]


@dataclass(frozen=True, slots=True, eq=False)
class AgentArrays:
    """Some agents, and a value of each: two arrays of the same length."""

    agent_ids: npt.NDArray[np.int64]
    values: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.agent_ids)


@dataclass(repr=False, eq=False)
class SwarmResult:
    """What the agents of a dispatch came to.

    The dictionaries, by an agent's number, are made when they are first asked for. Of very many
    agents the arrays are quicker and smaller.
    """

    result_arrays: list[AgentArrays] = field(default_factory=list[AgentArrays])
    """Results of those that finished, for each module and entry function: dtype int32, int64,
    float32 or float64."""
    count_arrays: list[AgentArrays] = field(default_factory=list[AgentArrays])
    """Instructions, for each module: dtype uint64."""
    output_lists: list[tuple[npt.NDArray[np.int64], Sequence[bytes]]] = field(
        default_factory=list[tuple[npt.NDArray[np.int64], Sequence[bytes]]]
    )
    """Numbers of agents and what each wrote, for each module that writes at all."""
    total_time_ms: float = 0.0
    traps: dict[int, Trap] = field(default_factory=dict[int, Trap])
    """Why and where those stopped that will not go on."""
    unfinished: list[int] = field(default_factory=list[int])
    """Those that used up their instructions, or wait for messages: dispatch them again."""
    undeliverable: int = 0
    """Messages of this dispatch to agents that are not there; they are lost."""
    agents_on: dict[str, int] = field(default_factory=dict[str, int])
    """How many agents ran on each device."""

    @cached_property
    def agent_results(self) -> dict[int, Number]:
        """Of those that finished, the entry function's first result.

        Global 0 where it has none; 0 where the module has no globals. Integers are signed.
        """
        return _by_agent(self.result_arrays)

    @cached_property
    def instruction_counts(self) -> dict[int, int]:
        """Of each agent's call from its beginning, however many dispatches it took."""
        return _by_agent(self.count_arrays)

    @cached_property
    def agent_outputs(self) -> dict[int, bytes]:
        """What each wrote to its output since it was spawned."""
        told = dict.fromkeys(self.instruction_counts, b"")
        for agent_ids, outputs in self.output_lists:
            told.update(zip(agent_ids.tolist(), outputs, strict=True))
        return told

    @property
    def finished(self) -> int:
        """How many agents have finished."""
        return sum(map(len, self.result_arrays))

    @property
    def instructions(self) -> int:
        """How many instructions the calls of all these agents have used, from their beginnings."""
        return sum(int(one.values.sum()) for one in self.count_arrays)

    def __repr__(self) -> str:
        """Return how many came to what: the results of a large swarm would fill the screen."""
        ends = [f"{self.finished:,} finished"]
        ends += [f"{len(self.traps):,} trapped"] if self.traps else []
        ends += [f"{len(self.unfinished):,} unfinished"] if self.unfinished else []
        ends += [f"{self.undeliverable:,} messages lost"] if self.undeliverable else []
        return f"<SwarmResult: {', '.join(ends)}, in {self.total_time_ms:.1f} ms>"


def _by_agent(arrays: Iterable[AgentArrays]) -> dict[int, Any]:
    told: dict[int, Any] = {}
    for one in arrays:
        told.update(zip(one.agent_ids.tolist(), one.values.tolist(), strict=True))
    return told
