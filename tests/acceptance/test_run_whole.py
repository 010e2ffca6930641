"""Whole runs with command agents: what a user asks for is on the branch, proved, at the end."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from stigmergy.board import Lease, Task, TaskBoard, TaskStatus
from stigmergy.coding.preflight import Source
from stigmergy.coding.run import STOP_WANTED
from stigmergy.coding.rundir import StateFolder
from stigmergy.errors import TransientError, UsageError
from stigmergy.swarm import Stop
from stigmergy.testing.runs import (
    item,
    prepare_items,
    prepare_source,
    resume_run,
    run_items,
    start_run,
)

MakeRepository = Callable[[Mapping[str, str | bytes]], Path]

WRITE = 'echo "$STIG_DESCRIPTION" > "$STIG_PATH"'
GATE = "sh gate.sh"
NO_BAD_WORD = "! grep -rn BAD --include=*.txt .\n"
START = {"gate.sh": NO_BAD_WORD, "README": "start\n"}
SHELL = {"agent_command": WRITE, "agent_shell": True, "gate": GATE}


def git(repository: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def commit_file(repository: Path, name: str, text: str, message: str) -> str:
    """What a user does: edit, add, commit."""
    (repository / name).write_text(text)
    git(repository, "add", "--", name)
    git(repository, "commit", "--quiet", "-m", message)
    return git(repository, "rev-parse", "HEAD")


def refs_and_files(repository: Path) -> tuple[str, dict[str, bytes]]:
    """All of a repository that belongs to its user."""
    files = {
        str(path.relative_to(repository)): path.read_bytes()
        for path in repository.rglob("*")
        if path.is_file() and not {".git", ".stigmergy"} & set(path.parts)
    }
    return git(repository, "for-each-ref", "refs/heads", "refs/tags") + git(
        repository, "symbolic-ref", "HEAD"
    ), files


@pytest.fixture
def repository(make_repository: MakeRepository) -> Path:
    return make_repository(START)


# --- what is asked for is done ---


def test_all_items_land_and_the_working_tree_follows(repository: Path) -> None:
    items = [
        item("F01", "a.txt", description="first"),
        item("F02", "b.txt", description="second", depends_on=["F01"]),
        item("F03", "c.txt", description="third"),
    ]

    ran = run_items(repository, items, agents=3, **SHELL)

    assert ran.outcome.exit_code == 0
    assert "all 3 items landed and the target is green" in ran.outcome.verdict
    assert [(repository / f"{name}.txt").read_text() for name in "abc"] == [
        "first\n",
        "second\n",
        "third\n",
    ]
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "rev-list", "--count", "main") == "4"
    assert ran.report["landed"] == ran.report["items"] == 3
    assert ran.report["target_green"] is True
    order = [landing["key"] for landing in ran.report["landings"]]
    assert order.index("F01") < order.index("F02")


def test_a_gate_of_real_tests_proves_a_run(make_repository: MakeRepository) -> None:
    test = (
        "import unittest, pathlib\n"
        "class Files(unittest.TestCase):\n"
        "    def test_no_file_is_empty(self):\n"
        "        for path in pathlib.Path().glob('*.txt'):\n"
        "            self.assertTrue(path.read_text().strip())\n"
    )
    repository = make_repository({"test_files.py": test})

    ran = run_items(
        repository,
        [item("F01", "a.txt"), item("F02", "b.txt")],
        agent_command=WRITE,
        agent_shell=True,
        gate="python3 -m unittest",
    )

    assert ran.outcome.exit_code == 0
    assert ran.report["gate"] == ["python3", "-m", "unittest"]
    assert ran.report["gate_runs"] >= 2  # the start, and at least one batch
    assert ran.report["gate_red"] == 0


def test_a_folder_that_an_agent_copied_lands(make_repository: MakeRepository) -> None:
    repository = make_repository({"a/x.txt": "x\n", "a/y.txt": "x\n"})
    ran = run_items(repository, [item("F01", "b")], agent_command="cp -r a b", gate="none")
    assert ran.outcome.exit_code == 0, ran.text
    assert (repository / "b" / "y.txt").read_text() == "x\n"


def test_each_makes_one_landing_of_every_file(make_repository: MakeRepository) -> None:
    repository = make_repository(START | {f"src/m{n:02}.txt": "old name\n" for n in range(30)})
    source = Source(kind="each", text="src/*.txt", description="rename in {path}")
    prepared = prepare_source(
        repository, source, agents=4, agent_command="sed -i s/old/new/ {path}", gate=GATE
    )

    ran = start_run(prepared)

    assert ran.outcome.exit_code == 0
    assert ran.report["landed"] == 30
    assert {path.read_text() for path in (repository / "src").iterdir()} == {"new name\n"}
    assert git(repository, "rev-list", "--count", "main") == "31"
    changed = git(repository, "log", "--format=", "--name-only", "main", "--", "src")
    assert sorted(changed.split()) == sorted([f"src/m{n:02}.txt" for n in range(30)] * 2)


@pytest.mark.parametrize(
    ("strategy", "merges"), [("rebase", 0), ("fast-forward", 0), ("merge-commit", 3)]
)
def test_the_strategy_shapes_history(repository: Path, strategy: str, merges: int) -> None:
    items = [item(f"F{n}", f"{n}.txt") for n in range(3)]

    ran = run_items(repository, items, agents=3, strategy=strategy, **SHELL)

    assert ran.outcome.exit_code == 0
    assert len(git(repository, "rev-list", "--merges", "main").split()) == merges
    assert git(repository, "rev-list", "--count", "--no-merges", "main") == "4"
    assert sorted(p.name for p in repository.glob("*.txt")) == ["0.txt", "1.txt", "2.txt"]


def test_work_that_turns_the_gate_red_is_mended_before_it_lands(repository: Path) -> None:
    agent = 'if [ -e "$STIG_PATH" ]; then echo good; else echo BAD; fi > "$STIG_PATH.new"; '
    agent += 'mv "$STIG_PATH.new" "$STIG_PATH"'

    ran = run_items(
        repository, [item("F01", "a.txt")], agent_command=agent, agent_shell=True, gate=GATE
    )

    assert ran.outcome.exit_code == 0
    assert [(back["key"], back["kind"]) for back in ran.report["returned"]] == [("F01", "gate-red")]
    # The fix began where the rejected work stood, and only the whole of it landed.
    assert (repository / "a.txt").read_text() == "good\n"
    for commit in git(repository, "rev-list", "--first-parent", "main").split()[:1]:
        assert "BAD" not in git(repository, "show", f"{commit}:a.txt")


def test_what_cannot_be_mended_fails_with_all_that_waits_for_it(repository: Path) -> None:
    items = [
        item("F01", "a.txt", description="BAD"),
        item("F02", "b.txt", depends_on=["F01"]),
        item("F03", "c.txt"),
    ]

    ran = run_items(repository, items, agents=2, max_fixes=1, **SHELL)

    assert ran.outcome.exit_code == 1
    assert "1 of 3 items landed, 2 did not" in ran.outcome.verdict
    assert set(ran.report["failures"]) == {"F01", "F02"}
    assert "given up after 1 rounds" in ran.report["failures"]["F01"]
    assert "F01.land" in ran.report["failures"]["F02"]
    assert sorted(p.name for p in repository.glob("*.txt")) == ["c.txt"]


# --- wrong from the beginning: refused, and nothing is changed ---


def test_a_gate_that_is_red_on_the_unchanged_branch_is_refused(repository: Path) -> None:
    commit_file(repository, "old.txt", "BAD\n", "break it")
    before = refs_and_files(repository)
    prepared = prepare_items(repository, [item("F01", "a.txt")], **SHELL)

    with pytest.raises(UsageError, match=r"the gate is red on main as it is: .*\n.*old\.txt"):
        start_run(prepared)

    assert refs_and_files(repository) == before


def test_a_gate_that_is_not_found_is_red(repository: Path) -> None:
    settings = SHELL | {"gate": "no-such-program --at-all"}
    prepared = prepare_items(repository, [item("F01", "a.txt")], **settings)

    with pytest.raises(UsageError, match=r"red on main.*'no-such-program'.*\(exit 127\)"):
        start_run(prepared)


def test_no_gate_is_an_error_that_says_how_to_give_one(repository: Path) -> None:
    with pytest.raises(UsageError, match=r"no gate was found.*--gate 'COMMAND'.*--gate none"):
        prepare_items(repository, [item("F01", "a.txt")], agent_command="true")


def test_gate_none_lands_and_does_not_say_green(repository: Path) -> None:
    ran = run_items(repository, [item("F01", "a.txt")], **(SHELL | {"gate": "none"}))

    assert ran.outcome.exit_code == 0
    assert ran.outcome.verdict.endswith("no gate was run")
    assert ran.report["target_green"] is None


def test_not_a_git_repository(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a git repository"):
        prepare_items(tmp_path, [item("F01", "a.txt")], **SHELL)


def test_no_commit_yet(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")

    with pytest.raises(UsageError, match=r"main has no commit yet.*git commit"):
        prepare_items(tmp_path, [item("F01", "a.txt")], **SHELL)


def test_detached_head_needs_a_target(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "--detach")

    with pytest.raises(UsageError, match=r"HEAD is detached.*--target"):
        prepare_items(repository, [item("F01", "a.txt")], **SHELL)

    ran = run_items(repository, [item("F01", "a.txt")], target="main", **SHELL)
    assert ran.outcome.exit_code == 0
    assert git(repository, "show", "main:a.txt") == "do it"
    assert not (repository / "a.txt").exists()  # what is checked out is not the target


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (
            '{"features": [\n  {"id": "F01", "description": "x",\n   "priority": "soonish"}\n]}',
            r"FEATURES\.json:3:\d+: feature 'F01', field 'priority'",
        ),
        (
            '{"features": [\n  {"id": "F01", "description": "x", "depends_on": ["F09"]}\n]}',
            r"FEATURES\.json:2:\d+: feature 'F01', field 'depends_on'.*F09",
        ),
        (
            '{"features": [\n  {"id": "F01", "description": "x", "files": ["../etc"]}\n]}',
            r"FEATURES\.json:2:\d+: feature 'F01', field 'files'",
        ),
        ('{"features": [\n  {"id": "F01",\n', r"FEATURES\.json:3:\d+"),
    ],
)
def test_a_wrong_features_file_is_told_by_file_line_and_field(
    repository: Path, tmp_path: Path, text: str, place: str
) -> None:
    features = tmp_path / "FEATURES.json"
    features.write_text(text)

    with pytest.raises(UsageError, match=place):
        prepare_source(repository, Source(kind="features", text=str(features)), **SHELL)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"model": "nonsense"}, "does not name a model"),
        ({"model": "nobody:gpt"}, "there is no provider 'nobody'"),
        ({"model": "replay:/no/such/file.jsonl"}, r"/no/such/file\.jsonl"),
        ({"model": "openrouter:qwen/qwen3-coder"}, "OPENROUTER_API_KEY, which is not set"),
        ({"model": "vllm:m", "spillover": ("openai:m",)}, "OPENAI_API_KEY, which is not set"),
        ({"agent_command": "unclosed 'quote"}, "agent_command"),
        ({}, "no agent: give --model"),
    ],
)
def test_a_model_or_agent_that_cannot_be_used_is_refused_beforehand(
    repository: Path, settings: dict[str, object], match: str
) -> None:
    with pytest.raises(UsageError, match=match):
        prepare_items(repository, [item("F01", "a.txt")], gate=GATE, **settings)

    assert not (repository / ".stigmergy").exists()


def test_a_refused_start_leaves_no_run_to_resume(repository: Path) -> None:
    settings = SHELL | {"gate": "false"}
    prepared = prepare_items(repository, [item("F01", "a.txt")], **settings)

    with pytest.raises(UsageError, match="red on main"):
        start_run(prepared)

    assert list((repository / ".stigmergy" / "runs").iterdir()) == []


# --- one run at a time; the user in the middle of it ---


def test_a_second_run_is_refused_and_the_first_is_unharmed(repository: Path) -> None:
    refused: list[str] = []

    def start_another(line: str) -> None:
        if not refused and line.startswith("landed F01"):
            with pytest.raises(UsageError, match=r"has a run already: run .* \(process") as found:
                run_items(repository, [item("G01", "g.txt")], **SHELL)
            refused.append(str(found.value))

    items = [item("F01", "a.txt"), item("F02", "b.txt", depends_on=["F01"])]
    ran = run_items(repository, items, on_line=start_another, **SHELL)

    assert len(refused) == 1
    assert ran.outcome.exit_code == 0
    assert not (repository / "g.txt").exists()


def test_a_dirty_tree_stays_byte_for_byte(repository: Path) -> None:
    (repository / "README").write_text("mine, not committed\n")
    (repository / "notes.tmp").write_bytes(b"\x00untracked\xff")
    (repository / "staged").write_text("staged\n")
    git(repository, "add", "staged")
    prepared = prepare_items(repository, [item("F01", "a.txt"), item("F02", "b.txt")], **SHELL)
    assert any("uncommitted changes" in note for note in prepared.notes)

    ran = start_run(prepared)

    assert ran.outcome.exit_code == 0
    assert (repository / "README").read_text() == "mine, not committed\n"
    assert (repository / "notes.tmp").read_bytes() == b"\x00untracked\xff"
    status = git(repository, "status", "--porcelain").splitlines()
    assert sorted(status) == [" M README", "?? notes.tmp", "A  staged"]
    assert (repository / "a.txt").exists()
    assert git(repository, "show", "main:README") == "start"


@pytest.mark.parametrize("tracked", [True, False])
def test_a_landing_that_would_overwrite_the_users_file_goes_to_a_branch_of_its_own(
    repository: Path, tracked: bool
) -> None:
    name = "README" if tracked else "new.txt"
    (repository / name).write_text("mine\n")
    start = git(repository, "rev-parse", "main")

    ran = run_items(repository, [item("F01", name), item("F02", "b.txt")], agents=1, **SHELL)

    assert ran.outcome.exit_code == 0
    assert (repository / name).read_text() == "mine\n"
    branch = f"stigmergy/{ran.view.run_id}"
    assert f"from now on the run lands on {branch}" in ran.text
    assert git(repository, "show", f"{branch}:{name}") == "do it"
    assert git(repository, "show", f"{branch}:b.txt") == "do it"
    assert git(repository, "merge-base", "main", branch) == git(repository, "rev-parse", "main")
    assert git(repository, "diff", "--name-only", start, "main") in ("", "b.txt")


def waits_for(file: Path, paths: str) -> str:
    """The beginning of an agent's command that holds back items with such paths."""
    return f'case "$STIG_PATH" in {paths}) until [ -e {file} ]; do sleep 0.02; done ;; esac; '


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """A file that agents can wait for: git lets the user commit while nothing lands."""
    signals = tmp_path / "signals"
    signals.mkdir()
    return signals / "go"


