from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmergy.errors import UsageError
from stigmergy.wasm.values import numbers_of, to_bits, words_of

INTEGERS = {"i32": 32, "i64": 64}


@given(st.sampled_from(["i32", "i64"]), st.data())
def test_integers_come_back_signed(kind: str, data: st.DataObject) -> None:
    bits = INTEGERS[kind]
    number = data.draw(st.integers(-(2 ** (bits - 1)), 2**bits - 1))
    word = to_bits(kind, number)
    assert word == number % 2**bits
    signed = (number + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)
    assert numbers_of(kind, np.array([word], dtype=np.uint64)) == [signed]


@given(st.floats(allow_nan=False))
def test_doubles_come_back_as_they_are(number: float) -> None:
    word = to_bits("f64", number)
    (back,) = numbers_of("f64", np.array([word], dtype=np.uint64))
    assert struct.pack("<d", back) == struct.pack("<d", number)


def test_singles_round_as_the_language_does() -> None:
    assert numbers_of("f32", np.array([to_bits("f32", 0.1)], dtype=np.uint64)) == [
        struct.unpack("<f", struct.pack("<f", 0.1))[0]
    ]
    assert to_bits("f32", 1e300) == 0x7F800000
    assert to_bits("f32", -1e300) == 0xFF800000
    assert math.isnan(numbers_of("f32", np.array([to_bits("f32", math.nan)], dtype=np.uint64))[0])


@given(
    st.lists(
        st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)), min_size=1
    )
)
def test_many_are_as_each(rows: list[tuple[int, int]]) -> None:
    words = words_of(("i32", "i64"), np.array(rows, dtype=np.int64))
    each = [[to_bits("i32", first), to_bits("i64", second)] for first, second in rows]
    assert words.tolist() == each


@pytest.mark.parametrize(
    ("kind", "number", "says"),
    [
        ("i32", 2**32, "does not fit"),
        ("i32", -(2**31) - 1, "does not fit"),
        ("i64", 1.5, "no integer"),
        ("funcref", 1, "cannot be given"),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, number: float, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        to_bits(kind, number)


def test_columns_must_be_as_many_as_the_types() -> None:
    with pytest.raises(UsageError, match="shape"):
        words_of(("i32",), np.zeros((3, 2), dtype=np.int64))
    with pytest.raises(UsageError, match="not integers"):
        words_of(("i32",), np.zeros((3, 1)))
    with pytest.raises(UsageError, match="does not fit"):
        words_of(("i32",), np.array([[2**40]]))
