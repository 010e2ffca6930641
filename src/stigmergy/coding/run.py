"""A coding run, wired: the one place where board, agents, queue, models and sandboxes meet.

`start` prepares a folder and a board and goes to work; `resume` goes to work on what is there.
Both are the same from then on: whatever the run knows is on the board and in git, so a process
that was killed loses nothing but what its agents were just doing.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Final

from stigmergy.board import Event, JsonObject, TaskBoard
from stigmergy.coding.context import Pulse, RunContext, Target
from stigmergy.coding.crew import MOST_AGENTS, Crew
from stigmergy.coding.curator import Curator
from stigmergy.coding.findings import kept_findings, render_report
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.hive import RESEARCH_KEY, HiveSpec, findings_key
from stigmergy.coding.keeper import Keeper
from stigmergy.coding.landing import LandingAgent
from stigmergy.coding.logbook import log_events
from stigmergy.coding.memory_in_run import open_run_memory
from stigmergy.coding.merge.gate import Gate, Red
from stigmergy.coding.merge.lander import Lander
from stigmergy.coding.merge.publish import WorkingTree
from stigmergy.coding.merge.stack import Strategy
from stigmergy.coding.models_in_run import RunModels, open_models
from stigmergy.coding.outcome import Outcome, judge
from stigmergy.coding.planning import Planning
from stigmergy.coding.preflight import Prepared, agent_of, check_model
from stigmergy.coding.reopening import reopen
from stigmergy.coding.rundir import RunDirectory, StateFolder, new_run_id, state_home
from stigmergy.coding.sandbox.local import LocalSandboxes
from stigmergy.coding.sandbox.sandbox import Limits, SandboxFactory, SandboxSettings
from stigmergy.coding.spec import RunSpec
from stigmergy.coding.turns import Turns
from stigmergy.coding.work.runner import TaskRunner
from stigmergy.coding.worker import Worker
from stigmergy.config import Settings
from stigmergy.errors import TransientError, UsageError
from stigmergy.monitor import RunView, SwarmView, Thresholds
from stigmergy.monitor.actions import Attention, decide
from stigmergy.monitor.tracing.live import live_traces
from stigmergy.swarm import Heartbeat, Nursery, Stop

__all__ = ["STOP_WANTED", "Beside", "Watch", "resume", "start"]

STOP_WANTED: Final = "stop_wanted"
"""An event that asks the process of a run to end as on Ctrl-C; `stig resume` goes on."""

Watch = Callable[[RunView, Sequence[str]], None]
"""Told, in the calling thread, of the run as it stands and the new lines about it."""

Beside = Callable[[TaskBoard, RunDirectory, RunSpec], AbstractContextManager[None]]
"""Open while the run works, with its board: a server of it."""

_LOOK_S: Final = 0.25
_TICK_S: Final = 1.0
_WAKING: Final = frozenset(
    {
        *("posted", "completed", "failed", "released", "expired", "cancelled", "retried"),
        *("planning", "resumed"),
    }
)
"""Events after which somebody may have something to do."""


def start(prepared: Prepared, *, stop: Stop, watch: Watch, beside: Beside | None = None) -> Outcome:
    """Run from the beginning to the end, or until `stop` is set.

    Raises:
        UsageError: another run is at work here, or the gate is red on the unchanged target.
    """
    spec = prepared.spec
    with Repository(spec.repository) as repository:
        state = StateFolder(state_home(repository))
        state.prepare()
        run_id = new_run_id(spec.created_at)
        with _alone(state, spec, run_id):
            directory = state.create(run_id, spec)
            begun = False
            try:
                with (
                    directory.locked(),
                    _opened(spec, directory, repository, stop) as run,
                    _beside(run.context, beside),
                ):
                    run.prove_start()
                    run.begin()
                    begun = True
                    return run.work(watch)
            except UsageError:
                if not begun:
                    directory.remove()  # there is nothing to resume
                raise


def resume(
    state: StateFolder,
    directory: RunDirectory,
    *,
    stop: Stop,
    watch: Watch,
    beside: Beside | None = None,
    retry: bool = False,
) -> Outcome:
    """Go on with a run that was stopped or killed; with `retry`, begin what failed anew.

    Raises:
        UsageError: another run is at work here, or this one has ended and there is nothing to
            retry.
    """
    spec = directory.read_spec()
    if directory.report.exists() and not retry:
        raise UsageError(
            f"run {directory.run_id} has ended: `stig report` shows it, `stig resume --retry` "
            "begins anew what failed in it, `stig run` starts another"
        )
    check_model(spec.settings, dict(os.environ))
    with (
        Repository(spec.repository) as repository,
        _alone(state, spec, directory.run_id),
        directory.locked(),
        _opened(spec, directory, repository, stop) as run,
        _beside(run.context, beside),
    ):
        run.take_over()
        if retry:
            reopen(directory, run.context.board)
        run.prove_start()
        run.begin()
        return run.work(watch)


def _alone(state: StateFolder, spec: RunSpec, run_id: str) -> AbstractContextManager[None]:
    """Only one run lands at a time; those that land nothing are in nobody's way."""
    return state.locked(run_id) if spec.lands else nullcontext()


