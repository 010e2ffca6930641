"""Who takes tasks from the board: agents, pools of them, and the coordinator of a job."""

from stigmergy.swarm.agent import Handler, SwarmAgent
from stigmergy.swarm.coordinator import SwarmCoordinator
from stigmergy.swarm.heartbeat import Heartbeat, Held
from stigmergy.swarm.nursery import Nursery, Signalled, stop_on_signals
from stigmergy.swarm.pool import run_agents
from stigmergy.swarm.reduction import REDUCTIONS, Reduction
from stigmergy.swarm.stop import Stop

__all__ = [
    "REDUCTIONS",
    "Handler",
    "Heartbeat",
    "Held",
    "Nursery",
    "Reduction",
    "Signalled",
    "Stop",
    "SwarmAgent",
    "SwarmCoordinator",
    "run_agents",
    "stop_on_signals",
]
