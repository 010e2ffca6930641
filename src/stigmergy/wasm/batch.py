"""The batch agent: takes many `wasm` tasks from the board, and runs them in one dispatch."""

import base64
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stigmergy.board import DEFAULT_LEASE_S, JsonObject, Task, TaskBoard, TaskStatus, TaskType
from stigmergy.board.task import new_task_id
from stigmergy.errors import LostLeaseError, StigmergyError, TransientError, UsageError
from stigmergy.swarm import Heartbeat
from stigmergy.wasm.manager import SwarmManager
from stigmergy.wasm.result import SwarmResult
from stigmergy.wasm.work import WasmWork, decode_base64, told_output, told_result

__all__ = ["BatchAgent"]

_RETRY_S: Final = 0.25
_KEPT_MODULES: Final = 32
_FIRST_SLICE: Final = 1_000_000_000
"""Instructions of all agents together until `stop` is looked at; twice as many while quick."""
_LEAST_SLICE: Final = 1_000_000
_SLICE_S: Final = 0.5
_OPEN: Final = (TaskStatus.PENDING, TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of a task: a result, or why there is none."""

    task: Task
    result: JsonObject | None = None
    error: str = ""
    retry: bool = False
    """Whether it may go well when tried again, maybe by another agent."""
    given_back: bool = False
    """It was not run to its end, and the attempt does not count."""


class _ModuleAbsentError(UsageError):
    """This agent does not have the file; another may."""


class BatchAgent:
    """Runs `wasm` tasks, up to `limit` at a time. Not thread-safe; use one in each thread.

    What a task's payload says is in `work.WasmWork`. Tasks of the same module run together, and
    all that finished are completed in one transaction. Each agent begins afresh, whatever ran
    before it. A task whose agent traps, uses up its instructions or is not well described fails
    for good: it would do the same again. A swarm with a journal survives the loss of its device.
    Where it does not, or the module's file is not here, tasks are tried again, maybe by another
    agent. A process that dies loses nothing: the leases run
    out, and the tasks are taken again.

    Args:
        board: where the tasks are.
        swarm: runs them; its agents of before stay out of it. Its `max_agents` bounds `limit`.
        agent_id: its name on the board.
        capabilities: what tasks may require of it.
        modules: the folder that a payload's `module` is looked up in; without one such tasks fail.
        limit: the most tasks to take at once.
        most_instructions: the most that a task may ask for; one that asks for more fails. Others
            of its batch wait for it.
        lease_s: how long a claim holds without a heartbeat.
    """

    def __init__(
        self,
        board: TaskBoard,
        swarm: SwarmManager,
        *,
        agent_id: str | None = None,
        capabilities: Iterable[str] = (),
        modules: Path | None = None,
        limit: int = 1024,
        most_instructions: int = 10_000_000_000,
        lease_s: float = DEFAULT_LEASE_S,
    ) -> None:
        if limit < 1:
            message = f"limit is {limit}; a batch holds at least one task"
            raise UsageError(message)
        self.agent_id = agent_id or f"wasm-{new_task_id()}"
        self._board = board
        self._swarm = swarm
        self._capabilities = frozenset(capabilities)
        self._modules = modules.resolve() if modules else None
        self._limit = min(limit, swarm.max_agents)
        self._most_instructions = most_instructions
        self._lease_s = lease_s
        self.failed = 0
        """How many tasks failed here."""
        self.given_back = 0
        """How many tasks were given back unfinished, because it was stopped."""
        self._recent: dict[str, None] = {}
        """The digests of the modules that it loaded, the one used last at the end."""

    def work_cycle(self) -> int:
        """Take a batch and run it; how many tasks it was. 0 when there was none to take."""
        tasks = self._claim([])
        if tasks:
            self._work(tasks, threading.Event(), claim=False)
        return len(tasks)

    def run(
        self,
        stop: threading.Event,
        *,
        until_idle: bool = False,
        idle_s: float = 0.25,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Work until `stop` is set; how many tasks came to an end here.

        With `until_idle` it ends as well when no `wasm` task is open. `progress` is told that
        number after every batch. A board that is busy is asked again, with the results in hand.
        """
        done = 0
        tasks: Sequence[Task] = ()
        while not stop.is_set():
            try:
                tasks = tasks or self._claim([]) or self._wait_for_some(idle_s)
                if not tasks and until_idle and not self._may_come():
                    break
            except TransientError:
                stop.wait(idle_s)
            if tasks:
                taken, back = len(tasks), self.given_back
                tasks = self._work(tasks, stop, claim=True)
                done += taken - (self.given_back - back)
                if progress:
                    progress(done)
        for task in tasks:
            self._board.release(task, reason="the agent was stopped")
        return done

    def _wait_for_some(self, idle_s: float) -> list[Task]:
        """Sleep until something happens on the board; what could be taken before, if anything."""
        last = self._board.last_seq()
        if tasks := self._claim([]):
            return tasks
        self._board.wait(after=last, timeout_s=idle_s)
        return []

    def _claim(self, results: list[tuple[Task, JsonObject]]) -> list[Task]:
        return self._board.complete_and_claim(
            self.agent_id,
            results,
            min(self._limit, len(self._swarm.free_slots)),
            capabilities=self._capabilities,
            task_types=[TaskType.WASM],
            lease_s=self._lease_s,
        )

    def _may_come(self) -> bool:
        """Whether a task is open that this agent could take, now or later."""
        return any(
            task.task_type == TaskType.WASM and self._capabilities.issuperset(task.requires)
            for task in self._board.list_all(statuses=list(_OPEN))
        )

    # --- running ---

    def _work(self, tasks: Sequence[Task], stop: threading.Event, *, claim: bool) -> list[Task]:
        """Run a batch and report on it, under a heartbeat; the next batch, if one was wanted."""
        with Heartbeat(self._board) as heart, ExitStack() as held:
            for task in tasks:
                held.enter_context(heart.holding(task, lease_s=self._lease_s))
            outcomes = self._run(tasks, stop)
            while True:
                try:
                    return self._report(outcomes, claim=claim and not stop.is_set())
                except TransientError as busy:
                    stop.wait(busy.retry_after_s or _RETRY_S)

    def _run(self, tasks: Sequence[Task], stop: threading.Event) -> list[_Outcome]:
        """Run agents of their own for these tasks; they are gone afterwards."""
        outcomes: list[_Outcome] = []
        seated: dict[int, tuple[Task, WasmWork]] = {}
        try:
            for task in tasks:
                try:
                    work = WasmWork.of(self._board.load(task.payload))
                    seated[self._seat(work)] = (task, work)
                except StigmergyError as error:
                    absent = isinstance(error, _ModuleAbsentError)
                    outcomes.append(_Outcome(task, error=str(error), retry=absent))
            for budget in sorted({work.max_instructions for _, work in seated.values()}):
                ids = [one for one, (_, work) in seated.items() if work.max_instructions == budget]
                outcomes += self._dispatch(ids, budget, seated, stop)
        finally:
            self._swarm.kill_agents(list(seated))
            self._forget_modules(_KEPT_MODULES)
        return outcomes

    def _seat(self, work: WasmWork) -> int:
        if work.max_instructions > self._most_instructions:
            message = (
                f"it asks for {work.max_instructions} instructions, and this agent gives a task "
                f"{self._most_instructions} at most"
            )
            raise UsageError(message)
        digest = self._swarm.load_bytecode(self._module(work))
        self._recent.pop(digest, None)
        self._recent[digest] = None
        if self._swarm.exchanges_messages(digest):
            message = "the module sends or awaits messages, and the agent of a task is alone"
            raise UsageError(message)
        return self._swarm.spawn_agent(
            work.entry, work.memory_bytes(), work.args, module=digest, identity=work.identity
        )

    def _forget_modules(self, kept: int) -> None:
        """Keep the modules used last: what was compiled for them takes memory."""
        while len(self._recent) > kept:
            oldest = next(iter(self._recent))
            del self._recent[oldest]
            with suppress(UsageError):  # others of the swarm run it, or unloaded it
                self._swarm.unload_bytecode(oldest)

    def _module(self, work: WasmWork) -> bytes | str:
        """Return the module that a task names.

        Raises:
            UsageError: It cannot be had; a file outside of the folder of modules is not read.
        """
        if work.wat is not None:
            return work.wat
        if work.wasm is not None:
            return decode_base64(work.wasm, what="wasm")
        if self._modules is None:
            message = (
                f"the task names the module {work.module!r}, and the agent has no folder of them: "
                "start it with --modules"
            )
            raise _ModuleAbsentError(message)
        try:
            path = (self._modules / (work.module or "")).resolve()
        except ValueError as error:
            message = f"the module {work.module!r} is no name of a file: {error}"
            raise UsageError(message) from error
        if not path.is_relative_to(self._modules):
            message = f"the module {work.module!r} lies outside of the folder of modules"
            raise UsageError(message)
        try:
            return path.read_bytes()
        except OSError as error:
            message = f"the module {work.module!r} cannot be read: {error.strerror}"
            raise _ModuleAbsentError(message) from error

    def _dispatch(
        self,
        ids: list[int],
        budget: int,
        seated: dict[int, tuple[Task, WasmWork]],
        stop: threading.Event,
    ) -> list[_Outcome]:
        """Run agents to their end or their budget's, slice by slice; between two it may stop."""
        outcomes: list[_Outcome] = []
        left, together = budget, _FIRST_SLICE
        while ids:
            if stop.is_set():
                return outcomes + [_Outcome(seated[one][0], given_back=True) for one in ids]
            part = min(left, max(_LEAST_SLICE, together // len(ids)))
            begun = time.monotonic()
            try:
                result = self._swarm.dispatch(ids, part)
            except TransientError as error:
                return outcomes + [
                    _Outcome(seated[one][0], error=str(error), retry=True) for one in ids
                ]
            except StigmergyError as error:  # a module that no engine can run: each for itself
                if len(ids) == 1:
                    return [*outcomes, _Outcome(seated[ids[0]][0], error=str(error))]
                for agent in ids:
                    outcomes += self._dispatch([agent], left, seated, stop)
                return outcomes
            if time.monotonic() - begun < _SLICE_S:
                together *= 2
            left -= part
            going_on = set(result.unfinished) if left else set[int]()
            outcomes += [
                self._outcome(one, result, *seated[one]) for one in ids if one not in going_on
            ]
            ids = [one for one in ids if one in going_on]
        return outcomes

    def _outcome(self, agent: int, result: SwarmResult, task: Task, work: WasmWork) -> _Outcome:
        count = result.instruction_counts[agent]
        if agent in result.traps:
            return _Outcome(task, error=f"trap: {result.traps[agent]} (after {count} instructions)")
        if agent not in result.agent_results:
            return _Outcome(task, error=f"used up its {work.max_instructions} instructions")
        told: JsonObject = {
            "result": told_result(result.agent_results[agent]),
            "instructions": count,
            "device": self._swarm.device_of(agent),
            **told_output(result.agent_outputs[agent]),
        }
        if work.read is not None:
            try:
                part = self._swarm.get_agent_memory(agent, work.read.size, work.read.offset)
            except UsageError as error:
                return _Outcome(task, error=f"read: {error}")
            told["memory"] = base64.b64encode(part).decode()
        return _Outcome(task, told)

    # --- reporting ---

    def _report(self, outcomes: Sequence[_Outcome], *, claim: bool = False) -> list[Task]:
        """Hand in what came of a batch, and take the next one with it; the tasks then held."""
        for outcome in outcomes:
            if outcome.given_back:
                self._give_back(outcome.task)
            elif outcome.result is None:
                self._fail(outcome)
        finished = [(one.task, one.result) for one in outcomes if one.result is not None]
        try:
            if claim:
                return self._claim(finished)
            self._board.complete_many(finished)
        except (LostLeaseError, UsageError):
            # One of them was cancelled, taken back, or is too large: the others count all the same.
            for task, result in finished:
                self._complete(task, result)
        return []

    def _give_back(self, task: Task) -> None:
        self.given_back += 1
        with suppress(LostLeaseError):
            self._board.release(task, reason="the agent was stopped")

    def _fail(self, outcome: _Outcome) -> None:
        try:
            self._board.fail(outcome.task, outcome.error, retry=outcome.retry)
        except LostLeaseError:
            return  # another has it now, or it was cancelled
        self.failed += 1

    def _complete(self, task: Task, result: JsonObject) -> None:
        try:
            self._board.complete(task, result)
        except LostLeaseError:
            return
        except UsageError as refused:
            self._fail(_Outcome(task, error=str(refused)))
