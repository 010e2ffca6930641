"""Many agents, one durable task board."""

from stigmergy.board import Lease, Task, TaskBoard, TaskStatus, TaskType
from stigmergy.errors import StigmergyError
from stigmergy.swarm import SwarmAgent, SwarmCoordinator

__all__ = [
    "Lease",
    "StigmergyError",
    "SwarmAgent",
    "SwarmCoordinator",
    "Task",
    "TaskBoard",
    "TaskStatus",
    "TaskType",
    "__version__",
]

__version__ = "0.1.0"
