"""Which adapter the GPU engine runs on, and all that differs from one to the next.

Nothing else in the engine asks what the hardware is: it reads `AdapterFacts`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.gpu.cffitypes import hasten
from stigmergy.wasm.gpu.pacing import AIM_S
from stigmergy.wasm.gpu.verdicts import GOOD, Verdicts, verdict_key

__all__ = ["Adapter", "AdapterFacts", "drivers", "facts_of", "find_adapter"]

FIRST_SLICE = 4_096
"""Instructions of an agent in a first dispatch: nothing is known about the speed yet."""
_SLICE_OF_BOUNDED_LOOPS = 32_000
_BOUNDED_LOOPS_BEFORE_MESA = 23
_LARGEST_WINDOW_BYTES = 1 << 30
_LONGEST_SLICE = 1 << 30
_WORKGROUP_SIZE = 64
_BLOCK_OF_HARDWARE = 32
_PROBE_S = 60.0

_HINT_WGPU = "the GPU engine needs the package wgpu: pip install 'stigmergy[gpu]'"
_HINT_DRIVER = (
    "the GPU engine found no graphics driver. With a graphics card, install its Vulkan driver; "
    "without one, Mesa's software driver will do: apt-get install mesa-vulkan-drivers (Debian, "
    "Ubuntu), dnf install mesa-vulkan-drivers (Fedora)"
)
_PROBE = """
import wgpu
adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
adapter.request_device_sync()
"""


_AIM_OF_SOFTWARE_S = 0.6
"""No watchdog looks at a driver on the processor, and every stop costs it half a slice."""


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """What the engine has to know about an adapter.

    `memory_block`: see layout.memory_index. `binding_bytes`: the most of one buffer of a window.
    `groups_per_dimension`: workgroups in a row of a dispatch. `longest_slice`: instructions of an
    agent in one dispatch, at most.
    """

    name: str
    driver: str
    """Changes whenever the same shader could fare otherwise."""
    memory_block: int
    workgroup_size: int
    binding_bytes: int
    groups_per_dimension: int
    first_slice: int = FIRST_SLICE
    longest_slice: int = _LONGEST_SLICE
    aim_s: float = AIM_S
    """What a dispatch shall take, in seconds."""
    is_software: bool = False
    """Whether a processor plays the GPU."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter of wgpu, and its facts."""

    handle: Any
    facts: AdapterFacts


def find_adapter(verdicts: Verdicts) -> Adapter:
    """Find the fastest adapter of this machine.

    A driver that is broken may end the process that asks for it. So another one asks first, once
    for each set of drivers.

    Raises:
        UnsupportedError: wgpu is not installed, or no driver is; the message says what to do.
    """
    key = verdict_key("adapter", drivers())
    if verdicts.get(key) != GOOD:
        _probe()
        verdicts.put(key, GOOD)
    try:
        import wgpu
        from wgpu.backends.wgpu_native._ffi import ffi
    except ImportError as error:
        raise UnsupportedError(_HINT_WGPU) from error
    hasten(ffi)
    try:
        handle: Any = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    except RuntimeError as error:
        raise UnsupportedError(f"{_HINT_DRIVER} ({error})") from error
    return Adapter(handle, facts_of(handle.info, handle.limits))


def facts_of(info: Mapping[str, Any], limits: Mapping[str, int]) -> AdapterFacts:
    """Decide how to use an adapter, from what it says about itself. Pure."""
    software = info["adapter_type"] == "CPU"
    workgroup_size = min(
        _WORKGROUP_SIZE,
        limits["max-compute-workgroup-size-x"],
        limits["max-compute-invocations-per-workgroup"],
    )
    description = str(info.get("description") or "")
    return AdapterFacts(
        name=", ".join(filter(None, (info["device"], description, info["backend_type"]))),
        driver="/".join(str(info.get(key, "")) for key in ("vendor", "device", "description")),
        memory_block=1 if software else _BLOCK_OF_HARDWARE,
        aim_s=_AIM_OF_SOFTWARE_S if software else AIM_S,
        is_software=software,
        workgroup_size=workgroup_size,
        binding_bytes=min(
            limits["max-storage-buffer-binding-size"],
            limits["max-buffer-size"],
            _LARGEST_WINDOW_BYTES,
        )
        & ~0xFF,
        groups_per_dimension=limits["max-compute-workgroups-per-dimension"],
        longest_slice=_SLICE_OF_BOUNDED_LOOPS if _bounds_loops(info) else _LONGEST_SLICE,
    )


def _bounds_loops(info: Mapping[str, Any]) -> bool:
    """Whether loops end, without an error, after 65,535 iterations in total: llvmpipe of old."""
    if "llvmpipe" not in f"{info.get('vendor')} {info.get('device')}".lower():
        return False
    version = re.search(r"Mesa (\d+)", str(info.get("description")))
    return version is None or int(version[1]) < _BOUNDED_LOOPS_BEFORE_MESA


def drivers() -> list[str]:
    """List what decides whether an adapter is found: wgpu, the choices of the user, the drivers.

    Raises:
        UnsupportedError: wgpu is not installed.
    """
    try:
        parts = [metadata.version("wgpu")]
    except metadata.PackageNotFoundError as error:
        raise UnsupportedError(_HINT_WGPU) from error
    chosen = ("VK_ICD_FILENAMES", "VK_DRIVER_FILES", "VK_ADD_DRIVER_FILES", "LIBGL_DRIVERS_PATH")
    parts += [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name in chosen or name.startswith(("WGPU", "MESA_", "LP_", "GALLIUM"))
    ]
    for folder in ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"):
        for file in sorted(Path(folder).glob("*.json")):
            stat = file.stat()
            parts.append(f"{file} {stat.st_size} {stat.st_mtime_ns}")
    return parts


def _probe() -> None:
    """Let another process make a device."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        message = f"the graphics driver did not answer within {_PROBE_S:.0f} s"
        raise UnsupportedError(message) from error
    if done.returncode == 0:
        return
    last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
    if done.returncode > 0 and "ModuleNotFoundError" in last:
        raise UnsupportedError(_HINT_WGPU)
    raise UnsupportedError(f"{_HINT_DRIVER} ({last})")
