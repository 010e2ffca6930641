"""The seam: something that answers chat requests.

Implementations: `Upstream` (providers over HTTP), `Replay` (a recording), and `Recorded`, which
wraps another and writes down what it answers. `stigmergy.testing.models` holds the contract.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from stigmergy.models.chat import ChatRequest, TokenUsage

__all__ = ["CallNotes", "ModelCall", "ModelSource"]


@dataclass(frozen=True, slots=True)
class ModelCall:
    """What is told about one call, when it has ended. Holds no content and no key."""

    task: str
    turn: int
    model: str
    provider: str | None
    """Who answered, or was asked last; None if nobody was."""
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: Decimal | None
    """US dollars for the answer; None is unknown. 0 for what is replayed: nothing was spent."""
    duration_ms: int
    status: int
    """As the agent saw it; 499 if it hung up first."""
    error: str | None
    """The code of the error, such as `budget_exceeded`."""
    attempts: int
    """Requests sent to providers."""
    replayed: bool
    budget_scope: str | None = None
    """With `budget_exceeded`, whose limit it was: `task`, `run` or `fleet`."""


@dataclass(slots=True)
class CallNotes:
    """What a source notes down while it answers one call."""

    provider: str | None = None
    attempts: int = 0
    usage: TokenUsage | None = None
    cost: Decimal | None = None
    replayed: bool = False


class ModelSource(Protocol):
    """Answers chat requests. All methods are called from one event loop."""

    def models(self) -> tuple[str, ...]:
        """The names of the models it is known to offer, sorted; others may work."""
        ...

    def answer(self, request: ChatRequest, notes: CallNotes) -> AsyncGenerator[dict[str, Any]]:
        """The documents of the answer: one chat.completion, or the chunks if it is to stream.

        Nothing is yielded before an answer is certain to have begun. Closing the generator ends
        the call at the provider as well. `notes` are complete when it ends, however it ends.

        Raises:
            ChatError: there is no answer, or it broke off after the first document.
            BudgetExceededError: a hard limit stands against it; nothing was sent.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections and files. Idempotent."""
        ...
