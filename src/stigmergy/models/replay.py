"""Sources made of recordings: `Replay` answers from one, `Recorded` makes one."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from decimal import Decimal
from typing import Any

from stigmergy.models.chat import ChatError, ChatRequest, token_usage
from stigmergy.models.recording import RecordedTurn, Recorder, Recording
from stigmergy.models.source import CallNotes, ModelSource
from stigmergy.models.streams import Transcript, as_chunks

__all__ = ["Recorded", "Replay"]


class Replay:
    """Answers from a recording, by task and turn. Whatever model is asked for, it answers.

    A turn that was not recorded is an error that says so, never a guess.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def models(self) -> tuple[str, ...]:
        """The models that were recorded."""
        return self._recording.models()

    async def answer(
        self, request: ChatRequest, notes: CallNotes
    ) -> AsyncGenerator[dict[str, Any]]:
        """The recorded answer, streamed if the request asks for that."""
        notes.replayed = True
        recorded = self._recording.turns.get((request.task, request.turn))
        if recorded is None:
            raise self._miss(request)
        completion = _completion(recorded)
        notes.cost = Decimal(0)
        notes.usage = token_usage(completion)
        if not request.stream:
            yield completion
            return
        for chunk in as_chunks(completion, with_usage=request.wants_usage):
            yield chunk

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _miss(self, request: ChatRequest) -> ChatError:
        turns = self._recording.turns_of(request.task)
        known = f"it has the turns {', '.join(map(str, turns))}" if turns else "it has none of it"
        return ChatError(
            f"turn {request.turn} of task {request.task!r} is not in the recording "
            f"{self._recording.path}: {known}. Record it, or run with a model.",
            status=404,
            code="replay_miss",
            details={"task": request.task, "turn": request.turn, "turns": list(turns)},
        )


class Recorded:
    """Another source; its whole answers are written down before their last document is out."""

    def __init__(self, source: ModelSource, recorder: Recorder) -> None:
        self._source = source
        self._recorder = recorder

    def models(self) -> tuple[str, ...]:
        """Those of the source within."""
        return self._source.models()

    async def answer(
        self, request: ChatRequest, notes: CallNotes
    ) -> AsyncGenerator[dict[str, Any]]:
        """What the source within answers."""
        transcript = Transcript()
        held: list[dict[str, Any]] = []
        async with aclosing(self._source.answer(request, notes)) as documents:
            async for document in documents:
                transcript.feed(document)
                if transcript.finish_reason is None:
                    yield document
                else:
                    held.append(document)
        self._record(request, notes, transcript)
        for document in held:
            yield document

    async def aclose(self) -> None:
        """Closes the source within and the file."""
        await self._source.aclose()
        self._recorder.close()

    def _record(self, request: ChatRequest, notes: CallNotes, transcript: Transcript) -> None:
        usage = transcript.usage
        if usage is None and notes.usage is not None:
            # The agent did not ask for it, so it was not in the stream.
            usage = {
                "prompt_tokens": notes.usage.prompt_tokens,
                "completion_tokens": notes.usage.completion_tokens,
                "total_tokens": notes.usage.total,
            }
        response = {
            "message": transcript.message(),
            "usage": usage,
            "finish_reason": transcript.finish_reason,
        }
        self._recorder.record(request.task, request.turn, model=request.model, response=response)


def _completion(recorded: RecordedTurn) -> dict[str, Any]:
    answer = recorded.response
    message = {"role": "assistant", **answer.message.model_dump(exclude_unset=True)}
    message.setdefault("content", None)
    return {
        "id": f"replay-{recorded.task}-{recorded.turn}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": recorded.model,
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish_reason}],
        "usage": answer.usage,
    }
