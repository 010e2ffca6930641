"""From what somebody typed, or a task's whole description, to a query of the full-text index.

What is typed is words and nothing else: no operator, column or wildcard of FTS5 in it has any
effect. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

__all__ = ["any_label", "any_of", "beginning", "choose", "exactly", "significant_words"]

MAX_WORDS: Final = 64
"""Distinct words that are considered at all."""
MAX_CHOSEN: Final = 12
"""Words that are looked for."""
_MAX_WORD_CHARS: Final = 64
_PREFIX_CHARS: Final = 3

_WORD: Final = re.compile(r"[^\W_]+")
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


def choose(
    words: Sequence[str], count: Callable[[str], int], *, budget: int
) -> tuple[list[str], list[str]]:
    """The words to look for, and those left for when they find too little.

    Ranking costs as much as there are entries with any of the words, and the rarest tell the most:
    so they are taken from the rarest on while the entries that have them stay within the budget.
    Words that no entry has are left out of both.
    """
    counted = [(count(word), word) for word in words]
    known = sorted(pair for pair in counted if pair[0] > 0)
    chosen: list[str] = []
    left: list[str] = []
    cost = 0
    for number, word in known:
        cost += number
        within = not chosen or (cost <= budget and len(chosen) < MAX_CHOSEN)
        (chosen if within else left).append(word)
    return chosen, left[:MAX_CHOSEN]


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
