"""The lander on real repositories: what lands, what is rejected, and that the target tells it."""

import subprocess
import threading

import pytest

from stigmergy.coding.git.repository import Repository
from stigmergy.coding.merge.batch import Candidate, Window
from stigmergy.coding.merge.gate import Gate
from stigmergy.coding.merge.lander import Lander, LandingLostError, landed_already
from stigmergy.coding.merge.stack import Strategy
from stigmergy.coding.merge.verdict import (
    AlreadyLanded,
    Decided,
    Deferred,
    GateEnded,
    Landed,
    Rejected,
    TargetMoved,
)
from stigmergy.coding.sandbox.sandbox import Exit, Protection
from stigmergy.errors import UsageError

MAIN = "refs/heads/main"
LINES = [f"line {number}\n" for number in range(1, 31)]


class Project:
    """A bare-handed user: a working tree on which branches are made."""

    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Ünal Ångström")
        self.git("config", "user.email", "user@example.invalid")
        self.write("text", "".join(LINES))
        self.write("other", "other\n")
        self.base = self.commit("base")
        self.git("checkout", "-q", "--detach")

    def git(self, *args):
        done = subprocess.run(["git", *args], cwd=self.path, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def write(self, path, text):
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def edit(self, line, text, path="text"):
        lines = (self.path / path).read_text().splitlines(keepends=True)
        lines[line - 1] = text + "\n"
        self.write(path, "".join(lines))

    def commit(self, message, *more):
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message, *more)
        return self.git("rev-parse", "HEAD")

    def branch(self, task_id, change, *, start=None, **fields):
        start = start or self.base
        self.git("checkout", "-q", "-f", start)
        change()
        commit = self.commit(f"work of {task_id}")
        return Candidate(task_id=task_id, commit=commit, base=start, **fields)

    def file_branch(self, task_id, text=None, **fields):
        return self.branch(
            task_id, lambda: self.write(f"dir/{task_id}", text or f"{task_id}\n"), **fields
        )

    def at_main(self, path):
        return self.git("show", f"main:{path}")

    def advance_main(self, change):
        """The user commits on main meanwhile."""
        self.git("checkout", "-q", "-f", "main")
        change()
        commit = self.commit("the user's own")
        self.git("checkout", "-q", "--detach")
        return commit


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


@pytest.fixture
def repository(project):
    with Repository(project.path) as opened:
        yield opened


class TreeGate:
    """A sandbox factory whose "program" is a function of the files at the commit."""

    protection = Protection(
        kind="test",
        view="none",
        writes_confined=False,
        network_confined=False,
        processes_confined=False,
    )

    def __init__(self, repository, verdict):
        self.repository = repository
        self.verdict = verdict
        self.commits = []
        self.names = []

    def open(self, name, commit):
        assert name not in self.names
        self.names.append(name)
        self.commits.append(commit)
        return _TreeSandbox(self, name, commit)

    def close(self):
        pass


class _TreeSandbox:
    def __init__(self, factory, name, base):
        self._factory = factory
        self.name = name
        self.base = base
        self.closed = False

    def run(self, argv, *, env=None, cwd="repo", limits=None, stop=None, on_line=None):
        files = {entry.path for entry in self._factory.repository.ls_tree(self.base)}
        code = self._factory.verdict(files)
        if isinstance(code, Exit):
            return code
        return Exit(
            code=code, reason="exited", duration_s=2.0, stdout_tail="said the gate", stderr_tail=""
        )

    def close(self):
        self.closed = True


class Queue:
    """A lander with everything it said."""

    def __init__(self, repository, *, verdict=None, **settings):
        self.events = []
        self.intents = []
        self.factory = TreeGate(repository, verdict) if verdict else None
        self.lander = Lander(
            repository,
            MAIN,
            clock=lambda: 1_700_000_000.0,
            on_intent=self.intents.append,
            on_event=self.events.append,
            gate=Gate(argv=("check",)) if verdict else None,
            factory=self.factory,
            **settings,
        )
        self.stop = threading.Event()

    def land(self, *candidates):
        verdicts = self.lander.land(candidates, self.stop)
        told = [event.verdict for event in self.events if isinstance(event, Decided)]
        assert told[len(told) - len(verdicts) :] == verdicts
        by_id = {verdict.task_id: verdict for verdict in verdicts}
        assert len(by_id) == len(verdicts) == len(candidates)
        return by_id


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_batch_lands_with_one_move_of_the_target(project, repository, strategy):
    branches = [project.file_branch(f"F{number}") for number in range(5)]
    before = int(project.git("rev-list", "--count", "-g", "main"))
    queue = Queue(repository, strategy=strategy)
    verdicts = queue.land(*branches)
    assert all(isinstance(verdict, Landed) for verdict in verdicts.values())
    assert {verdict.batch_size for verdict in verdicts.values()} == {5}
    assert int(project.git("rev-list", "--count", "-g", "main")) == before + 1
    for number in range(5):
        assert project.at_main(f"dir/F{number}") == f"F{number}"
    for verdict in verdicts.values():
        assert verdict.proof.kind == "identical"
        project.git("merge-base", "--is-ancestor", verdict.commit, "main")


