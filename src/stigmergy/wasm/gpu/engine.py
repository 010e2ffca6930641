"""The GPU engine: WebAssembly modules compiled to WGSL, run by wgpu."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from stigmergy.wasm.engine import Cohort, CohortSettings
from stigmergy.wasm.gpu.adapter import Adapter, AdapterFacts, find_adapter
from stigmergy.wasm.gpu.cohort import GpuCohort
from stigmergy.wasm.gpu.device import Device
from stigmergy.wasm.gpu.program import Compiled, CompilerOptions
from stigmergy.wasm.gpu.trial import TrialPolicy, Trials
from stigmergy.wasm.gpu.verdicts import Verdicts
from stigmergy.wasm.hostcalls import resolve_imports
from stigmergy.wasm.module.model import Module

__all__ = ["Compiler", "GpuEngine"]

Compiler: TypeAlias = Callable[[Module, CohortSettings, CompilerOptions], Compiled]


class GpuEngine:
    """See engine.Engine. The adapter is found at once, the device when the first cohort is made.

    `cache` is the folder where verdicts on drivers and shaders are kept. `memory_block` and
    `window_bytes` (the most of one buffer) are the adapter's unless given.

    Raises:
        UnsupportedError: There is no wgpu or no adapter; the message says what to install.
    """

    name: Literal["gpu"] = "gpu"

    def __init__(
        self,
        *,
        compiler: Compiler | None = None,
        trial: TrialPolicy = "auto",
        cache: Path | None = None,
        memory_block: int | None = None,
        window_bytes: int | None = None,
    ) -> None:
        self._compiler = compiler or _compile
        self._trial: TrialPolicy = trial
        self._verdicts = Verdicts(cache)
        self._adapter = find_adapter(self._verdicts)
        facts = self._adapter.facts
        self._facts = replace(
            facts,
            memory_block=memory_block or facts.memory_block,
            binding_bytes=min(window_bytes or facts.binding_bytes, facts.binding_bytes),
        )
        self._lock = threading.Lock()
        self._device: Device | None = None

    @property
    def device(self) -> str:
        """What it runs on, for people."""
        return self._facts.name

    @property
    def facts(self) -> AdapterFacts:
        """How it uses its adapter."""
        return self._facts

    def cohort(self, module: Module, settings: CohortSettings) -> Cohort:
        """Make an empty cohort. The module is compiled while the driver makes its device."""
        resolve_imports(module, settings.imports)
        failures: list[Exception] = []
        making = threading.Thread(target=self._make_device, args=(failures,), name="gpu-device")
        making.start()
        try:
            options = CompilerOptions(self._facts.memory_block, self._facts.workgroup_size)
            compiled = self._compiler(module, settings, options)
        finally:
            making.join()
        if failures:
            raise failures[0]
        assert self._device is not None
        trials = Trials(self._facts, self._verdicts, self._trial)
        return GpuCohort(self._device, module, settings, compiled, trials)

    def _make_device(self, failures: list[Exception]) -> None:
        """Make the device if there is none, or it was lost."""
        with self._lock:
            if self._device is not None and not self._device.lost:
                return
            try:
                adapter = self._adapter if self._device is None else find_adapter(self._verdicts)
                self._device = Device(Adapter(adapter.handle, self._facts))
            except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
                failures.append(error)

    def close(self) -> None:
        """Free the device, and with it every cohort's agents. Idempotent."""
        with self._lock:
            if self._device is not None:
                self._device.close()


def _compile(module: Module, settings: CohortSettings, options: CompilerOptions) -> Compiled:
    from stigmergy.wasm.gpu.compile import compile_module

    return compile_module(module, settings, options)