def test_a_commit_of_the_user_in_the_middle_is_kept(repository: Path, go: Path) -> None:
    mine: list[str] = []

    def commit_meanwhile(line: str) -> None:
        if not mine and line.startswith("landed F01"):
            mine.append(commit_file(repository, "mine.md", "by hand\n", "by hand"))
            go.touch()

    items = [item("F01", "a.txt")]
    items += [item(f"G{n}", f"g{n}.txt", depends_on=["F01"]) for n in range(4)]
    settings = SHELL | {"agent_command": waits_for(go, "g*") + WRITE}
    ran = run_items(
        repository,
        items,
        agents=2,
        on_line=commit_meanwhile,
        sandbox_share=(go.parent,),
        **settings,
    )

    assert ran.outcome.exit_code == 0
    git(repository, "merge-base", "--is-ancestor", mine[0], "main")
    assert (
        git(repository, "rev-list", "--count", "main") == "7"
    )  # the start, five items, the user's
    assert git(repository, "status", "--porcelain") == ""
    assert (repository / "mine.md").read_text() == "by hand\n"
    assert ran.report["returned"] == []


def test_a_red_commit_of_the_user_is_swept_and_nobody_is_blamed(repository: Path, go: Path) -> None:
    broken: list[str] = []

    def break_main(line: str) -> None:
        if not broken and line.startswith("landed F01"):
            broken.append(commit_file(repository, "user.txt", "BAD\n", "oops"))
            go.touch()

    agent = (
        'case "$STIG_PATH" in .) grep -rl BAD --include=*.txt . | xargs sed -i s/BAD/mended/ ;;'
        ' *) echo good > "$STIG_PATH" ;; esac'
    )
    items = [item("F01", "a.txt")]
    items += [item(f"G{n}", f"g{n}.txt", depends_on=["F01"]) for n in range(3)]
    ran = run_items(
        repository,
        items,
        agents=2,
        on_line=break_main,
        sandbox_share=(go.parent,),
        agent_command=waits_for(go, "g*") + agent,
        agent_shell=True,
        gate=GATE,
    )

    assert ran.outcome.exit_code == 0, ran.text
    assert ran.report["returned"] == []
    assert [landing["key"] for landing in ran.report["landings"]].count("sweep1") == 1
    assert (repository / "user.txt").read_text() == "mended\n"
    assert ran.report["landed"] == 5
    git(repository, "merge-base", "--is-ancestor", broken[0], "main")


