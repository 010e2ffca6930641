"""A board over HTTP, for agents on other machines: what `stig serve` serves, as agents know boards.

Every write carries an `Idempotency-Key` and is sent again, with the same one, until the server has
answered or patience ends: so a lost answer or a server that was killed makes nothing happen twice.
What the server refuses comes back as the error that a local board would have raised.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import fields
from types import TracebackType
from typing import Any, Final, Self, cast
from urllib.parse import quote, urlsplit

import httpx

from stigmergy.addresses import is_loopback
from stigmergy.board import JsonObject, Lease, OnDuplicate, Progress, Task, TaskStatus
from stigmergy.board.blobs import is_reference, reference_name
from stigmergy.board.task import encode_json, task_from_json, task_to_json
from stigmergy.errors import (
    BudgetExceededError,
    CorruptError,
    LostLeaseError,
    NotFoundError,
    StigmergyError,
    TransientError,
    UnsupportedError,
    UsageError,
)

__all__ = ["RemoteBoard", "is_remote"]

_log = logging.getLogger(__name__)
_PROBLEM: Final = "urn:stigmergy:problem:"
_AGAIN: Final = frozenset({"busy", "too-many-requests", "under-way", "too-slow"})
_PATIENCE_S: Final = 30.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 3.0
_CONNECT_S: Final = 5.0
_READ_S: Final = 30.0
_LONGEST_WAIT_S: Final = 60.0
_LARGE_BYTES: Final = 1024**2
"""A larger result goes ahead as a blob."""
_PAGE: Final = 1_000
_MOST_PROOFS: Final = 10_000
_TASK_FIELDS: Final = frozenset(each.name for each in fields(Task))
_NEW_FIELDS: Final = (
    *("task_type", "description", "payload", "task_id", "requires", "depends_on", "parent_id"),
    *("unique_key", "limit_key", "priority", "max_attempts", "not_before"),
)


def is_remote(url: str | None) -> bool:
    """Whether a board's URL is that of a server."""
    return url is not None and url.startswith(("http://", "https://"))


