"""The memory: what is stored is found, by its key or its words, and nothing else is."""

from __future__ import annotations

import json
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stigmergy.errors import CorruptError, NotFoundError, UnsupportedError, UsageError
from stigmergy.memory import Memory, Origin, Reflection, StaleVersionError
from stigmergy.memory.entry import MAX_TAGS, MAX_VALUE_BYTES
from stigmergy.memory.secretwords import redact


class Clock:
    """The time, set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(tmp_path: Path, clock: Clock) -> Iterator[Memory]:
    with Memory(tmp_path / "memory.db", clock=clock) as opened:
        yield opened


def keys(memory: Memory, text: str, **scope: object) -> list[str]:
    return [found.entry.key for found in memory.search(text, **scope)]


# --- keys, versions, time ---


def test_what_is_stored_is_there_with_where_it_comes_from(memory: Memory, clock: Clock) -> None:
    origin = Origin(agent_id="agent-1", task_id="F01", run_id="r1")
    stored = memory.store("ns", "k", {"rps": [5, None, True]}, tags=["b", "a", "a"], origin=origin)
    assert memory.get("ns", "k") == stored
    assert stored.value == {"rps": [5, None, True]}
    assert (stored.kind, stored.version, stored.tags) == ("value", 1, ("a", "b"))
    assert (stored.created_at, stored.updated_at, stored.origin) == (clock.now, clock.now, origin)
    assert memory.get("ns", "other") is None
    assert memory.get("other", "k") is None


def test_the_result_is_json(memory: Memory) -> None:
    memory.store("ns", "k", "some text")
    for result in (memory.get("ns", "k"), *memory.search("text"), memory.list(), memory.stats()):
        assert result is not None
        assert json.loads(json.dumps(result.to_json())) == result.to_json()


def test_a_change_is_a_version_and_earlier_ones_are_kept(memory: Memory, clock: Clock) -> None:
    memory.store("ns", "k", "one", tags=["x"])
    clock.now += 1
    memory.store("ns", "k", "two")
    history = memory.history("ns", "k")
    assert [(e.version, e.value, e.tags) for e in history] == [(2, "two", ()), (1, "one", ("x",))]
    assert history[0].created_at == history[1].updated_at == clock.now - 1
    assert keys(memory, "one") == []  # an earlier version is read, not found


def test_entries_without_a_key_are_listed_as_they_came(memory: Memory, clock: Clock) -> None:
    for number in range(20):
        memory.store("ns", None, number)
        clock.now += 0.001
    assert [entry.value for entry in memory.list("ns").entries] == list(range(20))


def test_storing_the_same_again_does_nothing(memory: Memory, clock: Clock) -> None:
    first = memory.store("ns", "k", 1)
    clock.now += 9
    assert memory.store("ns", "k", 1) == first
    assert memory.store("ns", "k", True).version == 2  # equal in Python, and another value
    assert memory.store("ns", "k", True, tags=["t"]).version == 3


def test_history_is_bounded(tmp_path: Path) -> None:
    with Memory(tmp_path / "m.db", history_limit=3) as memory:
        for number in range(10):
            memory.store("ns", "k", number)
        assert [entry.value for entry in memory.history("ns", "k")] == [9, 8, 7, 6]


def test_a_version_that_was_overtaken_is_refused(memory: Memory) -> None:
    memory.store("ns", "k", "one", if_version=0)
    with pytest.raises(StaleVersionError, match="has version 1, not 0"):
        memory.store("ns", "k", "two", if_version=0)
    assert memory.store("ns", "k", "two", if_version=1).version == 2


def test_a_note_without_a_key_gets_one_that_sorts_by_time(memory: Memory, clock: Clock) -> None:
    first = memory.store("ns", None, "a")
    clock.now += 1
    second = memory.store("ns", None, "a")
    assert first.key < second.key


def test_what_has_expired_is_found_nowhere_and_dropped(memory: Memory, clock: Clock) -> None:
    memory.store("ns", "k", "a fleeting thought", ttl_s=10, vector=[1, 0])
    memory.store("ns", "other", "a lasting one")
    clock.now += 10
    assert memory.get("ns", "k") is None
    assert memory.history("ns", "k") == ()
    assert keys(memory, "thought") == []
    assert [entry.key for entry in memory.list().entries] == ["other"]
    assert memory.stats().entries == 1
    lines: list[bytes] = []
    assert memory.export(lines.append) == 1
    assert memory.delete("ns", "k") is False
    memory.store("ns", "k", "new")
    assert memory.get("ns", "k").version == 1
    memory.store("ns", "x", "x", ttl_s=1)
    clock.now += 1
    assert memory.purge() == 1
    assert memory.purge() == 0
    memory.store("ns", "x", "x", ttl_s=1)
    clock.now += 1
    memory.store("ns", "y", "y")
    assert memory.purge() == 0  # the write has dropped it


def test_what_is_deleted_is_gone_with_its_history(memory: Memory) -> None:
    memory.store("ns", "k", "one")
    memory.store("ns", "k", "two")
    assert memory.delete("ns", "k") is True
    assert memory.delete("ns", "k") is False
    assert memory.history("ns", "k") == ()
    assert keys(memory, "one two") == []
    assert memory.stats().versions == 0
    memory.store("a", "k", "one")
    memory.store("b", "k", "one")
    assert memory.delete_namespace("a") == 1
    assert [stats.namespace for stats in memory.namespaces()] == ["b"]


def test_a_reflection_is_an_entry(memory: Memory) -> None:
    reflection = Reflection(
        category="code",
        description="Parsed dates by hand",
        outcome="failed",
        recommendations=("use a library",),
        tags=("dates",),
    )
    entry = memory.reflect("ns", reflection)
    assert entry.kind == "reflection"
    assert keys(memory, "library", kinds=["reflection"], tags=["dates"]) == [entry.key]
    with pytest.raises(UsageError, match="is no reflection"):
        memory.store("ns", "k", {"category": "x"}, kind="reflection")


# --- what may be stored ---


@pytest.mark.parametrize("name", ["", " a", "a b", "../a", "-a", "a/b", "ä", "a" * 101, "a\n"])
def test_a_namespace_that_can_be_none_is_refused(memory: Memory, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a namespace"):
        memory.store(name, "k", "v")


@pytest.mark.parametrize("key", ["", " ", "a b", "/a", "a\0", "a\n", "k" * 201])
def test_a_key_that_can_be_none_is_refused(memory: Memory, key: str) -> None:
    with pytest.raises(UsageError, match="cannot be a key"):
        memory.store("ns", key, "v")


@pytest.mark.parametrize(
    ("fields", "trouble"),
    [
        ({"value": "x" * MAX_VALUE_BYTES}, "65,536 are allowed"),
        ({"value": [[]] * 40000}, "are allowed"),
        ({"value": float("nan")}, "cannot be stored as JSON"),
        ({"value": "\ud800"}, "cannot be stored as JSON"),
        ({"value": object()}, "cannot be stored as JSON"),
        ({"value": 5, "kind": "note"}, "must be a text"),
        ({"kind": "thought"}, "there is no kind"),
        ({"tags": ["a b"]}, "cannot be a tag"),
        ({"tags": ["shared_from_a"]}, "only an import"),
        ({"tags": [str(n) for n in range(MAX_TAGS + 1)]}, "too many"),
        ({"origin": Origin(imported_from="x")}, "only an import"),
        ({"origin": Origin(via=("x",))}, "only an import"),
        ({"origin": Origin(agent_id="a\nb")}, "printable"),
        ({"tags": ["Shared_From_a"]}, "only an import"),
        ({"ttl_s": 0}, "more than 0"),
        ({"ttl_s": float("nan")}, "more than 0"),
        ({"ttl_s": float("inf")}, "up to 100 years"),
        ({"vector": []}, "0 numbers"),
        ({"vector": [0, 0]}, "no direction"),
        ({"vector": [float("inf")]}, "no direction"),
        ({"key": "AKIA" + "Z" * 16}, "looks like a secret"),
    ],
)
def test_what_may_not_be_stored_is_refused_with_the_reason(
    memory: Memory, fields: dict[str, object], trouble: str
) -> None:
    wanted = {"value": "v", "key": "k"} | fields
    with pytest.raises(UsageError, match=trouble):
        memory.store("ns", wanted.pop("key"), wanted.pop("value"), **wanted)
    assert memory.stats().entries == 0


def test_what_is_nested_too_deep_is_refused(memory: Memory) -> None:
    deep: object = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UsageError, match="nested more than 32 deep"):
        memory.store("ns", "k", deep)


@pytest.mark.parametrize(
    "secret",
    [
        "sk-" + "aB3_" * 8,
        "ghp_" + "a1" * 18,
        "AKIA" + "Q" * 16,
        "eyJ" + "a" * 12 + ".eyJ" + "b" * 12 + "." + "c" * 12,
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\ncut off",
    ],
)
def test_what_looks_like_a_secret_is_not_kept(memory: Memory, secret: str) -> None:
    memory.store("ns", "text", f"the key is {secret} here")
    memory.store("ns", "deep", {"a": [{secret: secret}]})
    texts = [entry.text for entry in memory.list().entries]
    assert not any(secret in text for text in texts)
    assert all("[redacted]" in text for text in texts)
    memory.close()
    assert secret.encode() not in memory.path.read_bytes()


def test_a_password_in_an_address_and_a_bearers_token_are_not_kept(memory: Memory) -> None:
    text = "postgresql://joe:hunter2@db/x and Authorization: Bearer " + "t0" * 15
    entry = memory.store("ns", "k", text)
    assert entry.value == ("postgresql://joe:[redacted]@db/x and Authorization: Bearer [redacted]")
    assert memory.store("ns", "k", entry.value).version == 1
    plain = "see http://localhost:8080/a@b and sk-learn, and the bearer of bad news"
    assert memory.store("ns", "plain", plain).value == plain


def test_a_text_made_to_be_searched_for_ever_is_not() -> None:
    began = time.process_time()
    redact("eyJ-" * 64_000)  # each could begin a web token, and none does
    assert time.process_time() - began < 4.0, "it grows with the square of the text's length"


# --- search ---


def test_search_finds_forms_of_words_whatever_their_case_and_marks(memory: Memory) -> None:
    memory.store("ns", "k", "The tests FAILED while retrying the café's exporter")
    for text in ("failing test", "retry", "CAFE", "exporters", "expo"):
        assert keys(memory, text) == ["k"]
    assert keys(memory, "unrelated words") == []


def test_the_rarer_word_counts_more(memory: Memory) -> None:
    for number in range(20):
        memory.store("ns", f"common-{number}", f"build number {number}")
    memory.store("ns", "rare", "build with bazel")
    assert keys(memory, "bazel build", limit=1) == ["rare"]


def test_stop_words_are_passed_over_unless_there_is_nothing_else(memory: Memory) -> None:
    memory.store("ns", "a", "the and of it")
    memory.store("ns", "b", "parser")
    assert keys(memory, "what about the parser of it") == ["b"]
    assert keys(memory, "the and") == ["a"]


HOSTILE = [
    '"',
    '"""" OR *',
    "text : x",
    "labels : n1",
    "x NEAR(a b, 3)",
    "^ { } ( ) - + : * \\",
    "a AND NOT b",
    "'; DROP TABLE entries; --",
    "\0quick",
    "quick\0",
    "%_[]?",
    "🦊 \u202e quick",
    "x" * 50_000,
    "word " * 5_000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_is_taken_for_syntax(memory: Memory, text: str) -> None:
    memory.store("ns", "k", "the quick fox")
    found = keys(memory, text)
    assert found == (["k"] if "quick" in text else [])
    memory.store("ns", "k2", text)
    assert memory.get("ns", "k2").value == text


