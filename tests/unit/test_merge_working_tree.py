"""The user's working tree follows the target, and no byte that the user wrote is touched."""

import os
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest

from stigmergy.coding.git.repository import Repository
from stigmergy.coding.merge import publish
from stigmergy.coding.merge.batch import Candidate
from stigmergy.coding.merge.lander import Lander
from stigmergy.coding.merge.publish import (
    Follows,
    NothingToFollow,
    WorkingTree,
    WouldOverwrite,
)
from stigmergy.coding.merge.verdict import Deferred, Landed, WorkingTreeBehind

MAIN = "refs/heads/main"


def git(path, *args):
    done = subprocess.run(["git", *args], cwd=path, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def made(path, files):
    """A commit on the current branch's tip, made without the working tree at `path`."""
    with Repository(path) as repository:
        start = repository.rev_parse("main")
    scratch = path.parent / f"scratch{len(list(path.parent.iterdir()))}"
    git(path, "worktree", "add", "-q", "--detach", str(scratch), start)
    for name, text in files.items():
        file = scratch / name
        if text is None:
            file.unlink()
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    git(scratch, "add", "-A", "-f")
    git(scratch, "commit", "-q", "-m", "made")
    commit = git(scratch, "rev-parse", "HEAD")
    git(path, "worktree", "remove", "--force", str(scratch))
    return start, commit


@pytest.fixture
def user(tmp_path):
    path = tmp_path / "user"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    git(path, "config", "user.name", "n")
    git(path, "config", "user.email", "e@example.invalid")
    (path / "tracked").write_text("1\n")
    (path / "other").write_text("1\n")
    (path / ".gitignore").write_text("*.o\n")
    git(path, "add", "-A")
    git(path, "commit", "-q", "-m", "base")
    return path


@pytest.fixture
def repository(user):
    with Repository(user) as opened:
        yield opened


def step(repository, user, files, *, target=MAIN):
    """Check, move, follow: what the lander does around a landing."""
    tree = WorkingTree(repository, target)
    old, new = made(user, files)
    checked = tree.check(old, new)
    if isinstance(checked, WouldOverwrite):
        return checked
    tree.announce(old)
    assert repository.update_refs([(target, new, old)], reason="t")
    return tree.follow(old, new)


def test_a_clean_working_tree_follows(repository, user):
    assert step(repository, user, {"tracked": "2\n", "new/file": "n"}) == Follows(user)
    assert (user / "tracked").read_text() == "2\n"
    assert (user / "new/file").read_text() == "n"
    assert git(user, "status", "--porcelain") == ""


def test_the_users_changes_elsewhere_stay_staged_or_not(repository, user):
    (user / "other").write_text("mine\n")
    (user / "staged").write_text("mine\n")
    git(user, "add", "staged")
    (user / "untracked").write_text("mine\n")
    assert isinstance(step(repository, user, {"tracked": "2\n"}), Follows)
    assert git(user, "status", "--porcelain").split() == [
        "M", "other", "A", "staged", "??", "untracked",
    ]  # fmt: skip
    assert (user / "other").read_text() == "mine\n"


def test_a_file_that_was_only_touched_is_no_hindrance(repository, user):
    os.utime(user / "tracked", (1, 1))
    assert isinstance(step(repository, user, {"tracked": "2\n"}), Follows)


@pytest.mark.parametrize("moment", ["check", "follow"])
def test_the_users_git_is_waited_for_when_it_has_the_index(repository, user, monkeypatch, moment):
    """It has for an instant, whatever it does, and is neither in the way nor an error."""
    lock, waited = user / ".git/index.lock", []
    tree = WorkingTree(repository, MAIN)
    old, new = made(user, {"tracked": "2\n"})

    def ends(seconds):
        waited.append(seconds)
        lock.unlink()

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=ends)
    monkeypatch.setattr(publish, "time", clock)
    if moment == "check":
        lock.touch()
    assert tree.check(old, new) == Follows(user)
    tree.announce(old)
    assert repository.update_refs([(MAIN, new, old)], reason="t")
    if moment == "follow":
        lock.touch()
    assert tree.follow(old, new) == Follows(user)
    assert len(waited) == 1
    assert git(user, "status", "--porcelain") == ""


