"""Whatever a model writes, salvaging never raises and never invents an item."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmergy.coding.plan.document import sift
from stigmergy.coding.plan.salvage import salvage

# Texts that look like plans themselves, to tempt the reader.
TEXTS = st.text(max_size=12) | st.sampled_from(
    ['{"items": [{"id": "X"}]}', '[{"id": "X"}]', '"', "\\", "]}", '\\"items\\": [', "```json"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ITEMS = st.fixed_dictionaries(
    {"id": TEXTS, "title": TEXTS}, optional={"scope": st.lists(TEXTS, max_size=2), "x": VALUES}
)
PLANS = st.fixed_dictionaries(
    {"items": st.lists(ITEMS, max_size=4)},
    optional={"scratchpad": VALUES, "done": st.booleans(), "reason": TEXTS, "meta": VALUES},
).flatmap(lambda plan: st.permutations(list(plan.items())).map(dict))


@given(PLANS, st.sampled_from([None, 1]), st.booleans())
def test_every_prefix_gives_a_prefix_of_the_items(
    plan: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(plan, indent=indent, ensure_ascii=ascii_only)
    count = 0
    for end in range(len(text) + 1):
        found = salvage(text[:end])
        assert list(found.items) == plan["items"][: len(found.items)]
        assert found.whole == (end == len(text))
        assert not found.done or found.whole, "a plan that was cut off is not known to be done"
        assert len(found.items) >= count, "more text gives no fewer items"
        count = len(found.items)


@given(PLANS)
def test_a_whole_plan_is_read_whole_in_prose_and_fences(plan: dict[str, Any]) -> None:
    found = salvage(f"Here is the plan {{ so far }}:\n```json\n{json.dumps(plan)}\n```\nGood luck!")
    assert found.whole
    assert list(found.items) == plan["items"]
    assert found.done == plan.get("done", False)
    assert found.reason == plan.get("reason", "")
    assert found.scratchpad == plan.get("scratchpad")


@given(st.text(alphabet='{}[]",:\\ aitems0.1e-truefalsn', max_size=200))
def test_rubbish_never_raises(text: str) -> None:
    salvage(text)


@given(st.lists(VALUES | ITEMS, max_size=6), st.integers(0, 4))
def test_what_is_sifted_can_be_posted(drafts: list[Any], max_items: int) -> None:
    sifted = sift(drafts, known=("K",), failed=("K",), paths=("a.py",), max_items=max_items)
    assert len(sifted.items) <= max_items
    again = sift(
        [{"id": i.key, "title": i.title, "description": i.description, "scope": list(i.scope)}
         for i in sifted.items],
        known=("K",), failed=("K",), paths=("a.py",), max_items=max_items,
    )  # fmt: skip
    assert again.dropped == ()


@pytest.mark.parametrize(
    "text",
    [
        '{"meta": {"items": [{"id": "A"}]}, "rest": ',
        '{"meta": {"items": [{"id": "A"}]}, "re',
        '{"meta": {"items": [{"id": "A"}]}}',
        '[{"id": "A", "items": [{"id": "B"}]',
        '[{"x": {"items": [{"id": "B"}]}}]',
    ],
)
def test_an_inner_list_of_items_is_no_plan(text: str) -> None:
    assert salvage(text).items == ()


def test_a_value_that_may_go_on_is_not_taken() -> None:
    assert salvage('{"items": [1, 12').items == (1,)
    assert salvage('{"items": [1, 12]').items == (1, 12)
    assert not salvage('{"done": true, "items": [{"id": "A"}, {"id').done


def test_another_object_before_the_plan_is_passed_over() -> None:
    found = salvage('For {"a": [1]} and {} I plan {"items": [{"id": "A"}], "done": true}')
    assert [item["id"] for item in found.items] == ["A"]
    assert found.done


def test_a_bare_list_of_items_is_a_plan() -> None:
    found = salvage('[1] My plan: [{"id": "A"}, {"id": "B"}, {"id')
    assert [item["id"] for item in found.items] == ["A", "B"]
    assert not found.whole


def test_very_deep_nesting_is_no_error() -> None:
    assert salvage('{"items": ' + "[" * 100_000).items == ()
