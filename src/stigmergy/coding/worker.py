"""An agent of a run on the host: claims a `code` or `fix` task and sees it through a sandbox.

One thread for each agent. A handoff that says complete or partial completes the task, with the
commit that git found, not the one that was claimed; everything else is a failed attempt, with
its reason. Whether the work is any good the merge queue decides.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from stigmergy.board import JsonObject, Task
from stigmergy.coding.context import RunContext
from stigmergy.coding.findings import findings_before
from stigmergy.coding.hive import for_hive
from stigmergy.coding.interrupts import Running
from stigmergy.coding.reflecting import Outcome, reflect
from stigmergy.coding.sandbox.sandbox import Limits, SandboxFactory
from stigmergy.coding.tasks import item_key, work_type
from stigmergy.coding.work.handoff import AgentSpec, Assignment, Handoff
from stigmergy.coding.work.runner import AttemptFailedError, TaskRunner, WorkResult
from stigmergy.errors import LostLeaseError, StigmergyError, TransientError
from stigmergy.models.redaction import Redactor

__all__ = ["Tokens", "Worker"]

_IDLE_S: Final = 1.0
_LEAVING_S: Final = 5.0
"""A run that ends waits so long for a board that cannot be used."""
_AGAIN_S: Final = 0.2
_MOST_PROGRESS: Final = 2000
"""Lines of progress that one attempt may write into the journal."""


class Tokens(Protocol):
    """What gives an agent access to models, for the time of a task."""

    def issue(self, task_id: str) -> str:
        """A token that is worth nothing outside this task."""
        ...

    def revoke(self, token: str) -> None:
        """It is worth nothing from now on."""
        ...


@dataclass(slots=True, kw_only=True)
class Worker:
    """One agent of a run."""

    name: str
    run: RunContext
    factory: SandboxFactory
    runner: TaskRunner
    agent: AgentSpec
    limits: Limits
    tokens: Tokens | None = None
    """None where the agent needs no model."""
    _told: int = field(default=0, init=False)
    _dropped: Task | None = field(default=None, init=False)
    """Claimed when the board could not be used: its lease would stand with nobody behind it."""
    _secrets: Redactor = field(default_factory=Redactor, init=False)
    """An agent may print its token, which has no business on the board."""

    def work(self, wanted: Callable[[], bool]) -> None:
        """Take tasks until the run stops, or this agent is not wanted any more."""
        stop = self.run.stop
        while not stop.is_set() and wanted():
            seen = self.run.pulse.beat
            try:
                with self._turn() as mine:
                    worked = mine and wanted() and self._work_once()
            except TransientError as busy:
                self.run.note(f"{self.name}: {busy}")
                stop.wait(_IDLE_S)
                continue
            if not worked:
                self.run.pulse.wait(after=seen, timeout_s=_IDLE_S)
        self._leave()

    def _turn(self) -> AbstractContextManager[bool]:
        """Where the agents work one at a time, wait until it is this one's turn."""
        turns = self.run.turns
        return nullcontext(enter_result=True) if turns is None else turns.taken(self.run.stop)

    def _work_once(self) -> bool:
        """Do a task; False when none is ready."""
        self._give_back()
        task = self._claim()
        if task is None:
            return False
        try:
            self._handle(task)
        except TransientError:
            self._dropped = task
            raise
        return True

    def _give_back(self) -> None:
        if self._dropped is None:
            return
        with suppress(LostLeaseError):  # it was reported after all, or somebody else has it
            self.run.board.release(self._dropped, reason="the board could not be used")
        self._dropped = None

    def _leave(self) -> None:
        """Give back what would else be held until its lease ends, if the board can be used soon."""
        until = time.monotonic() + _LEAVING_S
        while True:
            try:
                self._give_back()
                return
            except TransientError:
                if time.monotonic() > until:
                    return  # nobody can be told; the lease ends by itself
                time.sleep(_AGAIN_S)  # the run's stop is set already, so it wakes nobody

    def _claim(self) -> Task | None:
        return self.run.board.claim(
            self.run.agent_id(self.name),
            task_types=self.run.spec.work_types,
            lease_s=self.run.spec.settings.lease_s,
        )

    def _handle(self, task: Task) -> None:
        try:
            with (
                self.run.stop.child() as stop,
                self.run.heart.holding(task, lease_s=self.run.spec.settings.lease_s, lost=stop),
                self.run.interrupts.attempt(task, stop) as running,
            ):
                self.run.board.start(task)
                self._attempt(task, running)
        except LostLeaseError:
            pass  # cancelled or taken over: what was done is void, and the journal says by whom

    def _attempt(self, task: Task, running: Running) -> None:
        board = self.run.board
        try:
            task = replace(task, payload=board.load(task.payload))
            base = str(task.payload.get("base") or self.run.target.tip())
            work = self._run_agent(task, base, running.stop)
        except AttemptFailedError as failure:
            if self.run.stop.is_set():
                board.release(task, reason="the run was stopped")
            else:
                error = str(failure) if running.reason is None else f"stuck: {running.reason}"
                self._fail(task, self._secrets.text(error), retry=True)
        except StigmergyError as error:
            # Of the sandbox or the board itself: a full disk, a git that does not answer.
            self._fail(task, f"{type(error).__name__}: {error}", retry=True)
        else:
            self._report(task, base, work)

    def _report(self, task: Task, base: str, work: WorkResult) -> None:
        handoff = Handoff.model_validate(self._secrets.json(work.handoff.model_dump(mode="json")))
        if handoff.status in ("complete", "partial"):
            result: JsonObject = {
                "base": base,
                "commit": work.commit,
                "handoff": handoff.model_dump(mode="json"),
            }
            note: JsonObject = {
                "handoff": handoff.status,
                "summary": handoff.summary[:500],
                "commits": handoff.commits,
            }
            self.run.board.complete(task, result, note=note)
            outcome: Outcome = "completed" if handoff.status == "complete" else "partial"
            self._learn(task, outcome, handoff=handoff)
        elif self.run.stop.is_set():
            self.run.board.release(task, reason="the run was stopped")
        else:
            why = handoff.error or handoff.summary or "no reason given"
            error = f"the agent says {handoff.status}: {why}"
            # Blocked means that the same again will not help.
            self._fail(task, error, retry=handoff.status == "failed", handoff=handoff)

    def _fail(self, task: Task, error: str, *, retry: bool, handoff: Handoff | None = None) -> None:
        """Say that the attempt failed, and remember it if it was the last."""
        after = self.run.board.fail(task, error, retry=retry)
        if after.status.is_final:
            self._learn(task, "failed", handoff=handoff, detail=error)

    def _learn(
        self, task: Task, outcome: Outcome, *, handoff: Handoff | None, detail: str = ""
    ) -> None:
        if self.run.memory is not None:
            self.run.memory.learn(
                reflect(task, outcome, handoff=handoff, detail=detail),
                task_id=task.task_id,
                agent_id=self.run.agent_id(self.name),
                only_first=outcome != "failed",
            )

    def _run_agent(self, task: Task, base: str, stop: threading.Event) -> WorkResult:
        self._told = 0
        with self._token(task) as token, closing(self.factory.open(_name(task), base)) as sandbox:
            return self.runner.run(
                sandbox,
                self._assignment(task, base),
                ref=self.run.directory.ref("tasks", task.task_id),
                token=token,
                limits=self.limits,
                stop=stop,
                on_progress=lambda line: self._progress(task, line),
            )

    @contextmanager
    def _token(self, task: Task) -> Generator[str | None]:
        if self.tokens is None:
            yield None
            return
        token = self.tokens.issue(task.task_id)
        self._secrets = Redactor([token])
        try:
            yield token
        finally:
            self.tokens.revoke(token)

    def _assignment(self, task: Task, base: str) -> Assignment:
        payload = task.payload
        context = {
            name: str(payload[name])
            for name in ("reason", "detail", "gate_output", "previous")
            if payload.get(name)
        }
        if notes := self._notes(task):
            context["memory"] = notes
        hive = self.run.spec.hive
        if hive is not None and (found := findings_before(self.run, task)):
            context["findings"] = found
        settings = self.run.spec.settings
        assignment = Assignment(
            task_id=task.task_id,
            task_type=task.task_type,
            description=task.description,
            scope=tuple(payload.get("scope") or ()),
            acceptance=tuple(payload.get("acceptance") or ()),
            base=base,
            attempt=task.attempts,
            context=context,
            gate=self.run.spec.gate,
            agent=self.agent,
            commit_name=settings.commit_name,
            commit_email=settings.commit_email,
        )
        if hive is None or not work_type(task):  # mending the target is no item of a strategy
            return assignment
        work = hive.type_of(work_type(task))
        return for_hive(assignment, hive, work, key=item_key(task))

    def _notes(self, task: Task) -> str:
        if self.run.memory is None:
            return ""
        agent_id = self.run.agent_id(self.name)
        return self.run.memory.notes(task.description, task_id=task.task_id, agent_id=agent_id)

    def _progress(self, task: Task, line: JsonObject) -> None:
        self._told += 1
        if self._told <= _MOST_PROGRESS:
            self.run.board.record(
                "progress",
                task_id=task.task_id,
                agent_id=self.run.agent_id(self.name),
                data=self._secrets.json(line),
            )


def _name(task: Task) -> str:
    """A sandbox's name: of its task and attempt, so that a zombie of an earlier one is apart."""
    return f"{task.task_id}-{task.fence}"
