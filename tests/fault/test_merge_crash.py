"""kill -9 of the lander at its worst moments, races for the target, and hostile repositories."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stigmergy.coding.git.repository import Repository
from stigmergy.coding.merge.batch import Candidate
from stigmergy.coding.merge.lander import Lander, landed_already
from stigmergy.coding.merge.publish import Follows, WorkingTree
from stigmergy.coding.merge.verdict import AlreadyLanded, Landed

MAIN = "refs/heads/main"


def git(path, *args):
    done = subprocess.run(["git", *args], cwd=path, capture_output=True)
    assert done.returncode == 0, done.stderr
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
    return made


def branches(path, names):
    base = git(path, "rev-parse", "main")
    made = []
    for name in names:
        git(path, "checkout", "-q", "--detach", base)
        (path / name).write_text(name)
        git(path, "add", "-A")
        git(path, "commit", "-q", "-m", name)
        commit = git(path, "rev-parse", "HEAD")
        made.append(Candidate(task_id=name, commit=commit, base=base))
    git(path, "checkout", "-q", "main")
    return made


def lander(repository, **settings):
    asked = {"on_intent": lambda pairs: None, "on_event": lambda event: None} | settings
    return Lander(
        repository,
        MAIN,
        clock=lambda: 2e9,
        working_tree=WorkingTree(repository, MAIN),
        **asked,
    )


# A lander in a process of its own that kills itself at a named moment.
CHILD = """
    import json, os, signal, sys, threading
    from pathlib import Path
    from stigmergy.coding.git.repository import Repository
    from stigmergy.coding.merge.batch import Candidate
    from stigmergy.coding.merge.lander import Lander
    from stigmergy.coding.merge.publish import WorkingTree

    path, moment, branches = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    def intent(pairs):
        (path.parent / "intents.json").write_text(json.dumps(pairs))
        if moment == "before the move":
            die()

    if moment == "before the working tree follows":
        WorkingTree.follow = die
    repository = Repository(path)
    lander = Lander(
        repository,
        "refs/heads/main",
        clock=lambda: 2e9,
        on_intent=intent,
        on_event=lambda event: die() if moment == "at the first verdict" else None,
        working_tree=WorkingTree(repository, "refs/heads/main"),
    )
    if moment == "at the first verdict":
        lander._on_event = lambda event: die() if type(event).__name__ == "Decided" else None
    lander.land([Candidate(task_id=t, commit=c, base=b) for t, c, b in branches], threading.Event())
"""


@pytest.mark.parametrize(
    ("moment", "moved"),
    [
        ("before the move", False),
        ("before the working tree follows", True),
        ("at the first verdict", True),
    ],
)
def test_after_kill_9_ancestry_tells_what_landed_and_a_second_landing_changes_nothing_twice(
    path, moment, moved
):
    candidates = branches(path, ["A", "B"])
    told = json.dumps([[one.task_id, one.commit, one.base] for one in candidates])
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(CHILD), path, moment, told])
    assert ended.returncode == -signal.SIGKILL
    intents = [tuple(pair) for pair in json.loads((path.parent / "intents.json").read_text())]
    with Repository(path) as repository:
        assert landed_already(repository, MAIN, intents) == ({"A", "B"} if moved else set())
        assert WorkingTree(repository, MAIN).catch_up() == Follows(path)
        assert git(path, "status", "--porcelain") == ""
        verdicts = lander(repository).land(candidates, threading.Event())
    assert {type(verdict) for verdict in verdicts} == {AlreadyLanded if moved else Landed}
    assert git(path, "log", "--format=%s", "main").splitlines() == ["B", "A", "base"]
    assert git(path, "status", "--porcelain") == ""
    assert (path / "B").read_text() == "B"


def test_two_landers_racing_for_one_target_land_everything_once(path):
    git(path, "checkout", "-q", "--detach")
    candidates = branches(path, [f"T{number}" for number in range(12)])
    git(path, "checkout", "-q", "--detach")
    barrier = threading.Barrier(2)

    def race(share):
        with Repository(path) as repository:
            queue = lander(repository)
            left = list(share)
            landed = []
            barrier.wait(timeout=60)
            while left:  # one at a time, to collide often
                (verdict,) = queue.land(left[:1], threading.Event())
                if isinstance(verdict, Landed):
                    landed.append(left.pop(0).task_id)
            return landed

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(race, (candidates[::2], candidates[1::2])))
    subjects = git(path, "log", "--format=%s", "main").splitlines()
    assert sorted(subjects) == sorted(["base", *results[0], *results[1]])
    assert len(subjects) == 13


def test_no_hook_signer_or_editor_of_the_repository_is_run(path, tmp_path):
    witness = tmp_path / "witness"
    script = tmp_path / "evil"
    script.write_text(f'#!/bin/sh\necho "$0" >> {witness}\nexit 1\n')
    script.chmod(0o755)
    hooks = path / ".git/hooks"
    candidates = branches(path, ["A", "B"])
    for name in ("reference-transaction", "post-checkout", "post-index-change", "pre-auto-gc"):
        (hooks / name).unlink(missing_ok=True)
        (hooks / name).symlink_to(script)
    for key in (
        "gpg.program", "core.editor", "core.fsmonitor", "core.pager", "diff.external",
        "core.askPass",
    ):  # fmt: skip
        git(path, "config", key, str(script))
    git(path, "config", "commit.gpgSign", "true")
    witness.unlink(missing_ok=True)
    with Repository(path) as repository:
        verdicts = lander(repository).land(candidates, threading.Event())
    assert all(isinstance(verdict, Landed) for verdict in verdicts)
    assert not witness.exists(), witness.read_text()


def test_git_variables_of_a_surrounding_hook_do_not_lead_elsewhere(path, tmp_path, monkeypatch):
    candidates = branches(path, ["A"])
    other = tmp_path / "other"
    git(tmp_path, "init", "-q", str(other))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(other / ".git"))
    with Repository(path) as repository:
        (verdict,) = lander(repository).land(candidates, threading.Event())
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    assert isinstance(verdict, Landed)
    assert git(path, "rev-parse", "main") == verdict.after


def test_the_reading_process_may_be_killed_and_is_started_anew(path):
    with Repository(path) as repository:
        base = repository.rev_parse("main")
        repository.commit(base)
        process = repository._reader._process
        process.kill()
        process.wait()
        with pytest.raises(Exception, match="the process died"):
            repository.commit(base)
        assert repository.commit(base).subject == "base"


def test_repack_and_prune_between_landings_do_no_harm(path):
    candidates = branches(path, ["A", "B"])
    for one in candidates:
        git(path, "update-ref", f"refs/stigmergy/r/tasks/{one.task_id}", one.commit)
    with Repository(path) as repository:
        queue = lander(repository)
        for one in candidates:
            assert isinstance(queue.land([one], threading.Event())[0], Landed)
            git(path, "gc", "-q", "--prune=now")
    git(path, "fsck", "--strict")
