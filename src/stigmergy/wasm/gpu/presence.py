"""Remembers that a machine has no hardware GPU, so that `auto` need not load a driver to see it.

That is looked at again when a device, a driver or the choice of one has changed, after a start of
the machine, and after a day. A memory that is too old costs speed, never a result. Only Linux tells
of its devices in files; elsewhere nothing is remembered.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from stigmergy.wasm.gpu.adapter import AdapterFacts, drivers
from stigmergy.wasm.gpu.verdicts import Verdicts, verdict_key

__all__ = ["known_software", "no_hardware", "remember_software"]

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_DEVICES: Final = ("/dev/dri/*", "/dev/nvidia*", "/dev/kfd", "/dev/dxg", "/dev/mali*")
_GOOD_FOR_S: Final = 86_400.0


def known_software(verdicts: Verdicts) -> str | None:
    """Return the software driver that is all there was when last looked; None if not known."""
    key = _key()
    return None if key is None else verdicts.get(key, younger_than_s=_GOOD_FOR_S)


def remember_software(verdicts: Verdicts, facts: AdapterFacts) -> None:
    """Note that this software driver is the best that there is."""
    key = _key()
    if key is not None:
        verdicts.put(key, facts.name)


def no_hardware(driver: str) -> str:
    """Return why `auto` does not take the GPU, for people."""
    return f"no GPU, but the software driver {driver}"


def _key() -> str | None:
    """Return what the answer is kept under: it changes with all that may decide it."""
    try:
        boot = _BOOT.read_text().strip()
    except OSError:
        return None
    return verdict_key("software", [boot, *drivers(), *_devices()])


def _devices() -> Iterator[str]:
    for pattern in _DEVICES:
        for device in sorted(Path("/").glob(pattern.removeprefix("/"))):
            yield f"{device} {os.access(device, os.R_OK | os.W_OK)}"
