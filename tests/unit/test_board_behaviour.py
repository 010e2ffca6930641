"""What the board promises to those who call it, over every store."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from stigmergy.board import Limits, Store, Task, TaskBoard, TaskStatus
from stigmergy.errors import LostLeaseError, NotFoundError, UsageError
from stigmergy.testing.stores import FakeClock

S = TaskStatus
LEASE_S = 100.0


def task(task_id: str, **fields: object) -> Task:
    return Task(task_type="work", task_id=task_id, **fields)  # type: ignore[arg-type] - test data


def claimed(board: TaskBoard, agent: str = "ann", **how: object) -> Task:
    got = board.claim(agent, **how)  # type: ignore[arg-type] - test data
    assert got is not None
    return got


def status(board: TaskBoard, task_id: str) -> TaskStatus:
    got = board.get(task_id)
    assert got is not None
    return got.status


def kinds(board: TaskBoard, task_id: str) -> list[str]:
    return [event.kind for event in board.history(task_id)]


# Leases and fences -------------------------------------------------------------------------------


def test_a_task_goes_from_post_to_completion(board: TaskBoard, clock: FakeClock) -> None:
    board.post(task("a", payload={"in": (1, 2)}))
    held = claimed(board)
    assert (held.status, held.claimed_by, held.attempts, held.fence) == (S.CLAIMED, "ann", 1, 1)
    assert held.payload == {"in": [1, 2]}
    assert held.lease_until == clock.now + LEASE_S
    assert board.start(held).status is S.IN_PROGRESS
    done = board.complete(held, {"out": 1})
    assert (done.status, done.result, done.finished_at) == (S.COMPLETED, {"out": 1}, clock.now)
    assert board.get("a") == done
    assert kinds(board, "a") == ["posted", "claimed", "started", "completed"]


def test_an_expired_lease_lets_another_agent_in(board: TaskBoard, clock: FakeClock) -> None:
    board.post(task("a"))
    claimed(board, "dead")
    clock.advance(LEASE_S - 0.001)
    assert board.claim("ann") is None
    clock.advance(0.001)
    held = claimed(board, "ann")
    assert (held.attempts, held.fence, held.claimed_by) == (2, 2, "ann")
    assert kinds(board, "a") == ["posted", "claimed", "expired", "claimed"]


@pytest.mark.parametrize("verb", ["complete", "fail", "renew", "start", "release"])
def test_a_stale_agent_is_refused_and_nothing_of_it_is_written(
    board: TaskBoard, clock: FakeClock, verb: str
) -> None:
    board.post(task("a"))
    stale = claimed(board, "dead")
    clock.advance(LEASE_S)
    held = claimed(board, "ann")
    before = board.get("a"), board.events()
    report = {
        "complete": lambda: board.complete(stale, {"by": "the dead"}),
        "fail": lambda: board.fail(stale, "by the dead"),
        "renew": lambda: board.renew(stale),
        "start": lambda: board.start(stale),
        "release": lambda: board.release(stale),
    }
    with pytest.raises(LostLeaseError, match=r"'a'.*fence 1") as refusal:
        report[verb]()
    assert (refusal.value.task_id, refusal.value.agent_id, refusal.value.fence) == ("a", "dead", 1)
    assert (board.get("a"), board.events()) == before
    board.complete(held, {"by": "ann"})


def test_the_same_agent_with_an_old_fence_is_stale_too(board: TaskBoard, clock: FakeClock) -> None:
    board.post(task("a"))
    first = claimed(board, "ann")
    clock.advance(LEASE_S)
    claimed(board, "ann")
    with pytest.raises(LostLeaseError):
        board.complete(first, {})


def test_a_late_report_is_taken_while_nobody_else_claimed(
    board: TaskBoard, clock: FakeClock
) -> None:
    board.post(task("a"))
    held = claimed(board)
    clock.advance(LEASE_S * 10)
    assert board.complete(held, {}).status is S.COMPLETED, "time decides liveness only"


def test_renewing_holds_on(board: TaskBoard, clock: FakeClock) -> None:
    board.post(task("a"))
    held = claimed(board)
    clock.advance(LEASE_S - 1)
    lease = board.renew(held)
    assert lease.deadline == clock.now + LEASE_S
    clock.advance(LEASE_S - 1)
    assert board.claim("bob") is None
    board.complete(lease, {})


def test_a_clock_that_steps_back_and_forth_gives_no_task_to_two(
    board: TaskBoard, clock: FakeClock
) -> None:
    board.post(task("a"))
    held = claimed(board)
    clock.advance(-3600)
    assert board.claim("bob") is None
    clock.advance(7200)
    taken = claimed(board, "bob")
    clock.advance(-7200)
    with pytest.raises(LostLeaseError):
        board.complete(held, {})
    board.complete(taken, {})
    assert status(board, "a") is S.COMPLETED


@pytest.mark.parametrize("lease_s", [0, -1, float("nan"), float("inf")])
def test_a_lease_that_never_ends_or_never_begins_is_refused(
    board: TaskBoard, lease_s: float
) -> None:
    board.post(task("a"))
    with pytest.raises(UsageError, match="lease_s"):
        board.claim("ann", lease_s=lease_s)
    assert status(board, "a") is S.PENDING
    with pytest.raises(UsageError, match="lease_s"):
        TaskBoard("memory:", lease_s=lease_s)


# Failures, retries -------------------------------------------------------------------------------


def test_a_failure_is_tried_again_after_a_growing_pause_until_attempts_end(
    board: TaskBoard, clock: FakeClock
) -> None:
    board.post(task("a", max_attempts=3))
    for pause_s in (10, 15):
        assert board.fail(claimed(board), "broke").status is S.PENDING
        clock.advance(pause_s - 0.001)
        assert board.claim("ann") is None
        clock.advance(0.001)
    failed = board.fail(claimed(board), "broke for good")
    assert (failed.status, failed.error, failed.attempts) == (S.FAILED, "broke for good", 3)
    assert failed.result == {"error": "broke for good"}
    assert board.claim("ann") is None


def test_a_failure_can_be_final_at_once(board: TaskBoard) -> None:
    board.post(task("a"))
    assert board.fail(claimed(board), "hopeless", retry=False).status is S.FAILED


def test_the_last_attempt_that_expires_fails_the_task(board: TaskBoard, clock: FakeClock) -> None:
    board.post(task("a", max_attempts=1))
    claimed(board)
    clock.advance(LEASE_S)
    assert board.reap() == 1
    assert status(board, "a") is S.FAILED


def test_retry_begins_anew(board: TaskBoard) -> None:
    board.post(task("a", max_attempts=1))
    board.fail(claimed(board), "broke")
    again = board.retry("a")
    assert (again.status, again.attempts, again.error, again.result) == (S.PENDING, 0, None, None)
    assert claimed(board).fence == 2, "an old lease must not come alive again"
    with pytest.raises(UsageError, match="it cannot retry"):
        board.retry("a")


def test_undecodable_output_in_an_error_is_kept_readable(board: TaskBoard) -> None:
    board.post(task("a", max_attempts=1))
    board.fail(claimed(board), b"bad \xff byte".decode(errors="surrogateescape"))
    got = board.get("a")
    assert got is not None
    assert got.error == "bad \\udcff byte"


def test_a_release_does_not_count_as_an_attempt(board: TaskBoard, clock: FakeClock) -> None:
    board.post(task("a"))
    assert board.release(claimed(board), reason="busy", delay_s=5).attempts == 0
    assert board.claim("ann") is None
    clock.advance(5)
    assert claimed(board).attempts == 1


def test_release_all_takes_back_what_the_dead_held(board: TaskBoard) -> None:
    board.post_many([task("a"), task("b"), task("c")])
    held = [claimed(board, agent) for agent in ("run1-x", "run2-x", "run1-y")]
    back = board.release_all(lambda name: name.startswith("run1-"), reason="killed")
    assert [t.task_id for t in back] == ["a", "c"]
    assert [status(board, name) for name in "abc"] == [S.PENDING, S.CLAIMED, S.PENDING]
    with pytest.raises(LostLeaseError):
        board.complete(held[0], {})


# Dependencies ------------------------------------------------------------------------------------


def test_a_dependent_waits_for_all_it_needs(board: TaskBoard) -> None:
    board.post_many([task("c", depends_on=("a", "b")), task("a"), task("b")])
    first, second = claimed(board), claimed(board)
    assert {first.task_id, second.task_id} == {"a", "b"}
    assert board.claim("ann") is None
    board.complete(first, {})
    assert board.claim("ann") is None
    board.complete(second, {})
    assert claimed(board).task_id == "c"


def test_posting_onto_a_completed_one_does_not_wait(board: TaskBoard) -> None:
    board.post(task("a"))
    board.complete(claimed(board), {})
    board.post(task("b", depends_on=("a",)))
    assert claimed(board).task_id == "b"


def test_a_failure_cascades_with_its_reason(board: TaskBoard) -> None:
    board.post_many(
        [task("a"), task("b", depends_on=("a",)), task("c", depends_on=("b",)), task("free")]
    )
    board.fail(claimed(board), "broke", retry=False)
    assert [status(board, name) for name in ("b", "c", "free")] == [S.FAILED, S.FAILED, S.PENDING]
    (victim,) = (t for t in board.list_all() if t.task_id == "c")
    assert victim.result == {
        "error": "it depends on 'b', which failed because of 'a': broke",
        "dependency": "b",
    }


def test_posting_onto_a_failed_or_cancelled_one_fails_at_once(board: TaskBoard) -> None:
    board.post(task("a"))
    board.cancel("a")
    board.post_many([task("c", depends_on=("b",)), task("b", depends_on=("a",))])
    assert (status(board, "b"), status(board, "c")) == (S.FAILED, S.FAILED)


def test_retry_brings_the_victims_back(board: TaskBoard) -> None:
    chain = [task("t0"), *(task(f"t{n}", depends_on=(f"t{n - 1}",)) for n in range(1, 1500))]
    board.post_many(chain)
    board.fail(claimed(board), "broke", retry=False)
    assert board.progress().failed == 1500
    board.retry("t0")
    assert board.progress().pending == 1500
    board.complete(claimed(board), {})
    assert claimed(board).task_id == "t1"


def test_a_victim_of_two_comes_back_when_both_are_retried(board: TaskBoard) -> None:
    board.post_many([task("a"), task("b"), task("c", depends_on=("a", "b"))])
    board.cancel("a")
    board.cancel("b")
    board.retry("a")
    assert status(board, "c") is S.FAILED, "it must not wait for the cancelled b for ever"
    with pytest.raises(UsageError, match=r"'b'.*retry that first"):
        board.retry("c")
    board.retry("b")
    assert status(board, "c") is S.PENDING
    for _ in range(3):
        board.complete(claimed(board), {})
    assert board.progress().is_complete


def test_a_released_task_waits_for_what_it_names(board: TaskBoard) -> None:
    board.post_many([task("a"), task("done")])
    held, other = claimed(board), claimed(board)
    board.complete(other, {})
    board.release(held, wait_for=["fix", "fix", "done"], post=[task("fix")])
    assert claimed(board).task_id == "fix"
    assert board.claim("bob") is None
    fix = board.list_all(claimed_by="ann")
    board.complete(next(t for t in fix if t.task_id == "fix"), {})
    assert claimed(board).task_id == "a"


def test_a_task_released_onto_a_dead_one_is_returned_as_it_stands(board: TaskBoard) -> None:
    board.post_many([task("a"), task("dead")])
    board.cancel("dead")
    assert board.release(claimed(board), wait_for=["dead"]).status is S.FAILED
    assert status(board, "a") is S.FAILED


def test_waiting_in_a_circle_is_refused(board: TaskBoard) -> None:
    board.post_many([task("a"), task("b", depends_on=("a",))])
    held = claimed(board)
    before = board.events()
    for names in (["b"], ["a"]):
        with pytest.raises(UsageError, match=r"cycle: .*a"):
            board.release(held, wait_for=names)
    with pytest.raises(UsageError, match="'ghost'"):
        board.release(held, wait_for=["ghost"])
    with pytest.raises(UsageError, match="string"):
        board.release(held, wait_for="b")
    assert board.events() == before
    board.complete(held, {})


# Order -------------------------------------------------------------------------------------------


def test_urgent_goes_first_and_age_makes_up_for_it(board: TaskBoard, clock: FakeClock) -> None:
    board.post(task("slow", priority=10))
    clock.advance(60)
    board.post_many([task("normal"), task("urgent", priority=1)])
    held = [claimed(board) for _ in range(3)]
    assert [t.task_id for t in held] == ["urgent", "normal", "slow"]
    board.complete_many((t, {}) for t in held)
    board.post(task("old", priority=10))
    clock.advance(5401)
    board.post(task("fresh", priority=1))
    assert claimed(board).task_id == "old", "nothing starves"


def test_an_agent_gets_what_it_can_do(board: TaskBoard) -> None:
    board.post_many([task("gpu", requires=("gpu",)), task("plain"), Task(task_type="x")])
    assert claimed(board, capabilities=["web"], task_types=["work"]).task_id == "plain"
    assert board.claim("ann", task_types=["work"]) is None
    assert claimed(board, capabilities=["web", "gpu"], task_types=["work"]).task_id == "gpu"
    with pytest.raises(UsageError, match=r"\['gpu'\]"):
        board.claim("ann", capabilities="gpu")


# Cancelling, batches, idempotence ----------------------------------------------------------------


def test_the_holder_of_a_cancelled_task_is_told(board: TaskBoard) -> None:
    board.post_many([task("a"), task("b", depends_on=("a",))])
    held = claimed(board)
    board.cancel("a", reason="no longer wanted")
    for report in (lambda: board.renew(held), lambda: board.complete(held, {})):
        with pytest.raises(LostLeaseError, match="cancelled: no longer wanted"):
            report()
    assert status(board, "b") is S.FAILED
    with pytest.raises(UsageError, match="cannot cancel"):
        board.cancel("a")


def test_a_batch_is_claimed_and_completed_at_once(board: TaskBoard) -> None:
    board.post_many(task(f"t{n}") for n in range(10))
    held = board.claim_many("ann", 7)
    assert [t.task_id for t in held] == [f"t{n}" for n in range(7)]
    board.complete_many((t, {"n": t.task_id}) for t in held)
    assert board.progress().completed == 7
    assert board.claim_many("ann", 0) == []
    with pytest.raises(UsageError, match="limit"):
        board.claim_many("ann", -1)


def test_one_stale_completion_refuses_the_batch(board: TaskBoard, clock: FakeClock) -> None:
    board.post_many([task("a"), task("b")])
    held = board.claim_many("ann", 2)
    clock.advance(LEASE_S)
    board.renew(held[0])
    assert claimed(board, "bob").task_id == "b"
    before = board.events()
    with pytest.raises(LostLeaseError, match="'b'"):
        board.complete_many((t, {}) for t in held)
    assert status(board, "a") is S.CLAIMED
    assert board.events() == before


def test_completing_twice_is_once(board: TaskBoard) -> None:
    board.post(task("a"))
    held = claimed(board)
    first = board.complete(held, {"list": (1, 2)})
    events = board.events()
    assert board.complete(held, {"list": [1, 2]}) == first
    assert board.events() == events
    with pytest.raises(LostLeaseError):
        board.complete(held, {"list": [3]})


def test_posting_twice_is_once(board: TaskBoard) -> None:
    new = task("a", payload={"t": (1, 2)}, requires=("b", "a"))
    board.post(new)
    held = claimed(board, capabilities=["a", "b"])
    events = board.events()
    assert board.post_many([new]) == ["a"]
    assert board.get("a") == held
    assert board.events() == events
    with pytest.raises(UsageError, match="'a' is taken"):
        board.post(replace(new, description="another"))


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        task("a/b"),
        task("../a"),
        task(".a"),
        task("a..b"),
        task("a.lock"),
        task(""),
        task("x" * 129),
        task("a\n"),
        task("aname", priority=0),
        task("aname", priority=11),
        task("aname", priority=True),
        task("aname", max_attempts=0),
        task("aname", not_before=float("nan")),
        task("aname", created_at=float("inf")),
        task("aname", payload={"n": float("nan")}),
        task("aname", payload={"deep": [{"n": "\ud800"}]}),
        task("aname", payload={"n": {1}}),
        task("aname", payload=[1]),
        task("aname", description="\udcff"),
        task("aname", payload={"big": "x" * 2000}),
        task("aname", description="ü" * 600),
        task("aname", depends_on=("ghost",)),
        task("aname", depends_on=("aname",)),
        task("aname", depends_on="ghost"),
        task("aname", requires="gpu"),
        task("aname", parent_id="no/path"),
        task("aname", status=S.COMPLETED),
        task("aname", status="limbo"),
        task("aname", attempts=1),
        task("aname", fence=3),
    ],
    ids=lambda bad: bad.task_id[:8],
)
def test_a_bad_task_is_refused_by_name_with_all_its_batch(store: Store, bad: Task) -> None:
    board = TaskBoard(
        store=store, limits=Limits(payload_bytes=1000, file_bytes=1000, description_bytes=1000)
    )
    with pytest.raises(UsageError) as refusal:
        board.post_many([task("innocent"), bad])
    assert repr(bad.task_id)[1:50].rstrip("'") in str(refusal.value)
    assert board.list_all() == []
    assert board.events() == []


def test_ids_in_a_batch_are_unique_and_acyclic(board: TaskBoard) -> None:
    with pytest.raises(UsageError, match="two of the posted tasks have the id 'a'"):
        board.post_many([task("a"), task("a")])
    with pytest.raises(UsageError, match=r"a -> c -> b -> a|b -> a -> c -> b|c -> b -> a -> c"):
        board.post_many(
            [
                task("a", depends_on=("c",)),
                task("b", depends_on=("a",)),
                task("c", depends_on=("b",)),
            ]
        )
    assert board.list_all() == []


@pytest.mark.parametrize("result", [{"n": float("nan")}, {"n": "\ud800"}, [1], {"n": object()}])
def test_a_bad_result_is_refused_by_name_and_can_be_handed_in_again(
    board: TaskBoard, result: object
) -> None:
    board.post(task("a"))
    held = claimed(board)
    with pytest.raises(UsageError, match="'a'"):
        board.complete(held, result)  # type: ignore[arg-type] - that is the point
    assert board.complete(held, {"fine": True}).status is S.COMPLETED


@pytest.mark.parametrize("name", ["", "\ud800"])
def test_an_agent_needs_a_name(board: TaskBoard, name: str) -> None:
    board.post(task("a"))
    with pytest.raises(UsageError, match="name"):
        board.claim(name)


def test_unknown_tasks_are_said_to_be_unknown(board: TaskBoard) -> None:
    for use in (board.cancel, board.retry):
        with pytest.raises(NotFoundError, match="'ghost'"):
            use("ghost")
    assert board.get("ghost") is None
    assert board.history("ghost") == []


# The journal -------------------------------------------------------------------------------------


def test_watch_wakes_on_a_change_long_before_its_poll(board: TaskBoard) -> None:
    stop = threading.Event()
    began = threading.Event()
    seen: list[tuple[str, float]] = []

    def watch() -> None:
        began.set()
        for event in board.watch(stop=stop, idle_s=30.0):
            seen.append((event.kind, time.monotonic()))
            stop.set()

    thread = threading.Thread(target=watch)
    thread.start()
    began.wait()
    posted_at = time.monotonic()
    board.post(task("a"))
    thread.join(60)
    assert [kind for kind, _ in seen] == ["posted"]
    assert seen[0][1] - posted_at < 25


def test_events_of_ones_own_stand_in_the_journal(board: TaskBoard, clock: FakeClock) -> None:
    board.record("gate", task_id="a", agent_id="ann", data={"green": True})
    (event,) = board.events()
    assert (event.kind, event.task_id, event.agent_id, event.at, event.data) == (
        "gate",
        "a",
        "ann",
        clock.now,
        {"green": True},
    )
    for bad in ({"n": float("nan")}, {"n": "\ud800"}):
        with pytest.raises(UsageError, match="gate"):
            board.record("gate", data=bad)
    with pytest.raises(UsageError):
        board.record("\ud800")


def test_results_and_progress_of_a_parent(board: TaskBoard) -> None:
    board.post_many(task(f"t{n}", parent_id="p") for n in range(4))
    board.post(task("other"))
    board.complete(claimed(board), {"n": 0})
    board.cancel("t2")
    assert board.get_results_by_parent("p") == [{"n": 0}]
    progress = board.progress("p")
    assert (progress.total, progress.completed, progress.pending, progress.cancelled) == (
        4,
        1,
        2,
        1,
    )
    assert progress.progress_pct == 25.0
    assert not progress.is_complete
    assert [t.task_id for t in board.get_pending()] == ["t1", "t3", "other"]