# --- stopping ---


def test_stopped_in_the_middle_it_goes_on_where_it_was(repository: Path, go: Path) -> None:
    stop = Stop()

    def interrupt(line: str) -> None:
        if line.startswith("landed F02"):
            stop.set()

    items = [item("F00", "0.txt")]
    items += [item(f"F0{n}", f"{n}.txt", depends_on=[f"F0{n - 1}"]) for n in range(1, 6)]
    settings = SHELL | {"agent_command": waits_for(go, "5.txt") + WRITE}
    first = run_items(
        repository, items, stop=stop, on_line=interrupt, sandbox_share=(go.parent,), **settings
    )
    go.touch()
    assert first.outcome.exit_code == 130
    assert "`stig resume` goes on" in first.outcome.verdict
    assert not first.directory.report.exists()

    second = resume_run(repository)

    assert second.outcome.exit_code == 0
    assert second.report["resumed"] == 1
    assert second.report["landed"] == 6
    assert git(repository, "rev-list", "--count", "main") == "7"
    assert second.directory.run_id == first.directory.run_id


def test_a_stop_ends_an_agent_at_work_and_its_attempt_does_not_count(
    repository: Path, tmp_path: Path
) -> None:
    stop = Stop()
    agent = 'if [ -e slow ]; then sleep 600; fi; echo done > "$STIG_PATH"'
    commit_file(repository, "slow", "", "agents are slow")

    def interrupt(line: str) -> None:
        if line.startswith("planner"):
            stop.set()

    settings = {"agent_command": agent, "agent_shell": True, "gate": GATE, "max_attempts": 1}
    first = run_items(repository, [item("F01", "a.txt")], stop=stop, on_line=interrupt, **settings)
    assert first.outcome.exit_code == 130
    git(repository, "rm", "--quiet", "slow")
    git(repository, "commit", "--quiet", "-m", "agents are quick")

    second = resume_run(repository)

    assert second.outcome.exit_code == 0
    assert (repository / "a.txt").read_text() == "done\n"


