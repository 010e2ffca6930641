"""Numbers of Python and the bits that WebAssembly keeps for them. Pure.

Integers come back signed, as in wasmtime and in JavaScript's interface; given ones may be signed or
unsigned. Floats are Python's; the bits of a NaN beyond its being one are seen in the words only.
"""

import math
import operator
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stigmergy.errors import UsageError
from stigmergy.wasm.engine import Words
from stigmergy.wasm.module.model import ValueType

__all__ = ["Number", "array_of", "numbers_of", "to_bits", "words_of"]

Number = int | float

_BITS = {"i32": 32, "i64": 64}
_FORMATS = {"f32": "<f", "f64": "<d"}
_DTYPES: Mapping[str, type[np.generic]] = {
    "i32": np.int32,
    "f32": np.float32,
    "i64": np.int64,
    "f64": np.float64,
}
_NARROW = ("i32", "f32")


def to_bits(value_type: ValueType, number: Number) -> int:
    """Return the bits of a number as a value of a type.

    Raises:
        UsageError: It is no such number, or does not fit.
    """
    if value_type in _BITS:
        bits = _BITS[value_type]
        try:
            number = operator.index(number)  # pyright: ignore[reportArgumentType] - tried
        except TypeError as error:
            message = f"{number!r} is no integer, and the module takes {value_type} there"
            raise UsageError(message) from error
        if not -(1 << (bits - 1)) <= number < 1 << bits:
            message = f"{number} does not fit into {value_type}"
            raise UsageError(message)
        return number & ((1 << bits) - 1)
    if value_type in _FORMATS:
        try:
            return _float_bits(value_type, float(number))
        except (OverflowError, TypeError, ValueError) as error:
            message = f"{number!r:.40} is no number that fits into {value_type}"
            raise UsageError(message) from error
    message = f"a value of the type {value_type} cannot be given from outside"
    raise UsageError(message)


def _float_bits(value_type: ValueType, number: float) -> int:
    try:
        packed = struct.pack(_FORMATS[value_type], number)
    except OverflowError:  # beyond f32: it rounds to infinity
        packed = struct.pack(_FORMATS[value_type], math.copysign(math.inf, number))
    return int.from_bytes(packed, "little")


def words_of(value_types: Sequence[ValueType], columns: np.ndarray) -> Words:
    """Return the bits of many numbers: shape (n, values), a column for each type.

    Columns of the dtype object may hold integers and floats side by side; they take longer.

    Raises:
        UsageError: The shape or a number does not fit the types.
    """
    if columns.ndim != 2 or columns.shape[1] != len(value_types):
        message = f"arguments have the shape {columns.shape}; wanted (agents, {len(value_types)})"
        raise UsageError(message)
    words = np.empty(columns.shape, dtype=np.uint64)
    for position, value_type in enumerate(value_types):
        words[:, position] = _column_words(value_type, columns[:, position])
    return words


def _column_words(value_type: ValueType, column: np.ndarray) -> np.ndarray:
    if column.dtype == object:
        return np.array([to_bits(value_type, one) for one in column], dtype=np.uint64)
    if value_type in _FORMATS:
        as_floats = column.astype(_DTYPES[value_type])
        unsigned = np.uint32 if value_type in _NARROW else np.uint64
        return as_floats.view(unsigned).astype(np.uint64)
    if value_type not in _BITS:
        message = f"a value of the type {value_type} cannot be given from outside"
        raise UsageError(message)
    if column.dtype.kind not in "iub":
        message = f"the numbers for {value_type} are of the dtype {column.dtype}, not integers"
        raise UsageError(message)
    bits = _BITS[value_type]
    if len(column) and (int(column.min()) < -(1 << (bits - 1)) or int(column.max()) >= 1 << bits):
        low = int(column.min())
        wrong = low if low < -(1 << (bits - 1)) else int(column.max())
        message = f"{wrong} does not fit into {value_type}"
        raise UsageError(message)
    words = column.astype(np.uint64)
    return words & np.uint64(0xFFFFFFFF) if value_type in _NARROW else words


def array_of(value_type: ValueType, words: np.ndarray) -> npt.NDArray[Any]:
    """Return what the bits of many values mean, in the type's own dtype: words of shape (n,).

    References are told as they are, in uint64.
    """
    contiguous = np.ascontiguousarray(words, dtype=np.uint64)
    if value_type in _NARROW:
        contiguous = contiguous.astype(np.uint32)
    return contiguous.view(_DTYPES.get(value_type, np.uint64))


def numbers_of(value_type: ValueType, words: np.ndarray) -> list[Number]:
    """Return what the bits of many values mean: words of shape (n,), uint64."""
    return array_of(value_type, words).tolist()
