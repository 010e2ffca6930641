"""The recording of the demonstration, held to what it says, without gateway or sandbox.

A small replayer applies the tool calls to a real git repository and lands the results in several
orders, as agents that start early and land late would.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from stigmergy.models.recording import load_recording

EXAMPLE = Path(__file__).parents[2] / "examples" / "spreadsheet"
NO_COMMIT, CONFLICTING, GATE_RED = "F07", ("F10", "F11"), "F14"
# As in a sandbox, compiled files are kept: an edit within the second must change a file's size.
PROGRAM_ENV = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}
GIT_ENV = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "agent",
    "GIT_AUTHOR_EMAIL": "agent@stigmergy.invalid",
    "GIT_COMMITTER_NAME": "agent",
    "GIT_COMMITTER_EMAIL": "agent@stigmergy.invalid",
}


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"spreadsheet_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


make_recording = load_script("make_recording")
demo = load_script("demo")
CONVERSATIONS = {one.task: one for one in make_recording.load_conversations()}
FEATURES = {
    one["id"]: one
    for one in json.loads((EXAMPLE / "FEATURES.json").read_text(encoding="utf-8"))["features"]
}


class Project:
    """The repository that the demonstration starts from, and one checkout of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        demo.prepare(root)
        self.seed = self.git("rev-parse", "HEAD")

    def git(self, *argv: str) -> str:
        done = self.try_git(*argv)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def try_git(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *argv], cwd=self.root, env=GIT_ENV, capture_output=True, text=True
        )

    def check_out(self, commit: str) -> None:
        self.git("checkout", "--quiet", "--force", "--detach", commit)
        self.git("clean", "--quiet", "--force", "-dx")

    def program(self, argv: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        assert argv[0] == "python3"
        return subprocess.run(
            [sys.executable, *argv[1:]],
            cwd=self.root,
            env=PROGRAM_ENV,
            capture_output=True,
            text=True,
        )

    def gate(self, commit: str) -> subprocess.CompletedProcess[str]:
        self.check_out(commit)
        return self.program(tuple(demo.GATE.split()))

    def merge(self, tip: str, candidate: str) -> str | None:
        """The commit that stacks the candidate on the tip; None if they conflict."""
        done = self.try_git("merge-tree", "--write-tree", tip, candidate)
        if done.returncode == 1:
            return None
        assert done.returncode == 0, done.stderr
        return self.git("commit-tree", done.stdout.split()[0], "-p", tip, "-m", "stacked")

    def replay(self, task: str, start: str, *, run: bool = False) -> Replayed:
        """Do what the recording says of a task; with `run`, the commands in it as well."""
        self.check_out(start)
        replayed = Replayed()
        for turn in CONVERSATIONS[task].turns:
            for call in turn.calls:
                self._apply(call, replayed, run=run)
        if self.git("status", "--porcelain"):
            self._commit("left over")
        replayed.commit = self.git("rev-parse", "HEAD")
        return replayed

    def _apply(self, call: object, replayed: Replayed, *, run: bool) -> None:
        arguments = call.arguments
        match call.tool:
            case "read_file":
                if not (self.root / arguments["path"]).is_file():
                    replayed.tool_errors.append(f"read_file: no {arguments['path']}")
            case "write_file":
                path = self.root / arguments["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(arguments["content"], encoding="utf-8")
            case "edit_file":
                path = self.root / arguments["path"]
                text = path.read_text(encoding="utf-8") if path.is_file() else ""
                if text.count(arguments["old"]) == 1:
                    path.write_text(
                        text.replace(arguments["old"], arguments["new"]), encoding="utf-8"
                    )
                else:
                    replayed.tool_errors.append(f"edit_file: {arguments['old']!r}")
            case "run" if run:
                done = self.program(tuple(arguments["argv"]))
                if (done.returncode != 0) != call.fails:
                    replayed.surprises.append(f"{arguments['argv']}: {done.stdout}{done.stderr}")
            case "commit":
                self._commit(arguments["message"])
            case "list_files" | "run" | "finish":
                pass
            case other:
                pytest.fail(f"the recording calls {other}, which the replayer does not know")

    def _commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)


@dataclass
class Replayed:
    """What came of a task."""

    commit: str = ""
    tool_errors: list[str] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)


