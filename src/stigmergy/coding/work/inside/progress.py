r"""What is said while the work goes on: one JSON object a line on stdout, each with a `kind`.

| kind      | fields                                                                       |
|-----------|------------------------------------------------------------------------------|
| `start`   | `task_id`, `agent` (`own`, `command`)                                        |
| `step`    | `step` (1, 2, …): the model is asked                                         |
| `model`   | `step`, `prompt_tokens`, `completion_tokens` (null: unknown), `duration_ms`  |
| `retry`   | `attempt`, `wait_s`, `reason`: a call of the model is tried again            |
| `text`    | `text`: what the model said beside its tool calls                            |
| `tool`    | `name`, `brief`: a tool starts, or the command of a command agent            |
| `done`    | `name`, `ok`, `duration_ms`: it ended                                        |
| `output`  | `text`: a line that a command agent's program printed                        |
| `notice`  | `text`: something that a person watching should know                         |
| `commit`  | `message`, `paths` (how many)                                                |
| `end`     | `status`, `commits`, `error`: as in `result.json`                            |

A reader ignores kinds and fields that it does not know.
"""

from __future__ import annotations

import json
from typing import TextIO

from .text import clip

__all__ = ["TEXT_LIMIT", "Progress"]

TEXT_LIMIT = 1_000
"""Characters of any one text."""
_OUTPUT_LINES = 2_000
"""Of a command agent; the host's disk and journal are not the place for a whole build log."""


class Progress:
    """Writes progress. Never fails: work goes on when nobody listens any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self._output_lines = 0

    @property
    def is_heard(self) -> bool:
        """The other end has not been closed, as far as we know."""
        return self._stream is not None

    def tell(self, kind: str, **fields: str | float | bool | None) -> None:
        """Say one thing, at once."""
        if self._stream is None:
            return
        bounded = {k: clip(v, TEXT_LIMIT) if isinstance(v, str) else v for k, v in fields.items()}
        try:
            # ASCII, so that neither the locale nor a lone surrogate can break a line.
            self._stream.write(json.dumps({"kind": kind, **bounded}) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None  # closed at the other end, or here

    def output(self, line: str) -> None:
        """Pass on a line of a program's output; after two thousand, no more."""
        self._output_lines += 1
        if self._output_lines <= _OUTPUT_LINES:
            self.tell("output", text=line)
        elif self._output_lines == _OUTPUT_LINES + 1:
            self.tell("notice", text=f"more than {_OUTPUT_LINES} lines of output; no more is shown")