def test_rebase_keeps_author_date_message_and_order_of_several_commits(project, repository):
    def work():
        project.write("one", "1\n")
        project.git("add", "-A")
        project.git(
            "commit", "-q", "-m", "first\n\nbody\n\nNot-a-trailer: x",
            "--author=Ågot <agot@example.invalid>", "--date=2020-02-02T02:02:02+0530",
        )  # fmt: skip
        project.write("two", "2\n")

    first = project.file_branch("A")
    second = project.branch("B", work)
    Queue(repository).land(first, second)
    log = project.git("log", "--format=%an|%ae|%aI|%cn|%s|%b", "main", "-2")
    assert "Ågot|agot@example.invalid|2020-02-02T02:02:02+05:30|Stigmergy merge queue|first" in log
    assert "body\n\nNot-a-trailer: x" in log
    assert project.git("log", "--format=%s", "-3", "main").splitlines() == [
        "work of B",
        "first",
        "work of A",
    ]


def test_merge_commit_makes_one_merge_a_branch_and_keeps_the_branch(project, repository):
    branches = [project.file_branch("A"), project.file_branch("B")]
    Queue(repository, strategy=Strategy.MERGE_COMMIT).land(*branches)
    assert project.git("log", "--first-parent", "--format=%s", "main").splitlines() == [
        "Merge B: work of B",
        "Merge A: work of A",
        "base",
    ]
    for branch in branches:
        project.git("merge-base", "--is-ancestor", branch.commit, "main")


def test_fast_forward_takes_the_branch_itself_and_moves_the_refs_of_rebased_ones(
    project, repository
):
    branches = [project.file_branch(task, ref=f"refs/stigmergy/r/tasks/{task}") for task in "AB"]
    for branch in branches:
        project.git("update-ref", branch.ref, branch.commit)
    verdicts = Queue(repository, strategy=Strategy.FAST_FORWARD).land(*branches)
    assert verdicts["A"].commit == branches[0].commit
    assert project.git("rev-parse", branches[0].ref) == branches[0].commit
    assert project.git("rev-parse", branches[1].ref) == verdicts["B"].commit
    assert project.git("rev-parse", "main") == verdicts["B"].commit


def test_a_branch_whose_ref_moved_meanwhile_is_deferred_and_the_others_land(project, repository):
    branches = [project.file_branch(task, ref=f"refs/stigmergy/r/tasks/{task}") for task in "AB"]
    for branch in branches:
        project.git("update-ref", branch.ref, branch.commit)
    project.git("update-ref", branches[1].ref, project.base)
    verdicts = Queue(repository, strategy=Strategy.FAST_FORWARD).land(*branches)
    assert isinstance(verdicts["A"], Landed)
    assert verdicts["B"].why == "branch-moved"


@pytest.mark.parametrize("strategy", list(Strategy))
def test_no_commit_is_rejected_and_nothing_moves(project, repository, strategy):
    older = project.base
    newer = project.advance_main(lambda: project.write("more", "more\n"))

    def nothing():
        pass

    def undone():
        project.write("x", "x")
        project.commit("do")
        (project.path / "x").unlink()

    candidates = [
        Candidate(task_id="at-base", commit=newer, base=newer),
        Candidate(task_id="behind", commit=older, base=newer),
        project.branch("empty", nothing, start=newer),
        project.branch("undone", undone, start=newer),
    ]
    verdicts = Queue(repository, strategy=strategy).land(*candidates)
    assert {verdict.kind for verdict in verdicts.values()} == {"no-commit"}
    assert project.git("rev-parse", "main") == newer


@pytest.mark.parametrize("strategy", list(Strategy))
def test_what_main_has_already_is_told_apart_from_no_commits(project, repository, strategy):
    branch = project.file_branch("A")
    queue = Queue(repository, strategy=strategy)
    assert isinstance(queue.land(branch)["A"], Landed)
    tip = project.git("rev-parse", "main")
    assert queue.land(branch)["A"] == AlreadyLanded(task_id="A", tip=tip)
    assert project.git("rev-parse", "main") == tip


