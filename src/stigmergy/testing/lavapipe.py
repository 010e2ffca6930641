"""Mesa's driver on the processor, as tests want it: quick to compile, not quick to run."""

from typing import Final

__all__ = ["LAVAPIPE_IN_A_HURRY"]

LAVAPIPE_IN_A_HURRY: Final = {"GALLIVM_PERF": "no_opt", "LP_NATIVE_VECTOR_WIDTH": "128"}
"""Variables of the environment, read when the driver is loaded: compiling takes half the time."""
