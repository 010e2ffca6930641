"""A strategy: the prompts and task types that make one engine develop, test, research or analyse.

A strategy is a TOML file. The ones that come with the program lie beside this module; a user's own
lie in their configuration folder, or anywhere else when named by path. A repository's files are
never taken for strategies: its agents could write them, and they say what agents may change.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from stigmergy.coding.plan.globs import pattern_fault
from stigmergy.errors import NotFoundError, UsageError

__all__ = ["BUILT_IN", "Found", "Strategy", "WorkType", "find_strategies", "load_strategy"]

BUILT_IN: Final = ("development", "testing", "research", "analysis")
"""The strategies that come with the program; a user's file of the same name comes first."""
MAX_FILE_BYTES: Final = 256 * 1024

_RESERVED: Final = frozenset({"fix", "land", "plan", "approval", "wasm"})
"""Task types that mean something to a run already."""
_NAME: Final = r"[a-z][a-z0-9_-]{0,39}"

Name = Annotated[str, StringConstraints(pattern=f"^{_NAME}$")]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
Prompt = Annotated[str, StringConstraints(strip_whitespace=True, max_length=20_000)]


class WorkType(BaseModel):
    """One type of task, as agents take it from the board."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    summary: Line
    """What it is for: the planner reads it to choose."""
    product: Literal["commits", "findings"] = "commits"
    """What an agent leaves: commits that land, or a document that is kept beside the code."""
    prompt: Prompt = ""
    """What the agent is told beside the general instructions."""
    may_change: tuple[str, ...] = ()
    """Paths or globs that its commits may touch; empty is all. Other work comes back."""


class Strategy(BaseModel):
    """How a hive goes about its objective."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    name: Name
    summary: Line
    planner: Prompt = ""
    """What the planner is told beside its general instructions."""
    types: tuple[WorkType, ...] = Field(min_length=1, max_length=20)
    """The first is what an item is when the planner says nothing."""

    @property
    def lands(self) -> bool:
        """Something of it comes onto the target branch."""
        return any(each.product == "commits" for each in self.types)

    def type_of(self, name: str) -> WorkType:
        """The type of that name; the first one for a name that it has not."""
        return next((each for each in self.types if each.name == name), self.types[0])


class Found(BaseModel):
    """A strategy and where it came from."""

    model_config = ConfigDict(frozen=True)

    strategy: Strategy
    path: Path | None
    """None: it comes with the program."""


def load_strategy(name: str, *, folders: Sequence[Path]) -> Found:
    """The strategy of that name, or of the file that it names.

    Args:
        name: a name, or a path that ends in `.toml`.
        folders: a user's own, looked through before what comes with the program.

    Raises:
        NotFoundError: there is none.
        UsageError: its file is no strategy; the text says where and why.
    """
    if name.endswith(".toml"):
        path = Path(name)
        return Found(strategy=_read(path), path=path.absolute())
    if re.fullmatch(_NAME, name):
        for folder in folders:
            path = folder / f"{name}.toml"
            if path.is_file():
                return Found(strategy=_named(name, path), path=path)
        if name in BUILT_IN:
            return Found(strategy=_built_in(name), path=None)
    known = ", ".join(_names(folders))
    raise NotFoundError(f"there is no strategy {name!r}; there are {known}, or name a FILE.toml")


def find_strategies(*, folders: Sequence[Path]) -> list[Found]:
    """All strategies that go by a name.

    Raises:
        UsageError: a file is no strategy.
    """
    return [load_strategy(name, folders=folders) for name in _names(folders)]


def _names(folders: Sequence[Path]) -> Iterator[str]:
    own = {path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.toml")}
    yield from BUILT_IN
    yield from sorted(name for name in own - set(BUILT_IN) if re.fullmatch(_NAME, name))


def _named(name: str, path: Path) -> Strategy:
    strategy = _read(path)
    if strategy.name != name:
        raise UsageError(
            f"strategy {path}: name: is {strategy.name!r}, but the file is called {name}.toml"
        )
    return strategy


def _built_in(name: str) -> Strategy:
    text = files("stigmergy.coding.strategies").joinpath(f"{name}.toml").read_text("utf-8")
    return _parse(text, where=f"{name}.toml")


def _read(path: Path) -> Strategy:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise NotFoundError(f"strategy {path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"strategy {path}: is longer than {MAX_FILE_BYTES // 1024} KiB")
    try:
        return _parse(data.decode("utf-8"), where=str(path))
    except UnicodeDecodeError:
        raise UsageError(f"strategy {path}: is not UTF-8 text") from None


def _parse(text: str, *, where: str) -> Strategy:
    try:
        strategy = Strategy.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"strategy {where}: is not TOML: {error}") from None
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        ]
        raise UsageError(f"strategy {where}: {'; '.join(faults)}") from None
    if faults := list(_faults(strategy)):
        raise UsageError(f"strategy {where}: {'; '.join(faults)}")
    return strategy


def _faults(strategy: Strategy) -> Iterator[str]:
    seen: set[str] = set()
    for number, each in enumerate(strategy.types):
        where = f"types.{number}"
        if each.name in _RESERVED:
            yield f"{where}.name: {each.name!r} is kept for the tasks of the run itself"
        if each.name in seen:
            yield f"{where}.name: {each.name!r} is used twice"
        seen.add(each.name)
        if each.may_change and each.product == "findings":
            yield f"{where}.may_change: findings change nothing, so there is nothing to allow"
        for pattern in each.may_change:
            if (fault := pattern_fault(pattern)) is not None:
                yield f"{where}.may_change: {pattern[:80]!r} {fault}"
