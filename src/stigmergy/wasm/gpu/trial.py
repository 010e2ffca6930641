"""Tries a shader in another process first, where a driver might end the process that compiles it.

Verdicts are kept, so each shader is tried once for each driver. Run as a program, this module is
the one that tries: the shader comes on its standard input.
"""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Literal

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.gpu.adapter import AdapterFacts
from stigmergy.wasm.gpu.device import BufferKind
from stigmergy.wasm.gpu.verdicts import GOOD, Verdicts, verdict_key

__all__ = ["TrialPolicy", "Trials", "is_risky"]

TrialPolicy = Literal["auto", "always", "never"]
"""auto: only shaders that are large, deep, or use more than WGSL's core."""

_LARGE_CHARACTERS = 100_000
_DEEP = 40
_MANY_BRANCHES = 40
"""In one function: Mesa nests what follows each of them, and at 80 levels llvmpipe crashes."""
_BRANCH = re.compile(r"\b(?:case|break|continue|return)\b")
_BEYOND_CORE = re.compile(r"^\s*(?:enable|requires)\b|\b(?:[iu]64|f64|f16)\b", re.MULTILINE)
_TRIAL_S = 120.0


class Trials:
    """Decides which shaders are tried, and remembers how it went."""

    def __init__(self, facts: AdapterFacts, verdicts: Verdicts, policy: TrialPolicy) -> None:
        self._facts = facts
        self._verdicts = verdicts
        self._policy = policy

    def check(self, wgsl: str, kinds: Mapping[int, BufferKind]) -> None:
        """Return if a shader may be compiled here.

        Raises:
            UnsupportedError: Compiling it ends or hangs the process.
        """
        if self._policy == "never" or (self._policy == "auto" and not is_risky(wgsl)):
            return
        key = verdict_key("shader", [wgsl, self._facts.driver, metadata.version("wgpu")])
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = _try(wgsl, kinds)
            self._verdicts.put(key, verdict)
        if verdict != GOOD:
            message = f"the graphics driver cannot compile the shader of this module: {verdict}"
            raise UnsupportedError(message)


def is_risky(wgsl: str) -> bool:
    """Whether a shader is of a kind that made drivers fall over. Pure."""
    return (
        len(wgsl) > _LARGE_CHARACTERS
        or _depth(wgsl) > _DEEP
        or any(len(_BRANCH.findall(one)) > _MANY_BRANCHES for one in re.split(r"\bfn\b", wgsl))
        or _BEYOND_CORE.search(wgsl) is not None
    )


def _depth(wgsl: str) -> int:
    """How deep blocks and expressions nest: compilers recurse into both."""
    depth = deepest = 0
    for bracket in re.findall(r"[{}()]", wgsl):
        depth += 1 if bracket in "{(" else -1
        deepest = max(deepest, depth)
    return deepest


def _try(wgsl: str, kinds: Mapping[int, BufferKind]) -> str:
    """Compile a shader elsewhere and run it with nothing to do; return the verdict."""
    order = json.dumps({"wgsl": wgsl, "kinds": list(kinds.items())})
    argv = [sys.executable, "-m", "stigmergy.wasm.gpu.trial"]
    try:
        done = subprocess.run(
            argv, input=order, capture_output=True, text=True, timeout=_TRIAL_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it takes more than {_TRIAL_S:.0f} s"
    if done.returncode == 0:
        return GOOD
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if done.returncode < 0:
        return f"the process that tried died of {signal.Signals(-done.returncode).name} ({last})"
    return f"the process that tried ended with {done.returncode} ({last})"


def _main() -> None:
    import numpy as np
    import wgpu

    from stigmergy.wasm.gpu.adapter import Adapter, facts_of
    from stigmergy.wasm.gpu.device import Device, Dispatch, Region

    order: Any = json.load(sys.stdin)
    handle: Any = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    device = Device(Adapter(handle, facts_of(handle.info, handle.limits)))
    kinds: dict[int, BufferKind] = dict(order["kinds"])
    pipeline = device.pipeline(order["wgsl"], kinds)
    buffers = {binding: device.buffer(64, kind) for binding, kind in kinds.items()}
    encoder = device.encoder()
    regions = {binding: Region(buffer, 0, 64) for binding, buffer in buffers.items()}
    device.encode(encoder, [Dispatch(pipeline, device.bind(pipeline, regions), (1, 1))])
    for words in device.read([regions[min(regions)]], encoder):
        assert not np.any(words)
    device.close()


if __name__ == "__main__":
    _main()
