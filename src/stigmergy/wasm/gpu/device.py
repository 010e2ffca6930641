"""A GPU device: its buffers, what is copied to and from them, and what goes wrong with it.

The only module, with adapter.py, that calls wgpu; its objects are `Any` here and opaque elsewhere.
"""

import importlib
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.engine import DeviceLostError
from stigmergy.wasm.gpu.adapter import Adapter, AdapterFacts
from stigmergy.wasm.gpu.interleaving import U32

__all__ = ["BufferKind", "Device", "Dispatch", "Pipeline", "Region"]

BufferKind = Literal["read_write", "read", "uniform"]

_LIMITS = (
    "max-storage-buffer-binding-size",
    "max-buffer-size",
    "max-compute-workgroups-per-dimension",
    "max-compute-workgroup-size-x",
    "max-compute-invocations-per-workgroup",
)
_STAGING_BYTES = 32 << 20
_LEAST_BYTES = 16
_WGPU_KINDS: Mapping[BufferKind, str] = {
    "read_write": "storage",
    "read": "read-only-storage",
    "uniform": "uniform",
}


class Region(NamedTuple):
    """A piece of a buffer, in bytes; both numbers are multiples of 4."""

    buffer: Any
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A compiled shader, and the layout of the buffers that it is bound to."""

    handle: Any
    layout: Any


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A shader to run over so many invocations, with its buffers bound."""

    pipeline: Pipeline
    bound: Any
    groups: tuple[int, int]


