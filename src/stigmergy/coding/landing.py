"""The agent that takes `land` tasks: it feeds the merge queue and reports its verdicts.

One thread of a run. A verdict goes onto the board as soon as it falls: landed work completes its
`land` task, which frees what depends on it; work that comes back is given to a `fix` task, posted
in the same transaction in which the `land` task begins to wait for it. Before the target moves,
the intent is in the journal, so a run that was killed in between knows what has landed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import assert_never

from stigmergy.board import JsonObject, Task, TaskType
from stigmergy.coding.admitting import said_yes, why_no_landing, why_no_work
from stigmergy.coding.asking import ask_to_land, landing_approval_id
from stigmergy.coding.context import RunContext
from stigmergy.coding.findings import read_findings
from stigmergy.coding.hive import findings_key
from stigmergy.coding.merge.batch import Candidate
from stigmergy.coding.merge.gate import Green, Red
from stigmergy.coding.merge.lander import Intent, Lander, landed_already
from stigmergy.coding.merge.verdict import (
    AlreadyLanded,
    BatchStacked,
    Decided,
    Deferred,
    GateEnded,
    GateStarted,
    Landed,
    MergeEvent,
    Rejected,
    TargetMoved,
    Verdict,
    WorkingTreeBehind,
)
from stigmergy.coding.reflecting import Outcome, reflect
from stigmergy.coding.tasks import (
    Rework,
    fix_task,
    is_sweep,
    item_key,
    rounds,
    work_to_land,
    work_type,
)
from stigmergy.coding.work.handoff import Handoff
from stigmergy.errors import LostLeaseError, UsageError

__all__ = ["LandingAgent", "TargetBlocked"]

_DIFF_CHARS = 20_000
_RETRY_S = 1.0
_KEPT_AT_ONCE = 8


class _EndRound(Exception):  # noqa: N818 - ends a round of the lander; not an error
    """What is in hand cannot be judged now, and goes back to the board."""


class TargetBlocked(Exception):  # noqa: N818 - a finding that the run acts on
    """Landing would overwrite what the user has changed in the working tree."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(", ".join(paths))
        self.paths = paths