def test_a_text_cannot_pass_for_a_namespace_or_a_tag(memory: Memory) -> None:
    memory.store("a", "k", "n1 n2 t1 knote", tags=["x"])
    memory.store("b", "k", "quiet")
    assert keys(memory, "n2", namespaces=["b"]) == []
    assert keys(memory, "quiet", tags=["x"]) == []
    assert memory.search("knote")[0].entry.namespace == "a"


def test_a_search_without_words_is_refused(memory: Memory) -> None:
    memory.store("ns", "k", "v")
    for text in ("", "  \n"):
        with pytest.raises(UsageError, match="what to search for"):
            memory.search(text)
    assert memory.search("!?") == ()
    with pytest.raises(UsageError, match="not valid Unicode"):
        memory.search("\ud800")
    with pytest.raises(UsageError, match="limit"):
        memory.search("x", limit=0)


def test_search_stays_within_namespaces_kinds_and_tags(memory: Memory) -> None:
    memory.store("a", "1", "shared word", tags=["x", "y"])
    memory.store("b", "2", "shared word", tags=["x"])
    memory.store("c", "3", {"word": "shared"}, tags=["y"])
    assert set(keys(memory, "shared")) == {"1", "2", "3"}
    assert set(keys(memory, "shared", namespaces=["a", "b"])) == {"1", "2"}
    assert keys(memory, "shared", namespaces=["nowhere"]) == []
    assert set(keys(memory, "shared", tags=["x"])) == {"1", "2"}
    assert keys(memory, "shared", tags=["x", "y"]) == ["1"]
    assert keys(memory, "shared", tags=["z"]) == []
    assert keys(memory, "shared", kinds=["value"]) == ["3"]
    assert keys(memory, "shared", kinds=["value", "note"], namespaces=["c"]) == ["3"]


