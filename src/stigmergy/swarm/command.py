"""A task done by any program: the task as JSON on its stdin, the result as JSON on its stdout."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Final, cast

from stigmergy.board import JsonObject, Task
from stigmergy.board.task import task_to_json
from stigmergy.errors import StigmergyError, UsageError

__all__ = ["CommandHandler"]

_REFUSES: Final = 65
"""An exit code: this task would fail each time. Source: sysexits.h, EX_DATAERR."""
_MOST_BYTES: Final = 16 * 1024**2
_TOLD_BYTES: Final = 2_000


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
        """The result.

        Raises:
            UsageError: the program refused the task, or cannot be started.
            StigmergyError: it failed, or took too long.
        """
        given = json.dumps(task_to_json(task)).encode()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            code = self._run(task, given, out, errors)
            said = _end_of(errors)
            if code == _REFUSES:
                raise UsageError(f"the command refused the task: {said}")
            if code:
                raise StigmergyError(f"the command ended with {code}: {said}")
            return _result(out)

    def _run(self, task: Task, given: bytes, out: IO[bytes], errors: IO[bytes]) -> int:
        environment = {**os.environ, "STIG_TASK_ID": task.task_id, "STIG_TASK_TYPE": task.task_type}
        environment.pop("STIG_TOKEN", None)  # the command acts on a task, not on the board
        try:
            process = subprocess.Popen(
                list(self.argv),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot start {self.argv[0]!r}: {error}") from error
        try:
            process.communicate(given, timeout=self.timeout_s)
        except subprocess.TimeoutExpired:
            raise StigmergyError(f"the command took longer than {self.timeout_s:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return process.returncode


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
