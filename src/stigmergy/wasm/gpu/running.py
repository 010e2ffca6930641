"""Runs agents slice by slice until each is at its target, or has stopped by itself."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.engine import Counts, Slots, Status, Statuses
from stigmergy.wasm.gpu.device import Device, Dispatch, Region
from stigmergy.wasm.gpu.interleaving import U32
from stigmergy.wasm.gpu.layout import Binding, Header
from stigmergy.wasm.gpu.pacing import Pace
from stigmergy.wasm.gpu.shaders import LoadedShader
from stigmergy.wasm.gpu.statewords import read_words
from stigmergy.wasm.gpu.windows import Part, Window

__all__ = ["Runner"]

_SUBMISSION_S = 1.0
"""Windows are submitted together while they should take no longer than this."""
_READ_BACK = (Header.STATUS, Header.COUNT_LOW, Header.COUNT_HIGH)


@dataclass(frozen=True, slots=True)
class _Job:
    """Agents of one window that go on, with their targets and what they counted so far."""

    window: Window
    local: Slots
    targets: Counts
    counts: Counts

    def agents_left(self, statuses: U32, counts: Counts) -> "_Job":
        """Return the job without those that have stopped or are at their target."""
        stay = (statuses == Status.READY) & (counts < self.targets)
        return _Job(self.window, self.local[stay], self.targets[stay], counts[stay])


class Runner:
    """Dispatches for a cohort; remembers how long they take."""

    def __init__(self, device: Device, *, clock_start_ns: int, seed: int) -> None:
        self._device = device
        facts = device.facts
        self._pace = Pace(facts.first_slice, facts.longest_slice, aim_s=facts.aim_s)
        self._paces: dict[int, Pace] = {}
        """By the magnitude of the number of agents: the last few of many run on at their own."""
        self._dispatch_s = self._pace.fast_s
        fixed = np.array([clock_start_ns % 2**64, seed % 2**64], dtype=np.uint64)
        self._fixed = fixed.view(np.uint32)
        self.slices: list[int] = []
        """The slices of the last run, in instructions."""

    def run(
        self,
        shader: LoadedShader,
        parts: Sequence[Part],
        targets: Counts,
        report: Callable[[Slots, Statuses, Counts], None],
        counts: Counts,
    ) -> None:
        """Run agents to their targets; `counts` is what they counted, and reports are of changes.

        Raises:
            UnsupportedError: The driver leaves loops before they are done.
        """
        self.slices = []
        jobs = [
            _Job(part.window, part.local, targets[part.positions], counts[part.positions])
            for part in parts
        ]
        for job in jobs:
            self._write_targets(job)
        while jobs:
            together = max(1, int(_SUBMISSION_S / max(self._dispatch_s, 1e-4)))
            group, later = jobs[:together], jobs[together:]
            jobs = [*self._slice(shader, group, report), *later]

    def _slice(
        self,
        shader: LoadedShader,
        jobs: Sequence[_Job],
        report: Callable[[Slots, Statuses, Counts], None],
    ) -> Iterator[_Job]:
        """Run a dispatch of each job, and yield what is left of them."""
        agents = max(len(job.local) for job in jobs)
        self._pace = self._paces.get(agents.bit_length(), self._pace.for_agents(agents))
        limit = self._pace.limit
        self.slices.append(limit)
        started = time.perf_counter()
        encoder = self._device.encoder()
        self._device.encode(encoder, self._dispatches(shader, jobs, limit))
        ends = np.cumsum([len(job.local) for job in jobs]).tolist()
        parts = [
            Part(job.window, job.local, slice(end - len(job.local), end))
            for job, end in zip(jobs, ends, strict=True)
        ]
        found = read_words(self._device, parts, _READ_BACK, ends[-1], encoder)
        self._learn(shader, (time.perf_counter() - started) / len(jobs), agents)
        counts = found[1].astype(np.uint64) | found[2].astype(np.uint64) << np.uint64(32)
        for job, part in zip(jobs, parts, strict=True):
            mine = part.positions
            report(job.window.base + job.local, found[0, mine].astype(np.uint8), counts[mine])
        # Not before all is reported: an agent that is stuck keeps nothing back of the others.
        for job, part in zip(jobs, parts, strict=True):
            mine = part.positions
            self._check_progress(job, found[0, mine], counts[mine], limit)
            left = job.agents_left(found[0, mine], counts[mine])
            if len(left.local):
                yield left

    def _learn(self, shader: LoadedShader, elapsed_s: float, agents: int) -> None:
        """Adapt the next slice. A driver may compile at the first dispatch: that says nothing."""
        if shader.ran or elapsed_s < self._pace.fast_s:
            self._pace = self._pace.after(elapsed_s, agents)
            self._paces[agents.bit_length()] = self._pace
            self._dispatch_s = elapsed_s
        shader.ran = True

    def _check_progress(self, job: _Job, statuses: U32, counts: Counts, limit: int) -> None:
        stuck = (statuses == Status.READY) & (counts == job.counts) & (counts < job.targets)
        if stuck.any():
            slot = job.window.base + int(job.local[stuck][0])
            message = (
                f"the graphics driver ({self._device.facts.name}) ends loops early: the agent in "
                f"slot {slot} came no further than {int(counts[stuck][0])} in a slice of {limit} "
                "instructions; a newer driver or the CPU engine will do"
            )
            raise UnsupportedError(message)

    def _write_targets(self, job: _Job) -> None:
        first, end = int(job.local[0]), int(job.local[-1]) + 1
        rows = np.zeros((2, end - first), dtype=np.uint32)
        halves = (job.targets & np.uint64(0xFFFFFFFF), job.targets >> np.uint64(32))
        for row, half in zip(rows, halves, strict=True):
            row[job.local - first] = half
        stride = job.window.stride
        # what lies between is of agents that do not run now; they get theirs when they do
        if end - first == stride:
            self._device.write(job.window.state, Header.TARGET_LOW * stride * 4, rows)
            return
        for word, row in zip((Header.TARGET_LOW, Header.TARGET_HIGH), rows, strict=True):
            self._device.write(job.window.state, (word * stride + first) * 4, row)

    def _dispatches(self, shader: LoadedShader, jobs: Sequence[_Job], limit: int) -> list[Dispatch]:
        size, widest = self._device.facts.workgroup_size, self._device.facts.groups_per_dimension
        dispatches: list[Dispatch] = []
        for job in jobs:
            self._write_agents(job)
            groups = -(-len(job.local) // size)
            shape = (min(groups, widest), -(-groups // widest))
            first = np.array([len(job.local), job.window.stride, limit, shape[0]], dtype=np.uint32)
            parameters = np.concatenate((first, self._fixed))
            self._device.write(job.window.parameters, 0, parameters)
            bound = self._bound(shader, job.window)
            dispatches.append(Dispatch(shader.pipeline, bound, shape))
        return dispatches

    def _write_agents(self, job: _Job) -> None:
        local = job.local.astype(np.uint32)
        window = job.window
        if window.listed is None or not np.array_equal(window.listed, local):
            self._device.write(window.agents, 0, local)
            window.listed = local

    def _bound(self, shader: LoadedShader, window: Window) -> Any:
        """Return the window's buffers, bound to the shader."""
        if shader.number not in window.bound:
            buffers = {
                Binding.STATE: window.state,
                Binding.AGENTS: window.agents,
                Binding.PARAMETERS: window.parameters,
                Binding.MEMORY: window.memory if shader.shader.uses_memory else None,
                Binding.OUTPUT: window.output if shader.shader.uses_output else None,
                Binding.MAIL: window.mail if shader.shader.uses_mail else None,
                Binding.CONSTANTS: shader.constants,
            }
            regions = {
                int(binding): Region(buffer, 0, buffer.size)
                for binding, buffer in buffers.items()
                if buffer is not None
            }
            window.bound[shader.number] = self._device.bind(shader.pipeline, regions)
        return window.bound[shader.number]
