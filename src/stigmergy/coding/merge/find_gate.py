"""Guessing a project's gate from the files at a commit. Pure; the user's own choice comes first.

A specific test runner is preferred to `make test`: what it prints tells whether tests ran.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Collection
from dataclasses import dataclass

__all__ = ["GateGuess", "find_gate"]

Read = Callable[[str], bytes | None]

_PYTHON_TEST = re.compile(r"(?:^|/)(?:test_[^/]*|[^/]*_test)\.py$")
_JS_TEST = re.compile(r"(?:^|/)(?:[^/]+\.(?:test|spec)\.[cm]?[jt]sx?|__tests__/.+\.[jt]sx?)$")
_NPM_PLACEHOLDER = "no test specified"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateGuess:
    """A command, and the reason for it, for people."""

    argv: tuple[str, ...]
    why: str


def find_gate(paths: Collection[str], read: Read) -> GateGuess | None:
    """The gate that the files suggest, or None when nothing does.

    `paths` are all files of the commit, `read` gives one's content (None: no such file).
    """
    for guess in (_pytest, _cargo, _go, _npm, _unittest, _make):
        found = guess(paths, read)
        if found is not None:
            return found
    return None


def _pytest(paths: Collection[str], read: Read) -> GateGuess | None:
    argv = ("python3", "-m", "pytest", "-q")
    for name, section in (
        ("pytest.ini", "pytest"),
        ("tox.ini", "pytest"),
        ("setup.cfg", "tool:pytest"),
    ):
        if f"[{section}]" in _text(read(name)):
            return GateGuess(argv=argv, why=f"{name} configures pytest")
    if "pytest" in _table(_toml(read("pyproject.toml")), "tool"):
        return GateGuess(argv=argv, why="pyproject.toml configures pytest")
    tests = sorted(path for path in paths if _PYTHON_TEST.search(path))
    if "conftest.py" in paths or "tests/conftest.py" in paths:
        return GateGuess(argv=argv, why="there is a conftest.py")
    for path in tests[:20]:
        if re.search(r"^\s*(import|from) pytest\b", _text(read(path)), re.MULTILINE):
            return GateGuess(argv=argv, why=f"{path} imports pytest")
    if tests and not any("unittest" in _text(read(path)) for path in tests[:20]):
        return GateGuess(argv=argv, why=f"{tests[0]} is named as pytest's tests are")
    return None


def _unittest(paths: Collection[str], read: Read) -> GateGuess | None:
    tests = sorted(path for path in paths if _PYTHON_TEST.search(path))
    for path in tests[:20]:
        if "unittest" in _text(read(path)):
            folder = path.rpartition("/")[0].split("/")[0] or "."
            return GateGuess(
                argv=("python3", "-m", "unittest", "discover", "-s", folder, "-t", "."),
                why=f"{path} uses unittest",
            )
    return None


def _cargo(paths: Collection[str], _read: Read) -> GateGuess | None:
    if "Cargo.toml" not in paths:
        return None
    return GateGuess(argv=("cargo", "test"), why="there is a Cargo.toml")


def _go(paths: Collection[str], _read: Read) -> GateGuess | None:
    if "go.mod" not in paths:
        return None
    return GateGuess(argv=("go", "test", "./..."), why="there is a go.mod")


def _npm(paths: Collection[str], read: Read) -> GateGuess | None:
    script = _table(_json(read("package.json")), "scripts").get("test")
    if isinstance(script, str) and script and _NPM_PLACEHOLDER not in script:
        return GateGuess(argv=("npm", "test"), why="package.json has a test script")
    tests = sorted(path for path in paths if _JS_TEST.search(path))
    if tests and "package.json" in paths and script is None:
        return GateGuess(
            argv=("node", "--test"), why=f"package.json has no test script, but {tests[0]} is one"
        )
    return None


def _make(_paths: Collection[str], read: Read) -> GateGuess | None:
    for name in ("GNUmakefile", "Makefile", "makefile"):
        text = _text(read(name))
        for target in ("test", "check"):
            if re.search(rf"^{target}\s*::?(?!=)", text, re.MULTILINE):
                return GateGuess(argv=("make", target), why=f"{name} has the target {target!r}")
    return None


def _text(data: bytes | None) -> str:
    return "" if data is None else data.decode(errors="replace")


def _toml(data: bytes | None) -> object:
    try:
        return tomllib.loads(_text(data))
    except tomllib.TOMLDecodeError:
        return {}  # the project's own tools will complain of it, not we


def _json(data: bytes | None) -> object:
    try:
        return json.loads(_text(data) or "{}")
    except ValueError:
        return {}


def _table(document: object, key: str) -> dict[str, object]:
    """The object under a key of a parsed document; empty where it is something else."""
    if not isinstance(document, dict):
        return {}
    value: object = document.get(key)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - parsed outside data
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType] - its values stay objects