def many(memory: Memory, count: int) -> None:
    """Entries of which every one has `common`, a tenth `tenth`, and one `single`."""
    lines = [json.dumps({"stigmergy_memory": 1}).encode()]
    for number in range(count):
        word = "tenth" if number % 10 == 0 else "usual"
        word += " single" if number == 17 else ""
        line = {
            "namespace": "large" if number % 50 else "small",
            "key": f"k{number:05}",
            "kind": "note",
            "value": f"common {word} w{number}",
            "created_at": 1.0,
            "updated_at": 1.0,
        }
        lines.append(json.dumps(line).encode())
    lines.append(json.dumps({"end": count}).encode())
    memory.import_(lines, source="test")


def test_words_that_very_many_have_are_found_as_well(memory: Memory) -> None:
    many(memory, 12_000)
    assert keys(memory, "common single") == ["k00017"]
    assert len(keys(memory, "common tenth", limit=7)) == 7
    assert keys(memory, "common", limit=2) == ["k11999", "k11998"]
    assert keys(memory, "common", namespaces=["small"], limit=2) == ["k11950", "k11900"]
    assert len(keys(memory, "tenth", namespaces=["small"], limit=500)) == 240
    assert len(keys(memory, "common usual", namespaces=["large"], limit=1000)) == 1000
    assert keys(memory, "w77 absent") == ["k00077"]