def test_an_index_that_stays_locked_is_told_and_the_branch_is_left(repository, user, monkeypatch):
    monkeypatch.setattr(publish, "_INDEX_LOCK_S", 0.0)
    (user / ".git/index.lock").touch()
    outcome = step(repository, user, {"tracked": "2\n"})
    assert isinstance(outcome, WouldOverwrite)
    assert "index.lock" in outcome.detail


@pytest.mark.parametrize("staged", [False, True])
def test_a_changed_file_is_refused_before_the_branch_moves(repository, user, staged):
    (user / "tracked").write_text("mine\n")
    if staged:
        git(user, "add", "tracked")
    before = repository.tip(MAIN)
    outcome = step(repository, user, {"tracked": "2\n", "other": "2\n"})
    assert isinstance(outcome, WouldOverwrite)
    assert outcome.paths == ("tracked",)
    assert repository.tip(MAIN) == before
    assert (user / "tracked").read_text() == "mine\n"
    assert (user / "other").read_text() == "1\n"


@pytest.mark.parametrize(
    ("mine", "landing", "named"),
    [
        ("new", "new", "new"),
        ("ignored.o", "ignored.o", "ignored.o"),
        ("dir/ignored.o", "dir", "dir/ignored.o"),
        ("dir", "dir/new", "dir"),
        ("x.o", "x.o/new", "x.o"),
    ],
)
def test_untracked_and_ignored_files_in_the_way_are_refused(repository, user, mine, landing, named):
    (user / mine).parent.mkdir(exist_ok=True)
    (user / mine).write_text("mine")
    outcome = step(repository, user, {landing: "theirs"})
    assert isinstance(outcome, WouldOverwrite)
    assert outcome.paths == (named,)
    assert (user / mine).read_text() == "mine"


def test_a_dangling_link_of_the_users_is_in_the_way_as_well(repository, user):
    (user / "new").symlink_to("nowhere")
    assert step(repository, user, {"new": "n"}).paths == ("new",)
    assert (user / "new").is_symlink()


def test_a_tracked_file_may_become_a_folder(repository, user):
    assert isinstance(step(repository, user, {"tracked": None, "x": "1"}), Follows)
    assert not (user / "tracked").exists()
    assert isinstance(step(repository, user, {"x": None}), Follows)
    assert isinstance(step(repository, user, {"x/y": "1"}), Follows)


def test_another_branch_checked_out_has_nothing_to_follow(repository, user):
    git(user, "checkout", "-q", "-b", "elsewhere")
    assert step(repository, user, {"tracked": "2\n"}) == NothingToFollow()
    assert (user / "tracked").read_text() == "1\n"
    assert git(user, "status", "--porcelain") == ""


def test_a_bare_repository_has_nothing_to_follow(user, tmp_path):
    bare = tmp_path / "bare.git"
    git(user, "clone", "-q", "--bare", str(user), str(bare))
    git(bare, "config", "user.name", "n")
    git(bare, "config", "user.email", "e@example.invalid")
    with Repository(bare) as repository:
        assert repository.is_bare
        assert step(repository, bare, {"tracked": "2\n"}) == NothingToFollow()


def test_a_linked_working_tree_that_has_the_target_follows(repository, user, tmp_path):
    git(user, "checkout", "-q", "-b", "elsewhere")
    linked = tmp_path / "linked tree"
    git(user, "worktree", "add", "-q", str(linked), "main")
    assert step(repository, user, {"tracked": "2\n"}) == Follows(linked)
    assert (linked / "tracked").read_text() == "2\n"
    assert (user / "tracked").read_text() == "1\n"
    assert git(linked, "status", "--porcelain") == ""


