"""`stig hive` as a user types it: every flag does something, and hives stay apart.

Models are scripted over real HTTP or recorded; git, sandboxes, gates, boards and memory are real.
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stigmergy.board import Event, TaskBoard
from stigmergy.coding.rundir import RunDirectory, StateFolder
from stigmergy.memory import Memory
from stigmergy.testing.model_server import Call, Held, Say, ScriptedModelServer

STIG = Path(sys.executable).with_name("stig")
GATE = ("--gate", "sh gate.sh")
START = {
    "gate.sh": "! grep -rn BAD --include=*.txt .\n",
    "README": "start\n",
    "tests/test_a.txt": "old\n",
}
TELL = ("--agent-shell", "--agent-command", 'printf "%s" "$STIG_PROMPT" > "$STIG_PATH"')
WRITE_HERE = ("--agent-shell", "--agent-command", 'printf "%s" "$STIG_PROMPT" > new.txt')
ONE_LINE = ("--agent-shell", "--agent-command", 'echo "$STIG_DESCRIPTION" > "$STIG_PATH"')
PLANNER = "submit_plan"
"""Stands in a planner's instructions, and in no agent's."""


@pytest.fixture
def repository(make_repository: Callable[[Mapping[str, str]], Path]) -> Path:
    return make_repository(START)


def command(*args: str) -> list[str]:
    return [str(STIG), *args]


def environment() -> dict[str, str]:
    return os.environ | {"COLUMNS": "200", "XDG_CONFIG_HOME": os.environ["HOME"] + "/.config"}


def stig(repository: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args), cwd=repository, capture_output=True, text=True, env=environment()
    )


def spawn(repository: Path, objective: str, *args: str) -> subprocess.CompletedProcess[str]:
    return stig(repository, "hive", "spawn", objective, "--plain", *args)


def latest(repository: Path) -> RunDirectory:
    return StateFolder(repository).find(None)


def journal(repository: Path, kind: str | None = None) -> list[Event]:
    with TaskBoard(latest(repository).board_url) as board:
        return [event for event in board.events(limit=10**6) if kind in (None, event.kind)]


def most_at_once(events: Iterable[Event]) -> int:
    """How many tasks of agents were held at the same time, at the most."""
    held: set[str] = set()
    most = 0
    for event in events:
        if event.task_id.endswith(".land"):
            continue
        if event.kind == "claimed":
            held.add(event.task_id)
        elif event.kind in ("completed", "failed", "released"):
            held.discard(event.task_id)
        most = max(most, len(held))
    return most


def plans(*items: dict[str, Any]) -> tuple[Say, ...]:
    """What a planner's model says: these items, and that nothing is left."""
    first = Say(calls=(Call("submit_plan", {"items": list(items)}),))
    done = Say(calls=(Call("submit_plan", {"items": [], "done": True, "reason": "all done"}),))
    return (first, done)


def item(key: str, **fields: Any) -> dict[str, Any]:
    return {"id": key, "title": f"Do {key}", "scope": [f"{key}.txt"], **fields}


def writes(path: str, text: str) -> tuple[Say, ...]:
    return (
        Say(calls=(Call("write_file", {"path": path, "content": text}),)),
        Say(calls=(Call("finish", {"status": "complete", "summary": f"wrote {path}"}),)),
    )


# --- development: the run that there is ---


def test_a_development_hive_plans_codes_proves_and_lands(repository: Path) -> None:
    script = {
        PLANNER: plans(item("one"), item("two", depends_on=["one"])),
        "Task one": writes("one.txt", "1\n"),
        "Task two": writes("two.txt", "2\n"),
    }
    with ScriptedModelServer(script) as server:
        done = spawn(repository, "Count to two", "--model", f"{server.base_url}#m", *GATE)
        asked = [request for request in server.requests if request.task == PLANNER]

    assert done.returncode == 0, done.stderr
    assert "hive count-to-two: development" in done.stderr
    assert "all 2 items landed and the target is green" in done.stdout
    assert (repository / "two.txt").read_text() == "2\n"
    assert "The strategy: development" in json.dumps(asked[0].body)


