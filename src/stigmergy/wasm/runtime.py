"""One module, called from Python: the face for those who want an instance rather than a swarm."""

from types import TracebackType
from typing import Self

from stigmergy.errors import StigmergyError, UsageError
from stigmergy.wasm.engine import Trap
from stigmergy.wasm.engines import EngineName
from stigmergy.wasm.manager import SwarmManager
from stigmergy.wasm.values import Number

__all__ = ["OutOfInstructionsError", "TrapError", "WASMRuntime"]

_DEFAULT_INSTRUCTIONS = 1_000_000_000


class TrapError(StigmergyError):
    """A call trapped; `trap` says why and where."""

    def __init__(self, trap: Trap) -> None:
        super().__init__(f"the module trapped: {trap}")
        self.trap = trap


class OutOfInstructionsError(StigmergyError):
    """A call used up its instructions; it was given up."""


class WASMRuntime:
    """An instance of a module, or with `swarm_mode` a swarm of it, in `swarm`.

    Use it as a context manager, or call `close`. Not thread-safe.
    """

    def __init__(self, *, swarm_mode: bool = False, engine: EngineName = "auto") -> None:
        self.swarm_mode = swarm_mode
        self.swarm = SwarmManager(engine)
        self._agent: int | None = None

    @classmethod
    def from_wasm(
        cls, wasm: bytes | str, *, swarm_mode: bool = False, engine: EngineName = "auto"
    ) -> Self:
        """Make one with a module loaded, binary or text (WAT).

        Raises:
            InvalidModuleError: It is no valid module.
        """
        runtime = cls(swarm_mode=swarm_mode, engine=engine)
        runtime.swarm.load_bytecode(wasm)
        return runtime

    def call(
        self,
        function: int | str,
        *args: Number,
        max_instructions: int = _DEFAULT_INSTRUCTIONS,
    ) -> Number:
        """Call a function of the one instance, which keeps its memory and globals between calls.

        Raises:
            TrapError: The call trapped.
            OutOfInstructionsError: It used up its instructions.
            UsageError: There is no such function, it takes other arguments, or this is a swarm.
        """
        if self.swarm_mode:
            message = "in swarm mode, spawn agents on `swarm` and dispatch them"
            raise UsageError(message)
        if self._agent is None:
            self._agent = self.swarm.spawn_agent(function, args=args)
        else:
            self.swarm.restart_agent(self._agent, function, args)
        result = self.swarm.dispatch([self._agent], max_instructions)
        if self._agent in result.traps:
            raise TrapError(result.traps[self._agent])
        if self._agent in result.unfinished:
            message = f"the call of {function!r} used up its {max_instructions} instructions"
            raise OutOfInstructionsError(message)
        return result.agent_results[self._agent]

    def memory(self, size: int | None = None, offset: int = 0) -> bytes:
        """Return a part of the instance's memory after the first call; all of it by default.

        Raises:
            UsageError: There was no call yet, or the part lies outside of the memory.
        """
        if self._agent is None:
            message = "the instance begins with its first call: call a function first"
            raise UsageError(message)
        return self.swarm.get_agent_memory(self._agent, size, offset)

    def close(self) -> None:
        """Free the engine. Idempotent."""
        self.swarm.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