def test_a_search_sees_what_was_stored_a_moment_ago_by_another(memory: Memory) -> None:
    assert keys(memory, "fresh") == []
    with Memory(memory.path) as other:
        other.store("ns", "k", "fresh news")
        assert keys(memory, "fresh") == ["k"]
        other.delete("ns", "k")
        assert keys(memory, "fresh") == []


def test_a_word_that_was_looked_for_in_vain_is_found_once_it_is_there(memory: Memory) -> None:
    many(memory, 300)
    assert keys(memory, "zebra") == []
    memory.store("large", "k00001", "now a zebra")  # an entry that was there says something new
    assert keys(memory, "usual zebra", limit=1) == ["k00001"]
    assert keys(memory, "giraffe") == []
    with Memory(memory.path) as other:
        other.store("large", "k00002", "now a giraffe")
    assert keys(memory, "tenth giraffe", limit=1) == ["k00002"]
    assert keys(memory, "giraffe", namespaces=["large"], kinds=["note"]) == ["k00002"]


# --- vectors ---


def test_the_nearest_vectors_are_found(memory: Memory) -> None:
    memory.store("ns", "east", "one", vector=[10, 0])
    memory.store("ns", "north", "two", vector=[0, 0.1])
    memory.store("ns", "none", "three")
    memory.store("other", "east", "four", vector=[1, 0], tags=["t"])
    found = memory.search(vector=[1, 0.1], namespaces=["ns"])
    assert [(f.entry.key, f.by) for f in found] == [("east", ("vector",)), ("north", ("vector",))]
    assert found[0].score == pytest.approx(0.995, abs=1e-3)
    assert [f.entry.namespace for f in memory.search(vector=[1, 0], tags=["t"])] == ["other"]


def test_both_rankings_are_fused(memory: Memory) -> None:
    memory.store("ns", "both", "green apple", vector=[1, 0.1])
    memory.store("ns", "text", "apple")
    memory.store("ns", "near", "pear", vector=[1, 0])
    found = memory.search("apple", vector=[1, 0])
    assert found[0].entry.key == "both"
    assert {f.entry.key: f.by for f in found} == {
        "both": ("text", "vector"),
        "text": ("text",),
        "near": ("vector",),
    }


def test_an_embedding_function_makes_the_vectors(tmp_path: Path) -> None:
    def embed(text: str) -> list[float]:
        return [1.0, 0.0] if "fruit" in text or "apple" in text else [0.0, 1.0]

    with Memory(tmp_path / "m.db", embed=embed) as memory:
        memory.store("ns", "apple", "apple")
        memory.store("ns", "car", "car")
        assert memory.search("fruit")[0].entry.key == "apple"
        memory.store("ns", "apple", "motor")
        assert memory.search("fruit")[0].score == pytest.approx(0.0)