@dataclass
class Replay:
    """A whole run: every feature started at some tip at which it could, and landed in `order`."""

    project: Project
    randomness: random.Random
    thorough: bool = False
    """Run every command of the recording, and the gate on every step."""
    tips: list[str] = field(default_factory=list)
    landed_at: dict[str, int] = field(default_factory=dict)
    mended: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def run(self, order: list[str]) -> str:
        self.tips = [self.project.seed]
        for feature in order:
            self._land(feature, self._attempt(feature, self._start(feature)).commit)
        return self.tips[-1]

    def _start(self, feature: str) -> str:
        """The two that conflict start as soon as they can, the others at any time."""
        earliest = max(
            (self.landed_at[name] for name in FEATURES[feature]["depends_on"]), default=0
        )
        if feature in CONFLICTING:
            return self.tips[earliest]
        return self.randomness.choice(self.tips[earliest:])

    def _attempt(self, task: str, start: str) -> Replayed:
        replayed = self.project.replay(task, start, run=self.thorough)
        self.problems += [f"{task}: {each}" for each in replayed.tool_errors + replayed.surprises]
        if replayed.commit == start:
            return self._mend(task, "no commit", self.tips[-1])
        return replayed

    def _mend(self, task: str, reason: str, start: str) -> Replayed:
        assert task not in self.mended, f"{task} came back twice"
        self.mended[task] = reason
        return self._attempt(f"{task}.fix1", start)

    def _land(self, feature: str, candidate: str) -> None:
        stacked = self.project.merge(self.tips[-1], candidate)
        if stacked is None:
            fixed = self._mend(feature, "conflict", self.tips[-1])
            stacked = self.project.merge(self.tips[-1], fixed.commit)
            assert stacked is not None, f"{feature} conflicts again"
        if (self.thorough or feature == GATE_RED) and not self._green(stacked):
            stacked = self._mend(feature, "gate red", stacked).commit
            assert self._green(stacked), f"{feature} is red again"
        self.landed_at[feature] = len(self.tips)
        self.tips.append(stacked)

    def _green(self, commit: str) -> bool:
        return self.project.gate(commit).returncode == 0


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def some_order(randomness: random.Random) -> list[str]:
    """The features, each after its dependencies, otherwise at random."""
    order: list[str] = []
    while len(order) < len(FEATURES):
        ready = [
            name
            for name, one in FEATURES.items()
            if name not in order and set(one["depends_on"]) <= set(order)
        ]
        order.append(randomness.choice(ready))
    return order


def table_in_the_readme() -> str:
    """What the README says the program prints."""
    blocks = re.findall(r"```text\n(.*?)```", (EXAMPLE / "README.md").read_text("utf-8"), re.DOTALL)
    (table,) = (block for block in blocks if "Household" in block)
    return table


def level(feature: str) -> int:
    return 1 + max((level(name) for name in FEATURES[feature]["depends_on"]), default=0)


def with_dependencies_landed(project: Project, *features: str) -> str:
    """A tip at which all that the features depend on has landed, and nothing else."""
    needed: set[str] = set()
    queue = [name for feature in features for name in FEATURES[feature]["depends_on"]]
    while queue:
        name = queue.pop()
        needed.add(name)
        queue += FEATURES[name]["depends_on"]
    tip = project.seed
    for name in sorted(needed):
        tip = project.replay(name, tip).commit
    return tip


def test_the_recording_is_what_the_conversations_say() -> None:
    compiled = make_recording.compile_recording(list(CONVERSATIONS.values()))
    assert make_recording.RECORDING.read_text(encoding="utf-8") == compiled, (
        "run `python3 examples/spreadsheet/make_recording.py`"
    )


def test_the_recording_loads_and_says_that_it_was_written() -> None:
    recording = load_recording(make_recording.RECORDING)
    assert recording.origin == "written"
    assert "not captured" in recording.note
    assert all(turn.response.usage is None for turn in recording.turns.values())


def test_there_is_a_conversation_for_every_feature_and_for_every_planted_fault() -> None:
    fixes = {f"{name}.fix1" for name in (NO_COMMIT, *CONFLICTING, GATE_RED)}
    assert set(CONVERSATIONS) == set(FEATURES) | fixes
    for one in CONVERSATIONS.values():
        assert [call.tool for call in one.turns[-1].calls] == ["finish"]


