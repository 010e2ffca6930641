"""The seam of the subplanner: what may be planned again, and what the parts may touch."""

import pytest

from stigmergy.coding.plan.decompose import find_part_faults, is_decomposable, scope_within
from stigmergy.coding.plan.workitem import WorkItem

PARENT = WorkItem(key="F1", title="engine", scope=("src/*.py", "src/core"))


def is_folder(path: str) -> bool:
    return path in {"src", "src/core", "src/odd.py"}


@pytest.mark.parametrize("scope", [("src/a.py",), ("src/core/x.py",), ("src/core/**", "src/b.py")])
def test_a_narrower_scope_is_within(scope: tuple[str, ...]) -> None:
    assert scope_within(scope, PARENT.scope, is_folder=is_folder)


@pytest.mark.parametrize(
    "scope", [(), ("src",), ("src/a.js",), ("src/a.py", "docs/x"), ("src/**",), ("src/odd.py",)]
)
def test_a_wider_scope_is_not(scope: tuple[str, ...]) -> None:
    assert not scope_within(scope, PARENT.scope, is_folder=is_folder)


def test_only_large_items_are_planned_again_and_not_for_ever() -> None:
    assert is_decomposable(PARENT, files=4, depth=2)
    assert not is_decomposable(PARENT, files=3, depth=0)
    assert not is_decomposable(PARENT, files=9, depth=3)
    assert not is_decomposable(WorkItem(key="F2", title="all"), files=9, depth=0)


def test_parts_outside_and_too_many_parts_are_faults() -> None:
    inside = [WorkItem(key=f"F1-{n}", title="x", scope=("src/core",)) for n in range(10)]
    assert find_part_faults(inside, PARENT, is_folder=is_folder) == ()
    outside = WorkItem(key="F1-10", title="x", scope=("docs",))
    said = [str(f) for f in find_part_faults([*inside, outside], PARENT, is_folder=is_folder)]
    assert "at most 10" in said[0]
    assert "F1-10" in said[1]
    assert "not within" in said[1]