@contextmanager
def _opened(
    spec: RunSpec, directory: RunDirectory, repository: Repository, stop: Stop
) -> Generator[_Run]:
    """Everything a run needs, open; closed in reverse order however it ends."""
    with ExitStack() as stack:
        stack.enter_context(_full_disk_told(directory))
        board = stack.enter_context(TaskBoard(directory.board_url, lease_s=spec.settings.lease_s))
        memory = stack.enter_context(
            open_run_memory(
                _memory_file(spec, repository),
                spec.settings.memory_namespace,
                board=board,
                run_id=directory.run_id,
                pinned=_pinned(spec, directory.run_id),
            )
        )
        if spec.settings.otel_endpoint is not None:
            endpoint = spec.settings.otel_endpoint
            stack.enter_context(live_traces(board, endpoint, run=directory.run_id))
        context = RunContext(
            spec=spec,
            directory=directory,
            board=board,
            repository=repository,
            target=Target(repository, spec.target),
            heart=stack.enter_context(Heartbeat(board)),
            stop=stop,
            pulse=Pulse(),
            memory=memory,
            turns=None if spec.settings.parallel else Turns(),
        )
        for event in context.journal():
            if event.kind == "target":  # it went on on a branch of its own
                context.target.ref = str(event.data["ref"])
        # A Unix socket's path may have 108 bytes, so it is not made in the repository.
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stig-")))
        models = stack.enter_context(open_models(context, sockets, environ=dict(os.environ)))
        factory = stack.enter_context(
            LocalSandboxes(
                spec.repository,
                directory.sandboxes,
                _sandbox_settings(spec.settings),
                None if models is None else models.socket,
            )
        )
        yield _Run(context, factory, models)


def _beside(context: RunContext, beside: Beside | None) -> AbstractContextManager[None]:
    if beside is None:
        return nullcontext()
    return beside(context.board, context.directory, context.spec)


