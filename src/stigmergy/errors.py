"""Every error that Stigmergy raises on purpose, in one tree.

A message says what happened, with which id, and what to do. Errors carry their facts as
fields as well, so that callers need not read text.
"""

__all__ = [
    "BudgetExceededError",
    "CorruptError",
    "LostLeaseError",
    "NotFoundError",
    "StigmergyError",
    "TransientError",
    "UnsupportedError",
    "UsageError",
]


class StigmergyError(Exception):
    """The root of the tree. `exit_code` is what the command line returns for it."""

    exit_code: int = 1


class UsageError(StigmergyError, ValueError):
    """The input is wrong and will stay wrong: the message says how to mend it."""

    exit_code = 2


class NotFoundError(UsageError, KeyError):
    """Something was named that is not there."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument; this is a message for people.
        return str(self.args[0]) if self.args else ""


class TransientError(StigmergyError):
    """It may go well when tried again: a busy lock, a server that did not answer."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LostLeaseError(StigmergyError):
    """The lease is no longer held: nothing that its former holder says is written."""

    def __init__(self, task_id: str, *, agent_id: str, fence: int, reason: str) -> None:
        super().__init__(
            f"agent {agent_id!r} no longer holds task {task_id!r} (fence {fence}): {reason}. "
            "Its result was not written; claim again to go on."
        )
        self.task_id = task_id
        self.agent_id = agent_id
        self.fence = fence
        self.reason = reason


class CorruptError(StigmergyError):
    """Stored data cannot be read as what it should be. Nothing was overwritten."""

    def __init__(self, message: str, *, where: str) -> None:
        super().__init__(message)
        self.where = where


class UnsupportedError(StigmergyError):
    """This implementation cannot do what was asked, and says so."""

    exit_code = 3


class BudgetExceededError(StigmergyError):
    """A hard limit on tokens or money is reached; nothing more is spent in that scope."""

    exit_code = 4

    def __init__(self, message: str, *, scope: str) -> None:
        super().__init__(message)
        self.scope = scope
