"""Measures engines against limits, in one run: what `stig wasm bench` shows."""

from stigmergy.wasm.bench.kernels import KERNELS, Kernel
from stigmergy.wasm.bench.measure import Measured, measure_native, measure_python, measure_swarm

__all__ = [
    "KERNELS",
    "Kernel",
    "Measured",
    "measure_native",
    "measure_python",
    "measure_swarm",
]