class LandingAgent:
    """Lands what agents deliver. Used by one thread.

    `on_target_red` is told when the target itself is red, so that nobody's work can be judged on
    it; it has it mended and names the task to wait for, or None when it has given up.
    """

    def __init__(self, context: RunContext, *, on_target_red: Callable[[Red], str | None]) -> None:
        self._run = context
        self._on_target_red = on_target_red
        self._agent_id = context.agent_id("queue")
        self._lander: Lander | None = None
        self._tasks: dict[str, Task] = {}
        """The `land` tasks in hand, by id; a verdict takes its task out."""

    def attach(self, lander: Lander) -> None:
        """The lander whose `on_intent` and `on_event` are this agent's."""
        self._lander = lander

    def work(self, stop: threading.Event) -> bool:
        """Take what is ready and decide it; False when nothing was ready.

        Raises:
            TargetBlocked: it would overwrite what the user has changed; nothing was touched.
        """
        claimed = self._run.board.claim_many(
            self._agent_id,
            self._appetite(),
            task_types=[TaskType.LAND],
            lease_s=self._run.spec.settings.lease_s,
        )
        if not claimed:
            return False
        self._tasks = {task.task_id: task for task in claimed}
        with ExitStack() as holding:
            for task in claimed:
                lease_s = self._run.spec.settings.lease_s
                holding.enter_context(self._run.heart.holding(task, lease_s=lease_s))
            try:
                candidates = [c for task in claimed if (c := self._candidate(task)) is not None]
                if candidates:
                    assert self._lander is not None, "attach a lander first"
                    self._lander.land(candidates, stop)
            except _EndRound:
                pass
            finally:
                for task in list(self._tasks.values()):
                    self._release(task, "the queue ended before it was decided")
        return True

    def _appetite(self) -> int:
        """How many to take at once: a batch can be chosen, and urgent work need not wait."""
        if self._lander is None:
            return _KEPT_AT_ONCE
        window = self._lander.window
        return 2 * window.size if self._run.spec.gate else window.ceiling

    # What the lander tells ------------------------------------------------------------------

    def on_intent(self, intents: Sequence[Intent]) -> None:
        """Write down durably what is about to land."""
        for task_id, commit in intents:
            self._run.board.record(
                "landing",
                task_id=task_id,
                agent_id=self._agent_id,
                data={"commit": commit, "work": work_to_land(self._tasks[task_id])},
            )

    def on_event(self, event: MergeEvent) -> None:
        """Journal what the lander does, and settle each verdict as it falls."""
        match event:
            case Decided(verdict):
                self._settle(verdict)
            case GateStarted():
                data: JsonObject = {
                    "task_ids": list(event.task_ids),
                    "commit": event.commit,
                    "retry": event.retry,
                }
                self._record("gate_started", data)
            case GateEnded():
                data = {
                    "task_ids": list(event.task_ids),
                    "commit": event.commit,
                    "green": event.green,
                    "duration_s": event.duration_s,
                    "reason": event.reason,
                    "flaky": event.flaky,
                }
                self._record("gate_ended", data)
            case TargetMoved():
                self._record("target_moved", asdict(event))
            case WorkingTreeBehind():
                paths = ", ".join(event.outcome.paths[:5])
                self._run.note(f"your working tree stays behind: you changed {paths} meanwhile")
            case BatchStacked():
                pass  # the gate's line says the same, and without a gate the landing does
            case _:
                assert_never(event)

    def _record(self, kind: str, data: JsonObject) -> None:
        self._run.board.record(kind, agent_id=self._agent_id, data=data)

    # From a task to a candidate -------------------------------------------------------------

    def _candidate(self, land: Task) -> Candidate | None:
        """The branch to land; None when it is settled now: landed before a crash, or refused."""
        types = self._run.spec.work_types
        fault = why_no_landing(land) or why_no_work(land, self._find_work(land), types=types)
        if fault is not None:
            self._fail(land, fault)
            return None
        work = self._work(land)
        result = work.result or {}
        base, commit = str(result["base"]), result.get("commit")
        landed = self._landed_before_crash(land, work)
        if landed is not None:
            self._accept(land, work, {"commit": landed, "batch_size": 1, "proof": "ancestry"})
            return None
        if commit and commit != base and not self._may_land(land, work):
            return None
        if self._is_stopped_by_hive(land, work, base, str(commit or base)):
            return None
        return Candidate(
            task_id=land.task_id,
            # A branch without a commit ends at its base, and the lander refuses it.
            commit=str(commit or base),
            base=base,
            priority=land.priority,
            ready_at=work.finished_at or 0.0,
            files=frozenset(_handoff(work).changes),
            ref=self._run.directory.ref("tasks", work.task_id),
        )

    def _is_stopped_by_hive(self, land: Task, work: Task, base: str, commit: str) -> bool:
        """What the strategy makes of the work, if it does not go into the queue; it is settled."""
        hive = self._run.spec.hive
        if hive is None or is_sweep(land):
            return False
        kind, key = hive.type_of(work_type(land)), item_key(land)
        if kind.product == "findings":
            path = hive.findings_path(key)
            if not read_findings(self._run.repository, commit, path):
                detail = f"it left no findings: {path} is empty or was not committed"
                self._send_back(land, work, Rework(kind="no-commit", detail=detail), note={})
                return True
        if hive.only_kept(kind):
            self._complete(land, work, {})
            return True
        changed = self._run.repository.diff_paths(base, commit)
        if outside := hive.outside(kind, key, changed):
            detail = f"it changed what such an item may not change: {', '.join(outside[:5])}"
            rework = Rework(kind="out-of-scope", detail=detail, previous=self._diff(work))
            self._send_back(land, work, rework, note={})
            return True
        return False

    def _findings(self, land: Task, work: Task) -> JsonObject:
        """Keep what an item found in the memory, and say where it is; {} if it finds nothing."""
        hive = self._run.spec.hive
        commit = (work.result or {}).get("commit")
        if hive is None or is_sweep(land) or not commit:
            return {}
        kind, key = hive.type_of(work_type(land)), item_key(land)
        if kind.product != "findings":
            return {}
        path = hive.findings_path(key)
        by = next(
            (e.agent_id for e in self._run.board.history(work.task_id) if e.kind == "completed"), ""
        )
        if self._run.memory is not None:
            self._run.memory.keep(
                findings_key(self._run.run_id, key),
                read_findings(self._run.repository, str(commit), path),
                tags=("findings", kind.name),
                task_id=work.task_id,
                agent_id=by,
            )
        return {"findings": {"at": str(commit), "path": path, "by": by}}

    def _may_land(self, land: Task, work: Task) -> bool:
        """No person has a say in it, or one said yes to this work; otherwise that is seen to."""
        if self._run.spec.settings.approve != "landings":
            return True
        name = landing_approval_id(land)
        if name not in land.depends_on:
            self._ask(land, work)
            return False
        asked = self._run.board.get(name)
        if asked is not None:
            asked = replace(asked, payload=self._run.board.load(asked.payload))
        if said_yes(asked, work):
            return True
        self._fail(land, f"{name!r} is not a person's yes to what would land")
        return False

    def _ask(self, land: Task, work: Task) -> None:
        ref = self._run.directory.ref("tasks", work.task_id)
        asked = ask_to_land(land, work, _handoff(work), ref=ref)
        try:
            self._run.board.release(
                land, wait_for=[asked.task_id], post=[asked], reason="a person has to approve it"
            )
            self._tasks.pop(land.task_id, None)
        except UsageError as taken:
            self._fail(land, f"nobody can be asked about it: {taken}")
        except LostLeaseError as lost:
            self._tasks.pop(land.task_id, None)
            self._run.note(str(lost))

    def _landed_before_crash(self, land: Task, work: Task) -> str | None:
        """The commit as which this work is in the target, by an intent that came true."""
        commits = [
            str(event.data["commit"])
            for event in self._run.board.history(land.task_id)
            if event.kind == "landing" and event.data.get("work") == work.task_id
        ]
        target = self._run.target.ref
        for commit in reversed(commits):
            if landed_already(self._run.repository, target, [(land.task_id, commit)]):
                return commit
        return None

    def _work(self, land: Task) -> Task:
        work = self._find_work(land)
        assert work is not None, f"{land.task_id} waits for a task that was on the board"
        return work

    def _find_work(self, land: Task) -> Task | None:
        board = self._run.board
        work = board.get(work_to_land(land))
        if work is None:
            return None
        # What was too large for a row of the board is in files beside it.
        return replace(work, payload=board.load(work.payload), result=board.load(work.result))

    # Verdicts -------------------------------------------------------------------------------

    def _settle(self, verdict: Verdict) -> None:
        land = self._tasks[verdict.task_id]
        work = self._work(land)
        match verdict:
            case Landed():
                self._accept(
                    land,
                    work,
                    {
                        "commit": verdict.commit,
                        "batch_size": verdict.batch_size,
                        "gate_s": verdict.gate_s,
                        "proof": verdict.proof.kind,
                        "overlap": list(verdict.proof.overlap),
                        "flaky": verdict.flaky,
                    },
                )
            case AlreadyLanded():
                self._complete(land, work, {"already": True})
            case Rejected(kind="no-commit") if self._has_landed_a_part(land):
                # The rest of a partial landing turned out to be nothing.
                self._complete(land, work, {"already": True})
            case Rejected(kind="no-commit") if self._nothing_to_do(work):
                self._complete(land, work, {"unchanged": True})
            case Rejected():
                self._reject(land, work, verdict)
            case Deferred():
                self._defer(land, verdict)
            case _:
                assert_never(verdict)

    def _nothing_to_do(self, work: Task) -> bool:
        return self._run.spec.allow_empty and _handoff(work).status == "complete"

    def _accept(self, land: Task, work: Task, landed: JsonObject) -> None:
        handoff = _handoff(work)
        if handoff.status == "partial":
            rest = "; ".join((*handoff.concerns, *handoff.suggestions)) or handoff.summary
            detail = f"the agent did a part and left the rest: {rest}"
            self._send_back(land, work, Rework(kind="partial", detail=detail), note=landed)
        else:
            self._complete(land, work, landed)

    def _complete(self, land: Task, work: Task, landed: JsonObject) -> None:
        found = self._findings(land, work)
        note: JsonObject = {"key": item_key(land), **landed, **found}
        if self._report(land, lambda: self._run.board.complete(land, note, note=note)):
            unmoved: Outcome = "found" if found else "unchanged"
            self._learn(work, "landed" if "commit" in landed else unmoved)

    def _reject(self, land: Task, work: Task, verdict: Rejected) -> None:
        if verdict.kind == "gate-red":
            self._check_target(land, verdict)
            rework = Rework(
                kind="gate-red",
                detail=verdict.detail,
                gate_output=verdict.gate_output,
                base=verdict.restacked,
            )
        else:
            kind = "no-commit" if verdict.kind == "no-commit" else "conflict"
            rework = Rework(kind=kind, detail=verdict.detail, previous=self._diff(work))
        self._send_back(land, work, rework, note={})

    def _check_target(self, land: Task, verdict: Rejected) -> None:
        """A candidate is to blame only if the target is green without it."""
        assert self._lander is not None
        if verdict.target_green or is_sweep(land):
            return
        found = self._lander.gate_target(self._run.stop)
        if isinstance(found, Green):
            return
        if isinstance(found, Red):
            mending = self._on_target_red(found)
            for task in [task for task in self._tasks.values() if not is_sweep(task)]:
                if mending is None:
                    self._fail(task, f"the target itself is red, and stayed so: {found.reason}")
                else:
                    self._release(task, "the target itself is red", wait_for=(mending,))
        raise _EndRound

    def _send_back(self, land: Task, work: Task, rework: Rework, *, note: JsonObject) -> None:
        settings = self._run.spec.settings
        told: JsonObject = {
            **note,
            "key": item_key(land),
            "returned": rework.kind,
            "detail": rework.detail[:2000],
        }
        if rounds(land) >= settings.max_fixes or not self._run.spec.can_mend(rework.kind):
            error = f"given up after {rounds(land)} rounds of mending: {rework.detail}"
            if self._fail(land, error, note=told):
                self._learn(work, "given-up", detail=f"{rework.kind}: {error}")
            return
        fix = fix_task(land, work, rework, max_attempts=settings.max_attempts)
        if rework.base is not None:
            ref = self._run.directory.ref("rejected", fix.task_id)
            # Keeps the commit from garbage collection until the fix has been made from it.
            self._run.repository.git("update-ref", ref, rework.base)
        told["fix"] = fix.task_id
        returned = self._report(
            land,
            lambda: self._run.board.release(
                land, wait_for=[fix.task_id], post=[fix], reason=rework.kind, note=told
            ),
        )
        if returned:
            self._learn(work, "came-back", detail=f"{rework.kind}: {rework.detail}")

    def _learn(self, work: Task, outcome: Outcome, *, detail: str = "") -> None:
        """Remember what became of an agent's work: a further version of what it left itself."""
        if self._run.memory is not None:
            self._run.memory.learn(
                reflect(work, outcome, handoff=_handoff(work), detail=detail),
                task_id=work.task_id,
                agent_id=self._agent_id,
            )

    def _defer(self, land: Task, verdict: Deferred) -> None:
        if verdict.why == "working-tree":
            raise TargetBlocked(verdict.paths)
        delay_s = 0.0 if verdict.why == "stopped" else _RETRY_S
        self._release(land, verdict.detail, delay_s=delay_s)

    def _fail(self, land: Task, error: str, *, note: JsonObject | None = None) -> bool:
        return self._report(land, lambda: self._run.board.fail(land, error, retry=False, note=note))

    def _release(
        self, land: Task, reason: str, *, delay_s: float = 0.0, wait_for: tuple[str, ...] = ()
    ) -> None:
        self._report(
            land,
            lambda: self._run.board.release(
                land, reason=reason, delay_s=delay_s, wait_for=wait_for
            ),
        )

    def _report(self, land: Task, say: Callable[[], object]) -> bool:
        """Tell the board; whether the task was still ours."""
        self._tasks.pop(land.task_id, None)
        try:
            say()
        except LostLeaseError as lost:
            # Cancelled meanwhile, or we were asleep for longer than a lease. If it did land, the
            # next holder learns that from the intent.
            self._run.note(str(lost))
            return False
        return True

    def _diff(self, work: Task) -> str:
        result = work.result or {}
        if not result.get("commit"):
            return ""
        diff = self._run.repository.diff(str(result["base"]), str(result["commit"]), context=3)
        return diff[: _DIFF_CHARS * 4].decode(errors="replace")[:_DIFF_CHARS]

    def _has_landed_a_part(self, land: Task) -> bool:
        history = self._run.board.history(land.task_id)
        return any(event.kind == "released" and "commit" in event.data for event in history)


def _handoff(work: Task) -> Handoff:
    return Handoff.model_validate((work.result or {}).get("handoff"))
