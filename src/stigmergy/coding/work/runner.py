"""One attempt at a task, seen from the host: start the agent, listen, take what it left.

A handoff is the agent's claim. What it committed is asked of git here, outside the sandbox, and
that overrides whatever the claim says about commits and changes. An attempt that did not end by
itself with a handoff that parses is a failure with a reason, and never complete.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from stigmergy.board import JsonObject
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.protected import protected
from stigmergy.coding.sandbox.sandbox import Exit, Limits, Sandbox
from stigmergy.coding.work.agent import AGENTS, AgentKind, agent_kind
from stigmergy.coding.work.briefing import with_prompts
from stigmergy.coding.work.handoff import (
    MAX_HANDOFF_BYTES,
    Assignment,
    Handoff,
    HandoffMetrics,
    parse_handoff,
)
from stigmergy.coding.work.progress import ProgressReader
from stigmergy.errors import CorruptError, StigmergyError

__all__ = ["AttemptFailedError", "Reason", "TaskRunner", "WorkResult"]

Reason = Literal[
    "timed-out",  # it did not heed its own limits, and was killed at the sandbox's
    "stopped",  # the stop event was set
    "out-of-memory",  # killed with SIGKILL and not by us: most often that
    "killed",  # by another signal
    "crashed",  # its runner ended with an error
    "no-result",
    "invalid-result",
    "out-of-bounds",  # it changed what only this program and its user may change
    "rewritten-history",  # its commits do not descend from the base
]

_GRACE_S: Final = 60.0
"""For an agent whose time ran out to commit, count and write its handoff."""
_TAIL_CHARS: Final = 2_000
_LISTED: Final = 10_000


class AttemptFailedError(StigmergyError):
    """An attempt left nothing that can be used. `exit` says how its program ended."""

    def __init__(self, task_id: str, reason: Reason, text: str, *, exit: Exit) -> None:  # noqa: A002 - the seam's word
        super().__init__(f"the attempt at task {task_id!r} failed ({reason}): {text}")
        self.task_id = task_id
        self.reason: Reason = reason
        self.exit = exit


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkResult:
    """What an attempt left."""

    handoff: Handoff
    """Its commits, changes and lines as git counts them."""
    commit: str | None
    """Exported to the ref that was asked for; None: the agent committed nothing."""
    exit: Exit
    refused_lines: int
    """Lines on stdout that were no progress."""


class TaskRunner:
    """Runs attempts in sandboxes of one repository. Thread-safe: it keeps nothing of them."""

    def __init__(
        self, repository: Repository, *, agents: Mapping[str, AgentKind] | None = None
    ) -> None:
        self._repository = repository
        self._agents = AGENTS if agents is None else agents

    def run(
        self,
        sandbox: Sandbox,
        assignment: Assignment,
        *,
        ref: str,
        token: str | None = None,
        limits: Limits | None = None,
        stop: threading.Event | None = None,
        on_progress: Callable[[JsonObject], None] | None = None,
    ) -> WorkResult:
        """Let an agent work on the assignment; its commits are at `ref` afterwards.

        `limits.wall_s` is raised to the agent's own plus a minute, so that an agent whose time
        ran out still hands over what it has. `on_progress` is called in this thread.

        Raises:
            AttemptFailedError: it left nothing that can be used; the ref was not made.
            UnsupportedError: there is no such kind of agent.
        """
        start = agent_kind(assignment.agent.kind, self._agents).start(assignment, token=token)
        document = with_prompts(assignment).model_dump_json()
        sandbox.write_file("task.json", document.encode())
        reader = ProgressReader()

        def listen(line: str) -> None:
            told = reader.read(line)
            if told is not None and on_progress is not None:
                on_progress(told)

        ended = sandbox.run(
            start.argv,
            env=start.env,
            limits=_with_grace(limits or Limits(), assignment.agent.wall_s),
            stop=stop,
            on_line=listen,
        )
        claim = _claim(sandbox, assignment.task_id, ended)
        commit = sandbox.export(ref)
        if commit is not None and not self._repository.is_ancestor(sandbox.base, commit):
            text = f"its commit {commit} does not descend from {sandbox.base}, where it started"
            self._repository.git("update-ref", "-d", ref, commit)
            raise AttemptFailedError(assignment.task_id, "rewritten-history", text, exit=ended)
        if commit is None:
            return _result(_without_changes(claim), None, ended, reader)
        rows = self._changes(sandbox.base, commit)
        if out := protected(row.path for row in rows):
            self._repository.git("update-ref", "-d", ref, commit)
            text = f"it changed what no agent may change: {', '.join(out[:5])}"
            raise AttemptFailedError(assignment.task_id, "out-of-bounds", text, exit=ended)
        commits = len(self._repository.commits(sandbox.base, commit))
        return _result(_counted(claim, commits, rows), commit, ended, reader)

    def _changes(self, base: str, commit: str) -> list[_Change]:
        """What git says that the commits changed."""
        asked = ("diff-tree", "-r", "--numstat", "-z", "--no-renames", base, commit)
        rows = [row.split(b"\t", 2) for row in self._repository.git(*asked).stdout.split(b"\0")]
        return [
            _Change(_lines(row[0]), _lines(row[1]), row[2].decode(errors="replace"))
            for row in rows
            if len(row) == 3
        ]


class _Change(NamedTuple):
    added: int
    removed: int
    path: str


def _result(
    handoff: Handoff, commit: str | None, ended: Exit, reader: ProgressReader
) -> WorkResult:
    return WorkResult(handoff=handoff, commit=commit, exit=ended, refused_lines=reader.refused)


def _without_changes(claim: Handoff) -> Handoff:
    none = {"files_changed": 0, "lines_added": 0, "lines_removed": 0}
    return _with(claim, commits=0, changes=(), metrics=none)


def _counted(claim: Handoff, commits: int, rows: Sequence[_Change]) -> Handoff:
    """The handoff with what git says in place of what it claims."""
    metrics = {
        "files_changed": len(rows),
        "lines_added": sum(row.added for row in rows),
        "lines_removed": sum(row.removed for row in rows),
    }
    changes = tuple(row.path for row in rows[:_LISTED])
    return _with(claim, commits=commits, changes=changes, metrics=metrics)


def _with_grace(limits: Limits, wall_s: float) -> Limits:
    return replace(limits, wall_s=max(limits.wall_s, wall_s + _GRACE_S))


def _claim(sandbox: Sandbox, task_id: str, ended: Exit) -> Handoff:
    """The handoff of an agent that ended by itself."""
    if failure := _failure(ended):
        reason, text = failure
        raise AttemptFailedError(task_id, reason, f"{text}{_tail(ended)}", exit=ended)
    try:
        data = sandbox.read_file("result.json", max_bytes=MAX_HANDOFF_BYTES)
    except CorruptError as error:
        raise AttemptFailedError(task_id, "invalid-result", str(error), exit=ended) from None
    reason: Reason = "no-result" if data is None else "invalid-result"
    try:
        return parse_handoff(data, task_id=task_id)
    except CorruptError as error:
        raise AttemptFailedError(task_id, reason, f"{error}{_tail(ended)}", exit=ended) from None


def _failure(ended: Exit) -> tuple[Reason, str] | None:
    """Why a program that ended so left nothing to trust; what it wrote before may be half done."""
    match ended:
        case Exit(reason="timed-out"):
            return "timed-out", f"its program was killed after {ended.duration_s:.0f} s"
        case Exit(reason="stopped"):
            return "stopped", "it was told to stop"
        case Exit(code=-9 | 137):
            return "out-of-memory", "its program was killed (SIGKILL), most likely for its memory"
        case Exit(code=code) if code < 0:
            return "killed", f"its program was killed by signal {-code}"
        case Exit(code=0):
            return None
        case _:
            return "crashed", f"its program ended with {ended.code}"


def _tail(ended: Exit) -> str:
    said = ended.stderr_tail.strip()[-_TAIL_CHARS:]
    return f"\n{said}" if said else ""


def _with(
    claim: Handoff, *, commits: int, changes: tuple[str, ...], metrics: Mapping[str, int]
) -> Handoff:
    counted: HandoffMetrics = claim.metrics.model_copy(update=metrics)
    # Long paths are cut rather than refused: the list is for people, git has the rest.
    shown = tuple(path[:2_000] for path in changes)
    return claim.model_copy(update={"commits": commits, "changes": shown, "metrics": counted})


def _lines(count: bytes) -> int:
    """A number of `--numstat`; a binary file has `-`."""
    return int(count) if count.isdigit() else 0
