"""A task done by any program: the task as JSON on its stdin, the result as JSON on its stdout."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Final, cast

from stigmergy.board import JsonObject, Task
from stigmergy.board.task import task_to_json
from stigmergy.config import TOKEN_VARIABLE
from stigmergy.errors import StigmergyError, UsageError

__all__ = ["CommandHandler"]

_REFUSES: Final = 65
"""An exit code: this task would fail each time. Source: sysexits.h, EX_DATAERR."""
_MOST_BYTES: Final = 16 * 1024**2
_TOLD_BYTES: Final = 2_000
_LOOK_S: Final = 0.2
"""How soon a command whose task is lost is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandHandler:
    """Runs a program for each task, in a process group that ends with it. A `Handler`.

    The program exits with 0 when the task is done, with 65 when it would fail each time, with
    anything else when it may go well in another attempt. What it prints is the result: a JSON
    object, or else text, which becomes `{"output": text}`.

    Args:
        argv: the program and its words; no shell.
        timeout_s: it is killed after so long.
    """

    argv: Sequence[str]
    timeout_s: float

    def __call__(self, task: Task) -> JsonObject:
        """The result; see `work`."""
        return self.work(task, threading.Event())

    def work(self, task: Task, lost: threading.Event) -> JsonObject:
        """The result. The program is killed when `lost` is set.

        Raises:
            UsageError: the program refused the task, or cannot be started.
            StigmergyError: it failed, took too long, or the task was lost meanwhile.
        """
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as errors,
        ):
            given.write(json.dumps(task_to_json(task)).encode())
            given.seek(0)
            code = self._run(task, (given, out, errors), lost)
            said = _end_of(errors)
            if code == _REFUSES:
                raise UsageError(f"the command refused the task: {said}")
            if code:
                raise StigmergyError(f"the command ended with {code}: {said}")
            return _result(out)

    def _run(
        self, task: Task, files: tuple[IO[bytes], IO[bytes], IO[bytes]], lost: threading.Event
    ) -> int:
        environment = {**os.environ, "STIG_TASK_ID": task.task_id, "STIG_TASK_TYPE": task.task_type}
        environment.pop(TOKEN_VARIABLE, None)  # the command acts on a task, not on the board
        given, out, errors = files
        try:
            process = subprocess.Popen(
                list(self.argv),
                stdin=given,
                stdout=out,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot start {self.argv[0]!r}: {error}") from error
        until = time.monotonic() + self.timeout_s
        try:
            while True:
                left = until - time.monotonic()
                if left <= 0:
                    raise StigmergyError(f"the command took longer than {self.timeout_s:g} s")
                if lost.is_set():
                    raise StigmergyError("the task was lost while the command was at work")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(min(left, _LOOK_S))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _result(out: IO[bytes]) -> JsonObject:
    out.seek(0)
    content = out.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise UsageError(f"the command printed more than {_MOST_BYTES:,} bytes")
    text = content.decode(errors="backslashreplace")
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(text)
        if isinstance(value, dict):
            return cast("JsonObject", value)
    return {"output": text} if text else {}


def _end_of(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _TOLD_BYTES))
    return errors.read().decode(errors="backslashreplace").strip() or "it said nothing"
