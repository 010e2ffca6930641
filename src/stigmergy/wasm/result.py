"""What a dispatch of a swarm came to."""

from dataclasses import dataclass, field

from stigmergy.wasm.engine import Trap
from stigmergy.wasm.values import Number

__all__ = ["SwarmResult"]


@dataclass(slots=True, repr=False)
class SwarmResult:
    """What the agents of a dispatch came to, each under its number.

    `agent_results`: of those that finished, the entry function's first result; global 0 where it
    has none; 0 where the module has no globals. Integers are signed.
    `agent_outputs`: what each wrote to its output since it was spawned.
    `instruction_counts`: of each agent's call from its beginning, however many dispatches it took.
    """

    agent_results: dict[int, Number] = field(default_factory=dict[int, Number])
    agent_outputs: dict[int, bytes] = field(default_factory=dict[int, bytes])
    instruction_counts: dict[int, int] = field(default_factory=dict[int, int])
    total_time_ms: float = 0.0
    traps: dict[int, Trap] = field(default_factory=dict[int, Trap])
    """Why and where those stopped that will not go on."""
    unfinished: list[int] = field(default_factory=list[int])
    """Those that used up their instructions, or wait for messages: dispatch them again."""
    undeliverable: int = 0
    """Messages of this dispatch to agents that are not there; they are lost."""
    agents_on: dict[str, int] = field(default_factory=dict[str, int])
    """How many agents ran on each device."""

    def __repr__(self) -> str:
        """Return how many came to what: the results of a large swarm would fill the screen."""
        ends = [f"{len(self.agent_results):,} finished"]
        ends += [f"{len(self.traps):,} trapped"] if self.traps else []
        ends += [f"{len(self.unfinished):,} unfinished"] if self.unfinished else []
        ends += [f"{self.undeliverable:,} messages lost"] if self.undeliverable else []
        return f"<SwarmResult: {', '.join(ends)}, in {self.total_time_ms:.1f} ms>"
