"""`--each GLOB`: the tracked files of a real repository become items."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stigmergy.coding.git.repository import Repository
from stigmergy.coding.plan.each import items_for_each, items_for_paths, key_of_path, matching_paths
from stigmergy.coding.plan.workitem import key_fault
from stigmergy.errors import UsageError

PATHS = ["a.py", "src/a.py", "src/b.py", "src/core/a.py", "docs/Read me.md"]


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    for path in PATHS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x\n")
    (tmp_path / "src" / "link.py").symlink_to("a.py")
    (tmp_path / "src" / "odd name {path}.py").write_text("x\n")
    for args in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "start"]):
        author = ["-c", "user.name=T", "-c", "user.email=t@example.invalid"]
        subprocess.run(["git", *author, *args], cwd=tmp_path, check=True)
    (tmp_path / "src" / "untracked.py").write_text("x\n")
    with Repository(tmp_path) as opened:
        yield opened


def test_each_tracked_regular_file_is_an_item(repository: Repository) -> None:
    head = repository.rev_parse("HEAD")
    items = items_for_each(repository, head, "src/**/*.py", description="Port {path} {now}")
    assert [item.scope for item in items] == [
        ("src/a.py",), ("src/b.py",), ("src/core/a.py",), ("src/odd name {path}.py",),
    ]  # fmt: skip
    assert items[0].title == "Port src/a.py {now}"
    assert items[3].title == "Port src/odd name {path}.py {now}"


def test_the_same_path_has_the_same_key_everywhere() -> None:
    assert key_of_path("src/core/a.py") == "src-core-a-py-e5c6e7c57f8d"


def test_keys_are_valid_unique_and_readable() -> None:
    paths = ["a/b.py", "a-b.py", "a_b.py", "ä/ö", "-", ".", "x" * 500, "y" + "x" * 499, "a.lock"]
    keys = [key_of_path(path) for path in paths]
    assert len(set(keys)) == len(keys)
    assert [key_fault(key) for key in keys] == [None] * len(keys)
    assert keys[0].startswith("a-b-py-")


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("core/*.py", r"\*\*/core/\*\.py.*It means 1 file"),
        ("docs/*.MD", "Near: docs/Read me.md"),
        ("src/aa.py", "Near: src/a.py"),
        ("zzz", "Tracked are, for example: a.py"),
    ],
)
def test_a_glob_that_means_nothing_shows_what_comes_near(pattern: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        matching_paths(pattern, PATHS)


@pytest.mark.parametrize("pattern", ["", "/src/*", "../*", ".git/*"])
def test_a_glob_stays_inside_the_repository(pattern: str) -> None:
    with pytest.raises(UsageError, match="--each"):
        matching_paths(pattern, PATHS)


def test_an_empty_repository_says_so() -> None:
    with pytest.raises(UsageError, match="no tracked files"):
        matching_paths("*", [])


def test_without_a_description_the_path_is_the_task() -> None:
    assert items_for_paths(["a.py"])[0].title == "Work on a.py"
