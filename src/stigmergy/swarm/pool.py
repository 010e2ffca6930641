"""Many agents on one board, as threads or as processes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Literal

from stigmergy.board import DEFAULT_LEASE_S, TaskBoard
from stigmergy.errors import UsageError
from stigmergy.swarm.agent import Handler, SwarmAgent
from stigmergy.swarm.nursery import Nursery, stop_on_signals

__all__ = ["run_agents"]


def run_agents(
    board: TaskBoard,
    count: int,
    *,
    handlers: Mapping[str, Handler],
    capabilities: Iterable[str] = (),
    kind: Literal["threads", "processes"] = "threads",
    name: str = "agent",
    lease_s: float = DEFAULT_LEASE_S,
    until_idle: bool = True,
    stop: threading.Event | None = None,
) -> None:
    """Let `count` agents work on a board until nothing is left for them, or `stop` is set.

    Processes are spawned: handlers must be importable functions, and the board must be one that
    other processes can open (not `memory:`).

    Raises:
        UsageError: the board cannot be shared with processes.
    """
    names = [f"{name}-{number}" for number in range(count)]
    wanted = tuple(capabilities)
    if kind == "processes" and board.url.startswith("memory:"):
        raise UsageError("a memory: board lives in one process; take sqlite:/// or a folder")
    with Nursery(stop) as nursery:
        for agent_id in names:
            if kind == "processes":
                nursery.start_process(
                    _work,
                    board.url,
                    agent_id,
                    dict(handlers),
                    wanted,
                    lease_s,
                    until_idle,
                    name=agent_id,
                )
            else:
                agent = SwarmAgent(
                    agent_id, board, capabilities=wanted, handlers=handlers, lease_s=lease_s
                )
                nursery.start(
                    lambda agent=agent: agent.run(nursery.stop, until_idle=until_idle),
                    name=agent_id,
                )


def _work(
    url: str,
    agent_id: str,
    handlers: dict[str, Handler],
    capabilities: tuple[str, ...],
    lease_s: float,
    until_idle: bool,  # noqa: FBT001 - handed over a process border by position
) -> None:
    stop = threading.Event()
    with stop_on_signals(stop), TaskBoard(url) as board:
        agent = SwarmAgent(
            agent_id, board, capabilities=capabilities, handlers=handlers, lease_s=lease_s
        )
        agent.run(stop, until_idle=until_idle)
