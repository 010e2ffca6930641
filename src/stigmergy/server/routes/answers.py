"""Answers made of the board's own JSON, without a second check by the models that describe them."""

from __future__ import annotations

import json
from typing import Final

from starlette.responses import Response

from stigmergy.board import Task
from stigmergy.board.task import JsonObject, task_to_json

__all__ = ["answer", "encode", "task_answer"]

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))


def answer(document: JsonObject, *, status: int = 200) -> Response:
    """A JSON answer; ASCII alone, as what is stored may hold text that no encoding can."""
    return Response(encode(document).encode(), status_code=status, media_type="application/json")


def encode(document: JsonObject) -> str:
    """JSON without spaces."""
    return _ENCODER.encode(document)


def task_answer(task: Task) -> Response:
    """A task as it stands."""
    return answer({"task": task_to_json(task)})
