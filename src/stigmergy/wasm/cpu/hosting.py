"""The functions of the host, for agents on the CPU.

wasmtime calls them on the agent's stack. All but `wait` answer at once; what they need of the agent
is found by its slot, which its store carries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.cpu import binding
from stigmergy.wasm.cpu.binding import VALUE_KINDS, Pointer
from stigmergy.wasm.cpu.traps import new_trap, take_failure
from stigmergy.wasm.engine import CohortSettings, TrapKind
from stigmergy.wasm.hostcalls import (
    NO_MESSAGE,
    HostCall,
    SendAnswer,
    clock_ns,
    random_bits,
)
from stigmergy.wasm.module.model import FunctionType, Module

if TYPE_CHECKING:
    from stigmergy.wasm.cpu.agent import Agent

__all__ = ["Hosting"]

_RAW_BYTES = 16
_U32 = 0xFFFF_FFFF
_U64 = (1 << 64) - 1


class _OutOfBoundsError(Exception):
    """A call named memory that is not there."""


class Hosting:
    """Answers the calls of a cohort's agents, which it knows by slot."""

    def __init__(self, settings: CohortSettings) -> None:
        self._settings = settings
        self._answers: dict[HostCall, Callable[[Agent, list[int]], int | None]] = {
            HostCall.AGENT_ID: lambda agent, _: agent.agent_id,
            HostCall.OUTPUT: self._output,
            HostCall.LOG: self._log,
            HostCall.CLOCK: self._clock,
            HostCall.RANDOM: self._random,
            HostCall.SEND: self._send,
            HostCall.RECEIVE: self._receive,
        }
        self._callbacks: list[Any] = []
        self._is_woken = binding.ContinuationCallback(self._has_been_woken)
        self.agents: dict[int, Agent] = {}
        """Those of the cohort, by slot."""

    def define(self, linker: Pointer, module: Module, calls: Sequence[HostCall]) -> None:
        """Define what a module imports. This object must outlive the linker and its instances.

        Raises:
            UnsupportedError: A function's type is none that the host can have.
        """
        binding.linker_allow_shadowing(linker, 1)
        for one, call in zip(module.imported_functions, calls, strict=True):
            kind = one.type
            assert isinstance(kind, FunctionType)
            if "v128" in (*kind.params, *kind.results):
                message = f"the import {one.module}.{one.name} takes or gives a v128"
                raise UnsupportedError(message)
            functype = binding.functype(
                [VALUE_KINDS[value] for value in kind.params],
                [VALUE_KINDS[value] for value in kind.results],
            )
            space, name = one.module.encode(), one.name.encode()
            if call is HostCall.WAIT:
                callback = binding.AsyncCallback(self._wait)
                define = binding.linker_define_async_function
            else:
                callback = binding.HostCallback(self._callback(call, kind))
                define = binding.linker_define_function
            error = define(linker, space, len(space), name, len(name), functype, callback, 0, None)
            binding.functype_delete(functype)
            self._callbacks.append(callback)
            if error:
                raise take_failure(error)

    def _callback(
        self, call: HostCall, kind: FunctionType
    ) -> Callable[[int | None, int, int | None, int], int]:
        """Make the function that wasmtime calls: it reads arguments, and writes the answer."""
        if call is HostCall.NOTHING:
            return _nothing(len(kind.results))
        answer = self._answers[call]
        parameters, agents = len(kind.params), self.agents
        context_of, slot_of = binding.caller_context, binding.context_get_data

        def callback(_environment: int | None, caller: int, values: int | None, _size: int) -> int:
            agent = agents[(slot_of(context_of(caller)) or 0) - 1]
            at = values or 0
            try:
                arguments = [
                    binding.peek_word(at + _RAW_BYTES * position) & _U32
                    for position in range(parameters)
                ]
                result = answer(agent, arguments)
                if result is not None:
                    binding.poke_word(at, result)
            except _OutOfBoundsError:
                return new_trap(TrapKind.MEMORY_OUT_OF_BOUNDS)
            except BaseException as error:  # noqa: BLE001 - C code is between here and who catches
                agent.failure = error
                return new_trap(TrapKind.UNREACHABLE)
            return 0

        return callback

    def _wait(
        self,
        _environment: Any,
        caller: int,
        *rest: Any,
    ) -> None:
        """Suspend the caller: wasmtime asks `_has_been_woken` whether it may go on."""
        slot = binding.context_get_data(binding.caller_context(caller)) or 0
        self.agents[slot - 1].waits = True
        continuation: Pointer = rest[-1]
        binding.poke_word(continuation, binding.address_of(self._is_woken))
        binding.poke_word(continuation + 8, slot)
        binding.poke_word(continuation + 16, 0)

    def _has_been_woken(self, slot: int) -> bool:
        return not self.agents[slot - 1].waits

    def _clock(self, agent: Agent, _arguments: list[int]) -> int:
        return clock_ns(self._settings.clock_start_ns, agent.fuel_used())

    def _random(self, agent: Agent, _arguments: list[int]) -> int:
        bits = random_bits(self._settings.seed, agent.agent_id, agent.draws)
        agent.draws += 1
        return bits

    def _output(self, agent: Agent, arguments: list[int]) -> int:
        return self._append(agent, _read(agent, *arguments))

    def _log(self, agent: Agent, arguments: list[int]) -> None:
        self._append(agent, _read(agent, *arguments) + b"\n")

    def _append(self, agent: Agent, content: bytes) -> int:
        if agent.output is None:
            agent.output = bytearray()
        fitting = min(len(content), self._settings.output_bytes - len(agent.output))
        agent.output += content[:fitting]
        return fitting

    def _send(self, agent: Agent, arguments: list[int]) -> int:
        recipient, pointer, length = arguments
        content = _read(agent, pointer, length)
        if length > self._settings.message_bytes:
            return SendAnswer.TOO_LONG
        if agent.outbox is None:
            agent.outbox = deque()
        if len(agent.outbox) >= self._settings.mailbox_messages:
            return SendAnswer.OUTBOX_FULL
        agent.outbox.append((recipient, content))
        return SendAnswer.SENT

    @staticmethod
    def _receive(agent: Agent, arguments: list[int]) -> int:
        pointer, capacity = arguments
        address = _bounded(agent, pointer, capacity)
        if not agent.inbox:
            return NO_MESSAGE & _U64
        sender, content = agent.inbox.popleft()
        binding.poke(address, content, min(len(content), capacity))
        return sender << 32 | len(content)


def _nothing(results: int) -> Callable[[int | None, int, int | None, int], int]:
    """Make a function that answers zeros: the values' room still holds the arguments."""

    def callback(_environment: int | None, _caller: int, values: int | None, _size: int) -> int:
        for position in range(results):
            at = (values or 0) + _RAW_BYTES * position
            binding.poke_word(at, 0)
            binding.poke_word(at + 8, 0)
        return 0

    return callback


def _bounded(agent: Agent, pointer: int, length: int) -> Pointer:
    address, size = agent.memory()
    if pointer + length > size:
        raise _OutOfBoundsError
    return address + pointer


def _read(agent: Agent, pointer: int, length: int) -> bytes:
    address = _bounded(agent, pointer, length)
    return binding.peek(address, length) if length else b""
