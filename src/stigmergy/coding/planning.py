"""The planner's thread: asks the source of items what comes next, and posts it.

What the source must know again after a crash is in the journal beside what it posted. Posting is
idempotent by the items' keys, so being killed between the two costs a replanned sprint at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from stigmergy.board import Event, JsonObject, Task, TaskStatus, TaskType
from stigmergy.coding.admitting import why_no_landing, why_no_work
from stigmergy.coding.asking import ask_to_plan, is_plan_approval
from stigmergy.coding.context import RunContext
from stigmergy.coding.models_in_run import RunModels
from stigmergy.coding.plan.policy import Ceilings, ItemOutcome, Progress
from stigmergy.coding.plan.source import (
    FirstSource,
    ListSource,
    ObjectiveSource,
    PlannerState,
    PlanSource,
    Sprint,
)
from stigmergy.coding.plan.view import read_view
from stigmergy.coding.plan.workitem import WorkItem
from stigmergy.coding.tasks import is_sweep, item_key, tasks_of_items, work_to_land
from stigmergy.coding.work.handoff import Handoff
from stigmergy.errors import BudgetExceededError, UsageError

__all__ = ["Planning", "kept_state"]

_IDLE_S: Final = 1.0
_ITEMS_PER_EVENT: Final = 500


class Planning:
    """Drives a `PlanSource` until it says that nothing more will come."""

    def __init__(self, context: RunContext, models: RunModels | None) -> None:
        self._run = context
        self._models = models
        self._objective: ObjectiveSource | None = None
        self._source = self._open_source()
        self._done = False

    def is_done(self) -> bool:
        """No more items will come. Safe to ask from any thread."""
        return self._done

    def work(self) -> None:
        """Post items as the source gives them, until it ends or the run stops."""
        stop, pulse = self._run.stop, self._run.pulse
        while not stop.is_set():
            seen = pulse.beat
            if self._run.is_paused():
                pulse.wait(after=seen, timeout_s=_IDLE_S)
                continue
            try:
                sprint = self._source.next_items(self._progress())
            except BudgetExceededError as over:
                self._run.note(str(over))
                if self._models is not None:
                    self._models.out_of_budget = True
                stop.set()
                return
            self._post(sprint.items)
            self._tell(sprint)
            if sprint.end is not None:
                self._done = True
                pulse.tick()
                return
            if sprint.retry_after_s is not None:
                stop.wait(sprint.retry_after_s)
            elif not sprint.items:
                pulse.wait(after=seen, timeout_s=_IDLE_S)

    def _open_source(self) -> PlanSource:
        spec = self._run.spec
        first = () if spec.hive is None else spec.hive.first_items(spec.source_text)
        then: PlanSource = ListSource(spec.items)
        if spec.source == "objective" and not spec.items:
            then = self._objective = self._open_planner()
        return FirstSource(first, then) if first else then

    def _open_planner(self) -> ObjectiveSource:
        spec, hive = self._run.spec, self._run.spec.hive
        if self._models is None:
            raise UsageError("an objective needs a model that plans: give --model")
        # pydantic-ai takes a second to import, which only a planner is worth.
        from stigmergy.coding.plan.planner import ModelAccess, Planner

        models, repository, stop = self._models, self._run.repository, self._run.stop

        def access(sprint: int) -> ModelAccess:
            token = models.issue(f"plan-{sprint}")
            return ModelAccess(url=models.socket.url, token=token, model="default")

        return ObjectiveSource(
            Planner(repository, access=access, stopped=stop.is_set),
            spec.source_text,
            view_at=lambda commit: read_view(repository, commit),
            ceilings=Ceilings(
                max_sprints=spec.settings.max_sprints, max_items=spec.settings.max_items
            ),
            state=kept_state(self._run.journal()),
            recall=self._recall,
            guidance="" if hive is None else hive.planner_text(),
            types=() if hive is None else tuple(each.name for each in hive.strategy.types),
        )

    def _recall(self) -> str:
        if self._run.memory is None:
            return ""
        agent_id = self._run.agent_id("planner")
        return self._run.memory.notes(self._run.spec.source_text, agent_id=agent_id)

    def _post(self, items: Sequence[WorkItem]) -> None:
        board, settings = self._run.board, self._run.spec.settings
        if not items:
            return
        if (hive := self._run.spec.hive) is not None:
            items = hive.typed(items)
        run_id = self._run.run_id
        tasks = tasks_of_items(items, run_id=run_id, max_attempts=settings.max_attempts)
        if settings.approve == "plan":
            number = self._plans_asked() + 1
            tasks = ask_to_plan(items, tasks, number=number, run_id=run_id)
        board.post_many(tasks)
        for first in range(0, len(items), _ITEMS_PER_EVENT):
            told = [
                {"key": item.key, "title": item.title[:200], "depends_on": list(item.depends_on)}
                for item in items[first : first + _ITEMS_PER_EVENT]
            ]
            board.record("items_planned", data={"items": told})

    def _plans_asked(self) -> int:
        """How many plans a person was asked about."""
        asked = self._run.board.list_all(task_types=[TaskType.APPROVAL], parent_id=self._run.run_id)
        return sum(is_plan_approval(task.task_id) for task in asked)

    def _tell(self, sprint: Sprint) -> None:
        if not (sprint.items or sprint.end or sprint.notes):
            return
        data: JsonObject = {
            "items": len(sprint.items),
            "end": sprint.end,
            "reason": sprint.reason,
            "notes": list(sprint.notes),
            "detail": _detail(sprint),
        }
        if self._objective is not None:
            data["state"] = self._objective.state.model_dump(mode="json")
        self._run.board.record("planning", data=data)

    def _progress(self) -> Progress:
        """Where the run's items stand; only a planner that goes on from them needs it in full."""
        lands = [
            task
            for task in self._run.board.list_all(
                task_types=[TaskType.LAND], parent_id=self._run.run_id
            )
            # A task that somebody else posted as one stands for no item.
            if why_no_landing(task) is None and not is_sweep(task)
        ]
        return Progress(
            tip=self._run.target.tip(),
            ended={item_key(land): self._outcome(land) for land in lands if land.status.is_final},
            open=frozenset(item_key(land) for land in lands if not land.status.is_final),
        )

    def _outcome(self, land: Task) -> ItemOutcome:
        work = self._run.board.get(work_to_land(land))
        result = None if work is None else self._run.board.load(work.result)
        work = None if work is None else replace(work, result=result)
        handoff = None
        types = self._run.spec.work_types
        if result and why_no_work(land, work, types=types) is None:
            handoff = Handoff.model_validate(result["handoff"])
        return ItemOutcome(
            status="landed" if land.status is TaskStatus.COMPLETED else "failed",
            summary=handoff.summary if handoff else "",
            concerns=handoff.concerns if handoff else (),
            suggestions=handoff.suggestions if handoff else (),
            error=land.error or "",
        )


def kept_state(journal: Iterable[Event]) -> PlannerState | None:
    """What the planner has to know again, as it wrote it down itself."""
    # Agents write lines of their own, with what names they like in them.
    kept = [e.data["state"] for e in journal if e.kind == "planning" and "state" in e.data]
    return PlannerState.model_validate(kept[-1]) if kept else None


def _detail(sprint: Sprint) -> str:
    parts = [f"{len(sprint.items)} items"]
    if sprint.end is not None:
        parts.append(f"no more will come ({sprint.end.value})")
    if sprint.retry_after_s is not None:
        parts.append(f"asks again in {sprint.retry_after_s:.0f} s")
    return "; ".join([*parts, *filter(None, [sprint.reason]), *sprint.notes])