def test_without_a_model_the_objective_is_one_item(repository: Path) -> None:
    done = spawn(repository, "Say hello", *GATE, *WRITE_HERE)
    assert done.returncode == 0, done.stderr
    assert "no model plans" in done.stderr
    assert "Say hello" in (repository / "new.txt").read_text()


def test_with_a_model_and_a_program_the_model_plans_and_the_program_works(
    repository: Path,
) -> None:
    with ScriptedModelServer({PLANNER: plans(item("one"), item("two"))}) as server:
        done = spawn(repository, "Count", "--model", f"{server.base_url}#m", *GATE, *ONE_LINE)
        assert {request.task for request in server.requests} == {PLANNER}
    assert done.returncode == 0, done.stdout
    assert (repository / "one.txt").read_text() == "Do one\n"
    assert (repository / "two.txt").read_text() == "Do two\n"


# --- agents, one at a time or at once ---


def scripted_items(*keys: str) -> dict[str, Any]:
    script: dict[str, Any] = {PLANNER: plans(*(item(key) for key in keys))}
    for key in keys:
        first, last = writes(f"{key}.txt", f"{key}\n")
        script[f"Task {key}"] = (Held(first), last)
    return script


def test_without_parallel_agents_take_turns(repository: Path) -> None:
    with ScriptedModelServer(scripted_items("one", "two", "three")) as server:
        server.release()
        done = spawn(repository, "Count", "--model", f"{server.base_url}#m", "--agents", "3", *GATE)
    assert done.returncode == 0, done.stderr
    claims = [e for e in journal(repository, "claimed") if not e.task_id.endswith(".land")]
    assert most_at_once(journal(repository)) == 1
    assert len({event.agent_id for event in claims}) > 1  # they are several, and take turns


