"""Items that may run at the same time on the same files, and the plan as it is shown."""

import pytest

from stigmergy.coding.plan.describe import describe
from stigmergy.coding.plan.overlap import find_overlaps, serialise_overlaps
from stigmergy.coding.plan.workitem import WorkItem, check_items


def item(key: str, *scope: str, after: tuple[str, ...] = (), priority: int = 5) -> WorkItem:
    return WorkItem(key=key, title=f"do {key}", scope=scope, depends_on=after, priority=priority)


def test_items_on_one_file_overlap() -> None:
    (overlap,) = find_overlaps([item("a", "x.py"), item("b", "x.py"), item("c", "y.py")])
    assert overlap.scopes == ("x.py",)
    assert overlap.keys == ("a", "b")
    assert str(overlap) == "2 items may change 'x.py' at the same time: a, b"


def test_ordered_items_do_not() -> None:
    near = [item("a", "x.py"), item("b", "x.py", after=("a",))]
    far = [item("a", "x.py"), item("m", "m.py", after=("a",)), item("b", "x.py", after=("m",))]
    assert find_overlaps(near) == ()
    assert find_overlaps(far) == ()


def test_one_unordered_pair_among_ordered_ones_is_enough() -> None:
    items = [item("a", "x"), item("b", "x", after=("a",)), item("c", "x", after=("a",))]
    (overlap,) = find_overlaps(items)
    assert overlap.keys == ("a", "b", "c")


def test_folders_globs_and_files_meet() -> None:
    items = [item("folder", "src/"), item("glob", "src/*.py"), item("file", "src/a.py")]
    found = {frozenset(overlap.scopes) for overlap in find_overlaps(items)}
    assert found == {
        frozenset({"src", "src/a.py"}),
        frozenset({"src", "src/*.py"}),
        frozenset({"src/a.py", "src/*.py"}),
    }


def test_two_globs_meet() -> None:
    (overlap,) = find_overlaps([item("a", "src/a*.py"), item("b", "src/*b.py"), item("c", "*.py")])
    assert overlap.scopes == ("src/a*.py", "src/*b.py")


def test_an_item_without_scope_says_nothing() -> None:
    assert find_overlaps([item("a"), item("b"), item("c", "x")]) == ()


def test_serialised_items_come_one_by_one_by_priority() -> None:
    items = [item("low", "x", priority=9), item("high", "x", priority=1), item("other", "y")]
    ordered = {made.key: made.depends_on for made in serialise_overlaps(items)}
    assert ordered == {"low": ("high",), "high": (), "other": ()}


def test_serialising_keeps_the_dependencies_and_makes_no_cycle() -> None:
    items = [item("a", "x", "y", after=("b",), priority=1), item("b", "y"), item("c", "x", "y")]
    made = serialise_overlaps(items)
    check_items(made)
    assert find_overlaps(made) == ()
    assert "b" in made[0].depends_on


def test_two_thousand_items_on_one_file_stay_quick() -> None:
    items = [item(f"i{n}", "index.ts", f"f{n}.ts") for n in range(2000)]
    (overlap,) = find_overlaps(items)
    assert len(overlap.keys) == 2000


def test_a_description_has_waves_and_the_longest_chain() -> None:
    items = [item("c", "z", after=("b",)), item("a", "x"), item("b", "x", after=("a",)), item("d")]
    plan = describe(items)
    assert plan.waves == (("a", "d"), ("b",), ("c",))
    assert plan.critical_path == ("a", "b", "c")
    assert plan.widest_wave == 2
    assert [(row.key, row.wave) for row in plan.rows] == [("a", 1), ("d", 1), ("b", 2), ("c", 3)]
    assert plan.overlaps == ()


def test_the_longest_chain_does_not_take_the_first_way() -> None:
    items = [item("end", after=("short", "b")), item("short"), item("a"), item("b", after=("a",))]
    assert describe(items).critical_path == ("a", "b", "end")


def test_no_items_have_an_empty_description() -> None:
    assert describe([]).widest_wave == 0


@pytest.mark.timeout(10)
def test_a_long_chain_over_one_file_is_described_at_once() -> None:
    length = 20_000
    chain = [item(f"F{n}", "x", after=(f"F{n - 1}",) if n else ()) for n in range(length)]
    check_items(chain)
    plan = describe(chain)
    assert len(plan.critical_path) == length
    assert plan.overlaps == ()
    assert serialise_overlaps(chain) == tuple(chain)
