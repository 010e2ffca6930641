"""Secrets taken out of what is passed on or written down."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, cast

__all__ = ["Redactor"]

_SHORTEST = 8
"""Shorter keys are the dummies that local servers want (`EMPTY`, `ollama`): words, not secrets."""


class Redactor:
    """Replaces every known secret, wherever it stands in a text. Safe for threads."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._secrets: tuple[str, ...] = ()
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Know one secret more."""
        if len(secret) >= _SHORTEST:
            with self._lock:
                # The longest first: one secret may begin another.
                self._secrets = tuple(sorted({*self._secrets, secret}, key=len, reverse=True))

    def forget(self, secret: str) -> None:
        """Know one secret less: it opens nothing any more."""
        with self._lock:
            self._secrets = tuple(known for known in self._secrets if known != secret)

    def text(self, text: str) -> str:
        """`text` with each secret replaced by `[redacted]`."""
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return text

    def json(self, value: Any) -> Any:
        """A JSON value with the secrets taken out of all its strings, names of members too."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.json(item) for item in cast("list[Any]", value)]
            case dict():
                members = cast("dict[str, Any]", value).items()
                return {self.text(name): self.json(item) for name, item in members}
            case _:
                return value