class RemoteBoard:
    """A served board. Thread-safe; close it at the end.

    Args:
        url: of the server, `http://host:port` or `https://host:port`.
        token: of the scope `worker` at least; claims of others' leases need `admin`.
        verify: the certificate authority's file that the server's certificate is checked by, if
            not the system's.
        stop: once it is set nothing is tried again.
        patience_s: how long a call is tried again while the server is busy or gone.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str,
        verify: str | None = None,
        stop: threading.Event | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        parts = urlsplit(url)
        if not is_remote(url) or not parts.netloc or parts.username or parts.query:
            raise UsageError(f"{url!r} is no server's address: write http://host:port")
        if not token.isascii() or not token.isprintable() or not token:
            raise UsageError("the token has characters that cannot stand in a header")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            _log.warning(
                "the token and all tasks go to %s unencrypted: use https, or a tunnel", parts.netloc
            )
        self.url = url.rstrip("/")
        self._stop = stop or threading.Event()
        self._patience_s = patience_s
        self._proofs: dict[tuple[str, str, int], str] = {}
        self._remembering = threading.Lock()
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(_READ_S, connect=_CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,  # a proxy of the environment would get the token
            verify=_verification(verify),
        )

        self._is_silent = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections. Idempotent."""
        self._http.close()

    # Posting ---------------------------------------------------------------------------------

    def post(self, task: Task, *, on_duplicate: OnDuplicate = "keep") -> str:
        """See `TaskBoard.post`."""
        return self.post_many([task], on_duplicate=on_duplicate)[0]

    def post_many(self, tasks: Iterable[Task], *, on_duplicate: OnDuplicate = "keep") -> list[str]:
        """See `TaskBoard.post_many`."""
        body = {"tasks": [_new(task) for task in tasks], "on_duplicate": on_duplicate}
        return list(self._write("/tasks/batch", body)["task_ids"])

    # Taking ----------------------------------------------------------------------------------

    def claim(
        self,
        agent_id: str,
        *,
        capabilities: Iterable[str] = (),
        task_types: Iterable[str] | None = None,
        lease_s: float | None = None,
    ) -> Task | None:
        """See `TaskBoard.claim`."""
        claimed = self.claim_many(
            agent_id, 1, capabilities=capabilities, task_types=task_types, lease_s=lease_s
        )
        return claimed[0] if claimed else None

    def claim_within(
        self,
        agent_id: str,
        *,
        wait_s: float,
        capabilities: Iterable[str] = (),
        task_types: Iterable[str] | None = None,
        lease_s: float | None = None,
    ) -> Task | None:
        """See `TaskBoard.claim_within`; the server waits, so one call does for all of `wait_s`."""
        claimed = self.claim_many(
            agent_id,
            1,
            capabilities=capabilities,
            task_types=task_types,
            lease_s=lease_s,
            wait_s=wait_s,
        )
        return claimed[0] if claimed else None

    def claim_many(
        self,
        agent_id: str,
        limit: int,
        *,
        capabilities: Iterable[str] = (),
        task_types: Iterable[str] | None = None,
        lease_s: float | None = None,
        wait_s: float = 0.0,
    ) -> list[Task]:
        """See `TaskBoard.claim_many`; waits up to `wait_s` until there is one."""
        if limit < 1:
            return []
        wait_s = min(max(wait_s, 0.0), _LONGEST_WAIT_S)
        body: JsonObject = {
            "agent_id": agent_id,
            "limit": limit,
            "capabilities": sorted(map(str, capabilities)),
            "task_types": None if task_types is None else sorted(map(str, task_types)),
            "lease_s": lease_s,
            "wait_s": wait_s,
        }
        return [
            self._held(each)
            for each in self._write("/tasks/claim", body, read_s=_READ_S + wait_s)["claimed"]
        ]

    def complete_and_claim(
        self,
        agent_id: str,
        results: Iterable[tuple[Lease | Task, JsonObject]],
        limit: int = 1,
        *,
        capabilities: Iterable[str] = (),
        task_types: Iterable[str] | None = None,
        lease_s: float | None = None,
    ) -> list[Task]:
        """As `complete` of each and `claim_many` after each other: not in one transaction."""
        for held, result in results:
            self.complete(held, result)
        return self.claim_many(
            agent_id, limit, capabilities=capabilities, task_types=task_types, lease_s=lease_s
        )

    # Reporting, with the lease ---------------------------------------------------------------

    def start(self, held: Lease | Task) -> Task:
        """See `TaskBoard.start`."""
        return self._tell(held, "start", {})

    def renew(self, held: Lease | Task, *, lease_s: float | None = None) -> Lease:
        """See `TaskBoard.renew`."""
        lease = _lease(held)
        told = self._send_lease(lease, "renew", {"lease_s": lease_s})["lease"]
        return Lease(
            task_id=lease.task_id,
            agent_id=lease.agent_id,
            attempt=lease.attempt,
            fence=lease.fence,
            deadline=float(told["deadline"]),
        )

    def report(
        self, held: Lease | Task, progress: JsonObject, *, lease_s: float | None = None
    ) -> Task:
        """See `TaskBoard.report`."""
        return self._tell(held, "report", {"progress": progress, "lease_s": lease_s})

    def complete(
        self,
        held: Lease | Task,
        result: JsonObject | None = None,
        *,
        note: JsonObject | None = None,
    ) -> Task:
        """See `TaskBoard.complete`."""
        text = encode_json(result or {}, what=f"the result of task {held.task_id!r}")
        value = self.keep(result or {}) if len(text) > _LARGE_BYTES else json.loads(text)
        return self._tell(held, "complete", {"result": value, "note": note})

    def fail(
        self,
        held: Lease | Task,
        error: str,
        *,
        retry: bool = True,
        note: JsonObject | None = None,
    ) -> Task:
        """See `TaskBoard.fail`."""
        text = error.encode(errors="backslashreplace").decode()
        body: JsonObject = {"error": text, "retry": retry, "note": note}
        return self._tell(held, "fail", body)

    def release(
        self,
        held: Lease | Task,
        *,
        wait_for: Iterable[str] = (),
        post: Iterable[Task] = (),
        delay_s: float = 0.0,
        reason: str = "",
        note: JsonObject | None = None,
    ) -> Task:
        """See `TaskBoard.release`."""
        body: JsonObject = {
            "wait_for": list(wait_for),
            "post": [_new(task) for task in post],
            "delay_s": delay_s,
            "reason": reason,
            "note": note,
        }
        return self._tell(held, "release", body)

    # Looking ---------------------------------------------------------------------------------

    def get(self, task_id: str) -> Task | None:
        """See `TaskBoard.get`."""
        try:
            return self._task(self._read(f"/tasks/{quote(task_id, safe='')}")["task"])
        except NotFoundError:
            return None

    def list_all(
        self,
        *,
        statuses: Iterable[TaskStatus] | None = None,
        parent_id: str | None = None,
        limit: int | None = None,
    ) -> list[Task]:
        """See `TaskBoard.list_all`."""
        query: list[tuple[str, str]] = [("status", str(status)) for status in statuses or ()]
        if statuses is not None and not query:
            return []
        if parent_id is not None:
            query.append(("parent_id", parent_id))
        found: list[Task] = []
        cursor: str | None = None
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            page = [*query, ("limit", str(size))]
            told = self._read("/tasks", [*page, *([("cursor", cursor)] if cursor else [])])
            found.extend(self._task(document) for document in told["tasks"])
            cursor = told["next_cursor"]
            if cursor is None:
                break
        return found

    def progress(self, parent_id: str | None = None) -> Progress:
        """See `TaskBoard.progress`."""
        told = self._read("/progress", [] if parent_id is None else [("parent_id", parent_id)])
        return Progress(**{each.name: int(told[each.name]) for each in fields(Progress)})

    def keep(self, value: JsonObject) -> JsonObject:
        """See `TaskBoard.keep`."""
        return self._write("/blobs", value)

    def load(self, value: JsonObject | None) -> JsonObject:
        """See `TaskBoard.load`."""
        if value is None or not is_reference(value):
            return value or {}
        return self._read(f"/blobs/{reference_name(value)}")

    # The wire --------------------------------------------------------------------------------

    def _held(self, told: Mapping[str, Any]) -> Task:
        task = self._task(told["task"])
        if (lease := task.lease) is not None and told["lease"].get("proof") is not None:
            self._remember(_mark(lease), str(told["lease"]["proof"]))
        return task

    def _remember(self, mark: tuple[str, str, int], proof: str) -> None:
        # Beyond the task's end: a result may be told twice, and a late one is told why not.
        with self._remembering:
            self._proofs[mark] = proof
            while len(self._proofs) > _MOST_PROOFS:
                del self._proofs[next(iter(self._proofs))]

    def _task(self, document: Mapping[str, Any]) -> Task:
        # A newer server may tell more of a task.
        known = {name: value for name, value in document.items() if name in _TASK_FIELDS}
        return task_from_json(known, where=self.url)

    def _tell(self, held: Lease | Task, verb: str, body: JsonObject) -> Task:
        return self._task(self._send_lease(_lease(held), verb, body)["task"])

    def _send_lease(self, lease: Lease, verb: str, body: JsonObject) -> JsonObject:
        document: JsonObject = {
            "task_id": lease.task_id,
            "agent_id": lease.agent_id,
            "attempt": lease.attempt,
            "fence": lease.fence,
            "deadline": lease.deadline,
            "proof": self._proofs.get(_mark(lease)),
        }
        path = f"/tasks/{quote(lease.task_id, safe='')}/{verb}"
        return self._write(path, {"lease": document, **body})

    def _write(self, path: str, body: JsonObject, *, read_s: float = _READ_S) -> JsonObject:
        content = encode_json(body, what=f"what is sent to {path}").encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": secrets.token_hex(16),
        }
        return self._send("POST", path, content=content, headers=headers, read_s=read_s)

    def _read(self, path: str, query: Iterable[tuple[str, str]] = ()) -> JsonObject:
        return self._send("GET", path, params=list(query))

    def _send(
        self, method: str, path: str, *, read_s: float = _READ_S, **request: Any
    ) -> JsonObject:
        until = time.monotonic() + self._patience_s
        pause_s = _FIRST_PAUSE_S
        timeout = httpx.Timeout(read_s, connect=_CONNECT_S)
        while True:
            try:
                response = self._http.request(method, path, timeout=timeout, **request)
                if self._is_silent:
                    self._is_silent = False
                    _log.warning("%s answers again", self.url)
                return _answer(response)
            except httpx.TransportError as error:
                name = type(error).__name__
                failure = TransientError(f"{self.url} does not answer ({name}: {error})")
                if not self._is_silent:  # once for each silence: who waits shall know for what
                    self._is_silent = True
                    _log.warning("%s; trying again", failure)
            except TransientError as error:
                failure = error
            # Shorter than it says would be in vain, but a server may say too much.
            wait_s = min(max(pause_s, failure.retry_after_s or 0.0), _LONGEST_PAUSE_S)
            if time.monotonic() + wait_s > until or self._stop.wait(wait_s):
                raise failure
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _verification(authority: str | None) -> Any:
    import ssl

    if authority is None:
        return True
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"the authority's certificate {authority} cannot be used: {error}"
        ) from error


