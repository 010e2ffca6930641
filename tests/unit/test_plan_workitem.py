"""Work items: which sets of them can be posted, and what is said of those that cannot."""

import pytest

from stigmergy.coding.plan.workitem import (
    InvalidPlanError,
    WorkItem,
    check_items,
    find_faults,
    key_fault,
)


def item(key: str, *depends_on: str, **fields: object) -> WorkItem:
    return WorkItem(key=key, title=f"do {key}", depends_on=depends_on, **fields)  # type: ignore[arg-type] # test shorthand


def messages(*items: WorkItem, known: tuple[str, ...] = ()) -> list[str]:
    return [str(fault) for fault in find_faults(items, known=known)]


def test_items_that_wait_for_each_other_in_order_are_valid() -> None:
    check_items([item("b", "a"), item("a"), item("c", "a", "b")])


@pytest.mark.parametrize(
    "key",
    ["", "-a", ".a", "a b", "a/b", "ä", "a..b", "a.lock", "a.", "F1.land", "F1.fix", "F1.fix12",
     "sweep3", "plan", "plan-2", "a" * 101, "a\n"],
)  # fmt: skip
def test_keys_that_cannot_be_tasks_or_refs_are_refused(key: str) -> None:
    assert key_fault(key) is not None


@pytest.mark.parametrize("key", ["F01", "a", "0", "a.b-c_d", "a" * 100, "landing", "plane.1"])
def test_keys_that_can_are_taken(key: str) -> None:
    assert key_fault(key) is None


def test_a_cycle_is_named_in_the_order_of_waiting() -> None:
    found = messages(item("d", "a"), item("a", "b"), item("b", "c"), item("c", "a"))
    assert found == ["item 'a', field 'depends_on': these items wait for each other: a → b → c → a"]


def test_two_cycles_are_both_named() -> None:
    found = messages(item("a", "b"), item("b", "a"), item("c", "d"), item("d", "c"))
    assert len(found) == 2


def test_an_item_that_waits_for_itself_is_named_once() -> None:
    assert messages(item("a", "a")) == ["item 'a', field 'depends_on': 'a' waits for itself"]


def test_a_dependency_must_be_in_the_plan_or_known() -> None:
    assert "'x' is not an item of this plan" in messages(item("a", "x"))[0]
    assert messages(item("a", "x"), known=("x",)) == []


def test_a_key_is_used_once() -> None:
    assert "used by 2 items" in messages(item("a"), item("a"))[0]
    assert "earlier item" in messages(item("a"), known=("a",))[0]


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        ("/etc/passwd", "absolute"),
        ("C:\\x", "absolute"),
        ("src/../../x", "leaves the repository"),
        ("..", "leaves the repository"),
        ("./src", "'.' part"),
        ("src//a", "empty"),
        ("", "empty"),
        ("a\\b", "backslash"),
        ("a\x00b", "control"),
        ("\udcff", "UTF-8"),
        (".git/hooks/x", ".git"),
        ("sub/.GIT/config", ".git"),
        ("a/" * 65 + "b", "parts"),
        ("a" * 1001, "longer"),
    ],
)
def test_scope_stays_inside_the_repository(scope: str, reason: str) -> None:
    (message,) = messages(item("a", scope=(scope,)))
    assert reason in message


@pytest.mark.parametrize("scope", ["src", "src/", "src/**", "**/*.py", ".github/x", "a..b", "..."])
def test_paths_and_globs_inside_are_scopes(scope: str) -> None:
    assert messages(item("a", scope=(scope,))) == []


def test_priority_and_text_are_checked() -> None:
    assert "between 1" in messages(item("a", priority=0))[0]
    assert "empty" in messages(WorkItem(key="a", title=" "))[0]


def test_the_error_shows_twenty_faults_and_counts_the_rest() -> None:
    with pytest.raises(InvalidPlanError) as caught:
        check_items([item(f"i{n}", "missing") for n in range(25)])
    text = str(caught.value)
    assert text.count("is not an item") == 20
    assert "5 more" in text
    assert len(caught.value.faults) == 25


def test_a_chain_of_thousands_does_not_recurse() -> None:
    chain = [item("i0"), *(item(f"i{n}", f"i{n - 1}") for n in range(1, 5000))]
    check_items(chain)
    ring = [*chain[1:], item("i0", "i4999")]
    assert len(find_faults(ring)) == 1