def test_the_plan_is_wide_and_shallow() -> None:
    levels = [level(name) for name in FEATURES]
    assert 15 <= len(levels) <= 20
    assert max(levels) <= 5
    assert levels.count(1) >= 8
    assert levels.count(2) >= 8


def test_only_the_conflicting_pair_may_meet_in_a_file() -> None:
    def waits_for(name: str) -> set[str]:
        direct = set(FEATURES[name]["depends_on"])
        return direct.union(*map(waits_for, direct))

    meeting = {
        (one, other)
        for one in FEATURES
        for other in FEATURES
        if one < other
        and set(FEATURES[one]["files"]) & set(FEATURES[other]["files"])
        and one not in waits_for(other)
        and other not in waits_for(one)
    }
    assert meeting == {CONFLICTING}


def test_a_task_changes_only_the_files_of_its_feature() -> None:
    for task, conversation in CONVERSATIONS.items():
        changed = {
            call.arguments["path"]
            for turn in conversation.turns
            for call in turn.calls
            if call.tool in ("write_file", "edit_file")
        }
        assert changed <= set(FEATURES[task.split(".")[0]]["files"]), task


def test_the_seed_is_green_and_runs_a_test(project: Project) -> None:
    done = project.gate(project.seed)
    assert done.returncode == 0
    assert "Ran 1 test" in done.stderr


def test_every_step_ends_as_it_says_and_every_landing_is_green(project: Project) -> None:
    replay = Replay(project, random.Random(0), thorough=True)
    replay.run(sorted(FEATURES, key=lambda name: (level(name), name)))
    assert replay.problems == []
    assert replay.mended == {"F07": "no commit", "F11": "conflict", "F14": "gate red"}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_in_any_order_the_faults_are_mended_and_the_program_runs(
    project: Project, seed: int
) -> None:
    randomness = random.Random(seed)
    order = some_order(randomness)
    replay = Replay(project, randomness)
    tip = replay.run(order)
    assert replay.problems == [], order
    later = max(CONFLICTING, key=order.index)
    assert replay.mended == {"F07": "no commit", later: "conflict", "F14": "gate red"}, order
    gate = project.gate(tip)
    assert gate.returncode == 0, gate.stderr
    assert project.program(demo.SHOW).stdout == table_in_the_readme()


@pytest.mark.parametrize("first", CONFLICTING)
def test_the_pair_conflicts_whoever_lands_first(project: Project, first: str) -> None:
    second = next(name for name in CONFLICTING if name != first)
    start = with_dependencies_landed(project, *CONFLICTING)
    tip = project.replay(first, start).commit
    assert project.merge(tip, project.replay(second, start).commit) is None
    mended = project.replay(f"{second}.fix1", tip, run=True)
    assert (mended.tool_errors, mended.surprises) == ([], [])
    assert project.gate(mended.commit).returncode == 0


@pytest.mark.parametrize("first", CONFLICTING)
def test_a_late_start_ends_in_a_red_gate_and_the_same_mend(project: Project, first: str) -> None:
    second = next(name for name in CONFLICTING if name != first)
    tip = project.replay(first, with_dependencies_landed(project, *CONFLICTING)).commit
    late = project.replay(second, tip)
    assert len(late.tool_errors) == 1
    assert project.gate(late.commit).returncode == 1
    mended = project.replay(f"{second}.fix1", late.commit, run=True)
    assert (mended.tool_errors, mended.surprises) == ([], [])
    assert project.gate(mended.commit).returncode == 0


def test_the_red_gate_is_red_in_the_tests_of_a_feature_it_builds_on(project: Project) -> None:
    start = with_dependencies_landed(project, GATE_RED)
    work = project.replay(GATE_RED, start, run=True)
    assert work.surprises == []
    gate = project.gate(work.commit)
    assert gate.returncode == 1
    assert "tests.test_values" in gate.stderr
    assert "tests.test_formats" not in gate.stderr


def test_the_claim_without_a_commit_changes_nothing(project: Project) -> None:
    (turn,) = CONVERSATIONS[NO_COMMIT].turns
    (call,) = turn.calls
    assert call.arguments["status"] == "complete"
    assert project.replay(NO_COMMIT, project.seed).commit == project.seed