@contextmanager
def _full_disk_told(directory: RunDirectory) -> Generator[None]:
    """A full disk can show itself anywhere, and needs a person."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TransientError(
            f"the disk is full ({error.filename or directory.path}): what has landed stays; free "
            "some space and `stig resume`"
        ) from error


class _Run:
    """An open run."""

    def __init__(
        self, context: RunContext, factory: SandboxFactory, models: RunModels | None
    ) -> None:
        self.context = context
        self.factory = factory
        self.models = models
        self._planning = Planning(context, models)
        planned = self._planning.is_done
        self._keeper: Keeper | Curator = (
            Keeper(context, make_lander=self._make_lander, planned=planned)
            if context.spec.lands
            else Curator(context, planned=planned)
        )
        settings = context.spec.settings
        self._view = SwarmView(Thresholds(silent_s=settings.stuck_after_s))
        self._attention = Attention(settings.stuck_after_s)
        self._ticked_at = 0.0
        self._opened_at = context.board.last_seq()
        """What came before was logged, and heeded, by the process that was there before."""

    # Before work ----------------------------------------------------------------------------

    def prove_start(self) -> None:
        """The gate must be green before the run has changed anything, or it proves nothing."""
        if not self.context.spec.gate or self._has_landed():
            return
        found = self._keeper.prove_start()
        if isinstance(found, Red):
            raise UsageError(
                f"the gate is red on {self.context.target.name} as it is: {found.reason}. Mend "
                f"that first, or give another --gate. Its output ends with:\n{found.output[-2000:]}"
            )

    def _has_landed(self) -> bool:
        return self.context.target.tip() != self.context.spec.start

    def take_over(self) -> None:
        """The lock proves that the process which ran this before is gone: so are its agents."""
        mine = self.context.agent_id("")
        self.context.board.release_all(
            lambda agent: agent.startswith(mine), reason="the run was resumed"
        )

    def begin(self) -> None:
        """Say in the journal what runs, and under which protection."""
        spec, protection = self.context.spec, self.factory.protection
        data: JsonObject = {
            "run_id": self.context.run_id,
            "label": spec.label,
            "target": self.context.target.ref,
            "source": spec.source,
            "source_text": spec.source_text,
            "gate": list(spec.gate),
            "agents": spec.settings.agents,
            "model": spec.settings.model,
            "agent_command": spec.settings.agent_command,
            "strategy": spec.settings.strategy,
            "hive": None if spec.hive is None else _told(spec.hive),
            "parallel": spec.settings.parallel,
            "memory_namespaces": list(spec.settings.memory_namespace),
            "task_timeout_s": spec.settings.task_timeout_s,
            "budget_usd": _amount(spec.settings.budget_usd),
            "budget_tokens": spec.settings.budget_tokens,
            "sandbox": {
                "kind": protection.kind,
                "view": protection.view,
                "writes_confined": protection.writes_confined,
                "network_confined": protection.network_confined,
                "processes_confined": protection.processes_confined,
            },
        }
        self.context.board.record("run_started", data=data)

    def _make_lander(self, agent: LandingAgent) -> Lander:
        context, settings = self.context, self.context.spec.settings
        gate = None
        if context.spec.gate:
            gate = Gate(
                argv=context.spec.gate,
                timeout_s=settings.gate_timeout_s,
                limits=_limits(settings),
            )
        return Lander(
            context.repository,
            context.target.ref,
            clock=time.time,
            on_intent=agent.on_intent,
            on_event=agent.on_event,
            strategy=Strategy(settings.strategy),
            gate=gate,
            factory=self.factory,
            working_tree=WorkingTree(context.repository, context.target.ref),
        )

    # Work -----------------------------------------------------------------------------------

    def work(self, watch: Watch) -> Outcome:
        """Let the agents, the queue and the planner work until all is done or stopped."""
        context = self.context
        if context.spec.lands:
            WorkingTree(context.repository, context.target.ref).catch_up()
        self._catch_up(watch)
        with Nursery(context.stop) as nursery, context.stop.child() as ended:
            crew = Crew(nursery, self._worker, context.pulse)
            crew.follow(self._agents_wanted())
            nursery.start(self._planning.work, name="planner")
            nursery.start(lambda: self._keep(ended), name="keeper")
            while not ended.is_set():
                self._look(watch, timeout_s=_LOOK_S)
                crew.follow(self._agents_wanted())
            finished = not context.stop.is_set()
            context.stop.set()
            context.pulse.tick()
        return self._end(watch, finished=finished)

    def _keep(self, ended: Stop) -> None:
        self._keeper.work()
        ended.set()

    def _worker(self, name: str) -> Worker:
        return Worker(
            name=name,
            run=self.context,
            factory=self.factory,
            runner=TaskRunner(self.context.repository),
            agent=agent_of(self.context.spec.settings),
            limits=_limits(self.context.spec.settings),
            tokens=self.models,
        )

    def _look(self, watch: Watch, *, timeout_s: float) -> None:
        """Bring the view up to date and wake who may have something to do."""
        board = self.context.board
        board.wait(after=self._view.seq, timeout_s=timeout_s)
        events = board.events(after=self._view.seq)
        lines = self._take(events)
        if any(event.kind in _WAKING for event in events):
            self.context.pulse.tick()
        if any(event.kind == "cancelled" for event in events):
            self.context.heart.check()
        self._act_on_stuck()
        watch(self._view.run, lines)

    def _act_on_stuck(self) -> None:
        """End attempts that go nowhere, if the settings say so; the journal has the reason."""
        action = self.context.spec.settings.stuck_action
        now = time.time()
        if action == "none" or 0 <= now - self._ticked_at < _TICK_S:
            return
        self._ticked_at = now
        self._view.tick(now)
        listened = self._attention.look(now)
        for end in decide(self._view.alerts.values(), action, has_listened=listened):
            ended = self.context.interrupts.end(
                end.task_id, agent_id=end.agent_id, reason=end.reason
            )
            if ended:
                self.context.board.record(
                    "stuck_ended",
                    task_id=end.task_id,
                    agent_id=end.agent_id,
                    data={"alert": end.alert, "reason": end.reason},
                )

    def _catch_up(self, watch: Watch) -> None:
        while events := self.context.board.events(after=self._view.seq):
            watch(self._view.run, self._take(events))

    def _take(self, events: Sequence[Event]) -> list[str]:
        fresh = [event for event in events if event.seq > self._opened_at]
        log_events(self.context.run_id, fresh)
        if any(event.kind == STOP_WANTED for event in fresh):
            self.context.stop.set()
        return self._view.take(events)

    def _agents_wanted(self) -> int:
        """As many as the latest wish in the journal says, or else the settings."""
        wished = self._view.run.agents_wanted
        if wished is None:
            return self.context.spec.settings.agents
        return max(1, min(wished, MOST_AGENTS))  # whoever writes the journal may wish anything

    def _end(self, watch: Watch, *, finished: bool) -> Outcome:
        self._catch_up(watch)
        outcome = judge(
            self._view.run,
            finished=finished,
            gated=bool(self.context.spec.gate),
            green=self._keeper.green,
            out_of_budget=self.models is not None and self.models.out_of_budget,
            lands=self.context.spec.lands,
        )
        self._write_findings()
        self.context.board.record(
            "run_ended", data={"exit_code": outcome.exit_code, "verdict": outcome.verdict}
        )
        self._look(watch, timeout_s=0.0)
        if finished:
            self.context.directory.write_report(outcome.report(self._view.run, self.context.spec))
        return outcome

    def _write_findings(self) -> None:
        """What was found so far, as a report for people."""
        spec = self.context.spec
        if spec.hive is None or not (findings := kept_findings(self.context)):
            return
        if not any(finding.text for finding in findings):
            return
        self.context.directory.write_findings(
            render_report(
                title=f"{spec.hive.strategy.name.capitalize()}: {spec.hive.name}",
                objective=spec.source_text,
                label=spec.label,
                start=spec.start,
                findings=findings,
            )
        )


def _told(hive: HiveSpec) -> JsonObject:
    return {
        "name": hive.name,
        "strategy": hive.strategy.name,
        "task_types": list(hive.task_types),
        "research": hive.research is not None,
        "lands": hive.lands,
    }


def _pinned(spec: RunSpec, run_id: str) -> tuple[str, ...]:
    """What the research step of a hive found, which all others are told."""
    if spec.hive is None or spec.hive.research is None:
        return ()
    return (findings_key(run_id, RESEARCH_KEY),)


def _memory_file(spec: RunSpec, repository: Repository) -> Path | None:
    """Where what is learned lies; None where the run was given no namespace of it."""
    if not spec.settings.memory_namespace:
        return None
    return spec.settings.memory or StateFolder(state_home(repository)).memory()


def _amount(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _limits(settings: Settings) -> Limits:
    memory = settings.sandbox_memory_mb
    return Limits(
        wall_s=settings.task_timeout_s,
        memory_bytes=None if memory is None else memory * 1024**2,
        processes=settings.sandbox_processes,
    )


def _sandbox_settings(settings: Settings) -> SandboxSettings:
    return SandboxSettings(
        view=settings.sandbox_view,
        confine=settings.sandbox_confine,
        share=settings.sandbox_share,
        network=settings.sandbox_network,
        env=settings.sandbox_env,
        limits=_limits(settings),
    )