def test_a_landed_commit_that_main_changed_again_is_recognised_by_its_patch(project, repository):
    branch = project.branch("A", lambda: project.edit(3, "three"))
    queue = Queue(repository)
    project.advance_main(lambda: project.write("unrelated", "u\n"))
    queue.land(branch)
    project.advance_main(lambda: project.edit(3, "drei"))
    assert isinstance(queue.land(branch)["A"], AlreadyLanded)
    assert "drei" in project.at_main("text")


def test_a_conflict_with_main_is_rejected_with_its_paths_and_the_others_land(project, repository):
    project.advance_main(lambda: project.edit(3, "drei"))
    bad = project.branch("bad", lambda: project.edit(3, "three"), priority=1)
    good = project.file_branch("good")
    verdicts = Queue(repository).land(bad, good)
    assert isinstance(verdicts["good"], Landed)
    assert verdicts["bad"].kind == "conflict"
    assert verdicts["bad"].paths == ("text",)
    assert "CONFLICT (content)" in verdicts["bad"].detail
    assert verdicts["bad"].tip == project.git("rev-parse", "main")
    assert "three" not in project.at_main("text")


def test_of_two_that_conflict_the_first_in_order_lands_and_the_other_is_never_merged_over(
    project, repository
):
    low = project.branch("low", lambda: project.edit(3, "low"), priority=7)
    high = project.branch("high", lambda: project.edit(3, "high"), priority=1)
    verdicts = Queue(repository).land(low, high)
    assert isinstance(verdicts["high"], Landed)
    assert verdicts["low"].kind == "conflict"
    assert "high" in project.at_main("text")


def test_a_conflict_with_a_member_that_is_then_rejected_does_not_reject(project, repository):
    def broken():
        project.edit(3, "broken")
        project.write("broken", "")

    first = project.branch("first", broken, priority=1)
    second = project.branch("second", lambda: project.edit(3, "second"))
    queue = Queue(repository, verdict=lambda files: 1 if "broken" in files else 0)
    verdicts = queue.land(first, second)
    assert verdicts["first"].kind == "gate-red"
    assert isinstance(verdicts["second"], Landed)
    assert "second" in project.at_main("text")


def test_conflicts_with_members_do_not_count_however_often(project, repository):
    def broken(text):
        project.edit(3, text)
        project.write(f"broken-{text}", "")

    branches = [
        project.branch(text, lambda text=text: broken(text), priority=1) for text in ("a", "b", "c")
    ]
    good = project.branch("good", lambda: project.edit(3, "good"), priority=2)
    queue = Queue(repository, verdict=lambda files: int("broken" in " ".join(files)))
    verdicts = queue.land(*branches, good)
    assert isinstance(verdicts["good"], Landed)
    assert {verdicts[text].kind for text in ("a", "b", "c")} == {"gate-red"}


def test_priority_decides_the_order_in_history(project, repository):
    branches = [
        project.file_branch("late", priority=5, ready_at=2.0),
        project.file_branch("early", priority=5, ready_at=1.0),
        project.file_branch("urgent", priority=1, ready_at=3.0),
    ]
    Queue(repository).land(*branches)
    subjects = project.git("log", "--format=%s", "--reverse", "main").splitlines()
    assert subjects == ["base", "work of urgent", "work of early", "work of late"]


def test_the_gate_runs_once_a_green_batch_on_the_commit_that_main_then_is(project, repository):
    branches = [project.file_branch(f"F{number}") for number in range(6)]
    queue = Queue(repository, verdict=lambda files: 0)
    verdicts = queue.land(*branches)
    assert queue.factory.commits == [project.git("rev-parse", "main")]
    assert {verdict.gate_s for verdict in verdicts.values()} == {2.0}
    assert queue.lander.window.size == Window().size + 1


def test_nothing_moves_before_the_gate_is_green(project, repository):
    seen = []

    def verdict(files):
        seen.append(project.git("rev-parse", "main"))
        return 0

    Queue(repository, verdict=verdict).land(project.file_branch("A"))
    assert seen == [project.base]


