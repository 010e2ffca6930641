"""The lander: stacks candidates, gates the stack, and moves the target by compare-and-swap.

What it must never do: move the target to a commit that the gate was not green on; count a lost
swap as landed; drop a candidate without a verdict; touch a file of the user's.

The order of steps makes kill -9 safe: the intent, written down by the caller, then the swap.
After a crash `landed_already` tells by ancestry which intents came true.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from stigmergy.coding.git.objects import check_ref
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.merge.assembly import Assembler, Assembly
from stigmergy.coding.merge.batch import Bisection, Candidate, Window, choose_batch
from stigmergy.coding.merge.gate import (
    Gate,
    GateHistory,
    GateStopped,
    GateVerdict,
    Green,
    Red,
    run_gate,
)
from stigmergy.coding.merge.proof import Landing, Proof, prove
from stigmergy.coding.merge.publish import WorkingTree, WouldOverwrite
from stigmergy.coding.merge.stack import AlreadyIn, Conflicted, NoCommit, Strategy
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
from stigmergy.coding.sandbox.sandbox import SandboxFactory
from stigmergy.errors import StigmergyError, TransientError, UsageError

__all__ = ["Intent", "Lander", "LandingLostError", "landed_already"]

Intent = tuple[str, str]
"""A task id, and the commit that is in the target's history once it has landed."""

_MOVES = 5
"""How often the target may move under a candidate before it is handed back."""
_LOCK_TRIES = 20
_LOCK_WAIT_S = 0.1


class LandingLostError(StigmergyError):
    """The target no longer holds what was just landed: someone moved it backwards."""

    def __init__(self, ref: str, *, landed: str, tip: str | None) -> None:
        super().__init__(
            f"{ref} was moved to {landed} and is now at {tip or 'nothing'}, which does not contain "
            "it: someone reset the branch. The landed commits are still in its reflog."
        )
        self.ref = ref
        self.landed = landed
        self.tip = tip


def landed_already(
    repository: Repository, target_ref: str, intents: Iterable[Intent]
) -> frozenset[str]:
    """The task ids of those intents whose commit is in the target's history."""
    tip = repository.tip(target_ref)
    if tip is None:
        return frozenset()
    return frozenset(task for task, commit in intents if repository.is_ancestor(commit, tip))


@dataclass(slots=True)
class _Waiting:
    """A candidate without a verdict yet."""

    candidate: Candidate
    conflict_tip: str | None = None
    """It conflicted with the target at this tip; at another tip it is tried once more."""
    moves: int = 0
    """How often the target moved away under it."""


@dataclass(slots=True)
class _Work:
    """One call of `land`."""

    stop: threading.Event
    waiting: dict[str, _Waiting]
    verdicts: list[Verdict] = field(default_factory=list[Verdict])

    def candidates(self, task_ids: Iterable[str]) -> list[Candidate]:
        return [self.waiting[task].candidate for task in task_ids if task in self.waiting]