def test_a_run_that_has_ended_is_not_resumed(repository: Path) -> None:
    run_items(repository, [item("F01", "a.txt")], **SHELL)

    with pytest.raises(UsageError, match="has ended"):
        resume_run(repository)
    with pytest.raises(UsageError, match="there is nothing to retry"):
        resume_run(repository, retry=True)


def test_what_failed_in_a_run_that_has_ended_is_retried_with_all_that_waited_for_it(
    repository: Path,
) -> None:
    agent = '[ "$STIG_PATH" != ill.txt ] || [ -e cure ] && echo x > "$STIG_PATH"'
    settings = {**SHELL, "agent_command": agent, "max_attempts": 1}
    items = [item("F01", "ill.txt"), item("F02", "b.txt"), item("F03", "c.txt", depends_on=["F01"])]
    first = run_items(repository, items, **settings)
    assert first.outcome.exit_code == 1
    assert {landing.key for landing in first.view.landings} == {"F02"}

    again = resume_run(repository, retry=True)
    assert again.outcome.exit_code == 1, "it failed once more, and says so"
    commit_file(repository, "cure", "", "what the agents were missing")
    cured = resume_run(repository, retry=True)

    assert cured.outcome.exit_code == 0, cured.text
    assert [landing.key for landing in cured.view.landings] == ["F02", "F01", "F03"]
    assert cured.report["landed"] == 3
    assert cured.report["failures"] == {}


