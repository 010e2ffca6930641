"""A served board for agents on other machines: posting, taking, reporting.

What the server refuses comes back as the error that a local board would have raised.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from stigmergy.board import JsonObject, Lease, OnDuplicate, Task
from stigmergy.board.task import encode_json, task_to_json
from stigmergy.errors import LostLeaseError
from stigmergy.swarm.remote.answers import NoRouteError
from stigmergy.swarm.remote.steering import RemoteSteering
from stigmergy.swarm.remote.wire import PATIENCE_S, READ_S, Wire

__all__ = ["RemoteBoard"]

_LONGEST_WAIT_S: Final = 60.0
_LARGE_BYTES: Final = 1024**2
"""A larger result goes ahead as a blob."""
_MOST_BYTES: Final = 4 * 1024**2
"""Of results in one request."""
_MOST_PROOFS: Final = 10_000
_NEW_FIELDS: Final = (
    *("task_type", "description", "payload", "task_id", "requires", "depends_on", "parent_id"),
    *("unique_key", "limit_key", "priority", "max_attempts", "not_before"),
)


class RemoteBoard(RemoteSteering):
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
        patience_s: float = PATIENCE_S,
    ) -> None:
        super().__init__(Wire(url, token=token, verify=verify, stop=stop, patience_s=patience_s))
        self._exchanges = True
        """Whether the server can complete and claim in one, as far as is known."""
        self._proofs: dict[tuple[str, str, int], str] = {}
        self._remembering = threading.Lock()

    # Posting ---------------------------------------------------------------------------------

    def post(self, task: Task, *, on_duplicate: OnDuplicate = "keep") -> str:
        """See `TaskBoard.post`."""
        return self.post_many([task], on_duplicate=on_duplicate)[0]

    def post_many(self, tasks: Iterable[Task], *, on_duplicate: OnDuplicate = "keep") -> list[str]:
        """See `TaskBoard.post_many`."""
        body = {"tasks": [_new(task) for task in tasks], "on_duplicate": on_duplicate}
        return list(self._wire.write("/tasks/batch", body)["task_ids"])

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
        order = _wanted(agent_id, limit, capabilities, task_types, lease_s)
        return self._claim(order, wait_s=min(max(wait_s, 0.0), _LONGEST_WAIT_S))

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
        """See `TaskBoard.complete_and_claim`.

        On an older server, or with results too large for one request, as `complete` of each and
        `claim_many` after each other, not in one.
        """
        told = [(_lease(held), *self._sendable(held.task_id, result)) for held, result in results]
        order = _wanted(agent_id, limit, capabilities, task_types, lease_s)
        fits = sum(size for _, _, size in told) <= _MOST_BYTES
        if told and limit > 0 and fits and self._exchanges:
            handed_in = [
                {"lease": self._proven(lease), "result": result} for lease, result, _ in told
            ]
            try:
                answer = self._wire.write(
                    "/tasks/complete-and-claim", order | {"results": handed_in}
                )
            except NoRouteError:
                self._exchanges = False
            else:
                return [self._held(each) for each in answer["claimed"]]
        for lease, result, _ in told:
            self._tell(lease, "complete", {"result": result, "note": None})
        return self._claim(order, wait_s=0.0) if limit > 0 else []

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
        value, _ = self._sendable(held.task_id, result or {})
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

    def keep(self, value: JsonObject) -> JsonObject:
        """See `TaskBoard.keep`."""
        return self._wire.write("/blobs", value)

    def proof_of(self, lease: Lease) -> str | None:
        """By what the server knows a lease that it gave out; None of one that was not claimed here.

        With `remember`, what one process claimed another one may report on.
        """
        with self._remembering:
            return self._proofs.get(_mark(lease))

    def remember(self, lease: Lease, proof: str) -> None:
        """Know the proof of a lease that another process claimed."""
        # Beyond the task's end: a result may be told twice, and a late one is told why not.
        with self._remembering:
            self._proofs[_mark(lease)] = proof
            while len(self._proofs) > _MOST_PROOFS:
                del self._proofs[next(iter(self._proofs))]

    # The wire --------------------------------------------------------------------------------

    def _claim(self, order: JsonObject, *, wait_s: float) -> list[Task]:
        body = order | {"wait_s": wait_s}
        told = self._wire.write("/tasks/claim", body, read_s=READ_S + wait_s)
        return [self._held(each) for each in told["claimed"]]

    def _sendable(self, task_id: str, result: JsonObject) -> tuple[JsonObject, int]:
        """The result, or what stands for it once it has gone ahead; and its size in bytes."""
        text = encode_json(result, what=f"the result of task {task_id!r}")
        if len(text) > _LARGE_BYTES:
            return self.keep(result), 0
        return json.loads(text), len(text)

    def _held(self, told: Mapping[str, Any]) -> Task:
        task = self._wire.task(told["task"])
        if (lease := task.lease) is not None and told["lease"].get("proof") is not None:
            self.remember(lease, str(told["lease"]["proof"]))
        return task

    def _tell(self, held: Lease | Task, verb: str, body: JsonObject) -> Task:
        return self._wire.task(self._send_lease(_lease(held), verb, body)["task"])

    def _send_lease(self, lease: Lease, verb: str, body: JsonObject) -> JsonObject:
        path = f"/tasks/{quote(lease.task_id, safe='')}/{verb}"
        return self._wire.write(path, {"lease": self._proven(lease), **body})

    def _proven(self, lease: Lease) -> JsonObject:
        return {
            "task_id": lease.task_id,
            "agent_id": lease.agent_id,
            "attempt": lease.attempt,
            "fence": lease.fence,
            "deadline": lease.deadline,
            "proof": self.proof_of(lease),
        }


def _wanted(
    agent_id: str,
    limit: int,
    capabilities: Iterable[str],
    task_types: Iterable[str] | None,
    lease_s: float | None,
) -> JsonObject:
    return {
        "agent_id": agent_id,
        "limit": limit,
        "capabilities": sorted(map(str, capabilities)),
        "task_types": None if task_types is None else sorted(map(str, task_types)),
        "lease_s": lease_s,
    }


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
