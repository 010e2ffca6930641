"""Does again what a journal says was done to a swarm."""

from typing import Any

from stigmergy.wasm.dispatching import Dispatch
from stigmergy.wasm.journal import Operation
from stigmergy.wasm.population import Population

__all__ = ["replay"]


def replay(population: Population, operation: Operation) -> None:
    """Do what an operation was written down for.

    Raises:
        TypeError: The operation has other arguments: the file is damaged.
    """
    given: dict[str, Any] = dict(operation.given)
    match operation.verb:
        case "load":
            population.load(given["wasm"])
        case "unload":
            population.unload(**given)
        case "spawn":
            population.spawn(**given)
        case "spawn_many":
            population.spawn_many(**given)
        case "restart":
            population.restart(**given)
        case "kill":
            population.kill(**given)
        case "write":
            population.write(**given)
        case "dispatch":
            slots = population.seated(_listed(given["agent_ids"]))
            Dispatch.of(population, slots, given["max_instructions"]).run()
        case "advance":
            slots = population.seated(_listed(given["agent_ids"]))
            Dispatch(population, slots, given["targets"]).run(given["deliveries"])


def _listed(agent_ids: Any) -> list[int] | None:
    return None if agent_ids is None else agent_ids.tolist()
