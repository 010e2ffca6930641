"""What is exported and imported is what was there, whatever it is; a second hop loses no more."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stigmergy.memory import Memory, Origin
from stigmergy.memory.fusion import fuse
from stigmergy.memory.secretwords import redact

TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
KEYS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,20}", fullmatch=True)
TAGS = st.lists(st.from_regex(r"[a-zäß0-9][a-z0-9.:#-]{0,10}", fullmatch=True), max_size=4)
WHO = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
REFLECTIONS = st.fixed_dictionaries(
    {
        "category": TEXTS,
        "description": TEXTS,
        "outcome": TEXTS,
        "recommendations": st.lists(TEXTS, max_size=3),
    }
)
VALUES = st.one_of(
    st.tuples(st.just("note"), TEXTS),
    st.tuples(st.just("value"), JSON),
    st.tuples(st.just("reflection"), REFLECTIONS),
)
WRITES = st.lists(
    st.fixed_dictionaries(
        {
            "namespace": st.sampled_from(["a", "b-1", "c.x"]) | NAMES,
            "key": st.sampled_from(["k", "k/2"]) | KEYS,
            "what": VALUES,
            "tags": TAGS,
            "origin": st.builds(Origin, agent_id=WHO, task_id=WHO, run_id=WHO),
            "ttl_s": st.none() | st.floats(1, 1e6),
            "vector": st.none()
            | st.lists(
                st.floats(-1e6, 1e6).filter(lambda x: abs(x) > 1e-6), min_size=1, max_size=5
            ),
        }
    ),
    max_size=12,
)


@contextmanager
def memories(*names: str) -> Iterator[list[Memory]]:
    with tempfile.TemporaryDirectory() as folder:
        opened = [Memory(Path(folder) / name, clock=lambda: 1_000.0) for name in names]
        try:
            yield opened
        finally:
            for memory in opened:
                memory.close()


def lines_of(memory: Memory) -> list[bytes]:
    lines: list[bytes] = []
    memory.export(lines.append)
    return lines


def without_marks(lines: list[bytes]) -> list[dict[str, Any]]:
    """The entries of an export, without what an import adds."""
    entries = [json.loads(line) for line in lines[1:-1]]
    for entry in entries:
        for version in (entry, *entry["history"]):
            del version["origin"]["imported_from"], version["origin"]["via"]
    return entries


@settings(max_examples=30, deadline=None)
@given(WRITES)
def test_a_round_trip_loses_nothing(writes: list[dict[str, Any]]) -> None:
    with memories("a", "b", "c") as (a, b, c):
        for write in writes:
            kind, value = write.pop("what")
            namespace, key = write.pop("namespace"), write.pop("key")
            a.store(namespace, key, value, kind=kind, **write)
        lines = lines_of(a)
        done = b.import_(lines, source="a")
        assert done.added == len(lines) - 2
        assert without_marks(lines_of(b)) == without_marks(lines)
        c.import_(lines_of(b), source="b")
        assert without_marks(lines_of(c)) == without_marks(lines)
        for entry in c.list(limit=1000).entries:
            assert (entry.origin.imported_from, entry.origin.via) == ("b", ("a",))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200) | st.text('"*():^-+ANDORNEAR\\{} \0x', max_size=40))
def test_any_text_can_be_searched_for_and_finds_itself(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    with memories("m") as (memory,):
        memory.store("ns", "k", text)
        if text.strip():
            found = memory.search(text)
            has_words = any(char.isalpha() and char.isascii() for char in redact(text))
            assert [each.entry.key for each in found] == ["k"] or not has_words


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from(["sk-", "a1B2c3D4", "://u:", "@", " ", "Bearer "]), max_size=12).map(
        "".join
    )
)
def test_taking_secrets_out_twice_is_taking_them_out_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@given(st.lists(st.lists(st.integers(0, 9), max_size=8, unique=True), max_size=4))
def test_fusion_keeps_every_item_once_and_never_prefers_the_worse(
    rankings: list[list[int]],
) -> None:
    fused = fuse(rankings)
    items = [item for item, _ in fused]
    assert sorted(items) == sorted({item for ranking in rankings for item in ranking})
    scores = [score for _, score in fused]
    assert scores == sorted(scores, reverse=True)
    for a in items:
        for b in items:
            places = [(r.index(a), r.index(b)) for r in rankings if a in r and b in r]
            everywhere = all((a in r) == (b in r) for r in rankings)
            if everywhere and places and all(x < y for x, y in places):
                assert items.index(a) < items.index(b)
