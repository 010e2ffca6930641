"""What the compiler hands to the host: a shader, where its data lies, and how a call begins."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stigmergy.wasm.engine import Words
from stigmergy.wasm.gpu.layout import StateLayout

__all__ = ["Compiled", "CompilerOptions", "Shader"]


@dataclass(frozen=True, slots=True)
class CompilerOptions:
    """What the adapter asks of the code.

    `memory_block`: see layout.memory_index. `workgroup_size`: invocations of a workgroup.
    """

    memory_block: int = 1
    workgroup_size: int = 64


@dataclass(frozen=True, slots=True)
class Shader:
    """WGSL for some entry functions of a module; its compute entry point is `main`.

    The parameters are a uniform struct of eight u32: how many slots stand in `agents`, the stride,
    the most instructions that an agent may use in this dispatch, the words of workgroups in a row
    (so that the index of an invocation is x + y * that * workgroup_size), then the clock's start
    (low, high) and the seed (low, high). An invocation leaves agents alone that are not READY. It
    stops at the target or at the dispatch's limit, whichever comes first, and leaves the status
    READY then.
    """

    wgsl: str
    uses_memory: bool
    uses_output: bool
    uses_mail: bool
    constants: npt.NDArray[np.uint32]
    """The buffer of constants; empty where none is used."""


class Compiled(Protocol):
    """A module made ready for one set of options; shaders are made for the entries in use."""

    @property
    def layout(self) -> StateLayout:
        """Where an agent's words lie; the same for every shader of the module."""
        ...

    def initial_state(self) -> npt.NDArray[np.uint32]:
        """Return the words of a fresh instance before its stack: shape (layout.stack,).

        With globals and tables as the module begins them. A segment that does not fit makes the
        status TRAPPED.
        """
        ...

    def initial_memory(self) -> npt.NDArray[np.uint8]:
        """Return the bytes of a fresh memory up to the last that is not 0."""
        ...

    def entry_frames(
        self, function: int, arguments: Words, *, start: bool
    ) -> npt.NDArray[np.uint32]:
        """Return the stack that begins a call: shape (n, words), arguments (n, parameters).

        With `start` the module's start function runs before it.
        """
        ...

    def shader(self, entries: frozenset[int]) -> Shader:
        """Return a shader that can begin and resume these functions.

        Raises:
            UnsupportedError: One of them reaches code that cannot be said in WGSL.
        """
        ...
