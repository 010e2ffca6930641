"""Entries near a vector: by brute force over the vectors of a namespace.

At a hundred thousand vectors of 384 numbers this is as fast as an index that is no index either,
and it is exact. What makes a vector from a text is the caller's; here are only numbers. Storing
needs nothing but Python, searching needs numpy.
"""

from __future__ import annotations

import math
import sqlite3
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stigmergy.errors import UnsupportedError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MAX_DIMS", "Vector", "VectorSearch", "pack"]

MAX_DIMS: Final = 4096
_KEPT_BYTES: Final = 512 * 1024**2
"""Of vectors that one process keeps in memory."""


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector of unit length, as it is stored: little-endian float32."""

    dims: int
    data: bytes


def pack(numbers: Iterable[float], *, what: str) -> Vector:
    """The vector in numbers of any length.

    Raises:
        UsageError: there are too many or none, they are not finite, or all are zero; `what` names
            the vector.
    """
    given = [float(number) for number in numbers]
    if not 1 <= len(given) <= MAX_DIMS:
        raise UsageError(f"{what} has {len(given):,} numbers; 1 to {MAX_DIMS:,} are allowed")
    length = math.hypot(*given)
    if not math.isfinite(length) or length == 0:
        raise UsageError(f"{what} has no direction: its numbers must be finite, and not all zero")
    packed = array("f", [number / length for number in given])
    if sys.byteorder == "big":
        packed.byteswap()
    return Vector(len(given), packed.tobytes())


@dataclass(frozen=True, slots=True)
class _Matrix:
    epoch: int
    ids: NDArray[np.int64]
    rows: NDArray[np.float32]
    """A vector a row."""


class VectorSearch:
    """Finds the nearest, and keeps what it read. Under the lock of the memory's connection."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], _Matrix] = {}

    def nearest(
        self, db: sqlite3.Connection, vector: Vector, namespaces: Sequence[int]
    ) -> list[tuple[int, float]]:
        """Ids of all entries with such a vector, the nearest first, with the cosine.

        Raises:
            UnsupportedError: numpy is missing; the text says how to install it.
            UsageError: all vectors there are of another length.
        """
        np = _numpy()
        found: list[_Matrix] = []
        for ns in namespaces:
            matrix = self._matrix(db, ns, vector.dims)
            if len(matrix.ids):
                found.append(matrix)
        if not found:
            _check_length(db, vector, namespaces)
            return []
        query = np.frombuffer(vector.data, dtype="<f4")
        ids = np.concatenate([matrix.ids for matrix in found])
        scores = np.concatenate([matrix.rows @ query for matrix in found])
        order = np.argsort(-scores, kind="stable")
        return list(zip(ids[order].tolist(), scores[order].tolist(), strict=True))

    def _matrix(self, db: sqlite3.Connection, ns: int, dims: int) -> _Matrix:
        np = _numpy()
        epoch = db.execute("SELECT vector_epoch FROM namespaces WHERE ns = ?", (ns,)).fetchone()[0]
        kept = self._kept.get((ns, dims))
        if kept is not None and kept.epoch == epoch:
            return kept
        rows = db.execute(
            "SELECT entry, vector FROM vectors WHERE ns = ? AND dims = ? ORDER BY entry", (ns, dims)
        ).fetchall()
        data = b"".join(row[1] for row in rows)
        matrix = _Matrix(
            epoch,
            np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows)),
            np.frombuffer(data, dtype="<f4").reshape(len(rows), dims),
        )
        held = sum(other.rows.nbytes for other in self._kept.values())
        if held + matrix.rows.nbytes > _KEPT_BYTES:
            self._kept.clear()
        self._kept[ns, dims] = matrix
        return matrix


def _check_length(db: sqlite3.Connection, vector: Vector, namespaces: Sequence[int]) -> None:
    for ns in namespaces:
        found = db.execute("SELECT dims FROM vectors WHERE ns = ? LIMIT 1", (ns,)).fetchone()
        if found is not None:
            raise UsageError(
                f"the vector has {vector.dims} numbers, those of the entries have {found[0]}: make "
                "both with the same model"
            )


def _numpy():
    try:
        import numpy as np
    except ImportError as error:
        raise UnsupportedError(
            "a search by vectors needs numpy: `pip install numpy`, or search by text alone"
        ) from error
    return np