class Lander:
    """Lands branches on one target. Used by one thread at a time; holds no state that matters.

    `on_intent` is called before each move of the target and must have written its argument
    durably when it returns. `on_event` is told everything as it happens; what it raises ends
    `land`. `clock` gives Unix time, for the dates of new commits.
    """

    def __init__(
        self,
        repository: Repository,
        target_ref: str,
        *,
        clock: Callable[[], float],
        on_intent: Callable[[Sequence[Intent]], None],
        on_event: Callable[[MergeEvent], None],
        strategy: Strategy = Strategy.REBASE,
        gate: Gate | None = None,
        factory: SandboxFactory | None = None,
        window: Window | None = None,
        working_tree: WorkingTree | None = None,
    ) -> None:
        if gate is not None and factory is None:
            raise UsageError("a gate needs a sandbox factory to run in.")
        self._repository = repository
        self._target_ref = check_ref(target_ref)
        self._on_intent = on_intent
        self._on_event = on_event
        self._gate = gate
        self._factory = factory
        self._working_tree = working_tree
        self._assembler = Assembler(repository, strategy, clock)
        self._moves_branches = strategy is Strategy.FAST_FORWARD
        self.window = window or Window()
        self.history = GateHistory()

    def land(self, candidates: Sequence[Candidate], stop: threading.Event) -> list[Verdict]:
        """Decide every candidate, in batches; the verdicts in the order they fell.

        Raises:
            LandingLostError: the target was moved backwards while we landed. All verdicts up to
                then were told to `on_event`.
        """
        work = _Work(stop, {one.task_id: _Waiting(one) for one in candidates})
        if len(work.waiting) != len(candidates):
            raise UsageError("two candidates have the same task id.")
        while work.waiting and not stop.is_set():
            self._assembler.forget()
            self._round(work)
        for task_id in list(work.waiting):
            self._decide(
                work, Deferred(task_id=task_id, why="stopped", detail="the run was asked to stop")
            )
        return work.verdicts

    def gate_target(self, stop: threading.Event) -> GateVerdict | None:
        """Gate the target as it is: a red target makes every candidate red. None: no gate."""
        tip = self._tip()
        return self._run_gate(Assembly(tip), stop, retry=False)

    def _round(self, work: _Work) -> None:
        """One batch: stack, gate, land or bisect.

        Each round decides a candidate, notes its first conflict, or counts a move of the target:
        so `land` ends.
        """
        tip = self._tip()
        size = self.window.ceiling if self._gate is None else self.window.size
        waiting = [one.candidate for one in work.waiting.values()]
        stacked = self._assemble(work, tip, choose_batch(waiting, size=size))
        if not stacked.layers or self._in_users_way(work, stacked):
            return
        self._on_event(
            BatchStacked(
                task_ids=stacked.task_ids, onto=tip, commit=stacked.tip, window=self.window.size
            )
        )
        verdict = self._run_gate(stacked, work.stop, retry=False)
        match verdict:
            case None | Green():
                if self._advance(work, stacked, verdict):
                    self.window = self.window.after(green=True)
            case Red():
                self.window = self.window.after(green=False)
                self._bisect(work, stacked)
            case GateStopped():
                return
            case _:
                assert_never(verdict)

    def _assemble(self, work: _Work, tip: str, candidates: Sequence[Candidate]) -> Assembly:
        assembly = self._assembler.assemble(tip, candidates)
        for task_id, found in assembly.on_target.items():
            match found:
                case NoCommit(detail):
                    self._decide(
                        work, Rejected(task_id=task_id, kind="no-commit", detail=detail, tip=tip)
                    )
                case AlreadyIn():
                    self._decide(work, AlreadyLanded(task_id=task_id, tip=tip))
                case Conflicted():
                    self._conflict(work, task_id, found)
        return assembly

    def _conflict(self, work: _Work, task_id: str, found: Conflicted) -> None:
        waiting = work.waiting[task_id]
        if waiting.conflict_tip is None and len(work.waiting) > 1:
            waiting.conflict_tip = found.onto
            return
        self._decide(
            work,
            Rejected(
                task_id=task_id,
                kind="conflict",
                detail=found.detail,
                tip=found.onto,
                paths=found.paths,
            ),
        )

    def _bisect(self, work: _Work, red: Assembly) -> None:
        """Find what makes a stack red; land the rest. What stays undecided goes on waiting."""
        tip = red.onto
        search = Bisection.of_red(red.task_ids)
        while (probe := search.probe) is not None:
            if self._tip() != tip:
                self._target_moved(work, search.members, expected=tip)
                return
            part = self._assemble(work, tip, work.candidates(probe.members))
            if part.task_ids != probe.members:
                search = search.without(set(probe.members).difference(part.task_ids))
                continue
            verdict = self._run_gate(part, work.stop, retry=probe.retry)
            match verdict:
                case Green():
                    if not self._advance(work, part, verdict):
                        return
                    tip = part.tip
                    search = search.green()
                case Red():
                    after, rejected = search.red()
                    if rejected is not None:
                        if self._tip() != tip:
                            continue  # red on what was the target says nothing of what is
                        self._decide(work, self._gate_red(rejected, part, verdict))
                    search = after
                case None | GateStopped():
                    return
                case _:
                    assert_never(verdict)

    def _gate_red(self, task_id: str, part: Assembly, verdict: Red) -> Rejected:
        return Rejected(
            task_id=task_id,
            kind="gate-red",
            detail=verdict.reason,
            tip=part.onto,
            gate_output=verdict.output,
            exit_code=verdict.exit_code,
            restacked=part.tip,
            target_green=self.history.was_green(self._tree(part.onto)),
        )

    def _run_gate(
        self, stacked: Assembly, stop: threading.Event, *, retry: bool
    ) -> GateVerdict | None:
        if self._gate is None or self._factory is None:
            return None
        task_ids, commit = stacked.task_ids, stacked.tip
        self._on_event(GateStarted(task_ids=task_ids, commit=commit, retry=retry))
        name = f"gate-{self.history.started}-{commit[:12]}"
        self.history.started += 1
        verdict = run_gate(self._gate, self._factory, name=name, commit=commit, stop=stop)
        flaky = False
        if not isinstance(verdict, GateStopped):
            flaky = self.history.record(self._tree(commit), verdict)
        self._on_event(
            GateEnded(
                task_ids=task_ids,
                commit=commit,
                green=None if isinstance(verdict, GateStopped) else isinstance(verdict, Green),
                duration_s=0.0 if isinstance(verdict, GateStopped) else verdict.duration_s,
                reason=verdict.reason if isinstance(verdict, Red) else None,
                flaky=flaky,
            )
        )
        return verdict

    def _advance(self, work: _Work, stacked: Assembly, gate: Green | None) -> bool:
        """Prove the stack and move the target to it. False: it did not move."""
        proofs = self._prove(work, stacked)
        if proofs is None:
            return False
        if gate is not None and self._in_users_way(work, stacked):
            return False  # the user went on working while the gate ran
        self._on_intent(
            [(layer.candidate.task_id, layer.stacked.commit) for layer in stacked.layers]
        )
        if self._working_tree is not None:
            self._working_tree.announce(stacked.onto)
        if not self._swap(stacked, work.stop):
            self._target_moved(work, stacked.task_ids, expected=stacked.onto)
            return False
        tip = self._repository.tip(self._target_ref)
        if tip is None or not self._repository.is_ancestor(stacked.tip, tip):
            raise LandingLostError(self._target_ref, landed=stacked.tip, tip=tip)
        self._follow(stacked)
        flaky = self._tree(stacked.tip) in self.history.flaky
        for layer, proof in zip(stacked.layers, proofs, strict=True):
            landed = Landed(
                task_id=layer.candidate.task_id,
                commit=layer.stacked.commit,
                before=layer.stacked.onto,
                after=stacked.tip,
                batch_size=len(stacked.layers),
                gate_s=None if gate is None else gate.duration_s,
                proof=proof,
                flaky=flaky,
            )
            self._decide(work, landed)
        return True

    def _prove(self, work: _Work, stacked: Assembly) -> list[Proof] | None:
        """A proof for each layer, or None: those without one are rejected, the others wait."""
        landings = [
            Landing(
                fork=layer.stacked.fork,
                branch=layer.candidate.commit,
                before=layer.stacked.onto,
                after=layer.stacked.commit,
            )
            for layer in stacked.layers
        ]
        proofs: list[Proof] = []
        for layer, found in zip(stacked.layers, prove(self._repository, landings), strict=True):
            if isinstance(found, Proof):
                proofs.append(found)
            else:
                self._decide(
                    work,
                    Rejected(
                        task_id=layer.candidate.task_id,
                        kind="unproved",
                        detail=found.detail,
                        tip=stacked.onto,
                        paths=found.paths,
                    ),
                )
        return proofs if len(proofs) == len(landings) else None

    def _swap(self, stacked: Assembly, stop: threading.Event) -> bool:
        updates = [(self._target_ref, stacked.tip, stacked.onto)]
        if self._moves_branches:
            updates += [
                (layer.candidate.ref, layer.stacked.commit, layer.candidate.commit)
                for layer in stacked.layers
                if layer.candidate.ref and layer.candidate.commit != layer.stacked.commit
            ]
        reason = f"stigmergy: land {' '.join(stacked.task_ids)}"
        for _ in range(_LOCK_TRIES):
            try:
                return self._repository.update_refs(updates, reason=reason)
            except TransientError:
                if stop.wait(_LOCK_WAIT_S):
                    break
        return False

    def _target_moved(self, work: _Work, task_ids: Iterable[str], *, expected: str) -> None:
        self._on_event(TargetMoved(expected=expected, found=self._tip()))
        for task_id in task_ids:
            waiting = work.waiting[task_id]
            waiting.moves += 1
            candidate = waiting.candidate
            if self._moves_branches and candidate.ref is not None:
                found = self._repository.tip(candidate.ref)
                if found != candidate.commit:
                    detail = f"{candidate.ref} is at {found}, not at {candidate.commit}"
                    self._decide(work, Deferred(task_id=task_id, why="branch-moved", detail=detail))
                    continue
            if waiting.moves >= _MOVES:
                detail = f"{self._target_ref} moved, or was locked, {waiting.moves} times"
                self._decide(work, Deferred(task_id=task_id, why="target-moved", detail=detail))

    def _in_users_way(self, work: _Work, stacked: Assembly) -> bool:
        """Whether landing would overwrite the user's files; then defers those that would."""
        if self._working_tree is None:
            return False
        outcome = self._working_tree.check(stacked.onto, stacked.tip)
        if not isinstance(outcome, WouldOverwrite):
            return False
        touching = [
            layer.candidate.task_id
            for layer in stacked.layers
            if not set(outcome.paths).isdisjoint(
                self._repository.diff_paths(layer.stacked.onto, layer.stacked.commit)
            )
        ]
        for task_id in touching or stacked.task_ids:
            self._decide(
                work,
                Deferred(
                    task_id=task_id,
                    why="working-tree",
                    detail=f"landing would overwrite files in {outcome.path}: {outcome.detail}",
                    paths=outcome.paths,
                ),
            )
        return True

    def _follow(self, stacked: Assembly) -> None:
        if self._working_tree is None:
            return
        outcome = self._working_tree.follow(stacked.onto, stacked.tip)
        if isinstance(outcome, WouldOverwrite):
            self._on_event(WorkingTreeBehind(outcome=outcome))

    def _decide(self, work: _Work, verdict: Verdict) -> None:
        del work.waiting[verdict.task_id]
        work.verdicts.append(verdict)
        self._on_event(Decided(verdict))

    def _tip(self) -> str:
        tip = self._repository.tip(self._target_ref)
        if tip is None:
            raise UsageError(
                f"{self._target_ref} does not exist in {self._repository.path}. Make a first "
                "commit on it, or name another target."
            )
        return tip

    def _tree(self, commit: str) -> str:
        return self._repository.commit(commit).tree
