"""What goes into the planning of one sprint, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from stigmergy.coding.plan.policy import ItemOutcome
from stigmergy.coding.plan.scratchpad import Scratchpad
from stigmergy.coding.plan.view import RepoView
from stigmergy.coding.plan.workitem import WorkItem
from stigmergy.errors import StigmergyError

__all__ = [
    "PlanOutcome",
    "PlanRequest",
    "PlanUsage",
    "PlanningError",
    "PlanningStoppedError",
    "SprintPlanner",
]


class PlanningError(StigmergyError):
    """The planner cannot plan, and trying again would not help: a refused key, no such model."""


class PlanningStoppedError(StigmergyError):
    """The run was stopped while the planner was at work; nothing was planned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What a sprint is planned from."""

    objective: str
    view: RepoView
    sprint: int
    """Counts from 1."""
    max_items: int
    """That this sprint may have."""
    scratchpad: Scratchpad = field(default_factory=Scratchpad)
    open: frozenset[str] = frozenset()
    """Keys of the items that are being worked on or wait."""
    ended: Mapping[str, ItemOutcome] = field(default_factory=dict[str, ItemOutcome])
    told: frozenset[str] = frozenset()
    """Those of `ended` that the conversation so far has told of."""
    memory: str = ""
    """Notes of earlier work, for a new conversation; nobody vouches for them."""
    guidance: str = ""
    """Beside the general instructions: what the hive's strategy asks for."""
    types: tuple[str, ...] = ()
    """What an item may have as its type."""
    session: bytes | None = None
    """`PlanOutcome.session` of the sprint before; None begins a new conversation."""

    @property
    def failed(self) -> frozenset[str]:
        """Keys of the items that will not land."""
        return frozenset(key for key, end in self.ended.items() if end.status == "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanUsage:
    """What the planning of a sprint used. Tokens are None where the provider did not count."""

    requests: int
    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOutcome:
    """A planned sprint."""

    items: tuple[WorkItem, ...]
    done: bool
    """The model says that nothing is left to plan."""
    reason: str
    scratchpad: Scratchpad
    notes: tuple[str, ...]
    """What was dropped or cut off, and why, for the user."""
    session: bytes | None
    """The conversation, to go on with; None where it broke off or grew too long."""
    usage: PlanUsage


class SprintPlanner(Protocol):
    """Plans sprints: `Planner`, later the subplanner."""

    def plan(self, request: PlanRequest) -> PlanOutcome:
        """Plan one sprint.

        Raises:
            TransientError: no plan came; it may when asked again.
            PlanningError: none will come.
            BudgetExceededError: a limit on tokens or money is reached.
            PlanningStoppedError: the run is stopping.
        """
        ...
