"""The figures for Prometheus: the swarm's, from the feed's view, and the server's own."""

from __future__ import annotations

from functools import partial
from typing import Final

from fastapi import APIRouter, Depends, Request
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from starlette.responses import Response

from stigmergy.monitor import SwarmView
from stigmergy.monitor.prometheus import CONTENT_TYPE, exposition
from stigmergy.server.auth import Scope
from stigmergy.server.context import BEARER, PROBLEMS, ServerContext, context_of, needs
from stigmergy.server.live.feed import View

__all__ = ["router"]

router: Final = APIRouter(
    tags=["metrics"], dependencies=[Depends(BEARER), Depends(needs(Scope.READ))]
)
_TEXT: Final = {
    "description": "Prometheus' text format.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


@router.get("/metrics", response_class=Response, responses={**PROBLEMS, 200: _TEXT})
async def metrics(request: Request) -> Response:
    """All figures, in Prometheus' text format; `docs/reference/metrics.md` has their meaning."""
    context = context_of(request)
    swarm = await context.bridge.call(partial(context.live.feed.look, _exposed))
    headers = {"Content-Type": CONTENT_TYPE}
    return Response(swarm + _of_server(context), headers=headers)


def _exposed(view: View, now: float) -> bytes:
    assert isinstance(view, SwarmView), "the feed was made with it"
    return exposition(view, now)


def _of_server(context: ServerContext) -> bytes:
    registry = CollectorRegistry()
    claims = "Claims that wait in long polls."
    Gauge("stigmergy_server_waiting_claims", claims, registry=registry).set(context.desk.waiting)
    streams = "Open streams of the journal and of the live view."
    readers = context.tail.streams + context.live.feed.readers
    Gauge("stigmergy_server_streams", streams, registry=registry).set(readers)
    return generate_latest(registry)
