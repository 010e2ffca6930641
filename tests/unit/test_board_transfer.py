"""Export and import of a board: lossless between all stores, and refused when it is not whole."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stigmergy.board import (
    Limit,
    Limits,
    Query,
    Retention,
    Schedule,
    Store,
    Task,
    TaskBoard,
    TaskStatus,
    open_store,
)
from stigmergy.board.exportfile import Content, ExportFile, is_export, read_export
from stigmergy.board.transfer import export_board, import_board
from stigmergy.errors import CorruptError, UsageError

NOW = 1_795_256_100.25
URLS = ["memory:", "board.db", "tasks"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def clock() -> list[float]:
    return [NOW]


@pytest.fixture(params=URLS)
def store(request: pytest.FixtureRequest, clock: list[float]) -> Iterator[Store]:
    url = request.param if request.param == "memory:" else f"from-{request.param}"
    store = open_store(url, clock=lambda: clock[0])
    yield store
    store.close()


@pytest.fixture(params=URLS)
def target(request: pytest.FixtureRequest, clock: list[float]) -> Iterator[Store]:
    store = open_store(request.param, clock=lambda: clock[0])
    yield store
    store.close()


def in_file(lines: list[bytes]) -> ExportFile:
    return ExportFile(io.BytesIO(b"".join(lines)), where="x")


def fill(store: Store, clock: list[float]) -> None:
    """Tasks in every state, with texts and numbers that are easily lost."""
    board = TaskBoard(store=store)
    odd = {"é": '\u2028 \x1b \\ "', "n": 2**60, "x": 0.1, "deep": [{"a": None}, True], "": ""}
    board.post_many(
        [
            Task(task_id="z", task_type="z", payload=odd, description="two\nlines\t"),
            Task(task_id="a", task_type="a", depends_on=("z",), requires=("b", "a"), priority=1),
            Task(task_id="m", task_type="m", parent_id="z", not_before=NOW + 1e6),
            Task(task_id="c", task_type="c", max_attempts=1),
            Task(task_id="x", task_type="x"),
            Task(task_id="h", task_type="h"),
        ]
    )
    clock[0] += 1.125
    for kind in "zch":
        held = board.claim(f"agent {kind} ✓", task_types=[kind])
        assert held is not None
        if kind == "z":
            board.complete(held, {"ok": odd}, note={"n": 1})
        elif kind == "c":
            board.fail(held, "went wrong\x00 [red]")
    board.cancel("x", reason="")
    board.record("gate", data=odd)
    board.pause("m")
    board.limit(Limit(name="hosts", limit_key="*", rate=3, per_s=60, task_type="h"))
    board.schedule(
        Schedule(name="nightly", task=Task(task_type="n", payload=odd), cron="0 3 * * *")
    )
    board.retain(Retention(completed_s=86400.0))


def lines_of(store: Store) -> list[bytes]:
    lines: list[bytes] = []
    export_board(store, lines.append, now=NOW)
    return lines


def all_of(store: Store) -> tuple[object, ...]:
    with store.transaction() as tx:
        rules = tx.rules()
    return rules, store.select(Query()), list(store.events(after=0, limit=10_000))


def test_an_import_is_the_board_that_was_exported(
    store: Store, target: Store, clock: list[float]
) -> None:
    fill(store, clock)
    lines = lines_of(store)
    import_board(target, in_file(lines))
    assert all_of(target) == all_of(store)
    assert lines_of(target) == lines, "the same to the byte"


def test_an_imported_board_goes_on(store: Store, target: Store, clock: list[float]) -> None:
    fill(store, clock)
    import_board(target, in_file(lines_of(store)))
    last = target.events(after=0, limit=1000)[-1].seq
    board = TaskBoard(store=target)
    held = target.get("h")
    assert held is not None
    board.complete(held)
    taken = board.claim("w", capabilities=["a", "b"], task_types=["a", "x"])
    assert taken is not None
    assert taken.task_id == "a"
    new = target.events(after=last, limit=10)
    assert [event.kind for event in new] == ["completed", "claimed"]
    assert new[0].seq > last


@pytest.mark.needs_postgres
def test_to_postgresql_and_back_and_on(postgres_url: str, store: Store, clock: list[float]) -> None:
    fill(store, clock)
    lines = lines_of(store)
    places = [f"{postgres_url}&board={name}" for name in ("one", "two")]
    for url in places:
        with closing(open_store(url, clock=lambda: clock[0])) as target:
            import_board(target, in_file(lines))
            assert all_of(target) == all_of(store)
            assert lines_of(target) == lines
    with closing(open_store(places[0], clock=lambda: clock[0])) as target:
        board = TaskBoard(store=target)
        held = target.get("h")
        assert held is not None
        board.complete(held)
        assert board.claim("w", capabilities=["a", "b"], task_types=["a"]) is not None
        last = read_export(lines, where="x").events[-1].seq
        after = target.events(after=last, limit=10)
        assert [event.kind for event in after] == ["completed", "claimed"]


def test_what_is_read_at_once_and_what_is_read_line_by_line_are_the_same(
    store: Store, clock: list[float]
) -> None:
    fill(store, clock)
    lines = lines_of(store)
    assert list(in_file(lines).records()) == list(read_export(lines, where="x").records())


def test_a_file_that_changes_while_it_is_imported_leaves_the_board_empty(
    store: Store, target: Store, clock: list[float]
) -> None:
    fill(store, clock)
    text = b"".join(lines_of(store))
    for changed in (text.replace(b"two", b"owt", 1), text[: len(text) // 2], text + b"{}\n"):
        file = io.BytesIO(text)
        exported = ExportFile(file, where="x")
        file.seek(0)
        file.truncate()
        file.write(changed)
        with pytest.raises(CorruptError, match="Nothing was imported"):
            import_board(target, exported)
        assert target.select(Query()) == []
        assert target.last_seq() == 0
    import_board(target, in_file(lines_of(store)))


def test_an_empty_board_is_exported_too(store: Store, target: Store) -> None:
    lines = lines_of(store)
    assert len(lines) == 2
    assert read_export(lines, where="x") == Content()
    import_board(target, Content())


def test_import_goes_onto_an_empty_board_only(target: Store) -> None:
    TaskBoard(store=target).post(Task(task_id="mine", task_type="job"))
    before = all_of(target)
    content = Content(tasks=[Task(task_id="new", task_type="job")])
    with pytest.raises(UsageError, match="an empty board"):
        import_board(target, content)
    assert all_of(target) == before


def test_a_board_with_a_journal_alone_is_not_empty(target: Store) -> None:
    TaskBoard(store=target).record("note")
    with pytest.raises(UsageError, match="an empty board"):
        import_board(target, Content(tasks=[Task(task_id="new", task_type="job")]))
    assert target.select(Query()) == []


def test_large_values_come_along(store: Store, target: Store) -> None:
    board = TaskBoard(store=store, limits=Limits(payload_bytes=1000, result_bytes=1000))
    large = {"text": "ü" * 5000, "x": 0.1}
    if store.blobs is None:
        board = TaskBoard(store=store)
    board.post(Task(task_id="a", task_type="a", payload=large))
    held = board.claim("w")
    assert held is not None
    board.complete(held, large | {"done": True})
    import_board(target, in_file(lines_of(store)))
    there = TaskBoard(store=target).get("a")
    assert there is not None
    if target.blobs is None:
        assert (there.payload, there.result) == (large, large | {"done": True})
    else:
        assert TaskBoard(store=target).load(there.payload) == large
        assert TaskBoard(store=target).load(there.result) == large | {"done": True}


def test_a_large_value_that_is_lost_or_changed_is_no_export() -> None:
    with closing(open_store("b.db", clock=lambda: NOW)) as store:
        board = TaskBoard(store=store, limits=Limits(payload_bytes=10))
        board.post(Task(task_id="a", task_type="a", payload={"text": "x" * 100}))
        lines = lines_of(store)
        assert store.blobs is not None
        (file,) = store.blobs.glob("*/*")
        file.write_text("{}")
        with pytest.raises(CorruptError, match="damaged"):
            lines_of(store)
    records = [json.loads(line) for line in lines[:-1]]
    with pytest.raises(CorruptError, match=r"is not in it"):
        read_export(sealed(*records[:-1]), where="x")
    records[-1]["blob"]["text"] = records[-1]["blob"]["text"].replace("xx", "yy", 1)
    with pytest.raises(CorruptError, match=r"x:4: .*SHA-256 differs"):
        read_export(sealed(*records), where="x")


# --- what is no export ---


def whole() -> list[bytes]:
    clock = [NOW]
    store = open_store("memory:", clock=lambda: clock[0])
    fill(store, clock)
    return lines_of(store)


def sealed(*records: object) -> list[bytes]:
    """Lines with a right closing line, so that only what is in them can be wrong."""
    lines = [f"{json.dumps(record)}\n".encode() for record in records]
    names = [next(iter(record)) for record in records if isinstance(record, dict) and record]
    end: dict[str, object] = {
        f"{kind}s": names.count(kind) for kind in ("rule", "task", "event", "blob")
    }
    end["sha256"] = hashlib.sha256(b"".join(lines)).hexdigest()
    return [*lines, f"{json.dumps({'end': end})}\n".encode()]


HEADER = {"stigmergy_board": 1, "exported_at": NOW}
RULE = {"rule": {"name": "pause:a", "body": {}, "gates": True, "due_at": None}}
TASK = {"task": {"task_id": "a", "task_type": "job"}}


def event(seq: object, **other: object) -> dict[str, object]:
    told = {"seq": seq, "at": NOW, "kind": "note", "task_id": "", "agent_id": "", "data": {}}
    return {"event": told | other}


def test_what_sealed_makes_is_read() -> None:
    content = read_export(sealed(HEADER, TASK, event(3), event(7)), where="x")
    assert [task.task_id for task in content.tasks] == ["a"]
    assert [event.seq for event in content.events] == [3, 7]


def test_one_that_was_cut_off_anywhere_is_refused() -> None:
    lines = whole()
    text = b"".join(lines)
    for count in range(len(lines)):
        with pytest.raises(CorruptError, match=rf"x:{count}: "):
            read_export(lines[:count], where="x")
    for size in range(1, len(text) - 1, 97):
        cut = text[:size].splitlines(keepends=True)
        with pytest.raises(CorruptError, match=rf"x:{len(cut)}: "):
            read_export(cut, where="x")


def test_one_whose_lines_were_changed_lost_or_moved_is_refused() -> None:
    lines = whole()
    changed = [
        lines[:2] + lines[3:],
        [*lines[:2], lines[3], lines[2], *lines[4:]],
        [line.replace(b"went wrong", b"went right") for line in lines],
        [line.replace(b"\n", b"\r\n") for line in lines],
    ]
    for other in changed:
        with pytest.raises(CorruptError, match="changed or are lost"):
            read_export(other, where="x")
    with pytest.raises(CorruptError, match=rf"x:{len(lines) + 1}: something follows"):
        read_export([*lines, lines[1]], where="x")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "x:0: it is empty"),
        ([b"\x1f\x8b\x08\n"], "x:1: not an export"),
        ([b"{}\n"], "x:1: not an export"),
        ([b"[]\n"], "x:1: not an export"),
        ([b'{"task_type": "job"}\n'], "x:1: not an export"),
        (sealed({"stigmergy_board": 2}), "x:1: it has format 2"),
        (sealed(HEADER, {"odd": 1}), "x:2: no line of an export begins with 'odd'"),
        (sealed(HEADER, [1]), "x:2: "),
        (sealed(HEADER, {"task": {"task_id": "a"}}), "x:2: task 'a' has no 'task_type'"),
        (sealed(HEADER, {"task": {**TASK["task"], "new": 1}}), "x:2: .*unknown fields: new"),
        (sealed(HEADER, TASK, TASK), "x:3: a second task 'a'"),
        (sealed(HEADER, event(1), TASK), "x:3: a task after the events"),
        (sealed(HEADER, event(2), event(2)), "x:3: event 2 follows event 2"),
        (sealed(HEADER, event(0)), "x:2: no event"),
        (sealed(HEADER, event(True)), "x:2: no event"),
        (sealed(HEADER, event(2**70)), "x:2: no event"),
        (sealed(HEADER, event(1, at=10**400)), "x:2: no event"),
        (
            sealed(HEADER, {"task": {**TASK["task"], "payload": {"$blob": "../x"}}}),
            "x:2: .*names no blob",
        ),
        (sealed(HEADER, event(1, at=float("nan"))), "x:2: no event"),
        (sealed(HEADER, event(1, kind="")), "x:2: no event"),
        (sealed(HEADER, event(1, data=[])), "x:2: no event"),
        (sealed(HEADER, event(1, data={"a": float("inf")})), "x:2: no event"),
        (sealed(HEADER, event(1, task_id="\ud800")), "x:2: no event"),
        (sealed(HEADER, {"event": 1}), "x:2: no event"),
        (sealed(HEADER, TASK, RULE), "x:3: a rule after the tasks"),
        (sealed(HEADER, {"rule": {**RULE["rule"], "gates": 1}}), "x:2: no rule"),
        (sealed(HEADER, {"rule": {**RULE["rule"], "due_at": "x"}}), "x:2: no rule"),
        (sealed(HEADER, {"rule": {**RULE["rule"], "name": "limit:a"}}), "x:2: .*cannot be under"),
        (sealed(HEADER, {"blob": "x"}), "x:2: no large value"),
    ],
)
def test_what_is_no_export_is_refused_with_the_line(lines: list[bytes], said: str) -> None:
    with pytest.raises(CorruptError, match=said):
        read_export(lines, where="x")


def test_an_export_is_known_by_its_first_line() -> None:
    assert is_export(whole()[0])
    assert not is_export(b"")
    assert not is_export(b'{"task_type": "job"}')


# --- at work meanwhile ---


class BusyStore:
    """A store on which something happens whenever somebody looks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def last_seq(self) -> int:
        last = self._store.last_seq()
        TaskBoard(store=self._store).post(Task(task_type="late"))
        return last


def test_an_export_of_a_busy_board_is_of_one_moment(store: Store, target: Store) -> None:
    TaskBoard(store=store).post(Task(task_id="first", task_type="job"))
    lines = lines_of(BusyStore(store))  # type: ignore[arg-type]  # it has all that a store has
    content = read_export(lines, where="x")
    posted = [event.task_id for event in content.events if event.kind == "posted"]
    assert sorted(posted) == sorted(task.task_id for task in content.tasks)
    assert content.events[-1].kind == "exported"
    import_board(target, content)


def test_leases_and_states_survive(store: Store, target: Store, clock: list[float]) -> None:
    fill(store, clock)
    import_board(target, in_file(lines_of(store)))
    states = {task.task_id: task.status for task in target.select(Query())}
    assert states == {
        "z": TaskStatus.COMPLETED,
        "a": TaskStatus.PENDING,
        "m": TaskStatus.PENDING,
        "c": TaskStatus.FAILED,
        "x": TaskStatus.CANCELLED,
        "h": TaskStatus.CLAIMED,
    }
    assert list(states) == ["z", "a", "m", "c", "x", "h"], "in the order of their posting"
