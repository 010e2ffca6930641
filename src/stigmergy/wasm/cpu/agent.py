"""One agent on the CPU: a store and an instance of its own, and the call that is in it."""

from __future__ import annotations

from collections import deque

import numpy as np

from stigmergy.errors import StigmergyError
from stigmergy.wasm.cpu import binding
from stigmergy.wasm.cpu.binding import EXTERN_WORDS, Cell, Pointer
from stigmergy.wasm.cpu.calls import Calls
from stigmergy.wasm.cpu.program import Program
from stigmergy.wasm.cpu.traps import take_failure, take_trap
from stigmergy.wasm.engine import Status, Trap
from stigmergy.wasm.module.model import ExternKind

__all__ = ["Agent"]

_FULL = (1 << 64) - 1
"""The fuel of a store, more than can be used. What is missing of it since a call began counts."""
_NO_ARGUMENTS = np.zeros((1, 0), dtype=np.uint64)

_READY = int(Status.READY)
_WAITING = int(Status.WAITING)
_FINISHED = int(Status.FINISHED)
_TRAPPED = int(Status.TRAPPED)


class Agent:
    """An agent of a program. The instance is made when something first asks for it.

    wasmtime runs a call on a stack of its own and gives control back where the fuel of the slice is
    used up. The store is told how much fuel the next slice has, in the midst of the call.
    """

    __slots__ = (
        "_begun",
        "_calls",
        "_context",
        "_end",
        "_fuel",
        "_fuel_before",
        "_function",
        "_function_index",
        "_future",
        "_instance",
        "_memory",
        "_row",
        "_start",
        "_store",
        "_unfit",
        "agent_id",
        "count",
        "draws",
        "failure",
        "inbox",
        "outbox",
        "output",
        "program",
        "slot",
        "status",
        "trap",
        "waits",
    )

    def __init__(self, program: Program, slot: int, agent_id: int) -> None:
        self.program = program
        self.slot = slot
        self.agent_id = agent_id
        self.status = int(Status.IDLE)
        self.count = 0
        self.trap: Trap | None = None
        self.draws = 0
        self.output: bytearray | None = None
        self.inbox: deque[tuple[int, bytes]] | None = None
        self.outbox: deque[tuple[int, bytes]] | None = None
        self.waits = False
        self.failure: BaseException | None = None
        self._store: Pointer = 0
        self._context: Pointer = 0
        self._instance: Cell | None = None
        self._unfit: Trap | None = None
        self._memory: Cell | None = None
        self._begun = program.start is None
        self._future: Pointer = 0
        self._fuel = self._fuel_before = _FULL
        self._function: Cell | None = None
        self._function_index = 0
        self._calls: Calls | None = None
        self._row = 0
        self._start: Calls | None = None
        self._end: Pointer = 0

    def begin(self, calls: Calls, row: int) -> None:
        """Take a call; one that is not finished is given up."""
        self._give_up()
        self._calls, self._row = calls, row
        self.count, self.trap, self.status = 0, None, _READY

    def advance(self, target: int, cell: Cell) -> None:
        """Run the call until it ends, waits or its count reaches a target.

        The cell is room of the thread's own.
        """
        if self.count >= target:
            return
        context = self._context or self._open()
        if self._unfit is not None:
            self.trap, self.status = self._unfit, _TRAPPED
            return
        if not self._future:
            self._fuel_before = self._fuel
            self._call_first()
        binding.set_yield_interval(context, target - self.count)
        while binding.future_poll(self._future):
            if not self._call_after():
                break
        else:
            self.status = _WAITING if self.waits else _READY
        binding.get_fuel(context, cell.address)
        self._fuel = cell[0]
        self.count = self._fuel_before - self._fuel
        if self.failure is not None:
            self._fail()

    def wake(self) -> None:
        """Let an agent that waits go on."""
        if self.status == _WAITING:
            self.waits, self.status = False, _READY

    def fuel_used(self) -> int:
        """Return the count in the midst of a call."""
        cell = Cell()
        binding.get_fuel(self._context, cell.address)
        return self._fuel_before - cell[0]

    def calls(self) -> tuple[Calls | None, int]:
        """Return where the results of the call are."""
        return self._calls, self._row

    def memory(self) -> tuple[Pointer, int]:
        """Return address and size of the memory now; nothing may run while they are used."""
        if self.program.memory_bytes is None:
            return 0, 0
        handle = self._memory
        if handle is None:
            handle = self._memory = Cell(EXTERN_WORDS)
            if not self.find("memory", 0, handle):
                self._memory = None
                return 0, 0
        at = handle.address + 8
        return (
            binding.memory_data(self._context, at) or 0,
            binding.memory_data_size(self._context, at),
        )

    def find(self, kind: ExternKind, index: int, handle: Cell) -> Pointer:
        """Find a part of the instance; returns the store's context, 0 if there is no instance."""
        context = self._context or self._open()
        if self._instance is None:
            return 0
        self._export(kind, index, handle.address)
        return context

    def close(self) -> None:
        """End the call and the instance."""
        self._give_up()
        store, self._store, self._context = self._store, 0, 0
        self._instance = self._memory = self._function = self._calls = None
        if store:
            binding.store_delete(store)

    def _open(self) -> Pointer:
        """Make the instance. A segment that does not fit is a trap, which the first call meets."""
        program = self.program
        store = binding.store_new(program.runtime.address, self.slot + 1, None)
        context = binding.store_context(store)
        binding.set_fuel(context, _FULL)
        instance, cell = Cell(2), Cell(2)
        error = program.instantiate(context, instance.address, cell.address)
        if error:
            binding.store_delete(store)
            raise take_failure(error)
        if cell[0]:
            self._unfit = Trap(take_trap(cell[0], 0).kind)
        else:
            self._instance = instance
        binding.get_fuel(context, cell.address)
        self._fuel = cell[0]
        self._store, self._context = store, context
        return context

    def _call_first(self) -> None:
        """Make the call, or before the first one that of the start function."""
        program = self.program
        assert self._calls is not None
        if self._begun:
            self._call(self._calls, self._row)
            return
        assert program.start is not None
        self._begun = True
        kind = program.module.functions[program.start]
        self._start = Calls(program.start, kind, _NO_ARGUMENTS)
        self._call(self._start, 0)

    def _call(self, calls: Calls, row: int) -> None:
        handle = self._function
        if handle is None or self._function_index != calls.function:
            self._function = handle = Cell(EXTERN_WORDS)
            self._function_index = calls.function
            self._export("func", calls.function, handle.address)
        parts = calls.parts(row)
        self._end = parts[-2]
        self._future = binding.call_async(self._context, handle.address + 8, *parts)

    def _call_after(self) -> bool:
        """See how the call ended; after the start function the call begins that it came before."""
        future, self._future = self._future, 0
        binding.future_delete(future)
        if error := binding.peek_word(self._end + 8):
            raise take_failure(error)
        if trap := binding.peek_word(self._end):
            self.trap = self.program.located(take_trap(trap, self.program.shift))
            self.status = _TRAPPED
            return False
        if self._start is None:
            self.status = _FINISHED
            return False
        self._start = None
        assert self._calls is not None
        self._call(self._calls, self._row)
        return True

    def _export(self, kind: ExternKind, index: int, address: Pointer) -> None:
        assert self._instance is not None
        name = self.program.export_names(kind, index)
        found = binding.instance_export_get(
            self._context, self._instance.address, name, len(name), address
        )
        assert found, f"the instance has no {name.decode()}"

    def _give_up(self) -> None:
        future, self._future = self._future, 0
        if future:
            binding.future_delete(future)
        self._start = None
        self.waits = False

    def _fail(self) -> None:
        failure, self.failure = self.failure, None
        raise StigmergyError("a function of the host failed") from failure
