"""Which board hives share: any that `stig board` knows, or one over HTTP."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Final

import typer

from stigmergy.board import Task
from stigmergy.cli.board.reach import Place, open_any
from stigmergy.coding.hive_board import SharedBoard, is_at_work

__all__ = ["Row", "SharedUrl", "row_of", "shared_board"]

SharedUrl = Annotated[
    str | None,
    typer.Option(
        "--board",
        metavar="URL",
        help="A board that hives share: a file, a folder, a URL; http:// with STIG_TOKEN.",
    ),
]
Row = dict[str, object]

_STATES: Final = {
    "completed": "ended",
    "failed": "ended",
    "cancelled": "stopped",
}


@contextmanager
def shared_board(url: str, *, create: bool = False) -> Generator[SharedBoard]:
    """The board, open.

    Raises:
        UsageError: it is none, or a board over HTTP has no token.
    """
    with open_any(Place(url), may="worker", create=create) as board:
        yield board


def row_of(task: Task, *, now: float) -> Row:
    """A hive on a shared board, as `stig hive status` shows it."""
    payload, progress = task.payload, task.progress or {}
    alive = "running" if is_at_work(task, now=now) else "crashed"
    state = _STATES.get(task.status.value, alive)
    verdict = (task.result or {}).get("verdict") or task.error
    return {
        "name": payload.get("name"),
        "run_id": payload.get("run_id"),
        "strategy": payload.get("strategy"),
        "state": state,
        "objective": task.description,
        "namespaces": list(payload.get("namespaces") or ()),
        "agents": payload.get("agents"),
        "parallel": payload.get("parallel"),
        "working": progress.get("working", 0) if state == "running" else 0,
        "items": progress.get("items"),
        "done": progress.get("done"),
        "failed": progress.get("failed"),
        "started_at": task.created_at,
        "ended_at": task.finished_at,
        "exit_code": (task.result or {}).get("exit_code"),
        "verdict": verdict,
        "label": payload.get("label") or "",
        "last": progress.get("last") or "",
        "report": None,
        "repository": payload.get("repository"),
        "task_id": task.task_id,
    }
