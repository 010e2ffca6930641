"""The quick ways to judge a task come to what the whole way does."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from stigmergy.board import Task, TaskStatus
from stigmergy.board.task import (
    check_fields,
    parsed_fields,
    task_from_json,
    task_from_trusted_json,
    task_to_json,
)
from stigmergy.errors import CorruptError

S = TaskStatus
WHOLE = Task(
    task_type="work",
    task_id="a",
    description='"ü"\n',
    payload={"deep": [1, {"x": None}]},
    requires=("b", "c"),
    depends_on=("d", "e"),
    waiting_on=("e",),
    parent_id="p",
    unique_key="u",
    limit_key="k",
    priority=1,
    lag_s=2.5,
    status=S.CLAIMED,
    attempts=2,
    max_attempts=9,
    not_before=3.0,
    created_at=4.0,
    claimed_by="ann",
    claimed_at=5.0,
    lease_until=6.0,
    fence=7,
    progress={"done": 1},
    finished_at=8.0,
    result={"n": 1},
    error="none",
)
PLAIN = Task(task_type="work", task_id="a")

WRONG: list[tuple[str, Any]] = [
    ("task_type", ""),
    ("task_type", "x" * 101),
    ("description", "\ud800"),
    ("payload", [1]),
    ("payload", {1: "x"}),
    ("payload", {"x": math.nan}),
    ("task_id", "../a"),
    ("requires", "gpu"),
    ("depends_on", ("a b",)),
    ("parent_id", ""),
    ("unique_key", ""),
    ("priority", 11),
    ("priority", True),
    ("lag_s", math.inf),
    ("status", "gone"),
    ("attempts", -1),
    ("max_attempts", 0),
    ("not_before", "soon"),
    ("claimed_by", 5),
    ("fence", 2**54),
    ("result", "done"),
]


@pytest.mark.parametrize("task", [WHOLE, PLAIN], ids=["whole", "plain"])
def test_the_fields_that_differ_from_a_new_task_are_as_json_has_them(task: Task) -> None:
    told = parsed_fields(task, where="here")
    assert replace(PLAIN, **told) == task_from_json(task_to_json(task), where="here")
    assert set(told) >= {"task_type", "task_id", "payload"}


def test_fields_are_brought_into_their_form() -> None:
    """As the whole way does: names sorted and once, numbers of seconds as such."""
    odd = replace(PLAIN, requires=["c", "b", "c"], not_before=3)  # type: ignore[arg-type] - odd
    assert replace(odd, **parsed_fields(odd, where="here")) == replace(
        PLAIN, requires=("b", "c"), not_before=3.0
    )


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_field_that_cannot_be_read_is_named(name: str, value: object) -> None:
    """Also by the check that knows a good task like it, in the same words."""
    wrong = replace(PLAIN, **{name: value})
    said: list[str] = []
    for judge in (
        lambda: parsed_fields(wrong, where="here"),
        lambda: check_fields(wrong, like=None, where="here"),
        lambda: check_fields(wrong, like=PLAIN, where="here"),
    ):
        with pytest.raises(CorruptError, match=f"field '{name}'") as found:
            judge()
        said.append(str(found.value))
    assert len(set(said)) == 1


def test_a_held_task_without_a_lease_cannot_be_read_back() -> None:
    with pytest.raises(CorruptError, match="no claimed_by and lease_until"):
        check_fields(replace(WHOLE, lease_until=None), like=WHOLE, where="here")
    check_fields(WHOLE, like=PLAIN, where="here")


@pytest.mark.parametrize("task", [WHOLE, PLAIN], ids=["whole", "plain"])
def test_what_a_checksum_vouches_for_is_read_as_what_is_checked(task: Task) -> None:
    data = json.loads(json.dumps(task_to_json(task)))
    assert task_from_trusted_json(data) == task_from_json(data, where="here") == task
