"""Strategy files: what one may say, where they are looked for, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from stigmergy.coding.strategies.strategy import BUILT_IN, find_strategies, load_strategy
from stigmergy.errors import NotFoundError, UsageError

GOOD = """
version = 1
name = "own"
summary = "One of mine."
[[types]]
name = "page"
summary = "A page."
"""


def written(folder: Path, text: str, name: str = "own") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_those_that_come_with_the_program_are_good() -> None:
    found = {each.strategy.name: each for each in find_strategies(folders=())}
    assert tuple(found) == BUILT_IN
    assert {name: each.strategy.lands for name, each in found.items()} == {
        "development": True,
        "testing": True,
        "research": False,
        "analysis": False,
    }
    assert all(each.path is None for each in found.values())


def test_a_type_leaves_commits_and_may_change_all_unless_it_says_otherwise(tmp_path: Path) -> None:
    strategy = load_strategy(str(written(tmp_path, GOOD)), folders=()).strategy
    (page,) = strategy.types
    assert (page.product, page.may_change, strategy.lands) == ("commits", (), True)


def test_a_users_own_comes_before_one_of_the_same_name(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.replace('"own"', '"testing"'), "testing")
    found = load_strategy("testing", folders=(tmp_path,))
    assert found.path == path
    assert found.strategy.summary == "One of mine."
    assert [each.strategy.name for each in find_strategies(folders=(tmp_path,))] == list(BUILT_IN)


def test_a_file_is_called_as_its_strategy(tmp_path: Path) -> None:
    written(tmp_path, GOOD, "other")
    with pytest.raises(UsageError, match=r"is 'own', but the file is called other\.toml"):
        load_strategy("other", folders=(tmp_path,))


@pytest.mark.parametrize("name", ["", "..", "../own", "a/b", "Own", "nothing", "/etc/passwd"])
def test_a_name_that_is_none_leads_nowhere(tmp_path: Path, name: str) -> None:
    written(tmp_path, GOOD)
    with pytest.raises(NotFoundError, match="there is no strategy"):
        load_strategy(name, folders=(tmp_path / "folder",))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"gone\.toml: cannot be read"):
        load_strategy(str(tmp_path / "gone.toml"), folders=())


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("version = 1", "", "version: Field required"),
        ("version = 1", "version = 2", "version: Input should be 1"),
        ("version = 1", "version = 1\ncolour = 3", "colour: Extra inputs"),
        ('name = "own"', 'name = "Own"', "name: String should match"),
        ('summary = "A page."', 'summary = ""', "types.0.summary"),
        ('name = "page"', 'name = "land"', "'land' is kept for the tasks of the run"),
        ('name = "page"', 'name = "page"\nmay_change = ["../x"]', "leaves the repository"),
        (
            'name = "page"',
            'name = "page"\nproduct = "findings"\nmay_change = ["a"]',
            "findings change nothing",
        ),
        ('name = "page"', 'name = "page"\nproduct = "poems"', "types.0.product"),
        ('name = "page"', 'name = "page"\nkind = "x"', "types.0.kind: Extra inputs"),
        ("[[types]]", "[[types", "is not TOML"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, was: str, becomes: str, said: str
) -> None:
    assert was in GOOD
    path = written(tmp_path, GOOD.replace(was, becomes, 1))
    with pytest.raises(UsageError) as raised:
        load_strategy(str(path), folders=())
    assert said in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_type_is_named_once_and_there_is_one(tmp_path: Path) -> None:
    twice = GOOD + GOOD[GOOD.index("[[types]]") :]
    with pytest.raises(UsageError, match="'page' is used twice"):
        load_strategy(str(written(tmp_path, twice)), folders=())
    none = GOOD[: GOOD.index("[[types]]")] + "types = []\n"
    with pytest.raises(UsageError, match="types"):
        load_strategy(str(written(tmp_path, none)), folders=())


def test_what_is_no_text_or_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not UTF-8"):
        load_strategy(str(path), folders=())
    path.write_text(GOOD + "# " + "x" * 300_000)
    with pytest.raises(UsageError, match="is longer than 256 KiB"):
        load_strategy(str(path), folders=())
