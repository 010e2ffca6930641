"""Calls that agents were given, laid out as wasmtime wants them."""

import numpy as np
import numpy.typing as npt

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.cpu.binding import VALUE_KINDS, VALUE_WORDS, Pointer
from stigmergy.wasm.engine import Words
from stigmergy.wasm.module.model import FunctionType, ValueType

__all__ = ["Calls", "low_bits"]

_BYTES = 8


class Calls:
    """Calls of one function, one a row; of each its arguments, results, and how it ended.

    The addresses stay while any agent holds the object: wasmtime writes to them as calls end.
    """

    __slots__ = (
        "_ends",
        "_ends_at",
        "_parameters",
        "_results",
        "_row_bytes",
        "_type",
        "_values",
        "_values_at",
        "function",
    )

    def __init__(self, function: int, kind: FunctionType, arguments: Words) -> None:
        for one in (*kind.params, *kind.results):
            if one in {"v128", "funcref", "externref"}:
                message = f"a call cannot carry a {one}, which function {function} takes or gives"
                raise UnsupportedError(message)
        self.function = function
        self._type = kind
        self._parameters = parameters = len(kind.params)
        self._results = len(kind.results)
        width = parameters + self._results
        self._row_bytes = width * VALUE_WORDS * _BYTES
        self._values = np.zeros((len(arguments), width, VALUE_WORDS), dtype=np.uint64)
        self._values[:, :parameters, 0] = [VALUE_KINDS[one] for one in kind.params]
        self._values[:, :parameters, 1] = arguments
        self._ends = np.zeros((len(arguments), 2), dtype=np.uint64)
        self._values_at: Pointer = self._values.ctypes.data
        self._ends_at: Pointer = self._ends.ctypes.data

    def parts(self, row: int) -> tuple[Pointer, int, Pointer, int, Pointer, Pointer]:
        """Return where a call's arguments lie, and where its results, trap and error go.

        With arguments and results goes how many they are: `wasmtime_func_call_async` has it so.
        """
        arguments = self._values_at + row * self._row_bytes
        end = self._ends_at + row * 2 * _BYTES
        return (
            arguments,
            self._parameters,
            arguments + self._parameters * VALUE_WORDS * _BYTES,
            self._results,
            end,
            end + _BYTES,
        )

    def results(self, rows: npt.NDArray[np.int64]) -> Words:
        """Return what some calls gave."""
        words = self._values[rows, self._parameters :, 1]
        return low_bits(words, self._type.results)


def low_bits(words: Words, kinds: tuple[ValueType, ...]) -> Words:
    """Keep 32 bits of the values that have no more: wasmtime leaves the rest as it was."""
    narrow = [at for at, kind in enumerate(kinds) if kind in {"i32", "f32"}]
    words[:, narrow] &= np.uint64(0xFFFF_FFFF)
    return words
