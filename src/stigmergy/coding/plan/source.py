"""Where a run's items come from: a features file, a list of paths, or a planner, all alike.

A source never looks at the board. It is told where the run stands and says what to post next, so
that asking twice, or again after a crash, posts nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from stigmergy.coding.plan.policy import Ceilings, Progress, backoff_s, is_replan_due
from stigmergy.coding.plan.request import (
    PlanningError,
    PlanningStoppedError,
    PlanOutcome,
    PlanRequest,
    PlanUsage,
    SprintPlanner,
)
from stigmergy.coding.plan.scratchpad import Scratchpad
from stigmergy.coding.plan.view import RepoView
from stigmergy.coding.plan.workitem import WorkItem
from stigmergy.errors import TransientError

__all__ = [
    "End",
    "FirstSource",
    "ListSource",
    "ObjectiveSource",
    "PlanSource",
    "PlannerState",
    "Sprint",
]


class End(StrEnum):
    """Why no more items will come."""

    DONE = "done"
    CEILING = "ceiling"
    """As many sprints or items as are allowed were planned, and the planner had not said done."""
    GAVE_UP = "gave-up"
    """The planner cannot plan. What is on the board can still be finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sprint:
    """What to do next: post the items, wait, or expect no more."""

    items: tuple[WorkItem, ...] = ()
    end: End | None = None
    """Set: no more items come after these."""
    reason: str = ""
    notes: tuple[str, ...] = ()
    retry_after_s: float | None = None
    """Set: the planner failed; ask again after so long."""
    usage: PlanUsage | None = None


class PlanSource(Protocol):
    """Gives a run its items. Used by one thread at a time."""

    def next_items(self, progress: Progress) -> Sprint:
        """What to post, given where the run stands. No items and no end: ask again later.

        Raises:
            BudgetExceededError: planning costs more than is left.
        """
        ...


class ListSource:
    """Items that are all known beforehand: of a features file, or one for each path."""

    def __init__(self, items: Sequence[WorkItem]) -> None:
        self._items = tuple(items)

    def next_items(self, progress: Progress) -> Sprint:
        """Those that are not on the board yet, and the end."""
        missing = tuple(item for item in self._items if item.key not in progress.known)
        return Sprint(items=missing, end=End.DONE)


class FirstSource:
    """Some items, and what comes after they have ended, however they did."""

    def __init__(self, first: Sequence[WorkItem], then: PlanSource) -> None:
        self._first = ListSource(first)
        self._keys = frozenset(item.key for item in first)
        self._then = then

    def next_items(self, progress: Progress) -> Sprint:
        """See `PlanSource.next_items`."""
        missing = self._first.next_items(progress).items
        if missing or self._keys & progress.open:
            return Sprint(items=missing)
        return self._then.next_items(progress)


class PlannerState(BaseModel):
    """What a planner must know again after a crash; kept by the run, as JSON."""

    model_config = ConfigDict(frozen=True)

    sprint: int = 0
    """Sprints planned so far."""
    planned: int = 0
    """Items planned so far."""
    scratchpad: Scratchpad = Field(default_factory=Scratchpad)
    told: frozenset[str] = frozenset()
    """Ended items that the planner knows of."""
    said_done: bool = False
    """It said that nothing is left, while items were still open."""
    reason: str = ""


class ObjectiveSource:
    """Items that a planner makes, sprint by sprint, as earlier ones end.

    Args:
        planner: makes the sprints.
        objective: what the user wants.
        view_at: reads the repository at a commit.
        ceilings: where planning ends in any case.
        state: of an earlier process, to go on from.
        recall: what the memory has for the objective, when a conversation begins.
        guidance: what the planner is told beside its general instructions.
        types: what an item may have as its type.
    """

    def __init__(
        self,
        planner: SprintPlanner,
        objective: str,
        *,
        view_at: Callable[[str], RepoView],
        ceilings: Ceilings | None = None,
        state: PlannerState | None = None,
        recall: Callable[[], str] | None = None,
        guidance: str = "",
        types: tuple[str, ...] = (),
    ) -> None:
        self._planner = planner
        self._objective = objective
        self._view_at = view_at
        self._ceilings = ceilings or Ceilings()
        self._state = state or PlannerState()
        self._recall = recall
        self._guidance = guidance
        self._types = types
        self._notes = ""
        self._session: bytes | None = None  # a new process begins a new conversation
        self._errors = 0

    @property
    def state(self) -> PlannerState:
        """To be kept together with the items that the last sprint gave."""
        return self._state

    def next_items(self, progress: Progress) -> Sprint:
        """See `PlanSource.next_items`; asks the planner when there is enough news."""
        state = self._state
        if not is_replan_due(progress, told=state.told, ceilings=self._ceilings):
            return Sprint()
        if state.said_done and not progress.failed - state.told:
            # What it took for granted has landed, or is on its way there.
            return Sprint() if progress.open else Sprint(end=End.DONE, reason=state.reason)
        room = min(self._ceilings.items_per_sprint, self._ceilings.max_items - state.planned)
        if state.sprint >= self._ceilings.max_sprints or room <= 0:
            return self._at_ceiling()
        return self._sprint(progress, room)

    def _at_ceiling(self) -> Sprint:
        state = self._state
        return Sprint(
            end=End.CEILING,
            reason=f"{state.sprint} sprints with {state.planned} items are planned; allowed are "
            f"{self._ceilings.max_sprints} sprints and {self._ceilings.max_items} items",
        )

    def _sprint(self, progress: Progress, room: int) -> Sprint:
        try:
            outcome = self._planner.plan(self._request(progress, room))
        except TransientError as error:
            return self._failed(error)
        except PlanningError as error:
            return Sprint(end=End.GAVE_UP, reason=str(error))
        except PlanningStoppedError:
            return Sprint()
        self._take(outcome, progress)
        finished = outcome.done and not outcome.items and not progress.open
        return Sprint(
            items=outcome.items,
            end=End.DONE if finished else None,
            reason=outcome.reason,
            notes=outcome.notes,
            usage=outcome.usage,
        )

    def _request(self, progress: Progress, room: int) -> PlanRequest:
        if self._session is None and self._recall is not None:
            self._notes = self._recall()
        return PlanRequest(
            objective=self._objective,
            view=self._view_at(progress.tip),
            sprint=self._state.sprint + 1,
            max_items=room,
            scratchpad=self._state.scratchpad,
            open=progress.open,
            ended=progress.ended,
            told=self._state.told,
            memory=self._notes,
            guidance=self._guidance,
            types=self._types,
            session=self._session,
        )

    def _take(self, outcome: PlanOutcome, progress: Progress) -> None:
        self._errors = 0
        self._session = outcome.session
        self._state = PlannerState(
            sprint=self._state.sprint + 1,
            planned=self._state.planned + len(outcome.items),
            scratchpad=outcome.scratchpad,
            told=frozenset(progress.ended),
            said_done=outcome.done,
            reason=outcome.reason,
        )

    def _failed(self, error: TransientError) -> Sprint:
        self._errors += 1
        self._session = None
        if self._errors >= self._ceilings.max_errors:
            reason = f"the planner failed {self._errors} times in a row; at last: {error}"
            return Sprint(end=End.GAVE_UP, reason=reason)
        wait_s = max(backoff_s(self._errors, self._ceilings), error.retry_after_s or 0.0)
        return Sprint(retry_after_s=wait_s, notes=(str(error),))
