"""A run that has ended is opened again: what failed is begun anew, and the run goes on.

The report goes last: killed before, the run still counts as ended and can be opened again.
"""

from __future__ import annotations

from stigmergy.board import Query, TaskBoard
from stigmergy.coding.rundir import RunDirectory
from stigmergy.errors import UsageError

__all__ = ["reopen"]


def reopen(directory: RunDirectory, board: TaskBoard) -> None:
    """Begin all that failed, was refused or was cancelled anew, and forget that the run ended.

    Raises:
        UsageError: the run ended, and nothing in it failed.
    """
    revived = board.retry_all(Query(parent_id=directory.run_id))
    if not revived and board.progress(directory.run_id).is_complete:
        raise UsageError(
            f"nothing in run {directory.run_id} failed: there is nothing to retry; `stig run` "
            "starts another"
        )
    directory.report.unlink(missing_ok=True)
