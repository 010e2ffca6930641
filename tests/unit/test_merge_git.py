"""The git layer: refs by compare-and-swap, checked names, errors that say what happened."""

import os
import subprocess

import pytest

from stigmergy.coding.git.objects import Identity, check_oid, check_ref, parse_commit
from stigmergy.coding.git.process import GitError, parse_version, require_git, run_git
from stigmergy.coding.git.repository import Repository
from stigmergy.errors import CorruptError, NotFoundError, TransientError, UsageError

ZERO = "0" * 40


def git(path, *args):
    done = subprocess.run(["git", *args], cwd=path, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "r"
    made.mkdir()
    git(made, "init", "-q", "-b", "main")
    git(made, "config", "user.name", "n")
    git(made, "config", "user.email", "e@example.invalid")
    (made / "file").write_text("1\n")
    git(made, "add", "-A")
    git(made, "commit", "-q", "-m", "base")
    git(made, "commit", "-q", "--allow-empty", "-m", "next")
    return made


@pytest.fixture
def repository(path):
    with Repository(path) as opened:
        yield opened


def test_refs_move_all_or_none_and_only_from_where_they_are(repository):
    base, tip = repository.rev_parse("main~1"), repository.rev_parse("main")
    assert repository.update_refs([("refs/x/a", base, ZERO)], reason="t")
    both = [("refs/x/a", tip, base), ("refs/x/b", tip, base)]
    assert not repository.update_refs(both, reason="t")
    assert repository.tip("refs/x/a") == base
    assert not repository.update_refs([("refs/x/a", tip, ZERO)], reason="t")
    assert not repository.update_refs([("refs/x/a", base, tip)], reason="t")
    assert repository.update_refs([("refs/x/a", tip, base)], reason="t")
    assert repository.update_refs([("refs/x/a", ZERO, tip)], reason="t")
    assert repository.tip("refs/x/a") is None


def test_a_held_lock_is_transient_and_a_nonsense_update_an_error(repository, path):
    base, tip = repository.rev_parse("main~1"), repository.rev_parse("main")
    (path / ".git/refs/heads/main.lock").write_text("")
    with pytest.raises(TransientError, match="locked"):
        repository.update_refs([("refs/heads/main", base, tip)], reason="t")
    with pytest.raises(GitError):
        repository.update_refs([("refs/heads/main/below", base, ZERO)], reason="t")


@pytest.mark.parametrize(
    "name",
    [
        "main", "refs/", "refs/heads/", "refs/a..b", "refs/a b", "refs/a\0b", "refs/a\nb",
        "refs/a.lock", "refs/a/.b", "refs/a//b", "refs/a@{1}", "refs/a^", "refs/a:b", "-refs/x",
        "refs/a.", "HEAD",
    ],
)  # fmt: skip
def test_a_name_that_is_no_full_ref_is_refused_before_git_sees_it(name):
    with pytest.raises(UsageError):
        check_ref(name)


@pytest.mark.parametrize(
    "name", ["refs/heads/main", "refs/stigmergy/r1/tasks/F07.fix1", "refs/x/é"]
)
def test_ordinary_refs_pass(name):
    assert check_ref(name) == name


@pytest.mark.parametrize(
    "oid", ["", "HEAD", "a" * 39, "A" * 40, "--help", "a" * 40 + "\n", "a" * 41]
)
def test_what_is_no_full_object_id_is_refused(oid):
    with pytest.raises(UsageError):
        check_oid(oid)


def test_names_that_look_like_options_are_names(repository):
    with pytest.raises(NotFoundError, match="names no commit"):
        repository.rev_parse("--help")
    with pytest.raises(NotFoundError):
        repository.rev_parse("nosuch")


def test_an_error_carries_the_command_the_code_and_what_git_said(repository):
    with pytest.raises(GitError) as caught:
        repository.git("cat-file", "-t", "a" * 40)
    assert caught.value.code == 128
    assert "cat-file" in caught.value.argv
    assert "could not get object info" in str(caught.value)


def test_a_command_that_does_not_end_is_killed(path):
    with pytest.raises(GitError, match="did not end in time"):
        run_git(["-c", "alias.hang=!sleep 60", "hang"], cwd=path, timeout_s=0.2)


def test_a_folder_without_a_repository_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="git init"):
        Repository(tmp_path)
    with pytest.raises(UsageError, match="not a directory"):
        Repository(tmp_path / "nowhere")


