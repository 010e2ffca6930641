"""The shared environment: a durable task board."""

from stigmergy.board.board import DEFAULT_LEASE_S, Progress, TaskBoard
from stigmergy.board.intake import Limits
from stigmergy.board.lifecycle import Backoff
from stigmergy.board.store import Match, Query, Store, Transaction, open_store
from stigmergy.board.task import Event, JsonObject, Lease, Task, TaskStatus, TaskType

__all__ = [
    "DEFAULT_LEASE_S",
    "Backoff",
    "Event",
    "JsonObject",
    "Lease",
    "Limits",
    "Match",
    "Progress",
    "Query",
    "Store",
    "Task",
    "TaskBoard",
    "TaskStatus",
    "TaskType",
    "Transaction",
    "open_store",
]
