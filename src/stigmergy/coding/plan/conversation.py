"""One exchange with a planner's model, over HTTP, through pydantic-ai.

The one place of planning where `async` is used: the exchange has an event loop of its own, so any
thread may hold it, but no thread that already runs one. Importing this module is slow (pydantic-ai
and OpenAI's client), so it is imported when a planner is made.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic_ai import Agent, ModelRetry, RunContext, Tool, ToolOutput, capture_run_messages
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelHTTPError,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
)
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelResponse,
    TextPart,
    ToolCallPart,
)
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RunUsage, UsageLimits

from stigmergy.coding.plan.document import Plan
from stigmergy.coding.plan.repo_tools import RepositoryTools
from stigmergy.coding.plan.request import PlanningError, PlanningStoppedError, PlanUsage
from stigmergy.errors import BudgetExceededError, TransientError

__all__ = ["SUBMIT", "Exchange", "ModelAccess", "exchange"]

SUBMIT: Final = "submit_plan"
"""The tool by which the model gives its plan."""

_POLL_S: Final = 0.1
_TRANSIENT: Final = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAccess:
    """Where the model is asked, and how."""

    url: str
    """With /v1; the run's gateway."""
    token: str = field(repr=False)
    model: str
    temperature: float | None = None
    max_tokens: int | None = None
    """Of one answer."""
    request_timeout_s: float = 600.0
    max_requests: int = 30
    """In one sprint: reading, planning and mending together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What the model wrote in answer to one prompt."""

    replies: tuple[str, ...]
    """Plans, or what stands in their place, the latest last."""
    problem: str | None
    """Why the exchange broke off without a plan of the right shape."""
    session: bytes | None
    """All messages, to go on with; None where it broke off."""
    usage: PlanUsage


def exchange(
    access: ModelAccess,
    tools: RepositoryTools,
    *,
    instructions: str,
    prompt: str,
    session: bytes | None,
    judge: Callable[[Plan], str | None],
    stopped: Callable[[], bool],
) -> Exchange:
    """Ask for a plan.

    A plan that has not the right shape, or of which `judge` finds a fault to tell, goes back to
    the model once.

    Raises:
        TransientError, PlanningError, BudgetExceededError, PlanningStoppedError: see
            `SprintPlanner.plan`.
    """
    history = ModelMessagesTypeAdapter.validate_json(session) if session is not None else []
    usage = RunUsage()

    async def ask() -> Exchange:
        with capture_run_messages() as messages:
            problem: str | None = None
            whole: bytes | None = None
            async with _client(access) as client:
                try:
                    result = await _agent(access, client, tools, instructions, judge).run(
                        prompt,
                        message_history=history,
                        usage=usage,
                        usage_limits=UsageLimits(request_limit=access.max_requests),
                    )
                    whole = result.all_messages_json(output_tool_return_content="Received.")
                except (UnexpectedModelBehavior, UsageLimitExceeded) as error:
                    problem = str(error)
            replies = _replies(messages[len(history) :])
        return Exchange(replies=replies, problem=problem, session=whole, usage=_usage(usage))

    try:
        with asyncio.Runner() as runner:
            return runner.run(_unless_stopped(ask(), stopped))
    except ModelHTTPError as error:
        raise _http_failure(error) from error
    except ModelAPIError as error:
        raise TransientError(f"the planner's model did not answer: {error}") from error


async def _unless_stopped(work: Any, stopped: Callable[[], bool]) -> Exchange:
    task: asyncio.Task[Exchange] = asyncio.ensure_future(work)
    while not stopped():
        done, _ = await asyncio.wait({task}, timeout=_POLL_S)
        if done:
            return task.result()
    task.cancel()
    await asyncio.wait({task})
    raise PlanningStoppedError("the run was stopped while the planner was at work")


def _client(access: ModelAccess) -> AsyncOpenAI:
    return AsyncOpenAI(
        base_url=access.url,
        api_key=access.token,
        max_retries=0,  # the gateway tries again, and the planner's own policy after it
        timeout=access.request_timeout_s,
        # A proxy from the environment would be asked for an address that is only ours.
        http_client=DefaultAsyncHttpxClient(trust_env=False),
    )


def _agent(
    access: ModelAccess,
    client: AsyncOpenAI,
    tools: RepositoryTools,
    instructions: str,
    judge: Callable[[Plan], str | None],
) -> Agent[None, Plan]:
    settings = ModelSettings()
    if access.temperature is not None:
        settings["temperature"] = access.temperature
    if access.max_tokens is not None:
        settings["max_tokens"] = access.max_tokens
    provider = OpenAICompatibleProvider("gateway", openai_client=client)
    asked: Sequence[Tool[None]] = [
        Tool(tools.read_file), Tool(tools.search), Tool(tools.list_files),
    ]  # fmt: skip
    agent = Agent(
        OpenAIChatModel(access.model, provider=provider),
        deps_type=type(None),
        output_type=ToolOutput(Plan, name=SUBMIT, description="Give the plan of this sprint."),
        instructions=instructions,
        tools=asked,
        retries={"output": 1, "tools": 2},
        model_settings=settings,
    )

    def check(context: RunContext[None], plan: Plan) -> Plan:
        message = judge(plan)
        if message is not None and context.retry == 0:
            raise ModelRetry(message)
        return plan

    agent.output_validator(check)
    return agent


def _replies(messages: Sequence[ModelMessage]) -> tuple[str, ...]:
    """Of each answer the plan in it, or its text when it has none."""
    replies: list[str] = []
    for message in messages:
        if not isinstance(message, ModelResponse):
            continue
        calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
        plans = [_arguments(part) for part in calls if part.tool_name == SUBMIT]
        texts = [part.content for part in message.parts if isinstance(part, TextPart)]
        if plans or not calls:
            replies.append(plans[-1] if plans else "\n".join(texts))
    return tuple(replies)


def _arguments(call: ToolCallPart) -> str:
    """As the model wrote them, whether that is JSON or not."""
    return call.args if isinstance(call.args, str) else json.dumps(call.args or {})


def _usage(usage: RunUsage) -> PlanUsage:
    measured = usage.requests > 0 and usage.unmeasured_requests == 0
    return PlanUsage(
        requests=usage.requests,
        prompt_tokens=usage.input_tokens if measured else None,
        completion_tokens=usage.output_tokens if measured else None,
    )


def _http_failure(error: ModelHTTPError) -> Exception:
    said = f"the planner's model answered {error.status_code}: {_message(error.body)}"
    if error.status_code == 402:
        return BudgetExceededError(said, scope=_body(error.body).get("scope") or "run")
    if error.status_code in _TRANSIENT or error.status_code >= 500:
        return TransientError(said, retry_after_s=error.retry_after)
    return PlanningError(said)


def _message(body: object) -> str:
    return str(_body(body).get("message") or body or "no reason given")[:1_000]


def _body(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        return {}
    inner: Any = body.get("error", body)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] # JSON
    return inner if isinstance(inner, dict) else {}  # pyright: ignore[reportUnknownVariableType] # JSON
