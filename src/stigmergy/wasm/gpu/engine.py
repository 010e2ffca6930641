"""The GPU engine: WebAssembly modules compiled to WGSL, run by wgpu."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from stigmergy.errors import TransientError, UnsupportedError
from stigmergy.wasm.engine import Cohort, CohortSettings
from stigmergy.wasm.gpu.adapter import Adapter, AdapterFacts, find_adapter
from stigmergy.wasm.gpu.cohort import GpuCohort
from stigmergy.wasm.gpu.device import Device
from stigmergy.wasm.gpu.presence import no_hardware, remember_software
from stigmergy.wasm.gpu.program import Compiled, CompilerOptions
from stigmergy.wasm.gpu.trial import TrialPolicy, Trials
from stigmergy.wasm.gpu.verdicts import Verdicts
from stigmergy.wasm.hostcalls import resolve_imports
from stigmergy.wasm.module.model import Module

__all__ = ["Compiler", "GpuEngine"]

Compiler: TypeAlias = Callable[[Module, CohortSettings, CompilerOptions], Compiled]


class GpuEngine:
    """See engine.Engine. The driver makes the device while the caller goes on.

    `cache` is the folder where verdicts on drivers and shaders are kept. `memory_block` and
    `window_bytes` (the most of one buffer) are the adapter's unless given. Without `software` it
    must be hardware, not a driver that runs on the processor.

    Raises:
        UnsupportedError: There is no wgpu or no adapter; the message says what to install. Or there
            is no hardware.
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
        software: bool = True,
    ) -> None:
        self._compiler = compiler or _compile
        self._trial: TrialPolicy = trial
        self._verdicts = Verdicts(cache)
        self._adapter = find_adapter(self._verdicts)
        facts = self._adapter.facts
        if facts.is_software and not software:
            remember_software(self._verdicts, facts)
            raise UnsupportedError(no_hardware(facts.name))
        self._facts = replace(
            facts,
            memory_block=memory_block or facts.memory_block,
            binding_bytes=min(window_bytes or facts.binding_bytes, facts.binding_bytes),
        )
        self._lock = threading.Lock()
        self._device: Device | None = None
        self._failure: Exception | None = None
        self._closed = False
        self._making = threading.Thread(target=self._make_device, name="gpu-device")
        self._making.start()

    @property
    def device(self) -> str:
        """What it runs on, for people."""
        return self._facts.name

    @property
    def is_hardware(self) -> bool:
        """Whether the adapter is a GPU, not a processor that plays one."""
        return not self._facts.is_software

    @property
    def facts(self) -> AdapterFacts:
        """How it uses its adapter."""
        return self._facts

    def cohort(self, module: Module, settings: CohortSettings) -> Cohort:
        """Make an empty cohort; the module's shaders are written when functions are begun.

        Raises:
            UnsupportedError: The GPU cannot run the module, for the reason given.
            TransientError: The engine was closed.
        """
        options = CompilerOptions(self._facts.memory_block, self._facts.workgroup_size)
        resolve_imports(module, settings.imports)
        compiled = self._compiler(module, settings, options)
        trials = Trials(self._facts, self._verdicts, self._trial)
        return GpuCohort(self._ready_device(), module, settings, compiled, trials)

    def _ready_device(self) -> Device:
        """Return the device, another one if the last one was lost."""
        with self._lock:
            self._making.join()
            if self._closed:
                message = "the GPU engine was closed; make another"
                raise TransientError(message)
            if self._device is not None and self._device.lost:
                self._adapter = find_adapter(self._verdicts)
                self._make_device()
            if self._failure is not None:
                raise self._failure
            assert self._device is not None
            return self._device

    def _make_device(self) -> None:
        self._failure = None
        try:
            self._device = Device(Adapter(self._adapter.handle, self._facts))
            self._device.warm_up()
        except Exception as error:  # noqa: BLE001 - raised again where the device is wanted
            self._failure = error

    def close(self) -> None:
        """Free the device, and with it every cohort's agents. Idempotent."""
        with self._lock:
            self._making.join()
            self._closed = True
            if self._device is not None:
                self._device.close()


def _compile(module: Module, settings: CohortSettings, options: CompilerOptions) -> Compiled:
    from stigmergy.wasm.gpu.compile import compile_module

    return compile_module(module, settings, options)
