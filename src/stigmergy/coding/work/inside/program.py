"""The program itself: read the task, let the agent work, commit and count, write the result.

However the work ends, with an exception or a SIGTERM too, a result is written; only a workspace
that cannot be written to has none.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any

from . import command
from .commits import Checkout, Facts, GitFailedError, identity
from .outcome import Counted, Outcome, document, encoded, interrupted
from .progress import Progress
from .text import first_line

__all__ = ["BadTaskError", "StoppedError", "main"]

Json = dict[str, Any]


class StoppedError(BaseException):
    """We were asked to stop. No `except Exception` on the way may take it for a failure."""


class BadTaskError(Exception):
    """`task.json` is not an assignment; the text says why."""


def main(environ: Mapping[str, str]) -> int:
    """Do the task in `$STIG_WORKSPACE`; 0 when there is a result, whatever it says."""
    workspace = environ.get("STIG_WORKSPACE")
    if not workspace:
        print("STIG_WORKSPACE does not name the workspace", file=sys.stderr)  # noqa: T201 - a program's own stderr
        return 2
    started = time.monotonic()
    progress = Progress(sys.stdout)
    counted = Counted()
    signal.signal(signal.SIGTERM, _stop)
    try:
        outcome, checkout, title = _attempt(workspace, environ, progress, counted)
    except StoppedError:  # in the few instructions around the attempt
        outcome, checkout, title = interrupted("stopped"), None, ""
    # From here on it is about seconds; whoever cannot wait kills.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    outcome, facts = _settle(outcome, checkout, title, progress)
    duration_ms = int((time.monotonic() - started) * 1000)
    result = document(outcome, facts, counted, duration_ms=duration_ms)
    try:
        _write_atomically(workspace, "result.json", encoded(result))
    except OSError as error:
        print(f"cannot write result.json: {error}", file=sys.stderr)  # noqa: T201 - as above
        return 3
    progress.tell(
        "end",
        status=str(result["status"]),
        commits=facts.commits if facts else None,
        error=outcome.error,
    )
    if not progress.is_heard:
        # What could not be written stands in a buffer, and Python would fail for it at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _attempt(
    workspace: str, environ: Mapping[str, str], progress: Progress, counted: Counted
) -> tuple[Outcome, Checkout | None, str]:
    checkout, title = None, ""
    try:
        task = _read_task(workspace)
        title = f"{task['task_id']}: {first_line(str(task['description']), 60)}"
        env = {**environ, **identity(_text(task, "commit_name"), _text(task, "commit_email"))}
        checkout = Checkout(_join(workspace, "repo"), str(task["base"]), env)
        progress.tell("start", task_id=str(task["task_id"]), agent=str(task["agent"].get("kind")))
        outcome = _work(task, workspace, checkout, env, progress, counted)
    except StoppedError:
        outcome = interrupted("stopped")
    except BadTaskError as error:
        outcome = Outcome("failed", error=str(error))
    except Exception as error:  # noqa: BLE001 - the edge of this program: recorded, never silent
        sys.excepthook(type(error), error, error.__traceback__)
        outcome = interrupted(f"the agent's runner failed: {type(error).__name__}: {error}")
    return outcome, checkout, title


def _work(
    task: Json,
    workspace: str,
    checkout: Checkout,
    env: dict[str, str],
    progress: Progress,
    counted: Counted,
) -> Outcome:
    agent: Json = task["agent"]
    match agent.get("kind"):
        case "command":
            values = command.Values(
                path=str((task.get("scope") or ["."])[0]),
                task=_join(workspace, "task.json"),
                description=str(task["description"]),
                prompt=_text(task, "user_prompt"),
            )
            return command.work(
                agent, values, repo=checkout.path, env=env, progress=progress, counted=counted
            )
        case "own":
            from . import own

            return own.work(task, checkout=checkout, env=env, progress=progress, counted=counted)
        case other:
            raise BadTaskError(f"task.json: no agent of kind {other!r} can run in a sandbox")


def _settle(
    outcome: Outcome, checkout: Checkout | None, title: str, progress: Progress
) -> tuple[Outcome, Facts | None]:
    """Commit what is still uncommitted, and count."""
    if checkout is None:
        return outcome, None
    try:
        if paths := checkout.commit(title):
            progress.tell("commit", message=title, paths=paths)
        return outcome, checkout.facts()
    except GitFailedError as error:
        reasons = [outcome.error, f"the work could not be committed: {error}"]
        text = "; ".join(reason for reason in reasons if reason)
        return outcome._replace(status="failed", salvage=False, error=text), None


def _read_task(workspace: str) -> Json:
    path = _join(workspace, "task.json")
    try:
        with open(path, encoding="utf-8") as file:
            task: Json = json.load(file)
        agent: object = task["agent"]
        if not isinstance(agent, dict):
            raise BadTaskError("task.json: agent: is not an object")
        for field in ("task_id", "description", "base"):
            if not isinstance(task[field], str):
                raise BadTaskError(f"task.json: {field}: is not a string")
    except (OSError, ValueError, TypeError) as error:
        raise BadTaskError(f"task.json cannot be read: {error}") from None
    except KeyError as error:
        raise BadTaskError(f"task.json: {error}: is missing") from None
    return task


def _write_atomically(workspace: str, name: str, data: bytes) -> None:
    """Put `data` there whole or not at all, over whatever the agent may have left there."""
    temporary = _join(workspace, f".{name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with open(fd, "wb") as file:
        file.write(data)
    os.replace(temporary, _join(workspace, name))


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise StoppedError


def _text(task: Json, field: str) -> str:
    return str(task.get(field) or "")


def _join(*parts: str) -> str:
    return os.path.join(*parts)
