"""Unique keys: no two unfinished tasks of a board have the same one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from stigmergy.board import OnDuplicate, Query, Store, Task, TaskBoard, TaskStatus, open_store
from stigmergy.errors import UsageError

S = TaskStatus
POLICIES: list[OnDuplicate] = ["keep", "refuse", "replace"]


def task(task_id: str, key: str | None = "u", **fields: object) -> Task:
    known = {"task_type": "work", "task_id": task_id, "unique_key": key}
    return Task(**{**known, **fields})  # type: ignore[arg-type] - test data


def claimed(board: TaskBoard) -> Task:
    got = board.claim("ann")
    assert got is not None
    return got


def standing(board: TaskBoard) -> dict[str, TaskStatus]:
    return {each.task_id: each.status for each in board.list_all()}


# One after the other -----------------------------------------------------------------------------


def test_a_duplicate_is_kept_off_the_board_and_answered_with_the_one_that_stands(
    board: TaskBoard,
) -> None:
    board.post(task("a", payload={"n": 1}))
    events = board.events()
    assert board.post(task("b", payload={"n": 2})) == "a"
    assert board.post_many([task("c"), task("other", "v"), task("free", None)]) == [
        "a",
        "other",
        "free",
    ]
    assert standing(board) == {"a": S.PENDING, "other": S.PENDING, "free": S.PENDING}
    assert board.list_all()[0].payload == {"n": 1}
    assert [event.task_id for event in board.events()[len(events) :]] == ["other", "free"]


@pytest.mark.parametrize("begun", [False, True], ids=["pending", "held"])
def test_a_duplicate_is_refused_by_name_with_all_its_batch(board: TaskBoard, begun: bool) -> None:
    board.post(task("a"))
    if begun:
        board.start(claimed(board))
    before = board.list_all(), board.events()
    with pytest.raises(UsageError, match=r"'b'.*unfinished task 'a'.*unique_key 'u'"):
        board.post_many([task("innocent", None), task("b")], on_duplicate="refuse")
    assert (board.list_all(), board.events()) == before


def test_a_duplicate_replaces_what_a_task_says_if_nobody_has_begun_it(board: TaskBoard) -> None:
    board.post(task("a", payload={"n": 1}, priority=5))
    board.post(task("next", None, priority=4))
    told = task("b", payload={"n": 2}, priority=1, description="anew", max_attempts=9)
    assert board.post(told, on_duplicate="replace") == "a"
    held = claimed(board)
    assert (held.task_id, held.payload, held.priority, held.description, held.max_attempts) == (
        "a",
        {"n": 2},
        1,
        "anew",
        9,
    )
    assert [event.kind for event in board.history("a")] == ["posted", "replaced", "claimed"]
    assert board.history("b") == []


def test_replacing_by_the_same_changes_nothing(board: TaskBoard) -> None:
    board.post(task("a"))
    board.post(task("b", payload={"n": 2}), on_duplicate="replace")
    events = board.events()
    assert board.post(task("b", payload={"n": 2}), on_duplicate="replace") == "a"
    assert board.events() == events


@pytest.mark.parametrize("verb", ["claim", "start"])
def test_work_that_has_begun_is_not_replaced(board: TaskBoard, verb: str) -> None:
    board.post(task("a", payload={"n": 1}))
    held = claimed(board)
    if verb == "start":
        board.start(held)
    assert board.post(task("b", payload={"n": 2}), on_duplicate="replace") == "a"
    got = board.get("a")
    assert got is not None
    assert got.payload == {"n": 1}
    board.complete(held, {})


@pytest.mark.parametrize(
    ("field", "value"),
    [("task_type", "other"), ("requires", ("gpu",)), ("limit_key", "k"), ("depends_on", ("x",))],
)
def test_a_replacement_that_is_another_kind_of_task_is_refused_in_words(
    board: TaskBoard, field: str, value: object
) -> None:
    board.post_many([task("x", None), task("a")])
    before = board.list_all(), board.events()
    with pytest.raises(UsageError, match=rf"'b' cannot replace 'a'.*{field}.*cancel"):
        board.post(task("b", **{field: value}), on_duplicate="replace")
    assert (board.list_all(), board.events()) == before


def test_a_policy_of_no_such_name_is_refused(board: TaskBoard) -> None:
    with pytest.raises(UsageError, match="'ignore': take keep, refuse or replace"):
        board.post(task("a"), on_duplicate="ignore")  # type: ignore[arg-type] - that is the point


# In one batch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_a_batch_comes_to_what_its_tasks_come_to_in_turn(
    store: Store, policy: OnDuplicate, tmp_path: Path
) -> None:
    batch = [
        task("a", payload={"n": 1}),
        task("b", payload={"n": 2}),
        task("c", "v", payload={"n": 3}),
        task("d", payload={"n": 4}),
    ]
    at_once = TaskBoard(store=store)
    with ExitStack() as stack:
        in_turn = stack.enter_context(TaskBoard(tmp_path / "turn.db"))
        if policy == "refuse":
            with pytest.raises(UsageError, match=r"'b'.*'a'"):
                at_once.post_many(batch, on_duplicate=policy)
            assert at_once.list_all() == []
            return
        ids = [in_turn.post(each, on_duplicate=policy) for each in batch]
        assert at_once.post_many(batch, on_duplicate=policy) == ids == ["a", "a", "c", "a"]
        same = [replace(each, created_at=0.0) for each in in_turn.list_all()]
    assert [replace(each, created_at=0.0) for each in at_once.list_all()] == same


# After its end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_key_is_free_once_its_task_has_ended(
    board: TaskBoard, end: str, policy: OnDuplicate
) -> None:
    board.post(task("a"))
    match end:
        case "complete":
            board.complete(claimed(board), {})
        case "fail":
            board.fail(claimed(board), "broke", retry=False)
        case _:
            board.cancel("a")
    assert board.post(task("b"), on_duplicate=policy) == "b"
    assert board.post(task("c")) == "b"


def test_a_failed_attempt_with_attempts_left_keeps_the_key(board: TaskBoard) -> None:
    board.post(task("a", max_attempts=2))
    board.fail(claimed(board), "broke")
    assert board.post(task("b")) == "a"


@pytest.mark.parametrize("policy", POLICIES)
def test_whoever_posts_a_finished_task_again_gets_it_whoever_has_its_key_now(
    board: TaskBoard, policy: OnDuplicate
) -> None:
    first, second = task("a", payload={"n": 1}), task("b", payload={"n": 2})
    board.post(first)
    board.complete(claimed(board), {})
    board.post(second)
    before = board.list_all(), board.events()
    assert board.post(first, on_duplicate=policy) == "a"
    assert (board.list_all(), board.events()) == before, "a retried post changes nothing"


def test_a_retry_is_refused_while_another_has_the_key(board: TaskBoard) -> None:
    board.post(task("a"))
    board.cancel("a")
    board.post(task("b"))
    before = board.list_all(), board.events()
    with pytest.raises(UsageError, match=r"'a' cannot begin anew.*'b' has its unique_key 'u'"):
        board.retry("a")
    assert board.retry_all(Query()) == []
    assert (board.list_all(), board.events()) == before
    board.cancel("b")
    assert board.retry("a").status is S.PENDING
    assert board.post(task("c")) == "a"


def test_a_victim_whose_key_was_taken_stays_failed_and_does_not_keep_the_others_back(
    board: TaskBoard,
) -> None:
    board.post_many(
        [
            task("root", None),
            task("victim", depends_on=("root",)),
            task("after", None, depends_on=("victim",)),
            task("free", None, depends_on=("root",)),
        ]
    )
    board.fail(claimed(board), "broke", retry=False)
    board.post(task("newer"))
    board.retry("root")
    assert standing(board) == {
        "root": S.PENDING,
        "victim": S.FAILED,
        "after": S.FAILED,
        "free": S.PENDING,
        "newer": S.PENDING,
    }


def test_of_two_victims_with_one_key_the_first_comes_back(board: TaskBoard) -> None:
    board.post(task("root", None))
    board.cancel("root")
    board.post(task("one", depends_on=("root",)))
    board.post(task("two", depends_on=("root",)))
    assert standing(board) == {"root": S.CANCELLED, "one": S.FAILED, "two": S.FAILED}
    board.retry("root")
    assert standing(board) == {"root": S.PENDING, "one": S.PENDING, "two": S.FAILED}


# Dependencies ------------------------------------------------------------------------------------


def test_what_depends_on_a_duplicate_waits_for_the_one_that_stands(board: TaskBoard) -> None:
    board.post(task("a"))
    batch = [task("after", None, depends_on=("b",)), task("b")]
    assert board.post_many(batch) == ["after", "a"]
    after = board.get("after")
    assert after is not None
    assert (after.depends_on, after.waiting_on) == (("a",), ("a",))
    events = board.events()
    assert board.post_many(batch) == ["after", "a"]
    assert board.events() == events, "posting it again changes nothing"
    board.complete(claimed(board), {})
    assert claimed(board).task_id == "after"


def test_one_that_depends_on_a_task_and_its_duplicate_waits_for_it_once(board: TaskBoard) -> None:
    board.post_many([task("a"), task("b"), task("after", None, depends_on=("a", "b"))])
    board.complete(claimed(board), {})
    assert claimed(board).task_id == "after"


@pytest.mark.parametrize(
    "batch",
    [
        [task("a", depends_on=("b",)), task("b")],
        [task("a", depends_on=("c",)), task("c", None, depends_on=("b",)), task("b")],
    ],
    ids=["itself", "a circle"],
)
def test_a_task_that_would_wait_for_itself_by_way_of_a_duplicate_is_refused(
    board: TaskBoard, batch: list[Task]
) -> None:
    with pytest.raises(UsageError, match=r"cycle: .*a"):
        board.post_many(batch)
    assert board.list_all() == []


def test_a_released_task_waits_for_the_one_that_stands(board: TaskBoard) -> None:
    board.post(task("main", None))
    held = claimed(board)
    board.post(task("fix"))
    board.release(held, wait_for=["again"], post=[task("again")])
    assert board.get("again") is None
    board.complete(claimed(board), {})
    assert claimed(board).task_id == "main"


# Many at once ------------------------------------------------------------------------------------


@pytest.fixture
def handles(store: Store) -> Iterator[list[TaskBoard]]:
    """Four ways to the same board: four processes, in effect, where the store can be shared."""
    is_shared = store.url != "memory:"
    with ExitStack() as stack:
        yield [
            TaskBoard(store=stack.enter_context(closing(open_store(store.url))))
            if is_shared
            else TaskBoard(store=store)
            for _ in range(4)
        ]


class closing:  # noqa: N801 - named as contextlib's, which types less
    """Closes a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> Store:
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()


def test_of_many_that_post_one_key_at_once_one_wins_and_all_learn_which(
    board: TaskBoard, handles: list[TaskBoard]
) -> None:
    barrier = threading.Barrier(len(handles))
    answers: dict[tuple[int, str], str] = {}

    def post(number: int, mine: TaskBoard) -> None:
        for n in range(10):
            barrier.wait(60)
            answers[number, f"k{n}"] = mine.post(task(f"t{number}-{n}", f"k{n}"))

    threads = [threading.Thread(target=post, args=each) for each in enumerate(handles)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4 * 10
    stands = {each.unique_key: each.task_id for each in board.list_all()}
    assert len(stands) == len(board.list_all()) == 10
    assert all(answer == stands[key] for (_, key), answer in answers.items())
