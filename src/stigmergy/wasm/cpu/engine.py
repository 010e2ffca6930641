"""The CPU engine: wasmtime runs the agents, on as many threads as there are processors."""

from __future__ import annotations

import os
import platform
from typing import Literal

from stigmergy.wasm.cpu.cohort import CpuCohort
from stigmergy.wasm.cpu.program import Program
from stigmergy.wasm.cpu.runtime import Runtime
from stigmergy.wasm.engine import CohortSettings
from stigmergy.wasm.module.model import Module

__all__ = ["CpuEngine"]


class CpuEngine:
    """Runs cohorts with wasmtime. Safe to share between threads that have cohorts of their own."""

    def __init__(self, threads: int | None = None) -> None:
        self._runtime = Runtime()
        self._threads = threads or os.cpu_count() or 1

    @property
    def name(self) -> Literal["cpu", "gpu"]:
        """How users choose it."""
        return "cpu"

    @property
    def device(self) -> str:
        """What it runs on, for people."""
        threads = f"{self._threads} thread" + ("s" if self._threads > 1 else "")
        return f"wasmtime on {platform.machine()}, {threads}"

    @property
    def is_hardware(self) -> bool:
        """Whether it runs where it says: it does."""
        return True

    def cohort(self, module: Module, settings: CohortSettings) -> CpuCohort:
        """Make an empty cohort.

        Raises:
            UnsupportedError: This engine cannot run the module, for the reason given.
        """
        program = Program(self._runtime, module, settings)
        return CpuCohort(program, self._threads)

    def close(self) -> None:
        """Free the engine. Idempotent; cohorts must be closed before."""
        self._runtime.close()