def test_a_task_taken_when_the_board_could_not_be_used_is_given_back_as_soon_as_it_can(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, refused = TaskBoard.start, [TransientError("the disk is full")]

    def start_later(board: TaskBoard, held: Lease | Task) -> Task:
        if refused:
            raise refused.pop()
        return start(board, held)

    monkeypatch.setattr(TaskBoard, "start", start_later)
    ran = run_items(repository, [item("F01", "a.txt")], **SHELL)

    assert ran.outcome.exit_code == 0, ran.text
    (back,) = ran.events("released")
    assert back.data["reason"] == "the board could not be used"
    assert ran.events("expired") == []


def test_an_agent_that_leaves_gives_back_what_it_took_when_the_board_could_not_be_used(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [TransientError("the disk is full")]
    release = TaskBoard.release

    def start(board: TaskBoard, held: Lease | Task) -> Task:
        board.record(STOP_WANTED, data={"by": "the user"})
        raise TransientError(f"the disk is full: {held.task_id}")

    def release_later(board: TaskBoard, held: Lease | Task, *, reason: str) -> Task:
        if refusals:
            raise refusals.pop()
        return release(board, held, reason=reason)

    monkeypatch.setattr(TaskBoard, "start", start)
    monkeypatch.setattr(TaskBoard, "release", release_later)
    ran = run_items(repository, [item("F01", "a.txt")], **SHELL)

    assert ran.outcome.exit_code != 0
    assert not refusals, "the board refused once more"
    (back,) = ran.events("released")
    assert back.data["reason"] == "the board could not be used"
    with TaskBoard(ran.directory.board_url) as board:
        assert board.list_all(statuses=[TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS]) == []


def test_cancelling_an_item_stops_its_agent_and_fails_what_waits(repository: Path) -> None:
    agent = 'if [ "$STIG_PATH" = slow.txt ]; then sleep 600; fi; echo x > "$STIG_PATH"'

    def cancel(line: str) -> None:
        if line.startswith("landed F02"):
            with TaskBoard(StateFolder(repository).find(None).board_url) as board:
                board.cancel("F01", reason="cancelled by the user")

    items = [
        item("F01", "slow.txt"),
        item("F02", "b.txt"),
        item("F03", "c.txt", depends_on=["F01"]),
    ]
    ran = run_items(
        repository,
        items,
        agents=2,
        on_line=cancel,
        agent_command=agent,
        agent_shell=True,
        gate=GATE,
    )

    assert ran.outcome.exit_code == 1
    assert "1 of 3 items landed, 2 did not" in ran.outcome.verdict
    assert sorted(p.name for p in repository.glob("*.txt")) == ["b.txt"]
