"""The planner: a model that turns an objective into work items, sprint by sprint.

It knows nothing of the board. What it is asked and what it answers are values, so whoever drives
it can keep them, stop between sprints and go on in another process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from stigmergy.coding.git.repository import Repository
from stigmergy.coding.plan.conversation import Exchange, ModelAccess, exchange
from stigmergy.coding.plan.document import Plan, Sifted, sift
from stigmergy.coding.plan.prompting import (
    faults_prompt,
    first_prompt,
    follow_up_prompt,
    instructions,
)
from stigmergy.coding.plan.repo_tools import RepositoryTools
from stigmergy.coding.plan.request import PlanningError, PlanOutcome, PlanRequest
from stigmergy.coding.plan.salvage import Salvaged, salvage
from stigmergy.coding.plan.scratchpad import read_scratchpad
from stigmergy.errors import TransientError

__all__ = ["ModelAccess", "Planner"]

MAX_SESSION_BYTES: Final = 400_000
"""A longer conversation is begun anew; the scratchpad is what carries over."""


class Planner:
    """A `SprintPlanner` that asks a model. Thread-safe; not to be used inside an event loop.

    Args:
        repository: read at the commit of each request's view, never written.
        access: for a sprint's number, where to ask; a sprint may have a token of its own.
        stopped: asked several times a second while the model thinks.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        access: Callable[[int], ModelAccess],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._repository = repository
        self._access = access
        self._stopped = stopped

    def plan(self, request: PlanRequest) -> PlanOutcome:
        """See `SprintPlanner.plan`."""
        try:
            return self._plan(request)
        except PlanningError:
            if request.session is None:
                raise
            # The conversation may have become too long, or its form be refused by another
            # provider: once more without it.
            return self._plan(replace(request, session=None))

    def _plan(self, request: PlanRequest) -> PlanOutcome:
        def judge(plan: Plan) -> str | None:
            drafts = [item.model_dump() for item in plan.items]
            mistakes = _sift(drafts, request).mistakes
            return faults_prompt(mistakes) if mistakes else None

        answer = exchange(
            self._access(request.sprint),
            RepositoryTools(self._repository, request.view.commit),
            instructions=instructions(request.guidance),
            prompt=first_prompt(request) if request.session is None else follow_up_prompt(request),
            session=request.session,
            judge=judge,
            stopped=self._stopped,
        )
        return _outcome(request, answer)


def _outcome(request: PlanRequest, answer: Exchange) -> PlanOutcome:
    """What can be used of an answer. Pure.

    Raises:
        TransientError: nothing can.
    """
    plan = _best([salvage(reply) for reply in answer.replies])
    if plan is None:
        said = answer.replies[-1].strip() if answer.replies else ""
        raise TransientError(
            f"the planner's model gave no plan ({answer.problem or 'no tool call'})"
            + (f"; it said: {said[:300]!r}" if said else "")
        )
    sifted = _sift(plan.items, request)
    waits = bool(request.open) and not sifted.dropped
    if not (sifted.items or plan.done or waits):
        why = "; ".join(str(fault) for fault in sifted.dropped[:3]) or plan.reason or "no reason"
        raise TransientError(f"the planner is not done, but planned nothing usable: {why[:1_000]}")
    session = answer.session
    return PlanOutcome(
        items=sifted.items,
        done=plan.done and not sifted.dropped,
        reason=plan.reason,
        scratchpad=read_scratchpad(plan.scratchpad, before=request.scratchpad),
        notes=_notes(plan, sifted),
        session=session if session is not None and len(session) <= MAX_SESSION_BYTES else None,
        usage=answer.usage,
    )


def _sift(drafts: Sequence[Any], request: PlanRequest) -> Sifted:
    return sift(
        drafts,
        known=request.open | request.ended.keys(),
        failed=request.failed,
        paths=request.view.paths,
        types=request.types,
        max_items=request.max_items,
    )


def _best(plans: list[Salvaged]) -> Salvaged | None:
    """The last whole plan, or of those cut off the one with the most items."""
    whole = [plan for plan in plans if plan.found and plan.whole]
    found = [plan for plan in plans if plan.found]
    return whole[-1] if whole else max(found, key=lambda plan: len(plan.items), default=None)


def _notes(plan: Salvaged, sifted: Sifted) -> tuple[str, ...]:
    notes = [f"dropped from the plan: {fault}" for fault in sifted.dropped]
    if not plan.whole:
        notes.insert(0, f"the plan was cut off: its {len(plan.items)} whole items are kept")
    return tuple(notes)
