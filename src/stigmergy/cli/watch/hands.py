"""What a key of `stig watch` does to a swarm: on its board, or through its server."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import quote

import httpx

from stigmergy.board import JsonObject, TaskBoard
from stigmergy.errors import StigmergyError, TransientError, UsageError

__all__ = ["BoardHands", "Hands", "HttpHands"]


class Hands(Protocol):
    """The verbs of whoever watches. Each raises a `StigmergyError` that says why it cannot."""

    def pause(self) -> None:
        """Let nothing more be taken."""
        ...

    def resume(self) -> None:
        """Let it go on."""
        ...

    def want_agents(self, count: int) -> None:
        """Wish for so many agents."""
        ...

    def retry(self, task_id: str) -> None:
        """Begin a failed or cancelled task anew."""
        ...

    def cancel(self, task_id: str) -> None:
        """Stop a task that is not finished."""
        ...

    def approve(self, task_id: str) -> None:
        """Say yes to what waits for a person."""
        ...

    def refuse(self, task_id: str, reason: str) -> None:
        """Say no to it."""
        ...


class BoardHands:
    """Steers a board that this process can open, in the name of `by`."""

    def __init__(self, board: TaskBoard, *, by: str) -> None:
        self._board = board
        self._by = by

    def pause(self) -> None:
        """See `Hands.pause`."""
        self._board.pause(None)

    def resume(self) -> None:
        """See `Hands.resume`."""
        self._board.resume(None)

    def want_agents(self, count: int) -> None:
        """See `Hands.want_agents`."""
        self._board.record("agents_wanted", data={"count": count, "by": self._by})

    def retry(self, task_id: str) -> None:
        """See `Hands.retry`."""
        self._board.retry(task_id)

    def cancel(self, task_id: str) -> None:
        """See `Hands.cancel`."""
        self._board.cancel(task_id, reason=f"cancelled by {self._by}")

    def approve(self, task_id: str) -> None:
        """See `Hands.approve`."""
        self._board.approve(task_id, by=self._by)

    def refuse(self, task_id: str, reason: str) -> None:
        """See `Hands.refuse`."""
        self._board.refuse(task_id, by=self._by, reason=reason)


class HttpHands:
    """Steers through `stig serve`; its token needs the scope for it."""

    def __init__(self, client: httpx.Client, *, by: str) -> None:
        self._client = client
        self._by = by

    def pause(self) -> None:
        """See `Hands.pause`."""
        self._post("pause", {"task_type": None})

    def resume(self) -> None:
        """See `Hands.resume`."""
        self._post("resume", {"task_type": None})

    def want_agents(self, count: int) -> None:
        """See `Hands.want_agents`."""
        self._post("agents", {"count": count})

    def retry(self, task_id: str) -> None:
        """See `Hands.retry`."""
        self._post_task(task_id, "retry", {})

    def cancel(self, task_id: str) -> None:
        """See `Hands.cancel`."""
        self._post_task(task_id, "cancel", {"reason": f"cancelled by {self._by}"})

    def approve(self, task_id: str) -> None:
        """See `Hands.approve`."""
        self._post_task(task_id, "approve", {"by": self._by, "reason": ""})

    def refuse(self, task_id: str, reason: str) -> None:
        """See `Hands.refuse`."""
        self._post_task(task_id, "refuse", {"by": self._by, "reason": reason})

    def _post_task(self, task_id: str, verb: str, body: JsonObject) -> None:
        self._post(f"tasks/{quote(task_id, safe='')}/{verb}", body)

    def _post(self, path: str, body: JsonObject) -> None:
        try:
            answer = self._client.post(f"/api/v1/{path}", json=body)
        except httpx.HTTPError as error:
            raise TransientError(f"the server cannot be asked: {error}") from None
        if answer.is_success:
            return
        raise _problem(answer)


def _problem(answer: httpx.Response) -> StigmergyError:
    """What a problem document says (RFC 9457), or else the status."""
    try:
        document = answer.json()
        said = str(document.get("detail") or document.get("title") or "")
    except (ValueError, AttributeError):
        said = ""
    said = said or f"the server answers {answer.status_code}"
    return UsageError(said) if answer.is_client_error else TransientError(said)
