"""From what somebody typed, or a task's whole description, to a query of the full-text index.

What is typed is words and nothing else: no operator, column or wildcard of FTS5 in it has any
effect. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["Chosen", "any_label", "any_of", "beginning", "choose", "exactly", "significant_words"]

MAX_WORDS: Final = 40
"""Distinct words that are considered at all."""
MAX_CHOSEN: Final = 12
"""Words that are looked for."""
_MAX_WORD_CHARS: Final = 64
_PREFIX_CHARS: Final = 3

# What is not ASCII the index takes apart itself, by the Unicode that it was made with.
_WORD: Final = re.compile(r"[^\s\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+")
_STOP: Final = frozenset(
    """
    a about above after again all also am an and any are as at be because been before being
    below between both but by can could did do does doing down during each either else few for
    from further had has have having he her here hers him his how i if in into is it its
    itself just let may me might more most must my no nor not now of off on once only or other
    our out over own per same shall she should so some such than that the their them then
    there these they this those through to too under until up upon us very was we were what
    when where which while who whom why will with would you your
    """.split()  # noqa: SIM905 - a table of words is read more easily without quotes
)


def significant_words(text: str) -> list[str]:
    """The words of a text, each once, in order, without those that every text has.

    A text of stop words alone keeps them: somebody may look for just that.
    """
    words = dict.fromkeys(word[:_MAX_WORD_CHARS].lower() for word in _WORD.findall(text))
    telling = [word for word in words if word not in _STOP]
    return (telling or list(words))[:MAX_WORDS]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The words of a query by what it costs to rank entries by them; each the rarest first."""

    first: tuple[str, ...]
    """Cheap together, or a single one."""
    cost: int
    """Entries that have one of `first`, at most."""
    then: tuple[str, ...]
    """To look for as well where the first find too little."""
    common: tuple[str, ...]
    """So many entries have them that they tell nothing."""


def choose(words: Iterable[str], count: Callable[[str], int], *, budget: int, most: int) -> Chosen:
    """Which words to look for.

    Ranking costs as much as there are entries with any of the words, and the rarest tell the most:
    so they are taken from the rarest on. Words that no entry has are left out.

    Args:
        words: of the query.
        count: how many entries have a word.
        budget: entries that may be ranked for `first`; ten times as many for `then`.
        most: a word that so many entries have is common.
    """
    known = sorted((number, word) for word in words if (number := count(word)) > 0)
    first: list[str] = []
    then: list[str] = []
    cost = total = 0
    for number, word in known:
        if number >= most:
            break
        total += number
        if not first or (total <= budget and len(first) < MAX_CHOSEN):
            first.append(word)
            cost = total
        elif total <= 10 * budget and len(then) < MAX_CHOSEN:
            then.append(word)
    common = [word for number, word in known if number >= most]
    return Chosen(tuple(first), cost, tuple(then), tuple(common[:MAX_CHOSEN]))


def any_of(terms: Iterable[str], labels: Iterable[str] = ()) -> str:
    """Entries with any of the terms, and with a label of each group (`any_label`)."""
    return " AND ".join([*labels, f"text : ({' OR '.join(terms)})"])


def any_label(labels: Iterable[str]) -> str:
    """Entries with any of the labels."""
    return f"labels : ({' OR '.join(exactly(labels))})"


def exactly(words: Iterable[str]) -> list[str]:
    """Terms: each word as it is, or in another form of it."""
    return [_quoted(word) for word in words]


def beginning(words: Iterable[str]) -> list[str]:
    """Terms: what begins with a word, of those that are long enough for it."""
    return [f"{_quoted(word)} *" for word in words if len(word) >= _PREFIX_CHARS]


def _quoted(word: str) -> str:
    # A quoted string of FTS5 is words and nothing else; a NUL would end the whole query.
    return '"' + word.replace('"', '""').replace("\0", " ") + '"'