def test_the_version_is_read_and_an_old_git_refused_with_the_reason():
    assert parse_version("git version 2.39.5 (Apple Git-154)") == (2, 39)
    assert parse_version("git version 2.50.0.windows.1") == (2, 50)
    require_git((2, 38))
    require_git((3, 0))
    with pytest.raises(UsageError, match=r"2\.37 is too old.*2\.38"):
        require_git((2, 37))


def test_files_are_read_at_a_commit_and_not_from_the_working_tree(repository, path):
    (path / "file").write_text("changed")
    (path / "dir").mkdir()
    tip = repository.rev_parse("main")
    assert repository.read_file(tip, "file") == b"1\n"
    assert repository.read_file(tip, "nosuch") is None
    assert repository.read_file(tip, "dir") is None


def test_conflict_markers_at_a_commit_are_found(repository, path):
    (path / "odd\nname").write_text("<<<<<<< ours\na\n=======\nb\n>>>>>>> theirs\n")
    (path / "prose").write_text("a <<<<<<< inside is fine\n=======\n")
    git(path, "add", "-A")
    git(path, "commit", "-q", "-m", "bad")
    assert repository.conflict_markers(repository.rev_parse("main")) == ("odd\nname",)
    assert repository.conflict_markers(repository.rev_parse("main~1")) == ()


def test_working_trees_are_listed_with_what_they_have_checked_out(repository, path, tmp_path):
    git(path, "worktree", "add", "-q", "-b", "side", str(tmp_path / "a b"))
    git(path, "worktree", "add", "-q", "--detach", str(tmp_path / "c"))
    found = {tree.path: tree.ref for tree in repository.worktrees()}
    assert found == {
        str(path): "refs/heads/main",
        str(tmp_path / "a b"): "refs/heads/side",
        str(tmp_path / "c"): None,
    }


def test_history_questions(repository):
    base, tip = repository.rev_parse("main~1"), repository.rev_parse("main")
    assert repository.is_ancestor(base, tip)
    assert repository.is_ancestor(tip, tip)
    assert not repository.is_ancestor(tip, base)
    assert [commit.subject for commit in repository.commits(base, tip)] == ["next"]
    assert repository.merge_base(base, tip) == base


def test_a_commit_without_an_author_is_corrupt():
    with pytest.raises(CorruptError, match="author"):
        parse_commit("a" * 40, b"tree " + b"b" * 40 + b"\n\nmessage")


def test_an_identity_cannot_forge_lines():
    assert Identity("Eve\nparent x <e>", "a>b\0").line(7) == b"Eveparent x e <ab> 7 +0000"


def test_an_object_of_another_kind_is_refused(repository):
    tip = repository.rev_parse("main")
    with pytest.raises(UsageError, match="is a commit, not a file"):
        repository.blob(tip)
    with pytest.raises(NotFoundError, match="not in the repository"):
        repository.commit("a" * 40)


def test_repositories_with_sha_256_work(tmp_path):
    path = tmp_path / "sha256"
    git(tmp_path, "init", "-q", "--object-format=sha256", "-b", "main", str(path))
    git(
        path,
        "-c",
        "user.name=n",
        "-c",
        "user.email=e@e",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "x",
    )
    with Repository(path) as repository:
        tip = repository.tip("refs/heads/main")
        assert len(tip) == 64
        assert repository.commit(tip).subject == "x"
        assert repository.update_refs([("refs/x/a", tip, "0" * 64)], reason="t")


def test_a_file_is_not_a_repository(path):
    with pytest.raises(UsageError, match=r"file is not a directory; name a git repository"):
        Repository(path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_folder_that_may_not_be_entered_is_named(path):
    closed = path / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(UsageError, match="closed: Permission denied"):
        Repository(closed)


def test_the_repository_of_another_user_comes_with_gits_own_advice(path, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(UsageError) as caught:
        Repository(path)
    assert f"git config --global --add safe.directory {path}" in str(caught.value)
    assert "git init" not in str(caught.value)
