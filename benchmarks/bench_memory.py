"""How long a search of the memory takes, beside a plain scan with LIKE, in one run.

    python benchmarks/bench_memory.py [--entries 100000] [--queries 300]

Entries are made of words whose frequencies fall as those of a language do (the n-th word comes
1/n as often as the first), so there are words that nearly every entry has. Queries are made the
same way, with the words that texts of people have around them. Exits with 1 if the median of any
kind of full-text query is over the limit.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from stigmergy.memory import Memory

LIMIT_MS = 5.0
VOCABULARY = 20_000
WORDS_AN_ENTRY = 60
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
FILLERS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "it",
    "for",
    "with",
    "when",
    "where",
    "how",
]


class Language:
    """Words, and how often each comes."""

    def __init__(self, rng: random.Random) -> None:
        words = ["".join(word) for word in itertools.product(SYLLABLES, repeat=3)]
        rng.shuffle(words)
        self.words = words[:VOCABULARY]
        self._up_to = list(itertools.accumulate(1 / n for n in range(1, VOCABULARY + 1)))
        self._rng = rng

    def word(self) -> str:
        at = self._rng.random() * self._up_to[-1]
        return self.words[min(bisect.bisect_left(self._up_to, at), VOCABULARY - 1)]

    def text(self, length: int) -> str:
        return " ".join(self.word() for _ in range(length))

    def rare(self) -> str:
        return self._rng.choice(self.words[VOCABULARY // 4 :])


def namespace(number: int) -> str:
    """Half of all entries are in one, a hundredth in each of fifty."""
    return "large" if number % 2 else f"small-{number // 2 % 50}"


def lines(language: Language, entries: int) -> Iterator[bytes]:
    yield json.dumps({"stigmergy_memory": 1}).encode()
    for number in range(entries):
        line = {
            "namespace": namespace(number),
            "key": f"k{number}",
            "kind": "note",
            "value": language.text(WORDS_AN_ENTRY),
            "created_at": 1.0,
            "updated_at": 1.0,
        }
        yield json.dumps(line).encode()
    yield json.dumps({"end": entries}).encode()


def queries(language: Language, rng: random.Random) -> dict[str, Callable[[], str]]:
    def mixed(words: int) -> str:
        parts = [language.word() for _ in range(words)] + rng.choices(FILLERS, k=words // 2)
        rng.shuffle(parts)
        return " ".join(parts)

    return {
        "3 rare words": lambda: " ".join(language.rare() for _ in range(3)),
        "8 mixed words": lambda: mixed(8),
        "a description of 60 words": lambda: mixed(60),
        "1 word of any frequency": language.word,
    }


Took = tuple[float, float]
"""Milliseconds by the clock, and those that this thread had a processor for."""


def timed(work: Callable[[], object]) -> Took:
    begun, begun_cpu = time.perf_counter(), time.thread_time()
    work()
    return (time.perf_counter() - begun) * 1e3, (time.thread_time() - begun_cpu) * 1e3


def scan(db: sqlite3.Connection, text: str) -> list[tuple[str]]:
    """What one writes without an index: entries with the most of the words."""
    words = [word for word in dict.fromkeys(text.split()) if word not in FILLERS][:8]
    hits = " + ".join("(text LIKE ?)" for _ in words)
    sql = f"SELECT key, {hits} AS hits FROM entries WHERE hits > 0 ORDER BY hits DESC LIMIT 10"
    return db.execute(sql, [f"%{word}%" for word in words]).fetchall()


def tell(name: str, times: list[Took], note: str = "") -> float:
    """Print the figures of one kind of work; the median by the clock."""
    ordered = sorted(wall for wall, _ in times)
    median = statistics.median(ordered)
    late = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    cpu = statistics.median(cpu for _, cpu in times)
    print(f"  {name:<36} p50 {median:8.2f} ms  p99 {late:8.2f} ms  cpu p50 {cpu:8.2f} ms  {note}")
    return median


def vectors(memory: Memory, rng: random.Random, count: int) -> None:
    """The namespace `vectors`, with vectors of 384 numbers."""
    for number in range(count):
        vector = [rng.gauss(0, 1) for _ in range(384)]
        memory.store("vectors", f"v{number}", f"entry {number}", vector=vector)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    language = Language(rng)
    over: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.db"
        with Memory(path) as memory:
            begun = time.perf_counter()
            memory.import_(lines(language, options.entries), source="benchmark")
            took = time.perf_counter() - begun
            print(f"{options.entries:,} entries of {WORDS_AN_ENTRY} words, seed {options.seed}")
            print(f"  imported in {took:.1f} s ({options.entries / took:,.0f} a second)")
            stored = [
                timed(lambda n=n: memory.store("small-1", f"new-{n}", language.text(60)))
                for n in range(100)
            ]
            tell("store, one at a time, synced", stored)
            print("search, 10 results; the memory is warm after 20 queries")
            scopes = {"all": None, "in half": ["large"], "in 1%": ["small-7"]}
            for name, make in queries(language, rng).items():
                for scope, wanted in scopes.items():
                    texts = [make() for _ in range(options.queries + 20)]
                    times = [
                        timed(lambda t=text, w=wanted: memory.search(t, namespaces=w))
                        for text in texts
                    ][20:]
                    note = f"limit {LIMIT_MS:.0f} ms"
                    if tell(f"{name}, {scope}", times, note) > LIMIT_MS:
                        over.append(f"{name}, {scope}")
        print("the same file, LIKE over all entries")
        db = sqlite3.connect(path)
        for name, make in queries(language, rng).items():
            texts = [make() for _ in range(10)]
            tell(name, [timed(lambda t=text: scan(db, t)) for text in texts])
        db.close()
        print("by vectors of 384 numbers, 2,000 entries of one namespace")
        with Memory(path) as memory:
            vectors(memory, rng, 2000)
            near = [[rng.gauss(0, 1) for _ in range(384)] for _ in range(60)]
            tell(
                "vector and 8 mixed words, fused",
                [
                    timed(
                        lambda v=v: memory.search(
                            language.text(8), vector=v, namespaces=["vectors"]
                        )
                    )
                    for v in near
                ][10:],
            )
    if over:
        print(f"over the limit: {'; '.join(over)}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
