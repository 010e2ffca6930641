"""What the swarm has learned, over HTTP: searched, read and added to.

Where an entry says that it comes from is not the client's to say: it is the task whose lease the
client holds, or else its token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Final, Literal, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from stigmergy.errors import NotFoundError
from stigmergy.memory import Entry, Memory, Origin
from stigmergy.server.auth import Scope
from stigmergy.server.context import BEARER, PROBLEMS, context_of, needs, principal_of
from stigmergy.server.documents.memory import (
    EntryHistory,
    EntryPage,
    Hits,
    MemoryDocument,
    NewEntry,
    Remembered,
)
from stigmergy.server.problems import Problem
from stigmergy.server.routes.answers import answer

__all__ = ["router"]

router: Final = APIRouter(prefix="/api/v1/memory", tags=["memory"], dependencies=[Depends(BEARER)])
_READ: Final = [Depends(needs(Scope.READ))]
_WORK: Final = [Depends(needs(Scope.WORKER))]
_STEER: Final = [Depends(needs(Scope.ADMIN))]
_T = TypeVar("_T")

Kind = Literal["note", "value", "reflection"]
Kinds = Annotated[list[Kind] | None, Query(alias="kind", max_length=10)]
Tags = Annotated[list[str] | None, Query(alias="tag", max_length=32)]
Namespace = Annotated[str, Path(max_length=100)]
Key = Annotated[str, Path(max_length=200)]


@router.get("", dependencies=_READ, response_model=MemoryDocument, responses=PROBLEMS)
async def stats(request: Request) -> Response:
    """What the memory holds, by namespace."""
    told = (await _call(request, Memory.stats)).to_json()
    del told["path"]  # of this machine, and nobody else's business
    return answer(told)


@router.get("/search", dependencies=_READ, response_model=Hits, responses=PROBLEMS)
async def search(
    request: Request,
    *,
    q: Annotated[str, Query(min_length=1, max_length=10_000)],
    namespace: Annotated[list[str] | None, Query(max_length=100)] = None,
    tag: Tags = None,
    kind: Kinds = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
) -> Response:
    """Entries that have words of a text, the best first."""

    def look(memory: Memory) -> Response:
        found = memory.search(
            q, namespaces=namespace, tags=tag or (), kinds=kind or (), limit=limit
        )
        return answer({"hits": [each.to_json() for each in found]})

    return await _call(request, look)


@router.get("/entries", dependencies=_READ, response_model=EntryPage, responses=PROBLEMS)
async def list_entries(
    request: Request,
    *,
    namespace: Annotated[str | None, Query(max_length=100)] = None,
    prefix: Annotated[str, Query(max_length=200)] = "",
    tag: Tags = None,
    kind: Kinds = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=2_000)] = None,
) -> Response:
    """Entries by namespace and key, a page at a time."""

    def look(memory: Memory) -> Response:
        page = memory.list(
            namespace, prefix=prefix, tags=tag or (), kinds=kind or (), limit=limit, after=cursor
        )
        entries = [entry.to_json() for entry in page.entries]
        return answer({"entries": entries, "next_cursor": page.next})

    return await _call(request, look)


@router.post(
    "/entries/{namespace}",
    dependencies=_WORK,
    status_code=201,
    response_model=Remembered,
    responses=PROBLEMS,
)
async def store_new(namespace: Namespace, new: NewEntry, request: Request) -> Response:
    """Remember a value under a new key, which sorts by time."""
    return await _store(request, namespace, None, new)


@router.get(
    "/entries/{namespace}/{key:path}",
    dependencies=_READ,
    response_model=Remembered,
    responses=PROBLEMS,
)
async def get(namespace: Namespace, key: Key, request: Request) -> Response:
    """What a key holds."""
    entry = await _call(request, lambda memory: memory.get(namespace, key))
    if entry is None:
        raise NotFoundError(f"there is nothing at {namespace}/{key}")
    return answer({"entry": entry.to_json()})


@router.put(
    "/entries/{namespace}/{key:path}",
    dependencies=_WORK,
    response_model=Remembered,
    responses=PROBLEMS,
)
async def store(namespace: Namespace, key: Key, new: NewEntry, request: Request) -> Response:
    """Remember a value as the key's next version. Storing the same again does nothing."""
    return await _store(request, namespace, key, new)


@router.delete(
    "/entries/{namespace}/{key:path}", dependencies=_STEER, status_code=204, responses=PROBLEMS
)
async def delete(namespace: Namespace, key: Key, request: Request) -> None:
    """Forget a key with its history."""
    if not await _call(request, lambda memory: memory.delete(namespace, key)):
        raise NotFoundError(f"there is nothing at {namespace}/{key}")


@router.get(
    "/history/{namespace}/{key:path}",
    dependencies=_READ,
    response_model=EntryHistory,
    responses=PROBLEMS,
)
async def history(namespace: Namespace, key: Key, request: Request) -> Response:
    """The versions of a key that are kept, the present one first."""
    versions = await _call(request, lambda memory: memory.history(namespace, key))
    if not versions:
        raise NotFoundError(f"there is nothing at {namespace}/{key}")
    return answer({"versions": [entry.to_json() for entry in versions]})


async def _store(request: Request, namespace: str, key: str | None, new: NewEntry) -> Response:
    origin = _origin(request, new)

    def write(memory: Memory) -> Entry:
        return memory.store(
            namespace,
            key,
            new.value,
            kind=new.kind,
            tags=new.tags,
            origin=origin,
            ttl_s=new.ttl_s,
            if_version=new.if_version,
        )

    entry = await _call(request, write)
    return answer({"entry": entry.to_json()}, status=200 if key else 201)


def _origin(request: Request, new: NewEntry) -> Origin:
    principal, context = principal_of(request), context_of(request)
    run_id = "" if context.run is None else context.run.directory.run_id
    if new.lease is None:
        return Origin(agent_id=f"token-{principal.name}", run_id=run_id)
    lease = new.lease.lease()
    context.proofs.check(lease, new.lease.proof, by=principal)
    return Origin(agent_id=lease.agent_id, task_id=lease.task_id, run_id=run_id)


async def _call(request: Request, work: Callable[[Memory], _T]) -> _T:
    context = context_of(request)
    if context.memory is None:
        text = "this server has no memory to serve: start it with --memory FILE"
        raise Problem(status=404, kind="no-memory", detail=text)
    return await context.bridge.call(partial(work, context.memory))
