"""The tokens that tasks hold: who is calling, and nothing else."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading

__all__ = ["TokenTable"]


class TokenTable:
    """Issued tokens by their digest; the tokens themselves are not kept. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: dict[bytes, str] = {}

    def issue(self, task: str) -> str:
        """A new token of the task; earlier ones stay good."""
        token = f"stig-{secrets.token_urlsafe(32)}"
        with self._lock:
            self._tasks[_digest(token)] = task
        return token

    def revoke(self, token: str) -> None:
        """The token is good no more. Idempotent."""
        with self._lock:
            self._tasks.pop(_digest(token), None)

    def task_of(self, token: str) -> str | None:
        """The task that holds the token, or None.

        The time it takes tells nothing: what is looked up is a digest, which a caller cannot
        steer, and every digest is compared whole.
        """
        asked = _digest(token)
        found: str | None = None
        with self._lock:
            known = list(self._tasks.items())
        for digest, task in known:
            if hmac.compare_digest(digest, asked):
                found = task
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
