"""The shared environment: a durable task board."""

from stigmergy.board.board import DEFAULT_LEASE_S, TaskBoard
from stigmergy.board.intake import Limits
from stigmergy.board.lifecycle import Backoff
from stigmergy.board.looking import BoardView, Progress
from stigmergy.board.posting import OnDuplicate
from stigmergy.board.rules import Limit, Retention, Rules, Schedule
from stigmergy.board.store import Match, Query, Store, Transaction, open_store
from stigmergy.board.task import Event, JsonObject, Lease, Task, TaskStatus, TaskType
from stigmergy.board.upkeep import Pruned

__all__ = [
    "DEFAULT_LEASE_S",
    "Backoff",
    "BoardView",
    "Event",
    "JsonObject",
    "Lease",
    "Limit",
    "Limits",
    "Match",
    "OnDuplicate",
    "Progress",
    "Pruned",
    "Query",
    "Retention",
    "Rules",
    "Schedule",
    "Store",
    "Task",
    "TaskBoard",
    "TaskStatus",
    "TaskType",
    "Transaction",
    "open_store",
]
