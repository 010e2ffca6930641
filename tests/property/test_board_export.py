"""An export whose bytes were changed is refused, or says the same as before."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmergy.board import Limit, Task, TaskBoard, open_store
from stigmergy.board.exportfile import Content, read_export
from stigmergy.board.transfer import export_board, import_board
from stigmergy.errors import CorruptError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(TEXTS.filter(lambda key: key != "$blob"), VALUES, max_size=4)


def exported() -> bytes:
    store = open_store("memory:", clock=lambda: 1_795_256_100.25)
    board = TaskBoard(store=store)
    board.post_many(
        [
            Task(task_id="a", task_type="job", payload={"text": "é \u2028", "x": 0.1}),
            Task(task_id="b", task_type="job", depends_on=("a",)),
        ]
    )
    board.limit(Limit(name="l", task_type="job", at_once=1))
    board.claim("w1")
    lines: list[bytes] = []
    export_board(store, lines.append, now=0.0)
    return b"".join(lines)


WHOLE = exported()


def read(text: bytes) -> Content:
    return read_export(text.splitlines(keepends=True), where="x")


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, len(WHOLE)), st.binary(max_size=8))
def test_changed_bytes_are_refused_or_change_nothing(start: int, length: int, new: bytes) -> None:
    text = WHOLE[:start] + new + WHOLE[start + length :]
    with suppress(CorruptError):
        assert read(text) == read(WHOLE)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_no_bytes_at_all_end_in_anything_but_a_refusal(lines: list[bytes]) -> None:
    for head in ([], WHOLE.splitlines(keepends=True)[:2]):
        with pytest.raises(CorruptError, match=r"^x:\d+: "):
            read_export([*head, *lines], where="x")


@given(OBJECTS, OBJECTS, TEXTS)
def test_whatever_a_task_holds_comes_back(
    payload: dict[str, object], result: dict[str, object], text: str
) -> None:
    stores = [open_store("memory:") for _ in range(2)]
    board = TaskBoard(store=stores[0])
    board.post(Task(task_id="a", task_type="job", description=text, payload=payload))
    held = board.claim("w1")
    assert held is not None
    board.complete(held, result)
    lines: list[bytes] = []
    export_board(stores[0], lines.append, now=0.0)
    import_board(stores[1], read_export(lines, where="x"))
    assert TaskBoard(store=stores[1]).get("a") == board.get("a")
