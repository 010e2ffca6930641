"""When an agent gets nowhere: decided from its tool calls alone. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["GettingNowhereError", "Guards"]

_NOTICE_AT = 3
_REPEATS = 5
_MALFORMED = 3
_SILENT = 2


class GettingNowhereError(Exception):
    """The agent should be ended; the text is the reason."""


class Guards:
    """Watches one conversation. Anything that is not more of the same starts the count anew."""

    def __init__(self) -> None:
        self._last: str | None = None
        self._repeats = 0
        self._malformed = 0
        self._silent = 0

    def called(self, name: str, arguments: Mapping[str, Any]) -> str | None:
        """A call that can be carried out; returns a notice for the model when it repeats itself.

        Raises:
            GettingNowhereError: the same call for the fifth time in a row.
        """
        self._malformed = 0
        signature = json.dumps([name, arguments], sort_keys=True)
        self._repeats = self._repeats + 1 if signature == self._last else 1
        self._last = signature
        if self._repeats >= _REPEATS:
            raise GettingNowhereError("repeats itself")
        if self._repeats >= _NOTICE_AT:
            return (
                f"[This was the same call {self._repeats} times in a row. Its result will not "
                "change by itself: try something else, or finish as blocked and say why.]"
            )
        return None

    def malformed(self) -> None:
        """A call of no tool, or with arguments that do not fit.

        Raises:
            GettingNowhereError: the third in a row.
        """
        self._malformed += 1
        if self._malformed >= _MALFORMED:
            raise GettingNowhereError(f"{_MALFORMED} malformed tool calls in a row")

    def spoke(self) -> None:
        """An answer with tool calls, whatever they are."""
        self._silent = 0

    def silent(self) -> None:
        """An answer without a tool call.

        Raises:
            GettingNowhereError: the second in a row; after the first it was reminded.
        """
        self._silent += 1
        if self._silent >= _SILENT:
            raise GettingNowhereError("stopped without finishing")
