"""Scope patterns: which paths one means, and whether two can mean the same path. Pure.

A pattern is a path relative to the repository, or a glob with the meaning of git's `:(glob)`:
`*`, `?` and `[…]` stay within one folder, `**/` is any number of folders, `/**` is everything
inside. A pattern without wildcards also means everything below it, as it does to `git ls-files`.
Whatever its characters, a pattern means the path that is written just like it (`a[1].py`).
"""

from __future__ import annotations

import fnmatch
import functools
import re
from typing import Final

__all__ = ["is_glob", "pattern_contains", "pattern_fault", "pattern_matches", "patterns_overlap"]

MAX_PATTERN_CHARS: Final = 1_000
MAX_PARTS: Final = 64

_ANY: Final = "**"
"""As a segment: any number of folders and files, none as well."""
_WILD = re.compile(r"[*?\[]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def is_glob(pattern: str) -> bool:
    """The pattern has wildcards."""
    return _WILD.search(pattern) is not None


def pattern_fault(pattern: str) -> str | None:
    """Why a pattern is no path or glob inside a repository, or None when it is one."""
    parts = pattern.removesuffix("/").split("/")
    if not pattern.strip():
        return "is empty; name a path relative to the repository"
    if len(pattern) > MAX_PATTERN_CHARS:
        return f"is longer than {MAX_PATTERN_CHARS} characters"
    if len(parts) > MAX_PARTS:
        return f"has more than {MAX_PARTS} parts"
    if _CONTROL.search(pattern):
        return "has control characters or is not valid UTF-8"
    if pattern.startswith("/") or re.match(r"[A-Za-z]:[\\/]", pattern):
        return "is absolute; name it relative to the repository"
    if "\\" in pattern:
        return "has a backslash; separate folders with /"
    if ".." in parts:
        return "leaves the repository with '..'"
    if "." in parts or "" in parts:
        return "has an empty or '.' part; write src/a.py, not ./src//a.py"
    if any(part.lower() == ".git" for part in parts):
        return "is inside .git, which no task may touch"
    return None


def pattern_matches(pattern: str, path: str) -> bool:
    """`path` is meant by the pattern."""
    if path == pattern:
        return True
    segments = _segments(pattern)
    # The set of places in the pattern where the path read so far may stand: no backtracking.
    places = _past_any({0}, segments)
    for part in path.split("/"):
        places = _past_any(
            {
                place if segments[place] == _ANY else place + 1
                for place in places
                if place < len(segments) and _segment_matches(segments[place], part)
            },
            segments,
        )
    return len(segments) in places


def patterns_overlap(one: str, other: str) -> bool:
    """Some path could be meant by both. Exact but for `[…]`, which is taken for any character."""
    return one == other or _meet(_segments(one), _segments(other))


def pattern_contains(outer: str, inner: str) -> bool:
    """Whatever `inner` means, `outer` means as well. False where that cannot be told."""
    return outer == inner or _covers(_segments(outer), _segments(inner))


@functools.lru_cache(maxsize=4096)
def _segments(pattern: str) -> tuple[str, ...]:
    if not is_glob(pattern):
        return (*pattern.removesuffix("/").split("/"), _ANY)
    segments = pattern.removesuffix("/").split("/")
    if segments[-1] == _ANY:
        segments[-1:] = ["*", _ANY]  # `src/**` is what is in src, not src itself
    return tuple(segments)


def _past_any(places: set[int], segments: tuple[str, ...]) -> set[int]:
    """`places`, and those behind each `**`, which may stand for nothing."""
    found = set(places)
    for place in sorted(places):
        at = place
        while at < len(segments) and segments[at] == _ANY:
            at += 1
            found.add(at)
    return found


def _segment_matches(segment: str, part: str) -> bool:
    return segment == _ANY or _segment_regex(segment).match(part) is not None


@functools.lru_cache(maxsize=4096)
def _segment_regex(segment: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(segment.replace("[^", "[!")))


@functools.lru_cache(maxsize=65536)
def _meet(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    if not one or not other:
        return all(segment == _ANY for segment in (*one, *other))
    if one[0] == _ANY:
        return _meet(one[1:], other) or _meet(one, other[1:])
    if other[0] == _ANY:
        return _meet(other, one)
    return _segments_meet(one[0], other[0]) and _meet(one[1:], other[1:])


@functools.lru_cache(maxsize=65536)
def _segments_meet(one: str, other: str) -> bool:
    if not is_glob(one):
        return _segment_matches(other, one) if is_glob(other) else one == other
    if not is_glob(other):
        return _segment_matches(one, other)
    return _tokens_meet(_tokens(one), _tokens(other))


def _tokens(segment: str) -> tuple[str, ...]:
    """The segment's characters; `[…]` becomes `?`."""
    return tuple(re.findall(r"\*|.", re.sub(r"\[[!^]?\]?[^\]]*\]", "?", segment), re.DOTALL))


def _tokens_meet(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two wildcard texts have a text in common: reachable pairs of places, row by row."""
    reachable = {(0, 0)}
    frontier = [(0, 0)]
    while frontier:
        i, j = frontier.pop()
        for step in _steps(one[i : i + 1], other[j : j + 1]):
            place = (i + step[0], j + step[1])
            if place not in reachable:
                reachable.add(place)
                frontier.append(place)
    return (len(one), len(other)) in reachable


def _steps(one: tuple[str, ...], other: tuple[str, ...]) -> list[tuple[int, int]]:
    steps: list[tuple[int, int]] = []
    if one == ("*",):
        steps += [(1, 0), (0, 1)] if other else [(1, 0)]
    if other == ("*",):
        steps += [(0, 1), (1, 0)] if one else [(0, 1)]
    if one and other and (one == other or "?" in (one[0], other[0])):
        steps.append((1, 1))
    return steps


@functools.lru_cache(maxsize=65536)
def _covers(outer: tuple[str, ...], inner: tuple[str, ...]) -> bool:
    if not outer:
        return not inner
    if outer[0] == _ANY:
        return _covers(outer[1:], inner) or (bool(inner) and _covers(outer, inner[1:]))
    if not inner or inner[0] == _ANY:
        return False
    return _segment_covers(outer[0], inner[0]) and _covers(outer[1:], inner[1:])


def _segment_covers(outer: str, inner: str) -> bool:
    if outer in ("*", inner):
        return True
    return not is_glob(inner) and _segment_matches(outer, inner)