def test_culprits_are_rejected_with_output_and_a_restacked_commit_and_innocents_land(
    project, repository
):
    branches = [project.file_branch(f"F{number}") for number in range(8)]
    queue = Queue(repository, verdict=lambda files: 3 if files & {"dir/F2", "dir/F5"} else 0)
    verdicts = queue.land(*branches)
    rejected = {task: v for task, v in verdicts.items() if isinstance(v, Rejected)}
    assert set(rejected) == {"F2", "F5"}
    for task, verdict in rejected.items():
        assert verdict.kind == "gate-red"
        assert verdict.exit_code == 3
        assert "said the gate" in verdict.gate_output
        assert project.git("show", f"{verdict.restacked}:dir/{task}") == task
        assert project.git("rev-parse", f"{verdict.restacked}^") == verdict.tip
    landed = {path.removeprefix("dir/") for path in project.git(
        "ls-tree", "-r", "--name-only", "main", "dir"
    ).splitlines()}  # fmt: skip
    assert landed == set(verdicts) - set(rejected)
    assert queue.lander.window.size < Window().size


def test_each_commit_that_main_was_at_had_a_green_gate(project, repository):
    branches = [project.file_branch(f"F{number}") for number in range(9)]
    queue = Queue(repository, verdict=lambda files: 1 if files & {"dir/F4"} else 0)
    queue.land(*branches)
    green = {event.commit for event in queue.events if isinstance(event, GateEnded) and event.green}
    tips = project.git("log", "-g", "--format=%H", "main").splitlines()
    assert set(tips) - {project.base} <= green
    assert len(tips) > 2


def test_a_flaky_single_is_retried_once_lands_and_is_said_to_be_flaky(project, repository):
    answers = iter([1, 0])
    queue = Queue(repository, verdict=lambda files: next(answers))
    verdict = queue.land(project.file_branch("A"))["A"]
    assert isinstance(verdict, Landed)
    assert verdict.flaky
    assert len(queue.lander.history.flaky) == 1
    assert [event.flaky for event in queue.events if isinstance(event, GateEnded)] == [False, True]


def test_a_red_target_is_told_with_the_rejection(project, repository):
    queue = Queue(repository, verdict=lambda files: 1)
    queue.lander.gate_target(queue.stop)
    assert queue.land(project.file_branch("A"))["A"].target_green is False


def test_a_missing_gate_command_lands_nothing(project, repository):
    queue = Queue(repository, verdict=lambda files: 127)
    verdict = queue.land(project.file_branch("A"))["A"]
    assert verdict.kind == "gate-red"
    assert "not found" in verdict.detail
    assert project.git("rev-parse", "main") == project.base


def test_when_the_user_moves_main_during_the_gate_the_stack_is_gated_again(project, repository):
    moves = iter([lambda: project.advance_main(lambda: project.write("user", "mine\n"))])

    def verdict(files):
        move = next(moves, None)
        if move is not None:
            move()
        return 0

    branch = project.file_branch("A")
    queue = Queue(repository, verdict=verdict)
    verdict = queue.land(branch)["A"]
    assert isinstance(verdict, Landed)
    assert len(queue.factory.commits) == 2
    assert queue.factory.commits[1] == project.git("rev-parse", "main")
    assert project.at_main("user") == "mine"
    assert any(isinstance(event, TargetMoved) for event in queue.events)
    # The first swap was lost; its intent did not come true, the second's did.
    (lost,), (won,) = queue.intents
    assert landed_already(repository, MAIN, [lost]) == set()
    assert landed_already(repository, MAIN, [won]) == {"A"}


def test_a_target_that_moves_each_time_defers_and_never_claims_to_have_landed(project, repository):
    count = iter(range(100))

    def verdict(files):
        number = next(count)
        project.advance_main(lambda: project.write(f"user{number}", "mine\n"))
        return 0

    verdict_of = Queue(repository, verdict=verdict).land(project.file_branch("A"))["A"]
    assert isinstance(verdict_of, Deferred)
    assert verdict_of.why == "target-moved"
    assert "dir/A" not in project.git("ls-tree", "-r", "--name-only", "main")


def test_main_moving_during_bisection_leaves_no_candidate_without_a_verdict(project, repository):
    count = iter(range(100))

    def verdict(files):
        if next(count) == 1:
            project.advance_main(lambda: project.write("user", "mine\n"))
        return 1 if "dir/F2" in files else 0

    branches = [project.file_branch(f"F{number}") for number in range(4)]
    verdicts = Queue(repository, verdict=verdict).land(*branches)
    assert {task for task, v in verdicts.items() if isinstance(v, Landed)} == {"F0", "F1", "F3"}
    assert verdicts["F2"].kind == "gate-red"
    assert project.at_main("user") == "mine"


