"""`--each GLOB`: one work item for every tracked file that matches."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Sequence
from typing import Final

from stigmergy.coding.git.repository import Repository
from stigmergy.coding.plan.globs import is_glob, pattern_fault, pattern_matches
from stigmergy.coding.plan.workitem import WorkItem, check_items
from stigmergy.errors import UsageError

__all__ = ["items_for_each", "items_for_paths", "key_of_path", "matching_paths"]

MAX_SLUG_CHARS: Final = 80
_FILE_MODES: Final = frozenset({"100644", "100755"})
"""Links and submodules are tracked as well, but there is nothing in them to work on."""


def items_for_each(
    repository: Repository, commit: str, pattern: str, *, description: str = ""
) -> tuple[WorkItem, ...]:
    """One item for each regular file at `commit` that the glob means.

    Raises:
        UsageError: the glob is not one, or means no file; the text shows what comes near.
    """
    entries = repository.ls_tree(commit)
    paths = [entry.path for entry in entries if entry.mode in _FILE_MODES]
    return items_for_paths(matching_paths(pattern, paths), description=description)


def matching_paths(pattern: str, paths: Sequence[str]) -> tuple[str, ...]:
    """The paths that the glob means, in order, as `git ls-files ':(glob)PATTERN'` says. Pure.

    Raises:
        UsageError: the glob is not one, or means none of them.
    """
    fault = pattern_fault(pattern)
    if fault is not None:
        raise UsageError(f"--each {pattern!r} {fault}")
    found = tuple(path for path in sorted(paths) if pattern_matches(pattern, path))
    if not found:
        raise UsageError(
            f"--each {pattern!r} means no tracked file. {_near_misses(pattern, paths)}"
        )
    return found


def items_for_paths(paths: Sequence[str], *, description: str = "") -> tuple[WorkItem, ...]:
    """One item for each path; `{path}` in the description is replaced. Pure.

    Raises:
        UsageError: a path cannot be a task's scope.
    """
    # replace, not format: a description may hold other braces, and a path may look like one.
    items = tuple(
        WorkItem(
            key=key_of_path(path),
            title=description.replace("{path}", path) or f"Work on {path}",
            scope=(path,),
        )
        for path in paths
    )
    check_items(items)
    return items


def key_of_path(path: str) -> str:
    """A readable key, the same for the same path in every run: the path's end and a digest."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", path)[-MAX_SLUG_CHARS:].strip("-_")
    return f"{slug or 'file'}-{digest}"


def _near_misses(pattern: str, paths: Sequence[str]) -> str:
    if not paths:
        return "There are no tracked files: commit them first."
    for variant, hint in (
        (f"**/{pattern}", "did you mean {!r}? ('*' stays within one folder)"),
        (f"{pattern.removesuffix('/')}/**", "did you mean {!r}?"),
    ):
        count = sum(pattern_matches(variant, path) for path in paths)
        if count and is_glob(pattern + variant):
            return f"{hint.format(variant).capitalize()} It means {_count(count)}."
    folded = [path for path in paths if pattern_matches(pattern.lower(), path.lower())]
    near = folded or difflib.get_close_matches(pattern, paths, n=3, cutoff=0.5)
    if near:
        return f"Near: {', '.join(near[:3])}."
    return f"Tracked are, for example: {', '.join(sorted(paths)[:3])}."


def _count(files: int) -> str:
    return "1 file" if files == 1 else f"{files} files"