def _answer(response: httpx.Response) -> JsonObject:
    """The document of a good answer.

    Raises:
        StigmergyError: of the kind that the problem is.
    """
    document = _document(response)
    if response.is_success and document is not None:
        return document
    kind = str((document or {}).get("type", ""))
    if document is not None and kind.startswith(_PROBLEM):
        raise _error(kind.removeprefix(_PROBLEM), response.status_code, document)
    text = f"{response.request.url} answered with {response.status_code} and no problem document"
    if response.status_code >= 500 or response.is_success:
        raise TransientError(f"{text}: is something between that is no Stigmergy server?")
    raise UsageError(text)


def _document(response: httpx.Response) -> JsonObject | None:
    """The JSON object in an answer, if it is one."""
    try:
        value: object = json.loads(response.content or b"{}")
    except (ValueError, RecursionError):
        return None
    return cast("JsonObject", value) if isinstance(value, dict) else None


def _error(kind: str, status: int, problem: JsonObject) -> StigmergyError:
    detail = str(problem.get("detail", "")) or f"the server answered with {status}"
    if kind in _AGAIN:
        retry = problem.get("retry_after_s")
        return TransientError(
            detail, retry_after_s=float(retry) if isinstance(retry, int | float) else None
        )
    match kind:
        case "lost-lease":
            return LostLeaseError(
                str(problem.get("task_id", "")),
                agent_id=str(problem.get("agent_id", "")),
                fence=int(problem.get("fence", 0)),
                reason=str(problem.get("reason", detail)),
            )
        case "not-found":
            return NotFoundError(detail)
        case "corrupt":
            return CorruptError(detail, where=str(problem.get("where", "the server")))
        case "unsupported":
            return UnsupportedError(detail)
        case "budget-exceeded":
            return BudgetExceededError(detail, scope=str(problem.get("scope", "")))
        case _ if status >= 500:
            return StigmergyError(f"the server failed: {detail}")
        case _:
            return UsageError(detail)


def _new(task: Task) -> JsonObject:
    whole = task_to_json(task)
    return {name: whole[name] for name in _NEW_FIELDS}


def _mark(lease: Lease) -> tuple[str, str, int]:
    return lease.task_id, lease.agent_id, lease.fence


def _lease(held: Lease | Task) -> Lease:
    if isinstance(held, Lease):
        return held
    if (lease := held.lease) is None:
        raise LostLeaseError(
            held.task_id, agent_id=held.claimed_by or "?", fence=held.fence, reason="never claimed"
        )
    return lease
