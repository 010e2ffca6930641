"""Export and import of memories: whole, marked, and never believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stigmergy.errors import NotFoundError, UsageError
from stigmergy.memory import Memory, Origin
from stigmergy.memory.entry import MAX_HOPS, MAX_TAGS

Line = dict[str, Any]


@pytest.fixture
def open_memory(tmp_path: Path) -> Iterator[Callable[[str], Memory]]:
    opened: list[Memory] = []

    def make(name: str) -> Memory:
        memory = Memory(tmp_path / f"{name}.db", clock=lambda: 2_000.0)
        opened.append(memory)
        return memory

    yield make
    for memory in opened:
        memory.close()


@pytest.fixture
def memory(open_memory: Callable[[str], Memory]) -> Memory:
    return open_memory("memory")


def exported(memory: Memory, *namespaces: str) -> list[bytes]:
    lines: list[bytes] = []
    memory.export(lines.append, namespaces=namespaces or None)
    return lines


def entry_line(**fields: Any) -> Line:
    return {
        "namespace": "ns",
        "key": "k",
        "kind": "note",
        "value": "v",
        "created_at": 1.0,
        "updated_at": 1.0,
    } | fields


def file_of(*entries: Line, header: Line | None = None, end: int | None = None) -> list[bytes]:
    closing = {"end": len(entries) if end is None else end}
    lines = [{"stigmergy_memory": 1} if header is None else header, *entries, closing]
    return [json.dumps(line).encode() + b"\n" for line in lines]


# --- what comes over ---


def test_everything_comes_over_with_a_mark(open_memory: Callable[[str], Memory]) -> None:
    a, b = open_memory("a"), open_memory("b")
    origin = Origin(agent_id="agent-1", task_id="F01", run_id="r1")
    a.store("ns", "k", "old", tags=["x"], origin=origin)
    a.store("ns", "k", {"new": [1, 2.5, None]}, tags=["y"], ttl_s=100, vector=[3, 4])
    a.store("other", "k", "apart")
    done = b.import_(exported(a, "ns"), source="team a")
    assert (done.added, done.same, done.conflicts, done.notes) == (1, 0, (), ())
    new, old = b.history("ns", "k")
    assert (new.value, new.version, new.expires_at) == ({"new": [1, 2.5, None]}, 2, 2_100.0)
    assert new.tags == ("shared_from_team-a", "y")
    assert (old.value, old.version, old.tags) == ("old", 1, ("shared_from_team-a", "x"))
    assert old.origin == Origin(
        agent_id="agent-1", task_id="F01", run_id="r1", imported_from="team a"
    )
    assert b.search(vector=[3, 4])[0].score == pytest.approx(1.0)
    assert [f.entry.key for f in b.search("new", tags=["shared_from_team-a"])] == ["k"]
    assert b.stats().namespaces[0].imported == 1


def test_all_may_go_into_one_namespace(open_memory: Callable[[str], Memory]) -> None:
    a, b = open_memory("a"), open_memory("b")
    a.store("one", "x", "1")
    a.store("two", "y", "2")
    a.store("two", "x", "3")
    done = b.import_(exported(a), source="a", namespace="mine", policy="both")
    assert done.added == 2
    assert [(c.namespace, c.key, c.done) for c in done.conflicts] == [
        ("mine", "x", "both: the new one is x@2")
    ]
    assert {e.key: e.value for e in b.list("mine").entries} == {"x": "1", "x@2": "3", "y": "2"}


def test_importing_again_changes_nothing(open_memory: Callable[[str], Memory]) -> None:
    a, b = open_memory("a"), open_memory("b")
    a.store("ns", "k", "v", tags=["t"])
    lines = exported(a)
    b.import_(lines, source="a")
    before = b.history("ns", "k")
    done = b.import_(lines, source="elsewhere", policy="replace")
    assert (done.added, done.same, done.conflicts) == (0, 1, ())
    assert b.history("ns", "k") == before


def test_a_namespace_that_holds_nothing_is_not_exported(memory: Memory) -> None:
    memory.store("here", "k", "v")
    with pytest.raises(NotFoundError, match=r"nothing in the namespace 'gone'; there are here"):
        exported(memory, "gone")


# --- conflicts ---


@pytest.mark.parametrize(
    ("policy", "done", "values"),
    [
        ("keep", "kept", {"k": "mine"}),
        ("replace", "replaced", {"k": "theirs"}),
        ("both", "both: the new one is k@2", {"k": "mine", "k@2": "theirs"}),
    ],
)
def test_a_conflict_is_reported_and_goes_as_the_policy_says(
    memory: Memory, policy: Any, done: str, values: dict[str, str]
) -> None:
    memory.store("ns", "k", "mine")
    told = memory.import_(file_of(entry_line(value="theirs")), source="them", policy=policy)
    assert [(c.key, c.done) for c in told.conflicts] == [("k", done)]
    assert {e.key: e.value for e in memory.list("ns").entries} == values
    assert memory.history("ns", "k")[-1].value == "mine"  # replaced is not lost


def test_what_has_expired_is_left_out_and_counted(memory: Memory) -> None:
    done = memory.import_(file_of(entry_line(expires_at=1_999.0)), source="them")
    assert (done.added, done.expired) == (0, 1)
    assert memory.list().entries == ()


# --- nothing is believed ---


def test_tags_that_forge_an_import_are_stripped_and_told(memory: Memory) -> None:
    line = entry_line(tags=["shared_from_the-boss", "SHARED_FROM_me", "x"])
    done = memory.import_(file_of(line), source="them")
    (entry,) = memory.list().entries
    assert entry.tags == ("shared_from_them", "x")
    assert done.notes == (
        "the tag 'SHARED_FROM_me' was stripped: only this import says where from",
        "the tag 'shared_from_the-boss' was stripped: only this import says where from",
    )


def test_a_policy_that_is_none_is_refused(memory: Memory) -> None:
    with pytest.raises(UsageError, match="'merge' is no policy; there are keep, replace, both"):
        memory.import_(file_of(entry_line()), source="them", policy="merge")


def test_an_origin_in_the_file_stays_a_claim(memory: Memory) -> None:
    claimed = {"agent_id": "person", "imported_from": "headquarters", "via": ["x"] * MAX_HOPS}
    done = memory.import_(file_of(entry_line(origin=claimed)), source="them")
    (entry,) = memory.list().entries
    assert entry.origin.imported_from == "them"
    assert entry.origin.via == ("headquarters", *["x"] * (MAX_HOPS - 1))
    assert len(done.notes) == 2


def test_a_file_that_names_this_memory_is_imported_all_the_same(memory: Memory) -> None:
    header = {"stigmergy_memory": 1, "memory": memory.memory_id}
    done = memory.import_(file_of(entry_line(), header=header), source="them")
    assert "this very memory" in done.notes[0]
    assert memory.list().entries[0].origin.imported_from == "them"


def test_secrets_are_taken_out_and_told(memory: Memory) -> None:
    secret = "ghp_" + "a1" * 18
    done = memory.import_(file_of(entry_line(value=[secret], kind="value")), source="them")
    assert memory.list().entries[0].value == ["[redacted]"]
    assert done.notes == ("what looks like a secret was taken out",)


@pytest.mark.parametrize("source", ["", "a\nb", "x" * 300, "sk-" + "a1" * 20])
def test_a_source_that_can_be_none_is_refused(memory: Memory, source: str) -> None:
    with pytest.raises(UsageError):
        memory.import_(file_of(entry_line()), source=source)


@pytest.mark.parametrize("source", ["…", "///", "a b/c.jsonl", "x" * 256, "日本"])
def test_any_name_of_a_place_makes_a_tag(memory: Memory, source: str) -> None:
    memory.import_(file_of(entry_line()), source=source)
    (tag,) = memory.list().entries[0].tags
    assert tag.startswith("shared_from_")
    assert memory.list(tags=[tag]).entries


# --- all or nothing ---


@pytest.mark.parametrize(
    ("lines", "trouble"),
    [
        ([], "them is empty"),
        ([b"\n", b"hello\n"], "line 1: them is no export"),
        ([b"[]\n"], "line 1: them is no export"),
        ([b'{"stigmergy_board": 1}\n'], "line 1: them is no export"),
        (file_of(header={"stigmergy_memory": 2}), "line 1: it is of version 2"),
        (file_of(entry_line())[:2], "cut off after line 2"),
        (file_of(entry_line(), end=2), "line 3: it says 2 entries, and there are 1"),
        ([*file_of(), b'{"end":0}\n'], "line 3: nothing may follow"),
        (file_of(entry_line(), {"x": 1}), "line 3: "),
        (file_of(entry_line(), entry_line(trusted=True)), "line 3: trusted: Extra inputs"),
        (file_of(entry_line(), entry_line(key="a b")), "line 3: 'a b' cannot be a key"),
        (file_of(entry_line(), entry_line(namespace="..")), "line 3: .* cannot be a namespace"),
        (file_of(entry_line(), entry_line(tags=["a b"])), "line 3: .* cannot be a tag"),
        (file_of(entry_line(), entry_line(kind="rumour")), "line 3: kind"),
        (file_of(entry_line(), entry_line(value=5)), "line 3: .* must be a text"),
        (file_of(entry_line(), entry_line(value="x" * 70_000)), "line 3: .* are allowed"),
        (file_of(entry_line(), entry_line(version=0)), "line 3: version"),
        (file_of(entry_line(), entry_line(updated_at="now")), "line 3: updated_at"),
        (file_of(entry_line(), entry_line(created_at=1e300)), "line 3: created_at"),
        (file_of(entry_line(), entry_line(vector="AAAA")), "line 3: its vector"),
        (file_of(entry_line(), entry_line(vector="AAAAAA==")), "line 3: its vector"),
        (file_of(entry_line(), entry_line(vector="?")), "line 3: its vector is not base64"),
        (
            file_of(entry_line(), entry_line(origin={"agent_id": "a\nb"})),
            "line 3: .* cannot be the name",
        ),
        (
            file_of(entry_line(), entry_line(tags=[f"t{n}" for n in range(MAX_TAGS)])),
            "line 3: it has 32 tags",
        ),
        (
            file_of(
                entry_line(),
                entry_line(history=[{"kind": "note", "value": "x", "updated_at": 1.0}]),
            ),
            "line 3: the versions of its history",
        ),
        ([*file_of(entry_line())[:2], b'{"value": NaN}\n'], "line 3: it is not JSON"),
        ([*file_of(entry_line())[:2], b"\xff\n"], "line 3: it is not JSON"),
        ([*file_of(entry_line())[:2], b"[" * 100_000], "line 3: it is not JSON"),
        ([*file_of(entry_line())[:2], b" " * 9 * 1024**2 + b"1"], "line 3: .* are too many"),
    ],
)
def test_a_line_that_is_wrong_is_named_and_nothing_is_imported(
    memory: Memory, lines: list[bytes], trouble: str
) -> None:
    with pytest.raises(UsageError, match=trouble):
        memory.import_(lines, source="them")
    assert memory.list().entries == ()


def test_a_failure_while_writing_leaves_nothing(memory: Memory) -> None:
    for number in range(2, 10):
        memory.store("ns", f"k@{number}", "taken")
    entries = [entry_line(key=f"new-{n}") for n in range(5)]
    before = memory.stats().entries
    memory._database._db.execute(
        "CREATE TRIGGER full BEFORE INSERT ON entries WHEN new.key = 'new-4' "
        "BEGIN SELECT raise(ABORT, 'no room'); END"
    )
    with pytest.raises(Exception, match="no room"):
        memory.import_(file_of(*entries), source="them")
    assert memory.stats().entries == before
    assert memory.search("v") == ()


def test_an_export_is_of_one_moment_while_others_write(memory: Memory) -> None:
    for number in range(50):
        memory.store("ns", f"k{number:03}", "before")
    lines: list[bytes] = []

    def write(line: bytes) -> None:
        lines.append(line)
        memory.store("ns", "k049", "after")  # a deadlock if the export held the memory's lock
        memory.store("ns", f"new{len(lines)}", "after")

    assert memory.export(write) == 50
    assert not any(b"after" in line for line in lines)
