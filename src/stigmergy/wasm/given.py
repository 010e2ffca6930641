"""What callers of a swarm give it, as what it works with: numbers of numpy become Python's.

What is of a wrong type is refused here, with what was wanted.
"""

from collections.abc import Iterable
from operator import index
from pathlib import Path
from typing import Any, SupportsIndex, cast

import numpy as np
import numpy.typing as npt

from stigmergy.errors import UsageError
from stigmergy.wasm.module.reading import InvalidModuleError
from stigmergy.wasm.values import Number

__all__ = ["arguments_of", "bytes_of", "columns_of", "entry_point_of", "source_of", "whole"]

_LONGEST_NAME = 4_096


def columns_of(args: npt.ArrayLike) -> np.ndarray:
    """Return arguments as an array; lists that mix integers with floats keep them apart.

    Raises:
        UsageError: They are no array, or the agents' are not equally many.
    """
    try:
        columns = np.asarray(args)
    except ValueError as error:
        message = "the agents' arguments are not equally many: give each a list of the same length"
        raise UsageError(message) from error
    if columns.ndim == 0:
        message = f"args is {args!r}; wanted a list with the arguments of each agent"
        raise UsageError(message)
    mixed = columns.dtype.kind == "f" and not isinstance(args, np.ndarray)
    return np.array(args, dtype=object) if mixed else columns


def whole(name: str, number: object, least: int) -> int:
    """Return an integer of Python, from one of numpy's too.

    Raises:
        UsageError: It is none, or too small.
    """
    if isinstance(number, np.ndarray) or not isinstance(number, SupportsIndex):
        message = f"{name} is {number!r}; it must be an integer"
        raise UsageError(message)
    number = index(number)
    if number < least:
        message = f"{name} is {number}; it must be at least {least}"
        raise UsageError(message)
    return number


def source_of(wasm: object) -> bytes | str:
    """Return a module's bytes or its text.

    Raises:
        UsageError: It is neither; a file's name is taken for one.
    """
    if isinstance(wasm, str):
        if "(" not in wasm and len(wasm) < _LONGEST_NAME:
            message = (
                f"{wasm!r} is no text of a module (WAT); to load a file, give what is in it: "
                "Path(…).read_bytes()"
            )
            raise InvalidModuleError(message)
        return wasm
    if isinstance(wasm, Path):
        message = f"a module is given as bytes or text: Path({str(wasm)!r}).read_bytes()"
        raise UsageError(message)
    return bytes_of(wasm, "the module")


def bytes_of(content: object, name: str) -> bytes:
    """Return the bytes of whatever has some.

    Raises:
        UsageError: It has none.
    """
    if isinstance(content, bytes):
        return content
    try:
        return memoryview(content).tobytes()  # pyright: ignore[reportArgumentType] - tried
    except TypeError as error:
        message = f"{name} is of the type {type(content).__name__}; wanted bytes"
        raise UsageError(message) from error


def arguments_of(args: object) -> list[Number]:
    """Return one agent's arguments as numbers of Python.

    Raises:
        UsageError: It is no sequence.
    """
    if args is None:
        return []
    # What it mostly is comes first: whether something is iterable takes a microsecond to find out.
    if not isinstance(args, list | tuple) and (
        isinstance(args, str | bytes) or not isinstance(args, Iterable)
    ):
        message = f"args is {args!r}; wanted a list of numbers: args=[{args}]"
        raise UsageError(message)
    given = cast("Iterable[Any]", args)
    return [one.item() if isinstance(one, np.generic) else one for one in given]


def entry_point_of(entry_point: object) -> int | str:
    """Return a function's index or the name of an export.

    Raises:
        UsageError: It is neither.
    """
    if isinstance(entry_point, str):
        return entry_point
    if isinstance(entry_point, SupportsIndex) and not isinstance(entry_point, np.ndarray):
        return index(entry_point)
    message = f"entry_point is {entry_point!r}; wanted the name of an export or a function's index"
    raise UsageError(message)
