"""The shaders of a cohort: which one runs a set of entry functions, compiled when it is needed."""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import count
from typing import Any

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.gpu.device import BufferKind, Device, Pipeline
from stigmergy.wasm.gpu.layout import Binding
from stigmergy.wasm.gpu.program import Compiled, Shader
from stigmergy.wasm.gpu.trial import Trials

__all__ = ["LoadedShader", "Shaders", "kinds_of"]

_KEPT = 16


@dataclass(slots=True)
class LoadedShader:
    """A shader that the driver has compiled. `ran` is false until its first dispatch is over."""

    number: int
    shader: Shader
    pipeline: Pipeline
    constants: Any
    ran: bool = False


class Shaders:
    """Compiled shaders by the entries that they can begin and resume; the last ones used stay."""

    def __init__(self, device: Device, compiled: Compiled, trials: Trials) -> None:
        self._device = device
        self._compiled = compiled
        self._trials = trials
        self._numbers = count()
        self._sources: dict[frozenset[int], Shader] = {}
        self._loaded: OrderedDict[frozenset[int], LoadedShader] = OrderedDict()

    def check(self, function: int) -> None:
        """Return if there is a shader that begins this function.

        Raises:
            UnsupportedError: There is none, for the reason given.
        """
        if not any(function in entries for entries in self._sources):
            self._source(frozenset({function}))

    def load(self, needed: frozenset[int], unfinished: frozenset[int]) -> LoadedShader:
        """Return a shader for the entries of agents that run now.

        One that is there already if it will do. A new one is for the agents too that are not
        finished and may run with them next, so that alternating runs do not compile in turn.
        """
        for entries in reversed(self._loaded):
            if needed <= entries:
                self._loaded.move_to_end(entries)
                return self._loaded[entries]
        entries = needed | unfinished
        try:
            loaded = self._load(entries)
        except UnsupportedError:
            if entries == needed:
                raise
            entries = needed
            loaded = self._load(entries)
        self._loaded[entries] = loaded
        if len(self._loaded) > _KEPT:
            self._loaded.popitem(last=False)
        return loaded

    def _source(self, entries: frozenset[int]) -> Shader:
        if entries not in self._sources:
            self._sources[entries] = self._compiled.shader(entries)
        return self._sources[entries]

    def _load(self, entries: frozenset[int]) -> LoadedShader:
        shader = self._source(entries)
        kinds = kinds_of(shader)
        self._trials.check(shader.wgsl, kinds)
        constants = None
        if shader.constants.size:
            constants = self._device.buffer(shader.constants.nbytes, "read")
            self._device.write(constants, 0, shader.constants)
        pipeline = self._device.pipeline(shader.wgsl, kinds)
        return LoadedShader(next(self._numbers), shader, pipeline, constants)


def kinds_of(shader: Shader) -> dict[int, BufferKind]:
    """Return the buffers that a shader declares, by binding."""
    kinds: dict[int, BufferKind] = {
        Binding.STATE: "read_write",
        Binding.AGENTS: "read",
        Binding.PARAMETERS: "uniform",
    }
    if shader.uses_memory:
        kinds[Binding.MEMORY] = "read_write"
    if shader.uses_output:
        kinds[Binding.OUTPUT] = "read_write"
    if shader.uses_mail:
        kinds[Binding.MAIL] = "read_write"
    if shader.constants.size:
        kinds[Binding.CONSTANTS] = "read"
    return kinds
