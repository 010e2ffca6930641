"""The `own` agent: a loop of asking a model and carrying out the tools that it calls."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .chat import Call, Chat, ChatFailedError, DeadlineError, Reply
from .commits import Checkout
from .conversation import Message, fit, tool_result
from .guards import GettingNowhereError, Guards
from .outcome import Counted, Outcome, interrupted
from .paths import ToolError
from .progress import Progress
from .text import clip_middle
from .toolbox import FINISH, TOOLS, Toolbox, UnknownToolError, brief, check_arguments

__all__ = ["Limits", "Loop", "work"]

Json = dict[str, Any]

_RESULT_CHARS = 50_000
_CONVERSATION_CHARS = 400_000
"""About 100,000 tokens: what today's models take and still follow."""
_CALLS_AT_ONCE = 32
_REMINDER = "You called no tool. Go on with the task; when it is done, or cannot be, call `finish`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one task may take. None is unlimited."""

    max_steps: int
    max_tokens: int | None
    wall_s: float


def work(
    task: Mapping[str, Any],
    *,
    checkout: Checkout,
    env: Mapping[str, str],
    progress: Progress,
    counted: Counted,
) -> Outcome:
    """Let the agent that the assignment asks for work on it, and say how that ended."""
    agent: Mapping[str, Any] = task["agent"]
    limits = Limits(
        max_steps=int(agent.get("max_steps") or 60),
        max_tokens=agent.get("max_tokens"),
        wall_s=float(agent.get("wall_s") or 1800.0),
    )
    deadline = time.monotonic() + limits.wall_s
    base_url = env.get("OPENAI_BASE_URL")
    if not base_url:
        return Outcome("failed", error="OPENAI_BASE_URL is not set: there is no model to ask")
    try:
        chat = Chat(
            base_url,
            env.get("OPENAI_API_KEY", ""),
            model=str(agent.get("model") or "default"),
            progress=progress,
            temperature=agent.get("temperature"),
        )
    except ChatFailedError as error:
        return Outcome("failed", error=str(error))
    messages: list[Message] = [
        {"role": "system", "content": str(task.get("system_prompt") or "")},
        {"role": "user", "content": str(task.get("user_prompt") or task["description"])},
    ]
    toolbox = Toolbox(checkout, env, deadline, progress)
    loop = Loop(chat, toolbox, limits, deadline, progress, counted, messages)
    return loop.run()


@dataclass(slots=True)
class Loop:
    """One agent at work. `counted` is kept up to date, so that it is right however this ends."""

    chat: Chat
    toolbox: Toolbox
    limits: Limits
    deadline: float
    progress: Progress
    counted: Counted
    messages: list[Message]
    guards: Guards = field(default_factory=Guards)
    said: str = ""
    """The last text of the model: the summary where it gives none."""

    def run(self) -> Outcome:
        """To the end of the task or of a limit."""
        self.counted.steps = self.counted.tool_calls = 0
        self.counted.prompt_tokens = self.counted.completion_tokens = 0
        try:
            while (limit := self._limit()) is None:
                if outcome := self._step():
                    return outcome
        except GettingNowhereError as error:
            return Outcome("failed", self.said, error=str(error))
        except ChatFailedError as error:
            return Outcome("failed", self.said, error=f"the model could not be asked: {error}")
        except DeadlineError as error:
            limit = f"time limit: {self.limits.wall_s:g} s ({error})"
        return interrupted(limit, summary=self.said)

    def _limit(self) -> str | None:
        """The limit that is reached, in words."""
        limits = self.limits
        if (self.counted.steps or 0) >= limits.max_steps:
            return f"step limit: {limits.max_steps} model calls"
        if limits.max_tokens is not None and self.counted.tokens >= limits.max_tokens:
            return f"token limit: {self.counted.tokens:,} of {limits.max_tokens:,} tokens"
        if time.monotonic() >= self.deadline:
            return f"time limit: {limits.wall_s:g} s"
        return None

    def _step(self) -> Outcome | None:
        """Ask the model once and do what it says; an outcome when it finished."""
        reply = self._ask()
        self.messages.append(reply.as_message())
        if reply.text.strip():
            self.said = reply.text.strip()
            self.progress.tell("text", text=self.said)
        if not reply.calls:
            self.guards.silent()
            self.messages.append({"role": "user", "content": _REMINDER})
            return None
        self.guards.spoke()
        for at, call in enumerate(reply.calls):
            if at >= _CALLS_AT_ONCE:
                self._answer(call, f"not done: at most {_CALLS_AT_ONCE} calls in one answer")
            elif outcome := self._carry_out(call, cut_off=reply.cut_off):
                return outcome
        return None

    def _ask(self) -> Reply:
        step = (self.counted.steps or 0) + 1
        self.progress.tell("step", step=step)
        self.messages = fit(self.messages, budget=_CONVERSATION_CHARS)
        started = time.monotonic()
        reply = self.chat.ask(self.messages, TOOLS, deadline=self.deadline)
        self.counted.steps = step
        self.counted.prompt_tokens = _sum(self.counted.prompt_tokens, reply.prompt_tokens)
        self.counted.completion_tokens = _sum(
            self.counted.completion_tokens, reply.completion_tokens
        )
        self.progress.tell(
            "model",
            step=step,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            duration_ms=_ms_since(started),
        )
        return reply

    def _carry_out(self, call: Call, *, cut_off: bool) -> Outcome | None:
        self.counted.tool_calls = (self.counted.tool_calls or 0) + 1
        try:
            arguments = _understood(call, cut_off=cut_off)
        except UnknownToolError as error:
            self.progress.tell("notice", text=f"a malformed tool call: {error}")
            self._answer(call, f"error: {error}")
            self.guards.malformed()
            return None
        if call.name == FINISH:
            return _finished(arguments)
        notice = self.guards.called(call.name, arguments)
        text = self._use(call.name, arguments)
        self._answer(call, text if notice is None else f"{text}\n{notice}")
        return None

    def _use(self, name: str, arguments: Json) -> str:
        self.progress.tell("tool", name=name, brief=brief(name, arguments))
        started, done = time.monotonic(), True
        try:
            return self.toolbox.call(name, arguments)
        except ToolError as error:
            done = False
            return f"error: {error}"
        finally:
            self.progress.tell("done", name=name, ok=done, duration_ms=_ms_since(started))

    def _answer(self, call: Call, text: str) -> None:
        self.messages.append(tool_result(call.call_id, clip_middle(text, _RESULT_CHARS)))


def _understood(call: Call, *, cut_off: bool) -> Json:
    if call.arguments is None:
        why = "your answer was cut off at its token limit" if cut_off else "they are not JSON"
        raise UnknownToolError(
            f"the arguments of {call.name} cannot be read ({why}); nothing was done. Call it "
            "again with a JSON object, in smaller steps if it is long"
        )
    check_arguments(call.name, call.arguments)
    return call.arguments


def _finished(arguments: Json) -> Outcome:
    status = str(arguments["status"])
    summary = str(arguments["summary"])
    return Outcome(
        status,
        summary,
        error=summary if status == "blocked" else None,
        concerns=tuple(arguments.get("concerns") or ()),
        suggestions=tuple(arguments.get("suggestions") or ()),
    )


def _sum(total: int | None, more: int | None) -> int | None:
    """Once one part is unknown, the sum is."""
    return None if total is None or more is None else total + more


def _ms_since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
