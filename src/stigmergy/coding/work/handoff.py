"""The two documents that cross a sandbox's border: the assignment in, the handoff out.

Both are JSON files in the workspace (`task.json`, `result.json`). What comes out was written by a
program that nobody trusts, so it is parsed strictly and bounded; a handoff that does not parse is
a failed attempt, never an empty success.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from stigmergy.errors import CorruptError

__all__ = [
    "MAX_HANDOFF_BYTES",
    "AgentSpec",
    "Assignment",
    "CommandAgent",
    "Handoff",
    "HandoffMetrics",
    "OwnAgent",
    "parse_handoff",
]

MAX_HANDOFF_BYTES = 1024**2

Line = Annotated[str, StringConstraints(max_length=2_000)]
Text = Annotated[str, StringConstraints(max_length=200_000)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class OwnAgent(_Document):
    """The tool loop that ships with Stigmergy, talking to the model gateway."""

    kind: Literal["own"] = "own"
    model: str
    max_steps: int = Field(default=60, ge=1)
    """Model calls."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Of prompts and completions together, for the whole task; None is unlimited."""
    wall_s: float = Field(default=1800.0, gt=0)
    temperature: float | None = None


class CommandAgent(_Document):
    """Any program.

    In its arguments `{path}` (the first of the scope), `{task}` (the path of task.json),
    `{description}` and `{prompt}` (the whole task as a text) are replaced.
    """

    kind: Literal["command"] = "command"
    argv: tuple[str, ...] = Field(min_length=1)
    shell: bool = False
    """Give `argv[0]` to `/bin/sh -c`; asked for by the user, never by a task. The values of the
    placeholders then arrive as `$STIG_PATH`, `$STIG_TASK`, `$STIG_DESCRIPTION` and
    `$STIG_PROMPT`."""
    wall_s: float = Field(default=1800.0, gt=0)


AgentSpec = Annotated[OwnAgent | CommandAgent, Field(discriminator="kind")]


class Assignment(_Document):
    """What an agent is given, as `task.json`."""

    version: Literal[1] = 1
    task_id: str
    task_type: str
    """`code`, `fix` or `review`."""
    description: str
    scope: tuple[str, ...] = ()
    """Paths or globs, relative to the repository, that the task is about."""
    acceptance: tuple[str, ...] = ()
    """What must hold when it is done, one sentence each."""
    base: str
    """The commit the checkout started from."""
    attempt: int = 1
    context: dict[str, str] = Field(default_factory=dict)
    """Named texts that help: `reason` (why a fix is needed), `gate_output`, `previous`, `spec`,
    `memory` (notes of others)."""
    gate: tuple[str, ...] = ()
    """The command that will judge the work, for the agent to run itself; empty if unknown."""
    agent: AgentSpec
    system_prompt: str = ""
    """What an agent that is a model is told of its work; rendered by the runner if empty."""
    user_prompt: str = ""
    """The whole task as a text for it: all of the above in words; likewise."""
    commit_name: str = "Stigmergy agent"
    commit_email: str = "agent@stigmergy.invalid"


class HandoffMetrics(_Document):
    """Counted by the runner, never by the model. None is unknown."""

    steps: int | None = None
    tool_calls: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    duration_ms: int | None = None
    files_changed: int | None = None
    lines_added: int | None = None
    lines_removed: int | None = None


class Handoff(_Document):
    """What an agent says about its work, as `result.json`. A claim, until the queue proved it."""

    version: Literal[1] = 1
    status: Literal["complete", "partial", "blocked", "failed"]
    summary: Text = ""
    changes: tuple[Line, ...] = Field(default=(), max_length=10_000)
    """Paths that the agent's commits touch."""
    concerns: tuple[Line, ...] = Field(default=(), max_length=100)
    suggestions: tuple[Line, ...] = Field(default=(), max_length=100)
    commits: int = Field(default=0, ge=0)
    exit_code: int | None = None
    """Of a command agent's program."""
    error: Text | None = None
    """Why it failed or is blocked: `step limit`, `token limit`, a provider's refusal …"""
    metrics: HandoffMetrics = HandoffMetrics()


def parse_handoff(data: bytes | None, *, task_id: str) -> Handoff:
    """The handoff in the bytes of `result.json`.

    Raises:
        CorruptError: there is none, or it is not one; the text says which field is wrong.
    """
    if data is None:
        raise CorruptError(
            f"the agent of task {task_id!r} ended without a result.json", where="result.json"
        )
    try:
        return Handoff.model_validate_json(data)
    except ValidationError as error:
        raise CorruptError(
            f"the result.json of task {task_id!r} is not a handoff: {_first_fault(error)}",
            where="result.json",
        ) from None


def _first_fault(error: ValidationError) -> str:
    fault: dict[str, Any] = dict(error.errors(include_url=False)[0])
    place = ".".join(str(part) for part in fault.get("loc", ())) or "the document"
    return f"{place}: {fault.get('msg', 'invalid')}"
