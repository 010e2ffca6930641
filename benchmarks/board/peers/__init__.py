"""The systems that are compared: one module each, loaded by name in the process that needs it."""

from __future__ import annotations

from importlib import import_module
from typing import TypeAlias, cast

from board.peers.peer import Peer
from stigmergy.board import TaskBoard

__all__ = ["OURS_POSTGRES", "OURS_SQLITE", "POSTGRES", "SQLITE", "load", "open_ours", "why_not"]

PeerClass: TypeAlias = type[Peer]

_WHERE = {
    "stigmergy": "ours:Sqlite",
    "stigmergy, fused": "ours:SqliteFused",
    "stigmergy files": "ours:Files",
    "stigmergy pg": "ours:Postgres",
    "stigmergy pg, fused": "ours:PostgresFused",
    "huey": "huey_sqlite:HueySqlite",
    "persist-queue": "persist_queue:PersistQueue",
    "litequeue, NORMAL": "lite_queue:LiteQueuePeer",
    "DBOS": "dbos_queue:DbosSqlite",
    "DBOS pg": "dbos_queue:DbosPostgres",
    "procrastinate": "procrastinate_jobs:Procrastinate",
    "pgqueuer, one by one": "pgqueuer_jobs:PgQueuerApi",
    "pgqueuer's worker": "pgqueuer_jobs:PgQueuerWorker",
    "pgmq": "pgmq_queue:Pgmq",
}

# In the order of a round: ours stands between the others, so that no one has the quiet minutes.
SQLITE = ("huey", "stigmergy", "litequeue, NORMAL", "stigmergy, fused", "persist-queue", "DBOS")
POSTGRES = (
    "pgmq",
    "stigmergy pg",
    "procrastinate",
    "pgqueuer, one by one",
    "stigmergy pg, fused",
    "pgqueuer's worker",
    "DBOS pg",
)
OURS_SQLITE = ("stigmergy, fused", "stigmergy")
OURS_POSTGRES = ("stigmergy pg, fused", "stigmergy pg")


def load(name: str) -> PeerClass:
    """The class of a system. Raises ImportError where it is not installed."""
    module, _, attribute = _WHERE[name].partition(":")
    return cast("PeerClass", getattr(import_module(f"board.peers.{module}"), attribute))


def open_ours(name: str, place: str) -> TaskBoard:
    """A board of ours, by the name that it has among the systems."""
    from board.peers.ours import Ours

    return cast("Ours", load(name)(place)).open()


def why_not(name: str) -> str | None:
    """Why a system cannot be measured here; None when it can."""
    try:
        return load(name).why_not()
    except ImportError as error:
        return f"not installed ({error.name})"
