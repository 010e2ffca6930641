"""What lowering a function asks about the rest of its module. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from stigmergy.wasm.engine import CohortSettings
from stigmergy.wasm.gpu.callgraph import CallGraph
from stigmergy.wasm.gpu.expressions import Expression
from stigmergy.wasm.hostcalls import HostCall
from stigmergy.wasm.module.model import Module

__all__ = ["Surroundings"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A module, its imports resolved, and what is constant in it."""

    module: Module
    graph: CallGraph
    settings: CohortSettings
    host: tuple[HostCall, ...]
    """What each imported function is."""
    constants: Mapping[int, Expression]
    """The globals that never change."""
    memory_bytes: int
    """The size of the memory at the start; 0 without one."""
    memory_grows: bool
    """Whether any function may change the memory's size."""