def test_opened_from_a_linked_working_tree_it_is_the_same_repository(repository, user, tmp_path):
    linked = tmp_path / "linked"
    git(user, "worktree", "add", "-q", "--detach", str(linked))
    with Repository(linked) as again:
        assert again.git_dir == repository.git_dir
        assert not again.is_bare
        assert step(again, user, {"tracked": "2\n"}) == Follows(user)


def test_after_a_crash_between_move_and_follow_it_catches_up(repository, user):
    tree = WorkingTree(repository, MAIN)
    for text in ("2\n", "3\n"):
        old, new = made(user, {"tracked": text})
        tree.announce(old)
        repository.update_refs([(MAIN, new, old)], reason="t")
    assert git(user, "status", "--porcelain") != ""
    assert WorkingTree(repository, MAIN).catch_up() == Follows(user)
    assert (user / "tracked").read_text() == "3\n"
    assert git(user, "status", "--porcelain") == ""
    assert WorkingTree(repository, MAIN).catch_up() == Follows(user)


def test_catching_up_does_not_undo_what_the_user_staged_meanwhile(repository, user):
    tree = WorkingTree(repository, MAIN)
    old, new = made(user, {"tracked": "2\n"})
    tree.announce(old)
    repository.update_refs([(MAIN, new, old)], reason="t")
    (user / "tracked").write_text("mine\n")
    assert isinstance(WorkingTree(repository, MAIN).catch_up(), WouldOverwrite)
    assert (user / "tracked").read_text() == "mine\n"


def test_a_user_who_caught_up_by_hand_is_not_set_back(repository, user):
    tree = WorkingTree(repository, MAIN)
    old, new = made(user, {"tracked": "2\n"})
    tree.announce(old)
    repository.update_refs([(MAIN, new, old)], reason="t")
    git(user, "reset", "-q", "--hard")
    (user / "other").write_text("mine\n")
    git(user, "commit", "-q", "-a", "-m", "mine")
    assert WorkingTree(repository, MAIN).catch_up() == Follows(user)
    assert git(user, "status", "--porcelain") == ""
    assert (user / "other").read_text() == "mine\n"
    assert step(repository, user, {"tracked": "3\n"}) == Follows(user)


def lander(repository, events):
    return Lander(
        repository,
        MAIN,
        clock=lambda: 2e9,
        on_intent=lambda pairs: None,
        on_event=events.append,
        working_tree=WorkingTree(repository, MAIN),
    )


def test_landing_defers_only_those_that_touch_the_users_file(repository, user):
    (user / "tracked").write_text("mine\n")
    candidates = []
    for task, name in (("A", "tracked"), ("B", "fresh")):
        base, commit = made(user, {name: "theirs\n"})
        candidates.append(Candidate(task_id=task, commit=commit, base=base))
    verdicts = lander(repository, []).land(candidates, threading.Event())
    by_id = {verdict.task_id: verdict for verdict in verdicts}
    assert isinstance(by_id["A"], Deferred)
    assert (by_id["A"].why, by_id["A"].paths) == ("working-tree", ("tracked",))
    assert isinstance(by_id["B"], Landed)
    assert (user / "tracked").read_text() == "mine\n"
    assert (user / "fresh").read_text() == "theirs\n"


def test_an_edit_between_the_move_and_the_follow_survives_and_is_told(
    repository, user, monkeypatch
):
    move = Repository.update_refs

    def edit_after(self, updates, *, reason):
        moved = move(self, updates, reason=reason)
        if updates[0][0] == MAIN:
            (user / "tracked").write_text("mine\n")
        return moved

    monkeypatch.setattr(Repository, "update_refs", edit_after)
    base, commit = made(user, {"tracked": "theirs\n"})
    events = []
    verdicts = lander(repository, events).land(
        [Candidate(task_id="A", commit=commit, base=base)], threading.Event()
    )
    assert isinstance(verdicts[0], Landed)
    assert [e.outcome.paths for e in events if isinstance(e, WorkingTreeBehind)] == [("tracked",)]
    assert (user / "tracked").read_text() == "mine\n"
