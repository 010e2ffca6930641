"""Does again what a journal says was done to a swarm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stigmergy.wasm.journal import Operation

if TYPE_CHECKING:
    from stigmergy.wasm.manager import SwarmManager

__all__ = ["replay"]


def replay(swarm: SwarmManager, operation: Operation) -> None:
    """Call the method that an operation was written down by.

    Raises:
        TypeError: The operation has other arguments than the method: the file is damaged.
    """
    given: dict[str, Any] = dict(operation.given)
    match operation.verb:
        case "load":
            swarm.load_bytecode(given["wasm"])
        case "unload":
            swarm.unload_bytecode(**given)
        case "spawn":
            swarm.spawn_agent(**given)
        case "spawn_many":
            swarm.spawn_agents(**given)
        case "restart":
            swarm.restart_agent(**given)
        case "kill":
            swarm.kill_agents(**given)
        case "write":
            swarm.set_agent_memory(**given)
        case "dispatch":
            ids = given["agent_ids"]
            agents = None if ids is None else ids.tolist()
            swarm.dispatch(agents, given["max_instructions"])
