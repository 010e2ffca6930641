"""The agents of one module on the GPU: their buffers, and the verbs of the engine's seam.

What agents are lies on the device alone. The host keeps for each slot its status, its count and
which function was begun last: what it must know without asking.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.engine import (
    CohortSettings,
    Counts,
    Mail,
    Slots,
    Status,
    Statuses,
    Trap,
    TrapKind,
    Words,
)
from stigmergy.wasm.gpu.device import Device
from stigmergy.wasm.gpu.interleaving import U32, Bytes
from stigmergy.wasm.gpu.layout import Header
from stigmergy.wasm.gpu.linearmemory import LinearMemory
from stigmergy.wasm.gpu.mailboxes import Mailboxes, read_outputs
from stigmergy.wasm.gpu.program import Compiled
from stigmergy.wasm.gpu.running import Runner
from stigmergy.wasm.gpu.shaders import Shaders
from stigmergy.wasm.gpu.statewords import read_words, write_words
from stigmergy.wasm.gpu.trial import Trials
from stigmergy.wasm.gpu.windows import Part, Window, next_stride, split, widest_stride
from stigmergy.wasm.hostcalls import HostCall, resolve_imports
from stigmergy.wasm.module.model import PAGE_BYTES, Module
from stigmergy.wasm.slotindex import slot_index

__all__ = ["GpuCohort"]

_NO_OFFSET = 0xFFFFFFFF
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class GpuCohort:
    """See engine.Cohort. It belongs to the engine's device, and is lost with it."""

    def __init__(
        self,
        device: Device,
        module: Module,
        settings: CohortSettings,
        compiled: Compiled,
        trials: Trials,
    ) -> None:
        self._module = module
        self._settings = settings
        self._compiled = compiled
        self._layout = compiled.layout
        self._device = device
        self._initial = compiled.initial_state()
        self._stillborn = self._initial[Header.STATUS] == Status.TRAPPED
        self._shaders = Shaders(device, compiled, trials)
        self._runner = Runner(device, clock_start_ns=settings.clock_start_ns, seed=settings.seed)
        self._memory = LinearMemory(
            device, words=self._layout.memory_words, image=compiled.initial_memory()
        )
        self._mailboxes = Mailboxes(device, self._layout, settings.message_bytes)
        calls = set(resolve_imports(module, settings.imports).functions)
        self._writes_output = bool(calls & {HostCall.OUTPUT, HostCall.LOG})
        self._has_mail = bool(calls & {HostCall.SEND, HostCall.RECEIVE})
        self._block = device.facts.memory_block
        words = [
            self._layout.words,
            self._layout.memory_words,
            self._layout.output_words if self._writes_output else 0,
            self._layout.mail_words if self._has_mail else 0,
        ]
        self._widest = widest_stride(
            words, binding_bytes=device.facts.binding_bytes, block=self._block
        )
        if not self._widest:
            message = (
                f"an agent of this module is larger than {device.facts.name} can hold in a buffer "
                f"({device.facts.binding_bytes} bytes for {self._block} agents)"
            )
            raise UnsupportedError(message)
        self._windows: list[Window] = []
        self._capacity = 0
        self._status: Statuses = np.zeros(0, dtype=np.uint8)
        self._count: Counts = np.zeros(0, dtype=np.uint64)
        self._entry: npt.NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self._used: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._unstarted: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._entries: set[int] = set()

    @property
    def module(self) -> Module:
        """What the agents run."""
        return self._module

    @property
    def slices(self) -> Sequence[int]:
        """The slices, in instructions of an agent, that the last run took."""
        return self._runner.slices

    def check(self, function: int) -> None:
        """Return if agents can begin with this function.

        Raises:
            UnsupportedError: It cannot be said in WGSL, for the reason given.
        """
        self._shaders.check(function)

    def reserve(self, capacity: int) -> None:
        """Make room for the slots 0 … capacity - 1, in windows beside those there are."""
        while self._capacity < capacity:
            stride = next_stride(self._capacity, capacity, widest=self._widest, block=self._block)
            self._windows.append(self._window(stride))
            self._capacity += stride
        missing = self._capacity - len(self._status)
        if missing > 0:
            self._status = np.pad(self._status, (0, missing))
            self._count = np.pad(self._count, (0, missing))
            self._entry = np.pad(self._entry, (0, missing))
            self._used = np.pad(self._used, (0, missing))
            self._unstarted = np.pad(self._unstarted, (0, missing))

    def _window(self, stride: int) -> Window:
        layout, device = self._layout, self._device
        has_memory = layout.memory_words > 0
        return Window(
            base=self._capacity,
            stride=stride,
            state=device.buffer(stride * layout.words * 4),
            memory=device.buffer(stride * layout.memory_words * 4) if has_memory else None,
            output=device.buffer(stride * layout.output_words * 4) if self._writes_output else None,
            mail=device.buffer(self._mailboxes.bytes_of(stride)) if self._has_mail else None,
            agents=device.buffer(stride * 4, "read"),
            parameters=device.buffer(32, "uniform"),
        )

    def create(self, slots: Slots, agent_ids: npt.NDArray[np.uint32]) -> None:
        """Begin fresh instances."""
        for part in split(slots, self._windows):
            virgin = not self._used[slot_index(part.window.base + part.local)].any()
            self._create_state(part, agent_ids[part.positions], virgin=virgin)
            if virgin:
                self._memory.fill(part, zeros=True)
            else:
                self._memory.fill(part, zeros=False)
                self._mailboxes.clear(part)
        rows = slot_index(slots)
        self._status[rows] = Status.IDLE
        self._count[rows] = 0
        self._used[rows] = True
        self._unstarted[rows] = self._module.start is not None

    def _create_state(self, part: Part, agent_ids: U32, *, virgin: bool) -> None:
        """Write the words of fresh instances, but for zeros where there are zeros."""
        initial = self._initial.copy()
        initial[Header.STATUS] = Status.IDLE
        wanted = initial != 0
        wanted[Header.AGENT_ID] = True
        first = 0
        while first < len(initial):
            end = first + 1
            if virgin and not wanted[first]:
                first = end
                continue
            while end < len(initial) and (wanted[end] or not virgin):
                end += 1
            rows = np.empty((end - first, len(part.local)), dtype=np.uint32)
            rows[:] = initial[first:end, None]
            if first <= Header.AGENT_ID < end:
                rows[Header.AGENT_ID - first] = agent_ids
            write_words(self._device, part, first, rows)
            first = end

    def discard(self, slots: Slots) -> None:
        """End instances. Their room stays the cohort's, for those to come.

        Nothing runs that is not READY here, so the device need not be told.
        """
        self._status[slots] = Status.IDLE
        self._count[slots] = 0

    def begin(self, slots: Slots, function: int, arguments: Words) -> None:
        """Give each agent a call of a function."""
        self._shaders.check(function)
        rows = slot_index(slots)
        starting = self._unstarted[rows]
        if not starting.any():
            frames = self._compiled.entry_frames(function, arguments, start=False)
            self._begin(slots, frames)
        else:
            for start in (False, True):
                chosen = np.flatnonzero(starting == start)
                if len(chosen):
                    frames = self._compiled.entry_frames(function, arguments[chosen], start=start)
                    self._begin(slots[chosen], frames)
        self._status[rows] = Status.READY
        self._count[rows] = 0
        self._entry[rows] = function
        self._entries.add(function)

    def _begin(self, slots: Slots, frames: U32) -> None:
        words = frames.shape[1]
        for part in split(slots, self._windows):
            n = len(part.local)
            header = np.zeros((2, n), dtype=np.uint32)
            self._write_header(part, Header.STATUS, Status.READY)
            write_words(self._device, part, Header.COUNT_LOW, header)
            write_words(self._device, part, Header.SETTLED_LOW, header)
            self._write_header(part, Header.STACK_WORDS, words)
            if words:
                rows = np.ascontiguousarray(frames[part.positions].T)
                write_words(self._device, part, self._layout.stack, rows)

    def _write_header(self, part: Part, word: Header, value: int) -> None:
        rows = np.full((1, len(part.local)), value, dtype=np.uint32)
        write_words(self._device, part, word, rows)

    def run(self, slots: Slots, targets: Counts) -> Statuses:
        """Run each READY agent until it stops by itself or its count reaches its target."""
        rows = slot_index(slots)
        ready = (self._status[rows] == Status.READY) & (self._count[rows] < targets)
        if ready.all():
            chosen, wanted = slots, targets
        else:
            chosen, wanted = slots[ready], targets[ready]
        if len(chosen):
            if self._stillborn:
                self._status[chosen] = Status.TRAPPED
            else:
                self._run(chosen, wanted)
        return self._status[slots]

    def _run(self, slots: Slots, targets: Counts) -> None:
        shader = self._shaders.load(self._entries_of(slots), self._unfinished())
        parts = list(split(slots, self._windows))
        self._runner.run(shader, parts, targets, self._report, self._count[slots])
        if self._module.start is not None:
            begun = (self._count[slots] > 0) | (self._status[slots] != Status.READY)
            self._unstarted[slots[begun]] = False

    def _report(self, slots: Slots, statuses: Statuses, counts: Counts) -> None:
        rows = slot_index(slots)
        self._status[rows] = statuses
        self._count[rows] = counts

    def _entries_of(self, slots: Slots) -> frozenset[int]:
        if len(self._entries) == 1:
            return frozenset(self._entries)
        return frozenset(np.flatnonzero(np.bincount(self._entry[slots])).tolist())

    def _unfinished(self) -> frozenset[int]:
        going_on = (self._status == Status.READY) | (self._status == Status.WAITING)
        return self._entries_of(np.flatnonzero(going_on))

    def wake(self, slots: Slots) -> None:
        """Make WAITING agents READY."""
        chosen = slots[self._status[slots] == Status.WAITING]
        for part in split(chosen, self._windows):
            self._write_header(part, Header.STATUS, Status.READY)
        self._status[chosen] = Status.READY

    def statuses(self, slots: Slots) -> Statuses:
        """Return what each agent is about."""
        return self._status[slots]

    def counts(self, slots: Slots) -> Counts:
        """Return the instructions of each agent's call so far."""
        return self._count[slots]

    def results(self, slots: Slots, function: int) -> Words:
        """Return what a call of this function gave."""
        values = len(self._module.functions[function].results)
        first = self._layout.results
        return self._pairs(slots, [first + 2 * value for value in range(values)])

    def _pairs(self, slots: Slots, lows: Sequence[int]) -> Words:
        """Return values of two words each, given the first word of each: shape (n, values)."""
        words = [word for low in lows for word in (low, low + 1)]
        found = self._read(slots, words).astype(np.uint64)
        return np.ascontiguousarray((found[0::2] | found[1::2] << _HALF).T)

    def _read(self, slots: Slots, words: Sequence[int]) -> U32:
        if not words:
            return np.zeros((0, len(slots)), dtype=np.uint32)
        return read_words(self._device, list(split(slots, self._windows)), words, len(slots))

    def traps(self, slots: Slots) -> Sequence[Trap | None]:
        """Return why and where each agent trapped."""
        traps: list[Trap | None] = [None] * len(slots)
        trapped = np.flatnonzero(self._status[slots] == Status.TRAPPED)
        kinds, offsets = self._read(slots[trapped], (Header.TRAP_KIND, Header.TRAP_OFFSET)).tolist()
        known: dict[tuple[int, int], Trap] = {}
        for position, kind, offset in zip(trapped.tolist(), kinds, offsets, strict=True):
            if (kind, offset) not in known:
                known[kind, offset] = self._trap(kind, offset)
            traps[position] = known[kind, offset]
        return traps

    def _trap(self, kind: int, offset: int) -> Trap:
        if offset == _NO_OFFSET:
            return Trap(TrapKind(kind))
        return Trap(TrapKind(kind), self._module.function_at(offset), offset)

    def memory_sizes(self, slots: Slots) -> npt.NDArray[np.int64]:
        """Return the size of each agent's memory now, in bytes."""
        if not self._module.all_memories:
            return np.zeros(len(slots), dtype=np.int64)
        pages = self._read(slots, (Header.PAGES,))[0].astype(np.int64)
        return np.minimum(pages * PAGE_BYTES, self._settings.memory_bytes)

    def read_memory(self, slots: Slots, offset: int, size: int) -> Bytes:
        """Return a part of each agent's memory."""
        return self._memory.read(list(split(slots, self._windows)), len(slots), offset, size)

    def write_memory(self, slots: Slots, offset: int, content: Bytes) -> None:
        """Write to each agent's memory."""
        for part in split(slots, self._windows):
            self._memory.write(part, offset, content[part.positions])

    def read_globals(self, slots: Slots) -> Words:
        """Return all globals; references are 0."""
        words = self._pairs(slots, self._layout.globals)
        for index, kind in enumerate(self._module.all_globals):
            if kind.value in {"funcref", "externref"}:
                words[:, index] = 0
        return words

    def write_globals(self, slots: Slots, indices: Sequence[int], values: Words) -> None:
        """Set some mutable globals that are numbers."""
        for part in split(slots, self._windows):
            for column, index in enumerate(indices):
                mine = values[part.positions, column]
                rows = np.stack((mine & _LOW, mine >> _HALF)).astype(np.uint32)
                write_words(self._device, part, self._layout.globals[index], rows)

    def outputs(self, slots: Slots) -> Sequence[bytes]:
        """Return what each agent wrote to its output since it was created."""
        if not self._writes_output or not self._layout.output_words:
            return [b""] * len(slots)
        sizes = self._read(slots, (Header.OUTPUT_BYTES,))[0].astype(np.int64)
        parts = list(split(slots, self._windows))
        return read_outputs(self._device, parts, sizes, self._layout.output_words)

    def read_mail(self, slots: Slots, box: Literal["inbox", "outbox"]) -> Mail:
        """Return the messages in the inboxes or outboxes, in order of slot, then of age."""
        return self._mailboxes.read(list(split(slots, self._windows)), box)

    def write_mail(self, slots: Slots, box: Literal["inbox", "outbox"], mail: Mail) -> None:
        """Replace the contents of the inboxes or outboxes of these slots."""
        for part in split(slots, self._windows):
            if part.window.mail is None:
                # The module can neither send nor receive: only the host has a use for its mail.
                part.window.mail = self._device.buffer(self._mailboxes.bytes_of(part.window.stride))
            mine = part.window.base + part.local
            low, high = np.searchsorted(mail.slots, (mine[0], mine[-1] + 1))
            messages = Mail(
                mail.slots[low:high],
                mail.peers[low:high],
                mail.lengths[low:high],
                mail.contents[low:high],
            )
            self._mailboxes.write(part, box, self._mailboxes.boxes_of(messages, mine))

    def close(self) -> None:
        """Free everything. Idempotent."""
        windows, self._windows, self._capacity = self._windows, [], 0
        for one in windows:
            buffers = (one.state, one.memory, one.output, one.mail, one.agents, one.parameters)
            self._device.free([buffer for buffer in buffers if buffer is not None])
        self._memory.close()
