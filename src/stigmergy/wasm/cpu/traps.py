"""What wasmtime says of a trap, in the engine's words."""

import re
from collections.abc import Mapping

from stigmergy.errors import StigmergyError, UnsupportedError
from stigmergy.wasm.cpu import binding
from stigmergy.wasm.cpu.binding import Cell, Pointer
from stigmergy.wasm.engine import Trap, TrapKind
from stigmergy.wasm.module.model import Module

__all__ = ["access_before", "new_trap", "take_failure", "take_trap"]

_KINDS: Mapping[int, TrapKind] = {
    0: TrapKind.STACK_OVERFLOW,
    1: TrapKind.MEMORY_OUT_OF_BOUNDS,
    3: TrapKind.TABLE_OUT_OF_BOUNDS,
    4: TrapKind.INDIRECT_CALL_TO_NULL,
    5: TrapKind.BAD_SIGNATURE,
    6: TrapKind.INTEGER_OVERFLOW,
    7: TrapKind.INTEGER_DIVISION_BY_ZERO,
    8: TrapKind.BAD_CONVERSION_TO_INTEGER,
    9: TrapKind.UNREACHABLE,
}
"""By `wasmtime_trap_code_t`."""
_CODES = {kind: code for code, kind in _KINDS.items()}


def access_before(module: Module, function: int, offset: int) -> int:
    """Find the access to memory that a trap at this byte is about. Pure.

    On x86-64 wasmtime lets an instruction fetch its operand by itself, and then names that
    instruction rather than the load before it. Nothing that may trap lies between the two.
    """
    try:
        body = module.body(function)
    except UnsupportedError:
        return offset
    earlier = [one for one in body.instructions if one.offset <= offset]
    if not earlier or _ACCESSES.search(earlier[-1].name):
        return offset
    loads = [one.offset for one in earlier if ".load" in one.name]
    return loads[-1] if loads else offset


_ACCESSES = re.compile(r"[.](load|store)|^memory[.]|^call")
"""A call, too: a function of the host traps where it was called."""


def take_trap(trap: Pointer, shift: int) -> Trap:
    """Read a trap, and delete it. `shift` is what offsets were moved by.

    Raises:
        StigmergyError: It is of no kind that a module can cause.
    """
    code = Cell()
    if not binding.trap_code(trap, code.address) or (code[0] & 0xFF) not in _KINDS:
        message = f"wasmtime stopped an agent: {binding.take_message(trap=trap)}"
        raise StigmergyError(message)
    function: int | None = None
    offset: int | None = None
    frame = binding.trap_origin(trap)
    if frame:
        function, offset = binding.frame_function(frame), binding.frame_offset(frame) - shift
        binding.frame_delete(frame)
    binding.trap_delete(trap)
    return Trap(_KINDS[code[0] & 0xFF], function, offset)


def take_failure(error: Pointer) -> StigmergyError:
    """Return an error of wasmtime's as one to raise, and delete it."""
    return StigmergyError(f"wasmtime failed: {binding.take_message(error=error)}")


def new_trap(kind: TrapKind) -> Pointer:
    """Make a trap for a function of the host to return, which gives it to wasmtime."""
    return binding.trap_new_code(_CODES[kind])