class Device:
    """A device and its queue. Calls are serialised, so threads may share it."""

    def __init__(self, adapter: Adapter) -> None:
        import wgpu

        self._wgpu: Any = wgpu
        self.facts: AdapterFacts = adapter.facts
        self.lost = ""
        """Why it was lost; empty while it is there."""
        self._lock = threading.RLock()
        self._staging: Any = None
        limits = {name: adapter.handle.limits[name] for name in _LIMITS}
        try:
            self._device: Any = adapter.handle.request_device_sync(required_limits=limits)
        except RuntimeError as error:
            message = f"the graphics driver gives no device: {error}"
            raise UnsupportedError(message) from error

    def warm_up(self) -> None:
        """Let the driver load what it loads when it is first used."""
        with self._lock:
            buffer = self.buffer(_LEAST_BYTES)
            for _ in self.read([Region(buffer, 0, _LEAST_BYTES)]):
                pass

    def buffer(self, size: int, kind: BufferKind = "read_write") -> Any:
        """Make a buffer of zeros, of at least so many bytes."""
        usage = self._wgpu.BufferUsage
        flags = usage.UNIFORM if kind == "uniform" else usage.STORAGE
        with self._watched():
            return self._device.create_buffer(
                size=max(size, _LEAST_BYTES), usage=flags | usage.COPY_SRC | usage.COPY_DST
            )

    def free(self, buffers: Iterable[Any]) -> None:
        """Give buffers back now."""
        with self._lock:
            for buffer in buffers:
                buffer.destroy()

    def write(self, buffer: Any, offset: int, content: npt.NDArray[Any]) -> None:
        """Copy an array to a buffer, from a byte on."""
        if not content.size:
            return
        raw = np.ascontiguousarray(content).reshape(-1).view(np.uint8)
        with self._watched():
            for start in range(0, len(raw), _STAGING_BYTES):
                part = raw[start : start + _STAGING_BYTES]
                self._device.queue.write_buffer(buffer, offset + start, part)
                if len(raw) > _STAGING_BYTES:
                    # wgpu keeps a copy of what is written until the next submission
                    self._device.queue.submit([])

    def encoder(self) -> Any:
        """Begin a list of commands."""
        with self._watched():
            return self._device.create_command_encoder()

    def submit(self, encoder: Any) -> None:
        """Run a list of commands, sometime."""
        with self._watched():
            self._device.queue.submit([encoder.finish()])

    def clear(self, encoder: Any, region: Region) -> None:
        """Add to a list of commands that a region becomes zeros."""
        with self._watched():
            encoder.clear_buffer(region.buffer, region.offset, region.size)

    def copy(self, encoder: Any, source: Any, region: Region) -> None:
        """Add to a list of commands that a region becomes what another buffer begins with."""
        with self._watched():
            encoder.copy_buffer_to_buffer(source, 0, region.buffer, region.offset, region.size)

    def encode(self, encoder: Any, dispatches: Sequence[Dispatch]) -> None:
        """Add dispatches to a list of commands."""
        with self._watched():
            compute = encoder.begin_compute_pass()
            for one in dispatches:
                compute.set_pipeline(one.pipeline.handle)
                compute.set_bind_group(0, one.bound)
                compute.dispatch_workgroups(*one.groups)
            compute.end()

    def read(self, regions: Sequence[Region], encoder: Any = None) -> Iterator[U32]:
        """Wait for all that was submitted and the encoder's commands, and yield what regions hold.

        Each array is of words, read-only, and good until the next one is asked for.
        """
        position = 0
        while position < len(regions):
            end, size = position, 0
            while end < len(regions) and (
                end == position or size + regions[end].size <= _STAGING_BYTES
            ):
                size += regions[end].size
                end += 1
            yield from self._read(regions[position:end], size, encoder)
            position, encoder = end, None

    def _read(self, regions: Sequence[Region], size: int, encoder: Any) -> Iterator[U32]:
        with self._lock:
            staging = self._copied(regions, size, encoder)
            words = np.frombuffer(staging.read_mapped(0, size, copy=False), dtype=np.uint32)
            try:
                at = 0
                for region in regions:
                    yield words[at : at + region.size // 4]
                    at += region.size // 4
            finally:
                del words
                with self._watched():
                    staging.unmap()

    def _copied(self, regions: Sequence[Region], size: int, encoder: Any) -> Any:
        """Return a buffer that is mapped and holds the regions one after the other."""
        with self._watched():
            encoder = encoder or self._device.create_command_encoder()
            # nobody else's if this is broken off: it may then stay half mapped
            staging, self._staging = self._staging_of(size), None
            at = 0
            for region in regions:
                encoder.copy_buffer_to_buffer(
                    region.buffer, region.offset, staging, at, region.size
                )
                at += region.size
            self._device.queue.submit([encoder.finish()])
            staging.map_sync("READ", 0, size)
            self._staging = staging
            return staging

    def _staging_of(self, size: int) -> Any:
        """Return the buffer that can be mapped, larger than before if need be."""
        if self._staging is not None and self._staging.size < size:
            self._staging.destroy()
            self._staging = None
        if self._staging is None:
            usage = self._wgpu.BufferUsage
            rounded = 1 << max(16, (size - 1).bit_length())
            self._staging = self._device.create_buffer(
                size=min(rounded, max(size, _STAGING_BYTES)), usage=usage.MAP_READ | usage.COPY_DST
            )
        return self._staging

    def pipeline(self, wgsl: str, kinds: Mapping[int, BufferKind]) -> Pipeline:
        """Compile a shader whose buffers have these kinds, by binding.

        Raises:
            UnsupportedError: The driver refuses it; its message is in the text.
        """
        stage = self._wgpu.ShaderStage.COMPUTE
        entries = [
            {"binding": binding, "visibility": stage, "buffer": {"type": _WGPU_KINDS[kind]}}
            for binding, kind in kinds.items()
        ]
        with self._watched():
            try:
                layout = self._device.create_bind_group_layout(entries=entries)
                handle = self._device.create_compute_pipeline(
                    layout=self._device.create_pipeline_layout(bind_group_layouts=[layout]),
                    compute={
                        "module": self._shader_module(wgsl),
                        "entry_point": "main",
                    },
                )
            except self._wgpu.GPUValidationError as error:
                if _says_lost(error):
                    raise
                message = f"the graphics driver refuses the shader: {error}"
                raise UnsupportedError(message) from error
        return Pipeline(handle, layout)

    def _shader_module(self, wgsl: str) -> Any:
        """Compile WGSL with accesses checked, but without a limit to its loops.

        wgpu would count the rounds of each loop in 64 bits, to end those that never end; ours end
        when an agent has used up its instructions. It doubles the speed of a small loop. The
        package has no method for it, so this is its `create_shader_module` with another last call.
        """
        api: Any = importlib.import_module("wgpu.backends.wgpu_native._api")
        source = api.new_struct_p("WGPUShaderSourceWGSL *", code=api.to_c_string_view(wgsl))
        source[0].chain.next = api.ffi.NULL
        source[0].chain.sType = api.lib.WGPUSType_ShaderSourceWGSL
        descriptor = api.new_struct_p(
            "WGPUShaderModuleDescriptor *",
            nextInChain=api.ffi.cast("WGPUChainedStruct *", source),
            label=api.to_c_string_view(""),
        )
        handle = api.libf.wgpuDeviceCreateShaderModuleTrusted(
            self._device._internal,  # noqa: SLF001 - the package's own way to name its device
            descriptor,
            api.lib.WGPUShaderRuntimeChecks_BoundsChecks,
        )
        if handle == api.ffi.NULL:
            message = "the graphics driver makes no shader of the code"
            raise UnsupportedError(message)
        return api.GPUShaderModule("", handle, self._device)

    def bind(self, pipeline: Pipeline, buffers: Mapping[int, Region]) -> Any:
        """Bind buffers to a shader, by binding."""
        entries = [
            {
                "binding": binding,
                "resource": {
                    "buffer": region.buffer,
                    "offset": region.offset,
                    "size": region.size,
                },
            }
            for binding, region in buffers.items()
        ]
        with self._watched():
            return self._device.create_bind_group(layout=pipeline.layout, entries=entries)

    def close(self) -> None:
        """Give the device back. Idempotent."""
        with self._lock:
            if self._device is not None:
                self._staging = None
                self._device.destroy()
                self._device = None

    @contextmanager
    def _watched(self) -> Generator[None]:
        """Serialise calls, and say what it means for agents when one fails."""
        with self._lock:
            if self.lost or self._device is None:
                raise _lost(self.lost or "it was closed")
            try:
                yield
            except self._wgpu.GPUOutOfMemoryError as error:
                message = f"the GPU has no room for so many agents: {error}"
                raise UnsupportedError(message) from error
            except (self._wgpu.GPUError, RuntimeError) as error:
                if not _says_lost(error):
                    raise
                self.lost = " ".join(str(error).split()) or "the driver does not say why"
                raise _lost(self.lost) from error


def _says_lost(error: Exception) -> bool:
    text = str(error).lower()
    return "lost" in text or "destroyed" in text or "could not map" in text


def _lost(reason: str) -> DeviceLostError:
    message = (
        f"the GPU's device was lost ({reason}), and with it the state of all agents on it; make "
        "the cohort anew and begin again"
    )
    return DeviceLostError(message, reason=reason)
