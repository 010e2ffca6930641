"""Scope patterns mean what git's `:(glob)` means."""

import subprocess
from pathlib import Path

import pytest

from stigmergy.coding.plan.globs import pattern_contains, pattern_matches, patterns_overlap

PATHS = [
    "a.py", "b.txt", "a[1].py", "a1.py", ".hidden", "src/a.py", "src/b.js", "src/core/a.py",
    "src/core/deep/c.py", "src/core/deep/.x", "srcs/a.py", "tests/test_a.py", "lib/src/a.py",
]  # fmt: skip
PATTERNS = [
    "*.py", "**/*.py", "src", "src/", "src/*", "src/**", "src/**/a.py", "**", "**/a.py", "*/a.py",
    "src/core/**/c.py", "s*c/*.py", "?.py", "[ab].*", "[!a].*", "**/core/**", "a[1].py", "nothing",
    "**/deep", "src/**/**/a.py", "*", "a*1*.py", "src/core/deep/c.py",
]  # fmt: skip


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("globs")
    for path in PATHS:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    return root


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_means_what_git_says(pattern: str, repository: Path) -> None:
    said = subprocess.run(
        ["git", "ls-files", "-z", f":(glob){pattern}"],
        cwd=repository, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    ours = {path for path in PATHS if pattern_matches(pattern, path)}
    assert ours == set(said.split("\0")) - {""}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("src", "src/a.py"), ("src/*.py", "src/a*"), ("**/a.py", "src/core"), ("*a*", "*b*"),
        ("src/**", "src/**/x"), ("a?c", "*b*"), ("**", "x"), ("a[1].py", "a[1].py"),
        ("a*b*c", "*x*c"), ("a", "a/**/a"),
    ],
)  # fmt: skip
def test_patterns_that_can_mean_one_path_overlap(one: str, other: str) -> None:
    assert patterns_overlap(one, other)
    assert patterns_overlap(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("src/a.py", "src/b.py"), ("src", "srcs"), ("*.py", "*.js"), ("*.py", "src/*.py"),
        ("a*", "b*"), ("src/*", "src/x/y.py"), ("**/x", "**/y"), ("a?", "abc"),
        ("src/**", "lib/**"),
    ],
)  # fmt: skip
def test_patterns_that_cannot_do_not(one: str, other: str) -> None:
    assert not patterns_overlap(one, other)
    assert not patterns_overlap(other, one)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [("src", "src/core"), ("src/**", "src/core/*.py"), ("**", "x"),
     ("**/*.py", "src/*/a.py"), ("src", "src/**"), ("src/*", "src/*")],
)  # fmt: skip
def test_a_scope_contains_a_narrower_one(outer: str, inner: str) -> None:
    assert pattern_contains(outer, inner)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [("src/core", "src"), ("src/*", "src/**"), ("src/*.py", "src/*"), ("*.py", "src/a.py"),
     ("src", "lib"), ("src/a*", "src/b*"), ("src/*", "src/core"), ("src/**", "src"),
     ("src/*", "src/a.py")],  # without wildcards it would mean everything below a folder a.py
)  # fmt: skip
def test_a_scope_does_not_contain_a_wider_one(outer: str, inner: str) -> None:
    assert not pattern_contains(outer, inner)


def test_many_stars_do_not_hang() -> None:
    assert not pattern_matches("*a" * 60, "a" * 59 + "b" * 500)
    assert not pattern_matches("**/a/" * 30 + "x", "a/" * 60 + "y")
    assert not patterns_overlap("*a" * 60 + "x", "*b" * 60 + "y")