def test_with_parallel_as_many_work_at_once_as_there_are_agents(repository: Path) -> None:
    with ScriptedModelServer(scripted_items("one", "two", "three")) as server:
        args = ("--model", f"{server.base_url}#m", "--agents", "2", "--parallel", *GATE)
        process = subprocess.Popen(
            command("hive", "spawn", "Count", "--json", *args),
            cwd=repository,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        server.wait_for_requests(3, timeout_s=60)  # the planner's, and those of two agents
        server.release()
        assert process.wait(timeout=60) == 0
    assert most_at_once(journal(repository)) == 2


# --- strategies ---


def test_a_research_hive_leaves_a_report_and_changes_nothing(repository: Path) -> None:
    script = {
        PLANNER: plans(
            item("q1", type="research", title="Read the gate"),
            item("all", type="synthesis", title="Sum up", depends_on=["q1"]),
        ),
        "Task q1": writes("FINDINGS.md", "The gate greps for BAD (gate.sh:1).\n"),
        "Task all": writes("FINDINGS.md", "It is a grep, says q1.\n"),
    }
    before = stig_git(repository, "rev-parse", "HEAD")
    with ScriptedModelServer(script) as server:
        done = spawn(
            repository, "How is work judged?", "--strategy", "research",
            "--model", f"{server.base_url}#m", "--name", "judging",
        )  # fmt: skip
        asked = {request.task: json.dumps(request.body) for request in server.requests}

    assert done.returncode == 0, done.stderr + done.stdout
    assert "all 2 items have findings" in done.stdout
    assert "lands on nothing" in done.stdout
    assert stig_git(repository, "rev-parse", "HEAD") == before
    assert stig_git(repository, "status", "--porcelain") == ""
    report = latest(repository).findings.read_text()
    assert report.index("The gate greps for BAD") < report.index("It is a grep, says q1.")
    assert "`synthesis`: Puts together" in asked[PLANNER]
    assert "# Research" in asked["Task q1"]
    assert "# Synthesis" in asked["Task all"]
    assert "The gate greps for BAD (gate.sh:1)." in asked["Task all"]  # told what it depends on
    assert journal(repository, "gate_started") == []
    types = {e.task_id: e.data["task_type"] for e in journal(repository, "posted")}
    assert (types["q1"], types["all"]) == ("research", "synthesis")
    with Memory(repository / ".stigmergy" / "memory.db") as memory:
        kept = memory.get("judging", f"{latest(repository).run_id}/findings/q1")
    assert kept is not None
    assert kept.value == "The gate greps for BAD (gate.sh:1)."
    assert kept.tags == ("findings", "research")


def test_an_agent_that_finds_nothing_has_not_done_its_item(repository: Path) -> None:
    done = spawn(
        repository, "Look", "--strategy", "analysis", "--agent-command", "true",
    )  # fmt: skip
    assert done.returncode == 1
    assert "it left no findings" in done.stdout
    assert not latest(repository).findings.exists()


def test_only_the_file_of_findings_is_kept(repository: Path) -> None:
    both = 'echo seen > "$STIG_PATH"; echo changed > README'
    done = spawn(
        repository, "Look", "--strategy", "analysis", "--agent-shell", "--agent-command", both,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert (repository / "README").read_text() == "start\n"


def test_with_land_findings_land_and_nothing_else(repository: Path) -> None:
    done = spawn(
        repository, "Look", "--strategy", "research", "--land", "--name", "look", *GATE,
        "--agent-shell", "--agent-command", 'mkdir -p findings/look; echo seen > "$STIG_PATH"',
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert (repository / "findings" / "look" / "objective.md").read_text() == "seen\n"
    assert latest(repository).findings.exists()

    more = 'mkdir -p findings/more; echo again > "$STIG_PATH"; echo changed > README'
    done = spawn(
        repository, "Look", "--strategy", "research", "--land", "--name", "more", *GATE,
        "--agent-shell", "--agent-command", more,
    )  # fmt: skip
    assert done.returncode == 1
    assert "out-of-scope" in done.stdout
    assert (repository / "README").read_text() == "start\n"


def test_a_testing_hive_lands_tests_and_sends_back_all_else(repository: Path) -> None:
    tests = 'echo more > tests/test_b.txt; printf "%s" "$STIG_TASK" > /dev/null'
    done = spawn(
        repository, "Test it", "--strategy", "testing", *GATE,
        "--agent-shell", "--agent-command", tests,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert (repository / "tests" / "test_b.txt").read_text() == "more\n"

    args = ("--strategy", "testing", *GATE, "--agent-shell", "--agent-command", "echo x > a.txt")
    done = spawn(repository, "Test it", *args)
    assert done.returncode == 1
    assert "out-of-scope" in done.stdout
    assert "a.txt" in done.stdout
    assert not (repository / "a.txt").exists()

    done = spawn(repository, "Test it", *args, "--may-change", "a.txt")
    assert done.returncode == 0, done.stdout
    assert (repository / "a.txt").read_text() == "x\n"


def test_what_comes_back_out_of_scope_is_mended_by_an_agent_that_is_told(repository: Path) -> None:
    script = {
        PLANNER: plans(item("t1", type="test", scope=["tests/test_b.txt"])),
        "Task t1.fix1": writes("tests/test_b.txt", "good\n"),
        "Task t1": writes("program.txt", "changed\n"),
    }
    with ScriptedModelServer(script) as server:
        done = spawn(
            repository, "Test it", "--strategy", "testing", *GATE,
            "--model", f"{server.base_url}#m",
        )  # fmt: skip
        mending = next(r for r in server.requests if r.task == "Task t1.fix1")
    assert done.returncode == 0, done.stdout
    assert (repository / "tests" / "test_b.txt").read_text() == "good\n"
    told = json.dumps(mending.body)
    assert "it changed what such an item may not change: program.txt" in told
    assert "# Tests only" in told
    assert "# This is a fix" in told


def test_a_type_that_the_strategy_has_not_goes_back_to_the_planner(repository: Path) -> None:
    wrong, done_ = plans(item("a", type="sculpture"))
    right, _ = plans(item("a", type="code"))
    script = {PLANNER: (wrong, right, done_), "Task a": writes("a.txt", "a\n")}
    with ScriptedModelServer(script) as server:
        done = spawn(repository, "Do a", "--model", f"{server.base_url}#m", *GATE)
        said = [json.dumps(r.body) for r in server.requests if r.task == PLANNER]
    assert done.returncode == 0, done.stdout
    assert "sculpture' is none of code" in said[1]


def test_an_item_without_a_type_has_the_first_of_the_strategy(repository: Path) -> None:
    script = {PLANNER: plans(item("q1")), "Task q1": writes("FINDINGS.md", "seen\n")}
    with ScriptedModelServer(script) as server:
        done = spawn(
            repository, "Look", "--strategy", "analysis", "--model", f"{server.base_url}#m"
        )
    assert done.returncode == 0, done.stdout
    posted = {e.task_id: e.data["task_type"] for e in journal(repository, "posted")}
    assert posted["q1"] == "analysis"


def own_strategy(folder: Path, name: str = "poems") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(
        f'version = 1\nname = "{name}"\nsummary = "Writes poems."\nplanner = "Plan in verse."\n'
        '[[types]]\nname = "poem"\nsummary = "A poem."\nprompt = "Rhyme."\n'
        'may_change = ["*.txt"]\n'
    )
    return path


def test_a_users_own_strategy_is_known_by_file_and_by_name(
    repository: Path, tmp_path: Path
) -> None:
    path = own_strategy(tmp_path)
    done = spawn(repository, "Sing", "--strategy", str(path), *GATE, *WRITE_HERE)
    assert done.returncode == 0, done.stderr
    posted = {e.task_id: e.data["task_type"] for e in journal(repository, "posted")}
    assert posted["objective"] == "poem"

    own_strategy(Path(os.environ["HOME"]) / ".config" / "stigmergy" / "strategies", "ballads")
    done = spawn(repository, "Sing more", "--strategy", "ballads", "--dry-run", *GATE, *WRITE_HERE)
    assert done.returncode == 0, done.stderr
    assert "hive: sing-more   strategy: ballads (poem)" in done.stdout
    assert "Sing more" in done.stdout
    listed = stig(repository, "hive", "strategies")
    assert "ballads" in listed.stdout
    assert "analysis" in listed.stdout
    shown = stig(repository, "hive", "strategies", "ballads")
    assert "Rhyme." in shown.stdout


def test_a_strategy_in_the_repository_is_never_taken_by_its_name(repository: Path) -> None:
    own_strategy(repository / ".stigmergy" / "strategies", "sneaky")
    own_strategy(repository, "sneaky")
    done = spawn(repository, "Sing", "--strategy", "sneaky", *GATE, *WRITE_HERE)
    assert done.returncode == 2
    assert "there is no strategy 'sneaky'" in done.stderr


# --- research first, and the memory ---


def test_research_comes_first_and_all_others_are_told_what_it_found(repository: Path) -> None:
    script = {
        PLANNER: plans(item("one")),
        "Task research": writes("FINDINGS.md", "Zebra: mind the stripes.\n"),
        "Task one": writes("one.txt", "1\n"),
    }
    with ScriptedModelServer(script) as server:
        done = spawn(
            repository, "Count", "--research", "--parallel", *GATE,
            "--model", f"{server.base_url}#m", "--memory-namespace", "zoo",
        )  # fmt: skip
        order = [request.task for request in server.requests]
        asked = {request.task: json.dumps(request.body) for request in server.requests}
    assert done.returncode == 0, done.stdout + done.stderr
    assert order.index("Task research") < order.index(PLANNER) < order.index("Task one")
    assert "Zebra: mind the stripes." in asked[PLANNER]
    assert "Zebra: mind the stripes." in asked["Task one"]
    assert not (repository / "FINDINGS.md").exists()
    key = f"{latest(repository).run_id}/findings/research"
    reads = {(e.task_id, e.data["namespace"]) for e in journal(repository, "memory_read")
             if key in e.data["keys"]}  # fmt: skip
    assert {("", "zoo"), ("one", "zoo")} <= reads


def test_without_research_there_is_no_such_step(repository: Path) -> None:
    spawn(repository, "Say hello", *GATE, *WRITE_HERE)
    assert {e.task_id for e in journal(repository, "posted")} == {"objective", "objective.land"}


def test_namespaces_are_read_and_the_first_is_written(repository: Path) -> None:
    with Memory(repository / ".stigmergy" / "memory.db") as memory:
        memory.store("team", "tip", "To say hello, bow first")
    args = ("--memory-namespace", "own", "--memory-namespace", "team")
    spawn(repository, "Say hello", *GATE, *WRITE_HERE, *args)
    assert "bow first" in (repository / "new.txt").read_text()
    assert {e.data["namespace"] for e in journal(repository, "memory_written")} == {"own"}


def test_a_hive_without_a_namespace_writes_to_its_own_name(repository: Path) -> None:
    spawn(repository, "Say hello", *GATE, *WRITE_HERE)
    assert {e.data["namespace"] for e in journal(repository, "memory_written")} == {"say-hello"}


def test_hives_share_what_they_know_by_export_and_import(
    repository: Path, make_repository: Callable[[Mapping[str, str]], Path], tmp_path: Path
) -> None:
    spawn(
        repository, "Find the zebra", "--strategy", "research", "--name", "one",
        "--agent-shell", "--agent-command", 'echo "The zebra is in the barn" > "$STIG_PATH"',
    )  # fmt: skip
    lines = tmp_path / "one.jsonl"
    exported = stig(repository, "memory", "export", "one")
    assert exported.returncode == 0, exported.stderr
    lines.write_text(exported.stdout)

    other = make_repository(START)
    imported = stig(other, "memory", "import", "--input", str(lines), "--from", "farm")
    assert imported.returncode == 0, imported.stderr
    done = spawn(other, "Feed the zebra", *GATE, *WRITE_HERE, "--memory-namespace", "one")
    assert done.returncode == 0, done.stderr
    told = (other / "new.txt").read_text()
    assert "The zebra is in the barn" in told
    assert "unproved" in told


# --- several hives, status, stop ---


class Alive:
    """A hive whose model holds its answer, until it is let go."""

    def __init__(self, repository: Path, server: ScriptedModelServer, *args: str) -> None:
        self.process = subprocess.Popen(
            command("hive", "spawn", *args, "--json", "--model", f"{server.base_url}#m"),
            cwd=repository,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
        )

    def end(self) -> int:
        try:
            self.process.communicate(timeout=60)
        finally:
            self.process.kill()
            self.process.communicate()
        return self.process.returncode


def status_of(repository: Path) -> dict[str, dict[str, Any]]:
    told = json.loads(stig(repository, "hive", "status", "--json").stdout)
    return {row["name"]: row for row in told["hives"]}


def test_hives_that_find_work_beside_one_that_lands(repository: Path) -> None:
    script = {
        "Build": (Held(plans(item("one"))[0]), plans()[1]),
        "Question": (Held(plans(item("q1", type="research"))[0]), plans()[1]),
        "Task one": writes("one.txt", "1\n"),
        "Task q1": writes("FINDINGS.md", "seen\n"),
    }
    with ScriptedModelServer(script) as server:
        build = Alive(repository, server, "Go: Build", "--name", "builder", *GATE)
        server.wait_for_requests(1, timeout_s=60)
        first = Alive(
            repository, server, "Go: Question 1", "--name", "q-1", "--strategy", "research"
        )
        second = Alive(
            repository, server, "Go: Question 2", "--name", "q-2", "--strategy", "research"
        )
        server.wait_for_requests(3, timeout_s=60)
        rows = status_of(repository)
        assert {name: row["state"] for name, row in rows.items()} == dict.fromkeys(
            ("builder", "q-1", "q-2"), "running"
        )
        assert {name: row["namespaces"] for name, row in rows.items()} == {
            name: [name] for name in rows
        }
        # Two that land would overtake each other: the second is refused.
        refused = spawn(repository, "Build", *GATE, "--model", f"{server.base_url}#m")
        assert refused.returncode == 2
        assert "has a run already" in refused.stderr
        again = spawn(repository, "Question 3", "--name", "q-1", "--strategy", "research",
                      "--model", f"{server.base_url}#m")  # fmt: skip
        assert again.returncode == 2
        assert "'q-1' is at work here already" in again.stderr
        server.release()
        assert [hive.end() for hive in (build, first, second)] == [0, 0, 0]
    assert (repository / "one.txt").exists()
    rows = status_of(repository)
    assert Path(rows["q-1"]["report"]).read_text() != Path(rows["q-2"]["report"]).read_text()
    with Memory(repository / ".stigmergy" / "memory.db") as memory:
        assert {each.namespace for each in memory.namespaces()} == {"builder", "q-1", "q-2"}


def test_hives_that_land_work_beside_each_other_in_worktrees(
    repository: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    stig_git(repository, "worktree", "add", "-b", "side", str(other))
    script = {
        "Build": (Held(plans(item("one"))[0]), plans()[1]),
        "Task one": writes("one.txt", "1\n"),
    }
    with ScriptedModelServer(script) as server:
        first = Alive(repository, server, "Go: Build", *GATE)
        server.wait_for_requests(1, timeout_s=60)
        second = Alive(other, server, "Go: Build", *GATE)
        server.wait_for_requests(2, timeout_s=60)
        server.release()
        assert [first.end(), second.end()] == [0, 0]
    assert (repository / "one.txt").exists()
    assert (other / "one.txt").exists()


def test_stop_ends_the_hive_of_that_name_and_resume_goes_on(repository: Path) -> None:
    script = {
        "Alpha": (Held(plans(item("q1", type="research"))[0]), plans()[1]),
        "Beta": (Held(plans(item("q1", type="research"))[0]), plans()[1]),
        "Task q1": writes("FINDINGS.md", "seen\n"),
    }
    with ScriptedModelServer(script) as server:
        alpha = Alive(repository, server, "Go: Alpha", "--name", "alpha", "--strategy", "research")
        beta = Alive(repository, server, "Go: Beta", "--name", "beta", "--strategy", "research")
        server.wait_for_requests(2, timeout_s=60)
        several = stig(repository, "hive", "stop")
        assert several.returncode == 2
        assert "several hives are at work here" in several.stderr
        stopped = stig(repository, "hive", "stop", "alpha", "--by", "ann")
        assert stopped.returncode == 0, stopped.stderr
        assert alpha.end() == 130
        assert status_of(repository)["beta"]["state"] == "running"
        run_id = status_of(repository)["alpha"]["run_id"]
        with TaskBoard(StateFolder(repository).find(run_id).board_url) as board:
            asked = [e.data for e in board.events(limit=10**6) if e.kind == "stop_wanted"]
        assert asked == [{"by": "ann"}]
        server.release()
        assert beta.end() == 0
        resumed = stig(repository, "resume", run_id, "--plain")
        assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "all 1 items have findings" in resumed.stdout
    gone = stig(repository, "hive", "stop", "alpha")
    assert gone.returncode == 2
    assert "is not at work" in gone.stderr
    assert "no hive is at work here" in stig(repository, "hive", "stop").stderr
    assert "no hive is at work here" in stig(repository, "hive", "stop", "--all").stdout


def test_a_hive_that_was_killed_is_called_crashed_and_goes_on(repository: Path) -> None:
    script = {
        "Alpha": plans(item("q1", type="research")),
        "Task q1": (Held(writes("FINDINGS.md", "seen\n")[0]), writes("", "")[1]),
    }
    with ScriptedModelServer(script) as server:
        alpha = Alive(repository, server, "Go: Alpha", "--name", "alpha", "--strategy", "research")
        server.wait_for_requests(2, timeout_s=60)
        alpha.process.send_signal(signal.SIGKILL)
        alpha.end()
        assert status_of(repository)["alpha"]["state"] == "crashed"
        server.release()
        resumed = stig(repository, "resume", "--plain")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "seen" in latest(repository).findings.read_text()


def test_status_watch_ends_with_the_last_hive(repository: Path) -> None:
    script = {
        "Alpha": (Held(plans(item("q1", type="research"))[0]), plans()[1]),
        "Task q1": writes("FINDINGS.md", "seen\n"),
    }
    with ScriptedModelServer(script) as server:
        alpha = Alive(repository, server, "Go: Alpha", "--name", "alpha", "--strategy", "research")
        server.wait_for_requests(1, timeout_s=60)
        watching = subprocess.Popen(
            command("hive", "status", "--watch", "--json"),
            cwd=repository, stdout=subprocess.PIPE, text=True, env=environment(),
        )  # fmt: skip
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        assert first["hives"][0]["state"] == "running"
        server.release()
        alpha.end()
        rest, _ = watching.communicate(timeout=60)
    last = json.loads(rest.splitlines()[-1])["hives"][0]
    assert (last["state"], last["done"], last["exit_code"]) == ("ended", 1, 0)


def test_status_and_logs_name_a_hive(repository: Path) -> None:
    nothing = stig(repository, "hive", "status")
    assert nothing.returncode == 2
    assert "stig hive spawn" in nothing.stderr
    spawn(repository, "Say hello", *GATE, *WRITE_HERE)
    assert (
        "say-hello  development  ended  1 of 1 items" in stig(repository, "hive", "status").stdout
    )
    assert "landed" in stig(repository, "hive", "status", "say-hello").stdout
    assert "landed objective" in stig(repository, "hive", "logs", "say-hello").stdout
    missing = stig(repository, "hive", "logs", "nobody")
    assert missing.returncode == 2
    assert "there are say-hello" in missing.stderr


# --- what is wrong is said before anything starts ---


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "no agent: give --model"),
        (("--strategy", "nonsense", *TELL), "there are development, testing, research, analysis"),
        (("--name", "No Name", *TELL), "cannot be the name of a hive"),
        (("--strategy", "research", *GATE, *TELL), "no gate runs"),
        (("--land", *GATE, *TELL), "no findings to land"),
        (("--may-change", "*.py", *GATE, *TELL), "does not limit what may change"),
        (("--strategy", "testing", "--may-change", "../x", *GATE, *TELL), "leaves the repository"),
        (("--agents", "0", *GATE, *TELL), "--agents"),
        (("--memory-namespace", "a b", *GATE, *TELL), "cannot be a namespace"),
    ],
)
def test_a_wrong_flag_is_refused_with_words(
    repository: Path, args: tuple[str, ...], said: str
) -> None:
    done = spawn(repository, "Do it", *args)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (repository / ".stigmergy" / "runs").exists()


def test_what_a_run_can_be_told_a_hive_can(repository: Path, tmp_path: Path) -> None:
    done = spawn(
        repository, "Do it", "--dry-run", "--json", *GATE, *TELL, "--target", "main",
        "--agents", "7", "--parallel", "--memory", str(tmp_path / "m.db"), "--budget-usd", "2.5",
        "--budget-tokens", "1000", "--task-timeout", "60", "--max-steps", "9",
        "--confine", "none", "--network", "--approve", "plan",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    spec = json.loads(done.stdout)["spec"]
    told = {
        "agents": 7,
        "parallel": True,
        "memory": str(tmp_path / "m.db"),
        "budget_usd": "2.5",
        "budget_tokens": 1000,
        "task_timeout_s": 60.0,
        "max_steps": 9,
        "sandbox_confine": "none",
        "sandbox_network": True,
        "approve": "plan",
        "target": "main",
    }
    assert {name: spec["settings"][name] for name in told} == told
    assert spec["gate"] == ["sh", "gate.sh"]
    assert not (repository / ".stigmergy" / "runs").exists()


def test_a_hive_is_served_while_it_works(repository: Path) -> None:
    done = spawn(repository, "Say hello", "--serve", *GATE, *WRITE_HERE)
    assert done.returncode == 0, done.stderr
    assert "http://127.0.0.1:" in done.stderr


def test_a_person_is_asked_about_findings_too(repository: Path) -> None:
    args = ("--agent-shell", "--agent-command", 'echo seen > "$STIG_PATH"')
    process = subprocess.Popen(
        command("hive", "spawn", "Look", "--strategy", "research", "--approve", "landings",
                "--json", *args),
        cwd=repository, stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout:
        asked = False
        for line in process.stdout:
            waits = stig(repository, "steer", "waiting").stdout if not asked else ""
            if "objective.approval1" in waits:
                asked = True
                assert not latest(repository).findings.exists()
                assert stig(repository, "steer", "approve", "objective").returncode == 0
            del line
    assert process.wait(timeout=60) == 0
    assert asked
    assert "seen" in latest(repository).findings.read_text()


# --- the wizard ---


def test_the_wizard_refuses_without_a_terminal(repository: Path) -> None:
    done = stig(repository, "hive", "wizard")
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    assert "stig hive spawn" in done.stderr


def test_the_wizard_asks_says_the_command_line_and_spawns(repository: Path) -> None:
    answers = [
        ("reach?", "Say what is in README"),
        ("Which?", "research"),
        ("How many agents?", "2"),
        ("at the same time?", "n"),
        ("Research first", "n"),
        ("Namespaces", "readers"),
        ("Model", ""),
        ("program's command line", "cp README FINDINGS.md"),
        ("dashboard", "n"),
        ("Spawn it now?", "y"),
    ]
    said, code = converse(repository, ["hive", "wizard"], answers)
    assert code == 0, said
    line = (
        "stig hive spawn 'Say what is in README' --strategy research --agents 2 "
        "--memory-namespace readers --agent-command 'cp README FINDINGS.md'"
    )
    assert line in said
    assert said.index(line) < said.index("Spawn it now?")
    assert latest(repository).findings.read_text().count("start") == 1
    spec = latest(repository).read_spec()
    assert (spec.settings.agents, spec.settings.parallel) == (2, False)


def test_the_wizard_spawns_nothing_when_told_no(repository: Path) -> None:
    answers = [
        ("reach?", "Build it"), ("Which?", "nonsense"), ("Which?", "development"),
        ("How many agents?", "1"), ("Research first", "n"), ("Namespaces", ""), ("Model", "a:b"),
        ("gate's command", "sh gate.sh"), ("dashboard", "n"), ("Spawn it now?", "n"),
    ]  # fmt: skip
    said, code = converse(repository, ["hive", "wizard"], answers)
    assert code == 1
    assert "There is none called 'nonsense'" in said
    assert "--model a:b --gate 'sh gate.sh'" in said
    assert not (repository / ".stigmergy" / "runs").exists()


def converse(repository: Path, args: list[str], answers: list[tuple[str, str]]) -> tuple[str, int]:
    """Answer a program's questions on a terminal; all that it said, and its exit code."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command(*args), cwd=repository, stdin=slave, stdout=slave, stderr=slave,
        env=environment() | {"COLUMNS": "300"}, close_fds=True,
    )  # fmt: skip
    os.close(slave)
    said, left = "", list(answers)
    seen = 0
    try:
        while True:
            ready, _, _ = select.select([master], [], [], 60.0)
            assert ready, f"it said nothing more: {said}"
            try:
                data = os.read(master, 65536)
            except OSError:  # Linux says so at a terminal's end
                break
            if not data:
                break
            said += data.decode(errors="replace")
            if left and left[0][0] in said[seen:]:
                seen = len(said)
                os.write(master, left.pop(0)[1].encode() + b"\n")
        return said, process.wait(timeout=60)
    finally:
        os.close(master)
        process.kill()
        process.wait()


def stig_git(repository: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=repository, capture_output=True, text=True)
    return done.stdout.strip()
