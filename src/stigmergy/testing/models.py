"""The contract of `ModelSource`: what every source of answers must do.

Subclass `ModelSourceContract` and say how to open a source that knows one answer.
"""
# ruff: noqa: D102 - the name of a test is its rule

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, aclosing
from typing import Any

import pytest

from stigmergy.models.chat import ChatError, ChatRequest
from stigmergy.models.source import CallNotes, ModelSource
from stigmergy.models.streams import Transcript

__all__ = ["ANSWER", "CALL_ARGUMENTS", "ModelSourceContract", "chat_request"]

ANSWER = "traces in the environment"
CALL_ARGUMENTS = '{"path": "src/main.py"}'


def chat_request(
    *, task: str = "F07", turn: int = 0, model: str = "scripted", **changes: Any
) -> ChatRequest:
    """A request as the gateway would have parsed it."""
    said = [{"role": "assistant", "content": f"turn {number}"} for number in range(turn)]
    values: dict[str, Any] = {
        "stream": False,
        "wants_usage": False,
        "fields": {"messages": [{"role": "user", "content": f"Do task {task} now"}, *said]},
        "max_tokens": 50,
        "choices": 1,
        "prompt_bytes": 100,
    }
    return ChatRequest(task=task, turn=turn, model=model, **(values | changes))


class ModelSourceContract:
    """The rules; each opens a source of its own."""

    def open_source(self) -> AbstractContextManager[ModelSource]:
        """A source of model `scripted` that knows turn 0 of task F07, and no task F99.

        The answer is `ANSWER` with one call of `read_file` with `CALL_ARGUMENTS`, and a usage of
        100 prompt and 20 completion tokens.
        """
        raise NotImplementedError

    def test_a_whole_answer_is_one_document(self) -> None:
        documents, notes = self._ask(chat_request())
        assert [document["object"] for document in documents] == ["chat.completion"]
        self._check(documents)
        assert notes.usage is not None
        assert (notes.usage.prompt_tokens, notes.usage.completion_tokens) == (100, 20)

    def test_a_streamed_answer_says_the_same_in_chunks(self) -> None:
        documents, notes = self._ask(chat_request(stream=True))
        assert {document["object"] for document in documents} == {"chat.completion.chunk"}
        self._check(documents)
        assert notes.usage is not None
        assert all(document["choices"] for document in documents), "usage was not asked for"

    def test_a_stream_ends_with_its_usage_if_asked(self) -> None:
        documents, _ = self._ask(chat_request(stream=True, wants_usage=True))
        assert documents[-1]["choices"] == []
        assert documents[-1]["usage"]["completion_tokens"] == 20

    def test_no_answer_is_an_error_before_the_first_document(self) -> None:
        with pytest.raises(ChatError) as caught:
            self._ask(chat_request(task="F99"))
        assert caught.value.status >= 400
        assert caught.value.code

    def test_an_answer_can_be_left_in_the_middle(self) -> None:
        async def leave(source: ModelSource) -> None:
            request = chat_request(stream=True)
            async with aclosing(source.answer(request, CallNotes())) as documents:
                await anext(documents)

        self._run(leave)

    def test_it_lists_its_models_in_order(self) -> None:
        async def models(source: ModelSource) -> tuple[str, ...]:
            return source.models()

        names = self._run(models)
        assert "scripted" in names
        assert list(names) == sorted(names)

    def test_closing_twice_is_closing_once(self) -> None:
        async def close(source: ModelSource) -> None:
            await source.aclose()

        self._run(close)

    def _ask(self, request: ChatRequest) -> tuple[list[dict[str, Any]], CallNotes]:
        notes = CallNotes()

        async def collect(source: ModelSource) -> list[dict[str, Any]]:
            return [document async for document in source.answer(request, notes)]

        return self._run(collect), notes

    def _run(self, act: Callable[[ModelSource], Coroutine[Any, Any, Any]]) -> Any:
        async def run(source: ModelSource) -> Any:
            try:
                return await act(source)
            finally:
                await source.aclose()

        with self.open_source() as source:
            return asyncio.run(run(source))

    def _check(self, documents: list[dict[str, Any]]) -> None:
        transcript = Transcript()
        for document in documents:
            transcript.feed(document)
        message = transcript.message()
        assert message["content"] == ANSWER
        (call,) = message["tool_calls"]
        assert call["function"] == {"name": "read_file", "arguments": CALL_ARGUMENTS}
        assert transcript.finish_reason == "tool_calls"