def test_a_fix_that_the_user_lands_during_bisection_counts_for_the_rest(project, repository):
    count = iter(range(100))

    def verdict(files):
        if next(count) == 1:
            project.advance_main(lambda: project.write("mended", "yes\n"))
        return 1 if "dir/F2" in files and "mended" not in files else 0

    branches = [project.file_branch(f"F{number}") for number in range(4)]
    verdicts = Queue(repository, verdict=verdict).land(*branches)
    assert {type(verdict) for verdict in verdicts.values()} == {Landed}


def test_a_red_verdict_on_a_target_that_moved_meanwhile_rejects_nobody(project, repository):
    mend = iter([False, True])

    def verdict(files):
        if next(mend, False):
            project.advance_main(lambda: project.write("mended", "yes\n"))
        return 0 if "mended" in files else 1

    assert isinstance(
        Queue(repository, verdict=verdict).land(project.file_branch("A"))["A"], Landed
    )


def test_stop_during_the_gate_defers_all_and_moves_nothing(project, repository):
    queue = Queue(repository, verdict=lambda files: stopped())

    def stopped():
        queue.stop.set()
        return Exit(code=-15, reason="stopped", duration_s=0.1, stdout_tail="", stderr_tail="")

    verdicts = queue.land(project.file_branch("A"), project.file_branch("B"))
    assert {verdict.why for verdict in verdicts.values()} == {"stopped"}
    assert project.git("rev-parse", "main") == project.base
    assert queue.intents == []


def test_intents_are_told_before_the_move_and_name_what_lands(project, repository):
    queue = Queue(repository)
    queue.lander._on_intent = lambda pairs: (
        queue.intents.append(pairs),
        queue.events.append(project.git("rev-parse", "main")),
    )
    branches = [project.file_branch("A"), project.file_branch("B")]
    verdicts = queue.lander.land(branches, queue.stop)
    assert project.base in queue.events
    assert queue.intents == [[(verdict.task_id, verdict.commit) for verdict in verdicts]]
    assert landed_already(repository, MAIN, queue.intents[0]) == {"A", "B"}


def test_an_intent_that_cannot_be_written_moves_nothing(project, repository):
    queue = Queue(repository)

    def full(pairs):
        raise OSError("no space left on device")

    queue.lander._on_intent = full
    with pytest.raises(OSError, match="no space"):
        queue.lander.land([project.file_branch("A")], queue.stop)
    assert project.git("rev-parse", "main") == project.base


def test_a_branch_reset_right_after_landing_is_loud(project, repository, monkeypatch):
    move = Repository.update_refs

    def move_and_reset(self, updates, *, reason):
        moved = move(self, updates, reason=reason)
        project.git("update-ref", MAIN, project.base)
        return moved

    monkeypatch.setattr(Repository, "update_refs", move_and_reset)
    queue = Queue(repository)
    with pytest.raises(LandingLostError, match="reset the branch"):
        queue.lander.land([project.file_branch("A")], queue.stop)


def test_a_missing_target_and_doubled_task_ids_are_usage_errors(project, repository):
    queue = Queue(repository)
    branch = project.file_branch("A")
    with pytest.raises(UsageError, match="same task id"):
        queue.land(branch, branch)
    project.git("update-ref", "-d", MAIN)
    with pytest.raises(UsageError, match="does not exist"):
        queue.lander.land([branch], queue.stop)


def test_a_fix_that_starts_at_the_restacked_candidate_lands_both(project, repository):
    queue = Queue(
        repository,
        verdict=lambda files: 1 if "dir/A" in files and "mended" not in files else 0,
    )
    rejected = queue.land(project.file_branch("A"))["A"]
    fix = project.branch(
        "A.fix1", lambda: project.write("mended", "yes\n"), start=rejected.restacked
    )
    assert isinstance(queue.land(fix)["A.fix1"], Landed)
    assert project.git("log", "--format=%s", "main").splitlines() == [
        "work of A.fix1",
        "work of A",
        "base",
    ]


def test_a_lock_held_by_another_git_is_waited_for_and_then_counts_as_a_moved_target(
    project, repository
):
    branch = project.file_branch("A")
    lock = project.path / ".git/refs/heads/main.lock"
    lock.write_text("")
    queue = Queue(repository)
    queue.lander._on_event = lambda event: (
        queue.events.append(event),
        lock.unlink(missing_ok=True) if isinstance(event, TargetMoved) else None,
    )
    queue.stop.wait = lambda timeout=None: False
    assert isinstance(queue.land(branch)["A"], Landed)
    assert any(isinstance(event, TargetMoved) for event in queue.events)
