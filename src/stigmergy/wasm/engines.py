"""Finds the engine that a user asks for, and says why it is that one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from stigmergy.errors import UnsupportedError, UsageError
from stigmergy.wasm.engine import Cohort, CohortSettings, Engine
from stigmergy.wasm.module.model import Module

__all__ = ["EngineName", "Engines", "Placed"]

EngineName = Literal["auto", "cpu", "gpu"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A cohort and the engine that it is on; `reason` says why it is not on the GPU, if wanted."""

    cohort: Cohort
    engine: Engine
    reason: str = ""


class Engines:
    """The engines of one swarm, opened when first needed.

    `auto` is the GPU where there is a hardware one and it can run the code, the CPU otherwise. A
    software adapter (lavapipe) is used only when asked for by `gpu`: the CPU engine is the better
    one on a processor, but for very large swarms of small programs.
    """

    def __init__(
        self,
        name: EngineName,
        *,
        cpu: Callable[[], Engine] | None = None,
        gpu: Callable[[], Engine] | None = None,
    ) -> None:
        if name not in ("auto", "cpu", "gpu"):
            message = f"there is no engine {name!r}; it is auto, cpu or gpu"
            raise UsageError(message)
        self.name: EngineName = name
        self._open_cpu = cpu or _open_cpu
        self._open_gpu = gpu or (_open_hardware if name == "auto" else _open_gpu)
        self._cpu: Engine | None = None
        self._gpu: Engine | None = None
        self._no_gpu = ""

    def place(
        self, module: Module, settings: CohortSettings, entry: int | None, have: list[Placed]
    ) -> Placed:
        """Return a cohort for agents of a module that begin with this function.

        `have`: the module's cohorts so far, which are used again.

        Raises:
            UnsupportedError: The engine asked for cannot run it; under `auto`, no engine can.
        """
        if self.name == "cpu":
            return self._on_cpu(module, settings, have, "")
        if self.name == "gpu":
            return self._on_gpu(module, settings, entry, have)
        reason = self._why_no_gpu()
        if not reason:
            try:
                return self._on_gpu(module, settings, entry, have)
            except UnsupportedError as error:
                reason = str(error)
        return self._on_cpu(module, settings, have, reason)

    def offer(self, module: Module, settings: CohortSettings) -> Callable[[int], None] | None:
        """Tell early what cannot be run; nothing is opened or compiled for it.

        Returns what raises UnsupportedError for a function that agents cannot begin with, if there
        may be such.

        Raises:
            UnsupportedError: The engine asked for can run nothing of the module.
        """
        if self.name != "gpu":
            return None
        from stigmergy.wasm.gpu.offering import Offer

        return Offer(module, settings).check

    def has(self, placed: Placed) -> bool:
        """Whether a cohort is on an engine that is still used."""
        return placed.engine in (self._cpu, self._gpu)

    def give_device_up(self) -> None:
        """Close the GPU, which was lost: another device is opened when one is needed next."""
        engine, self._gpu = self._gpu, None
        if engine is not None:
            engine.close()

    def leave_gpu(self, reason: str) -> bool:
        """Use the GPU no more, if the user leaves the choice to us; returns whether."""
        if self.name != "auto":
            return False
        self.give_device_up()
        self._no_gpu = reason
        return True

    def close(self) -> None:
        """Free the devices. Idempotent."""
        for engine in (self._cpu, self._gpu):
            if engine is not None:
                engine.close()
        self._cpu = self._gpu = None

    def _on_cpu(
        self, module: Module, settings: CohortSettings, have: list[Placed], reason: str
    ) -> Placed:
        for placed in have:
            if placed.engine is self._cpu:
                return placed
        self._cpu = self._cpu or self._open_cpu()
        return Placed(self._cpu.cohort(module, settings), self._cpu, reason)

    def _on_gpu(
        self, module: Module, settings: CohortSettings, entry: int | None, have: list[Placed]
    ) -> Placed:
        self._gpu = self._gpu or self._open_gpu()
        placed = next((one for one in have if one.engine is self._gpu), None)
        if placed is None:
            placed = Placed(self._gpu.cohort(module, settings), self._gpu)
        if entry is not None:
            placed.cohort.check(entry)
        return placed

    def _why_no_gpu(self) -> str:
        """Return why `auto` does not take the GPU, or nothing."""
        if self._gpu is None and not self._no_gpu:
            try:
                self._gpu = self._open_gpu()
            except UnsupportedError as error:
                self._no_gpu = str(error)
        return self._no_gpu


def _open_cpu() -> Engine:
    try:
        from stigmergy.wasm.cpu.engine import CpuEngine
    except ImportError as error:
        message = f"WebAssembly needs wasmtime: pip install 'stigmergy[wasm]' ({error})"
        raise UnsupportedError(message) from error
    return CpuEngine()


def _open_gpu() -> Engine:
    from stigmergy.wasm.gpu.engine import GpuEngine

    return GpuEngine()


def _open_hardware() -> Engine:
    """Open a GPU that is no software; where it is known that there is none, nothing is loaded."""
    from stigmergy.wasm.gpu.presence import known_software, no_hardware
    from stigmergy.wasm.gpu.verdicts import Verdicts

    driver = known_software(Verdicts())
    if driver is not None:
        raise UnsupportedError(no_hardware(driver))
    from stigmergy.wasm.gpu.engine import GpuEngine

    return GpuEngine(software=False)