def test_a_vector_goes_with_its_text(memory: Memory) -> None:
    memory.store("ns", "k", "one", vector=[1, 0])
    assert len(memory.search(vector=[1, 0])) == 1
    memory.store("ns", "k", "one", tags=["t"])
    assert len(memory.search(vector=[1, 0])) == 1  # the text is the same
    memory.store("ns", "k", "two")
    assert memory.search(vector=[1, 0]) == ()
    memory.store("ns", "k", "two", vector=[0, 1])
    assert memory.search(vector=[0, 1])[0].entry.version == 3  # a vector is no news
    with Memory(memory.path) as other:
        other.delete("ns", "k")
    assert memory.search(vector=[0, 1]) == ()


def test_vectors_of_another_length_are_told(memory: Memory) -> None:
    memory.store("ns", "k", "one", vector=[1, 0])
    with pytest.raises(UsageError, match="has 3 numbers, those of the entries have 2"):
        memory.search(vector=[1, 0, 0])


def test_without_numpy_a_search_by_vectors_says_what_to_install(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.store("ns", "k", "one", vector=[1, 0])
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(UnsupportedError, match="pip install numpy"):
        memory.search(vector=[1, 0])
    assert keys(memory, "one") == ["k"]


def test_the_memory_is_imported_without_numpy() -> None:
    code = "import stigmergy.memory, sys; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- lists ---


def test_a_list_goes_page_by_page_without_gaps(memory: Memory) -> None:
    for namespace in ("b", "a"):
        for number in range(7):
            memory.store(namespace, f"k{number}", number, tags=["even"] if number % 2 == 0 else [])
    seen: list[str] = []
    after = None
    while True:
        page = memory.list(limit=4, after=after)
        seen += [f"{entry.namespace}/{entry.key}" for entry in page.entries]
        if (after := page.next) is None:
            break
    assert seen == [f"{ns}/k{n}" for ns in "ab" for n in range(7)]
    assert [e.key for e in memory.list("a", tags=["even"]).entries] == ["k0", "k2", "k4", "k6"]
    assert [e.key for e in memory.list("a", prefix="k3").entries] == ["k3"]
    assert memory.list("nowhere").entries == ()
    with pytest.raises(UsageError, match="no cursor"):
        memory.list(after="x")


def test_statistics_count_by_namespace(memory: Memory) -> None:
    memory.store("a", "1", "x", vector=[1, 0])
    memory.store("a", "2", {"y": 1})
    memory.store("b", "3", "xyz")
    memory.store("b", "3", "xyzz")
    stats = memory.stats()
    assert (stats.entries, stats.versions) == (3, 1)
    a, b = stats.namespaces
    assert (a.namespace, a.entries, a.kinds, a.vectors) == ("a", 2, {"note": 1, "value": 1}, 1)
    assert (b.size_bytes, b.imported) == (len('"xyzz"'), 0)
    assert stats.file_bytes > 0


# --- the file ---


def test_the_file_is_for_its_user_alone_and_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "new" / "memory.db"
    with pytest.raises(NotFoundError, match="there is no memory"):
        Memory(path, create=False)
    assert not path.parent.exists()
    with Memory(path) as memory:
        name = memory.memory_id
        memory.store("ns", "k", "v")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Memory.open(path, create=False) as memory:
        assert memory.memory_id == name
        assert memory.get("ns", "k") is not None


def test_what_is_no_memory_is_left_as_it_is(tmp_path: Path) -> None:
    junk = tmp_path / "junk.db"
    junk.write_bytes(b"not a database at all, but long enough to look at " * 100)
    before = junk.read_bytes()
    with pytest.raises(CorruptError, match="not a readable memory"):
        Memory(junk)
    assert junk.read_bytes() == before
    other = tmp_path / "other.db"
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE t (x)")
    db.commit()
    db.close()
    with pytest.raises(UsageError, match="is a database, but no memory"):
        Memory(other)


def test_a_newer_memory_is_refused(memory: Memory) -> None:
    memory.close()
    db = sqlite3.connect(memory.path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(UsageError, match="schema 99"):
        Memory(memory.path)


def test_a_closed_memory_says_so(memory: Memory) -> None:
    memory.close()
    memory.close()
    with pytest.raises(UsageError, match="this memory is closed"):
        memory.get("ns", "k")


def test_threads_share_a_memory(memory: Memory) -> None:
    def work(number: int) -> None:
        for step in range(10):
            memory.store(f"ns{number}", f"k{step}", f"word{number} step{step}")
            assert keys(memory, f"step{step}", namespaces=[f"ns{number}"]) == [f"k{step}"]
            memory.store("all", "counter", f"{number}.{step}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert memory.stats().entries == 61
    assert memory.history("all", "counter")[0].version == 60
