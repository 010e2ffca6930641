"""What the merge queue says: a verdict for each candidate, and events while it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stigmergy.coding.merge.proof import Proof
from stigmergy.coding.merge.publish import WouldOverwrite

__all__ = [
    "AlreadyLanded",
    "BatchStacked",
    "Decided",
    "Deferred",
    "GateEnded",
    "GateStarted",
    "Landed",
    "MergeEvent",
    "Rejected",
    "TargetMoved",
    "Verdict",
    "WorkingTreeBehind",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """The target holds the branch's changes, and that was proved."""

    task_id: str
    commit: str
    """The branch's last commit in the target's history."""
    before: str
    """The target's tip before this candidate (in a batch: the candidate before it)."""
    after: str
    """The target's tip after the batch."""
    batch_size: int
    """Candidates landed by the same move of the target."""
    gate_s: float | None
    """How long the gate ran on the batch; None without a gate."""
    proof: Proof
    flaky: bool = False
    """The gate was red on this very tree before it was green."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyLanded:
    """The target had every change of the branch; nothing moved."""

    task_id: str
    tip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The branch does not land as it is."""

    task_id: str
    kind: Literal["no-commit", "conflict", "gate-red", "unproved"]
    detail: str
    """Why, for people and for the agent that mends it."""
    tip: str
    """The target's tip that it was tried on."""
    paths: tuple[str, ...] = ()
    """Of a conflict, or of an unproved landing."""
    gate_output: str = ""
    exit_code: int | None = None
    """Of the gate."""
    restacked: str | None = None
    """For a red gate: the candidate's commits on `tip`, where a fix can start."""
    target_green: bool | None = None
    """For a red gate: whether `tip` itself was green; None when it was never gated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """No verdict; hand the candidate in again."""

    task_id: str
    why: Literal["stopped", "target-moved", "branch-moved", "working-tree"]
    detail: str
    paths: tuple[str, ...] = ()
    """For `working-tree`: the user's files that landing would overwrite."""


Verdict = Landed | AlreadyLanded | Rejected | Deferred


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStacked:
    """These candidates are about to be gated, or landed where there is no gate."""

    task_ids: tuple[str, ...]
    onto: str
    commit: str
    window: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GateStarted:
    """The gate starts on a stacked commit."""

    task_ids: tuple[str, ...]
    commit: str
    retry: bool
    """The only candidate was red before; this decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateEnded:
    """The gate ended."""

    task_ids: tuple[str, ...]
    commit: str
    green: bool | None
    """None when it was stopped."""
    duration_s: float
    reason: str | None
    """Why it was red."""
    flaky: bool
    """The same tree has now been green and red."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetMoved:
    """Someone else moved the target; the candidates are stacked again."""

    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingTreeBehind:
    """The target moved, but the user's working tree could not follow: they edited meanwhile."""

    outcome: WouldOverwrite


@dataclass(frozen=True, slots=True)
class Decided:
    """A candidate has its verdict; told as soon as it is known."""

    verdict: Verdict


MergeEvent = BatchStacked | GateStarted | GateEnded | TargetMoved | WorkingTreeBehind | Decided
