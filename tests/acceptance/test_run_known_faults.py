"""Each fault known from other coding swarms, shown to be absent here.

A test's docstring names the fault as it was found elsewhere.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

import psutil
import pytest

from stigmergy.board import TaskBoard
from stigmergy.coding.plan.describe import describe
from stigmergy.coding.rundir import StateFolder
from stigmergy.testing.model_server import Call, Fail, Held, Say, ScriptedModelServer
from stigmergy.testing.runs import Ran, item, prepare_items, resume_run, run_items

MakeRepository = Callable[[Mapping[str, str | bytes]], Path]

WRITE = 'echo "$STIG_DESCRIPTION" > "$STIG_PATH"'
GATE = "sh gate.sh"
SHELL = {"agent_command": WRITE, "agent_shell": True, "gate": GATE}
START = {"gate.sh": "! grep -rn BAD --include=*.txt .\n", "README": "start\n"}
KEY = f"sk-or-v1-not-a-real-key-{uuid.uuid4().hex}"  # another process may run these tests, too
MODEL = "openrouter:openai/gpt-4o-mini"


@pytest.fixture
def repository(make_repository: MakeRepository) -> Path:
    return make_repository(START)


def git(repository: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def texts(repository: Path) -> list[str]:
    return sorted(path.name for path in repository.glob("*.txt"))


def does(path: str, text: str, status: str = "complete", **more: object) -> tuple[Say, ...]:
    """The turns of a model that writes a file and is done."""
    return (
        Say(calls=(Call("write_file", {"path": path, "content": text}),)),
        Say(calls=(Call("finish", {"status": status, "summary": f"wrote {path}", **more}),)),
    )


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedModelServer], str]:
    """Make a scripted server stand for a provider with a key and with known prices."""

    def stand_in(server: ScriptedModelServer) -> str:
        monkeypatch.setenv("OPENROUTER_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
        return MODEL

    return stand_in


# --- "the agent's own handoff is never parsed, any non-empty run is complete" ---


def test_a_run_of_words_without_a_handoff_is_no_success(
    repository: Path, provider: Callable[[ScriptedModelServer], str]
) -> None:
    """The agent's own handoff is never parsed, any non-empty run is "complete"."""
    script = {"F01": [Say("All done! I have written a.txt and every test passes.")]}
    with ScriptedModelServer(script) as server:
        ran = run_items(
            repository,
            [item("F01", "a.txt")],
            model=provider(server),
            gate=GATE,
            max_attempts=1,
        )

    assert ran.outcome.exit_code == 1
    assert ran.report["landed"] == 0
    assert "F01" in ran.report["failures"]


def test_what_an_agent_claims_to_have_committed_is_counted_from_git(
    repository: Path, provider: Callable[[ScriptedModelServer], str]
) -> None:
    """The agent's own handoff is never parsed, any non-empty run is "complete"."""
    claim = {"status": "complete", "summary": "I changed 12 files in 3 commits"}
    script = {
        "F01.fix1": does("a.txt", "really\n"),
        "F01": [Say(calls=(Call("finish", claim),))],
    }
    with ScriptedModelServer(script) as server:
        ran = run_items(repository, [item("F01", "a.txt")], model=provider(server), gate=GATE)

    assert ran.outcome.exit_code == 0
    assert [(back["key"], back["kind"]) for back in ran.report["returned"]] == [
        ("F01", "no-commit")
    ]
    assert (repository / "a.txt").read_text() == "really\n"


# --- "nothing gates a merge before main moves, a failed push counts as merged" ---


def test_main_only_ever_moves_to_a_commit_on_which_the_gate_was_green(repository: Path) -> None:
    """Nothing gates a merge before main moves."""
    start = git(repository, "rev-parse", "main")
    agent = 'if [ -e "$STIG_PATH" ]; then echo good; else echo "$STIG_DESCRIPTION"; fi'
    items = [item(f"F{n}", f"{n}.txt", description="BAD" if n % 2 else "x") for n in range(6)]

    ran = run_items(
        repository,
        items,
        agents=3,
        agent_command=f'{agent} > new; mv new "$STIG_PATH"',
        agent_shell=True,
        gate=GATE,
    )

    assert ran.outcome.exit_code == 0
    assert ran.report["gate_red"] > 0
    moves = git(repository, "reflog", "show", "--format=%H", "main").split()
    assert start in moves
    proved = [e.data["commit"] for e in ran.events("gate_ended") if e.data["green"]]
    assert set(moves) - {start} <= set(proved)
    # and before: the intent to land is in the journal after the verdict
    green_at = {e.data["commit"]: e.seq for e in ran.events("gate_ended") if e.data["green"]}
    for move in set(moves) - {start}:
        intents = [e.seq for e in ran.events("landing") if e.data["commit"] == move]
        assert min(intents) > green_at[move]


def test_a_swap_that_another_commit_wins_lands_nothing_and_is_tried_anew(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    """A failed push counts as merged."""
    signals = tmp_path / "signals"
    signals.mkdir()
    gate = f"[ ! -e a.txt ] || while [ ! -e {signals}/go ]; do sleep 0.01; done\n"
    repository = make_repository(START | {"gate.sh": gate})

    def win_the_race(line: str) -> None:
        if line == "gate runs on F01" and not (signals / "go").exists():
            (repository / "mine.md").write_text("first\n")
            git(repository, "add", "mine.md")
            git(repository, "commit", "--quiet", "-m", "while the gate ran")
            (signals / "go").touch()

    ran = run_items(
        repository,
        [item("F01", "a.txt")],
        on_line=win_the_race,
        sandbox_share=(signals,),
        **SHELL,
    )

    assert ran.outcome.exit_code == 0
    assert len(ran.events("target_moved")) == 1
    assert git(repository, "log", "--format=%s", "--reverse", "main").splitlines()[:2] == [
        "Start",
        "while the gate ran",
    ]
    assert git(repository, "rev-list", "--count", "main") == "3"
    assert [landing["key"] for landing in ran.report["landings"]] == ["F01"]
    # What lost the race is nowhere: the gate ran again on what is on main now.
    assert git(repository, "rev-parse", "main") == ran.report["landings"][0]["commit"]
    assert (repository / "mine.md").exists()


# --- "priority is ignored at dispatch" ---


def test_the_most_urgent_item_is_dispatched_first(repository: Path) -> None:
    """Priority is ignored at dispatch."""
    items = [
        item(f"F{n}", f"{n}.txt", priority=priority) for n, priority in enumerate((5, 9, 1, 3))
    ]

    ran = run_items(repository, items, agents=1, **SHELL)

    order = [e.task_id for e in ran.events("claimed") if not e.task_id.endswith(".land")]
    assert order == ["F2", "F3", "F0", "F1"]


# --- "scope overlap only warns" ---


def test_overlapping_scopes_are_said_beforehand_and_their_conflict_is_mended(
    repository: Path, tmp_path: Path
) -> None:
    """Scope overlap only warns."""
    met = tmp_path / "met"
    met.mkdir()
    # Both agents start from the same commit: each waits for the other.
    agent = (
        f'touch {met}/"$STIG_DESCRIPTION"; while [ "$(ls {met} | wc -l)" -lt 2 ]; do sleep 0.01; '
        'done; echo "$STIG_DESCRIPTION" >> list.txt'
    )
    settings = {"agent_command": agent, "agent_shell": True, "gate": GATE, "agents": 2}
    items = [item(f"F0{n}", "list.txt", description=f"line{n}") for n in (1, 2)]
    prepared = prepare_items(repository, items, **settings)
    overlaps = describe(prepared.spec.items).overlaps
    assert [str(overlap) for overlap in overlaps] == [
        "2 items may change 'list.txt' at the same time: F01, F02"
    ]

    ran = run_items(repository, items, sandbox_confine="none", **settings)

    assert ran.outcome.exit_code == 0, ran.text
    assert [back["kind"] for back in ran.report["returned"]] == ["conflict"]
    assert sorted((repository / "list.txt").read_text().split()) == ["line1", "line2"]


# --- "a subplanner holds a slot while its children wait for slots (deadlock)" ---


def test_one_agent_is_enough_for_any_chain_and_its_fixes(repository: Path) -> None:
    """A subplanner holds a slot while its children wait for slots (deadlock)."""
    agent = 'if [ -e "$STIG_PATH" ]; then echo good; else echo "$STIG_DESCRIPTION"; fi'
    items = [item("F0", "0.txt", description="BAD")]
    items += [
        item(f"F{n}", f"{n}.txt", description="x", depends_on=[f"F{n - 1}"]) for n in range(1, 5)
    ]

    ran = run_items(
        repository,
        items,
        agents=1,
        agent_command=f'{agent} > new; mv new "$STIG_PATH"',
        agent_shell=True,
        gate=GATE,
    )

    assert ran.outcome.exit_code == 0
    assert [landing["key"] for landing in ran.report["landings"]] == ["F0", "F1", "F2", "F3", "F4"]
    assert [back["key"] for back in ran.report["returned"]] == ["F0"]


# --- '"partial" is neither merged nor retried' ---


def test_a_part_is_landed_and_the_rest_is_done(
    repository: Path, provider: Callable[[ScriptedModelServer], str]
) -> None:
    """ "partial" is neither merged nor retried."""
    left = {"concerns": ["b.txt is still to be written"]}
    script = {
        "F01.fix1": does("b.txt", "the rest\n"),
        "F01": does("a.txt", "a part\n", "partial", **left),
        "F02": does("c.txt", "after\n"),
    }
    items = [item("F01", "*.txt"), item("F02", "c.txt", depends_on=["F01"])]
    with ScriptedModelServer(script) as server:
        ran = run_items(repository, items, model=provider(server), gate=GATE)

    assert ran.outcome.exit_code == 0
    assert texts(repository) == ["a.txt", "b.txt", "c.txt"]
    assert [landing["key"] for landing in ran.report["landings"]] == ["F01", "F01", "F02"]
    assert [back["kind"] for back in ran.report["returned"]] == ["partial"]
    asked = [r for r in server.requests if r.task == "F01.fix1"]
    assert "b.txt is still to be written" in json.dumps(asked[0].body)


# --- "a time-out leaves the remote sandbox running" ---


def running(marker: str) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in line:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("confine", ["auto", "none"])
def test_a_timeout_ends_every_process_of_the_sandbox(repository: Path, confine: str) -> None:
    """A time-out leaves the remote sandbox running."""
    marker = f"31337.{os.getpid():07}"  # of one length: none is the beginning of another
    agent = f"setsid sleep {marker} & (setsid nohup sleep {marker} &) ; sleep {marker}"
    seen: list[int] = []

    def look(line: str) -> None:
        deadline = time.monotonic() + 60
        while line.startswith("planner") and not seen and time.monotonic() < deadline:
            seen.extend(running(marker))

    ran = run_items(
        repository,
        [item("F01", "a.txt")],
        on_line=look,
        task_timeout_s=4.0,
        max_attempts=1,
        agent_command=agent,
        agent_shell=True,
        gate=GATE,
        sandbox_confine=confine,
    )

    assert seen, "the processes were never there, so this test shows nothing"
    assert ran.outcome.exit_code == 1
    assert "time limit: killed after 4 s" in ran.text + json.dumps(ran.report["failures"])
    assert running(marker) == []


# --- "git token and API key stand on command lines" ---


def secrets_in_proc(*secrets: str) -> dict[str, set[str]]:
    """Where each secret is to be read in /proc: `cmdline`, or `environ` of what is no sandbox."""
    found: dict[str, set[str]] = {secret: set() for secret in secrets}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line, environ = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            continue
        for secret in secrets:
            if secret.encode() in line:
                found[secret].add("cmdline")
            if secret.encode() in environ:
                inside = b"STIG_SANDBOX_ID=" in environ
                found[secret].add("environ inside" if inside else "environ outside")
    return found


def tokens_in_sandboxes() -> set[str]:
    """The tokens in the sandboxes of this process: another test may have its own at this time."""
    found: set[str] = set()
    for child in psutil.Process().children(recursive=True):
        try:
            environ = Path(f"/proc/{child.pid}/environ").read_bytes()
        except OSError:
            continue
        if b"STIG_SANDBOX_ID=" in environ:
            pairs = [pair.partition(b"=") for pair in environ.split(b"\0")]
            found |= {value.decode() for name, _, value in pairs if name == b"OPENAI_API_KEY"}
    return found


def files_with(secret: str, *folders: Path) -> list[Path]:
    return [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize("confine", ["auto", "none"])
def test_keys_and_tokens_are_on_no_command_line_and_in_no_file(
    repository: Path, provider: Callable[[ScriptedModelServer], str], confine: str
) -> None:
    """Git token and API key stand on command lines."""
    say = (
        Held(Say(calls=(Call("run", {"argv": ["env"]}),))),
        Held(Say(calls=(Call("run", {"argv": ["sleep", "1"]}),))),
        *does("a.txt", "x\n"),
    )
    seen: dict[str, set[str]] = {}
    tokens: set[str] = set()

    with ScriptedModelServer({"F01": say}) as server:

        def scan() -> None:
            server.wait_for_requests(1, timeout_s=60)
            tokens.update(tokens_in_sandboxes())
            seen.update(secrets_in_proc(KEY, *tokens))
            server.release()

        scanner = threading.Thread(target=scan)
        scanner.start()
        ran = run_items(
            repository,
            [item("F01", "a.txt")],
            model=provider(server),
            gate=GATE,
            sandbox_confine=confine,
        )
        scanner.join()

    assert ran.outcome.exit_code == 0
    assert {r.headers["authorization"] for r in server.requests} == {f"Bearer {KEY}"}
    [token] = tokens
    assert token != KEY
    assert seen == {KEY: set(), token: {"environ inside"}}
    kept = [repository, Path(os.environ["HOME"])]
    assert files_with(KEY, *kept) == []
    assert files_with(token, *kept) == []
    assert KEY not in ran.text
    assert token not in ran.text


def test_a_token_that_an_agent_prints_is_not_kept(
    repository: Path, provider: Callable[[ScriptedModelServer], str], tmp_path: Path
) -> None:
    """Git token and API key stand on command lines (and so in logs)."""
    seen = tmp_path / "signals" / "seen"
    seen.parent.mkdir()
    agent = (
        'env; env >&2; echo "$OPENAI_API_KEY" | wc -c; echo x > "$STIG_PATH"; '
        f"until [ -e {seen} ]; do sleep 0.02; done"
    )
    tokens: set[str] = set()

    def look(line: str) -> None:
        deadline = time.monotonic() + 60
        while line.startswith("planner") and not tokens and time.monotonic() < deadline:
            tokens.update(tokens_in_sandboxes())
        if line.startswith("planner"):
            seen.touch()

    with ScriptedModelServer({}) as server:
        ran = run_items(
            repository,
            [item("F01", "a.txt")],
            on_line=look,
            model=provider(server),
            agent_command=agent,
            agent_shell=True,
            gate=GATE,
            sandbox_share=(seen.parent,),
        )

    assert ran.outcome.exit_code == 0
    [token] = tokens
    assert any("STIG_PATH" in json.dumps(e.data) for e in ran.events())  # its output is kept
    assert files_with(token, repository) == []


# --- "sandbox size settings never arrive" ---


@pytest.mark.parametrize(("megabytes", "landed"), [(2048, 1), (256, 0)])
def test_the_memory_limit_of_the_settings_is_in_force(
    repository: Path, megabytes: int, landed: int
) -> None:
    """Sandbox size settings never arrive."""
    program = "import os; x = b'x' * 500 * 2**20; open('a.txt', 'w').write(str(len(x)))"

    ran = run_items(
        repository,
        [item("F01", "a.txt")],
        agent_command=f'python3 -c "{program}"',
        gate=GATE,
        max_attempts=1,
        sandbox_memory_mb=megabytes,
    )

    assert ran.report["landed"] == landed
    assert ("memory" in json.dumps(ran.report["failures"]).lower()) == (landed == 0)


def test_the_process_limit_of_the_settings_is_in_force(repository: Path) -> None:
    """Sandbox size settings never arrive."""
    agent = 'for n in $(seq 60); do sleep 5 & done; wait; echo x > "$STIG_PATH"'

    ran = run_items(
        repository,
        [item("F01", "a.txt")],
        agent_command=agent,
        agent_shell=True,
        gate=GATE,
        max_attempts=1,
        sandbox_processes=20,
    )

    assert ran.report["landed"] == 0


# --- '"commits/h" counts tasks' ---


def test_landings_an_hour_counts_commits_on_the_target(repository: Path) -> None:
    """ "Commits/h" counts tasks."""
    agent = 'if [ -e "$STIG_PATH" ]; then echo good; else echo "$STIG_DESCRIPTION"; fi'
    items = [
        item("F0", "0.txt", description="BAD"),
        item("F1", "1.txt", description="x"),
        item("F2", "2.txt", description="x"),
    ]

    ran = run_items(
        repository,
        items,
        agent_command=f'{agent} > new; mv new "$STIG_PATH"',
        agent_shell=True,
        gate=GATE,
    )

    done = [e for e in ran.events("completed") if not e.task_id.endswith(".land")]
    assert len(done) == 4  # tasks that agents finished
    assert len(ran.report["landings"]) == 3
    on_main = set(git(repository, "rev-list", "main").split())
    assert {landing["commit"] for landing in ran.report["landings"]} <= on_main
    expected = 3 * 3600 / ran.report["duration_s"]
    assert ran.report["landings_per_hour"] == pytest.approx(expected)


# --- "cost is never written" ---


def test_cost_is_measured_and_written(
    repository: Path, provider: Callable[[ScriptedModelServer], str]
) -> None:
    """Cost is never written."""
    with ScriptedModelServer({"F01": does("a.txt", "x\n")}) as server:
        ran = run_items(repository, [item("F01", "a.txt")], model=provider(server), gate=GATE)

    calls = ran.events("model_call")
    assert len(calls) == len(server.requests) == 2
    assert all(call.data["cost_usd"] > 0 for call in calls)
    assert ran.report["cost_usd"] == pytest.approx(sum(call.data["cost_usd"] for call in calls))
    assert ran.report["prompt_tokens"] == 200
    assert ran.report["completion_tokens"] == 40


def test_an_unknown_price_is_unknown_and_not_zero(repository: Path) -> None:
    """Cost is never written (nor made up)."""
    with ScriptedModelServer({"F01": does("a.txt", "x\n")}) as server:
        ran = run_items(
            repository, [item("F01", "a.txt")], model=f"{server.base_url}#mine", gate=GATE
        )

    assert ran.outcome.exit_code == 0
    assert ran.report["model_calls"] == 2
    assert ran.report["cost_usd"] is None


def test_what_was_spent_stops_the_run_at_its_budget(
    repository: Path, provider: Callable[[ScriptedModelServer], str]
) -> None:
    """Cost is never written (so nothing can stop it)."""
    dear = Say(calls=(Call("list_files", {}),), usage=(1_000_000, 20))  # 15 cents
    with ScriptedModelServer({"*": [dear]}) as server:
        ran = run_items(
            repository,
            [item("F01", "a.txt"), item("F02", "b.txt")],
            agents=1,
            model=provider(server),
            gate=GATE,
            budget_usd=Decimal("0.20"),
        )

    assert ran.outcome.exit_code == 4
    assert "stopped by the budget: 0 of 2 items landed" in ran.outcome.verdict
    assert "the budget of the run is used up" in ran.text
    assert len(server.requests) == 2


# --- "failover serves one caller only" ---


def test_a_spillover_serves_every_agent(
    repository: Path,
    provider: Callable[[ScriptedModelServer], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Failover serves one caller only."""
    script = {f"F0{n}": does(f"{n}.txt", "x\n") for n in range(4)}
    items = [item(f"F0{n}", f"{n}.txt") for n in range(4)]
    broken = {"*": [Fail(503)]}
    with ScriptedModelServer(broken) as primary, ScriptedModelServer(script) as spare:
        monkeypatch.setenv("VLLM_BASE_URL", spare.base_url)
        ran = run_items(
            repository,
            items,
            agents=4,
            model=provider(primary),
            spillover=("vllm:other",),
            gate=GATE,
        )

    assert ran.outcome.exit_code == 0
    assert len(primary.requests) >= 1
    assert {r.task for r in spare.requests} == set(script)
    assert {r.body["model"] for r in spare.requests} == {"other"}
    # The key of one provider is never shown to another.
    assert not any(KEY in json.dumps(dict(r.headers)) for r in spare.requests)


# --- "all scheduler state is in memory" ---

IN_A_PROCESS = """
import json, sys
from pathlib import Path
from stigmergy.testing.runs import run_items
repository, items, settings = map(json.loads, sys.argv[1:])
run_items(Path(repository), items, on_line=lambda line: print(line, flush=True), **settings)
"""


def test_what_is_scheduled_outlives_the_process(repository: Path, tmp_path: Path) -> None:
    """All scheduler state is in memory."""
    go = tmp_path / "signals" / "go"
    go.parent.mkdir()
    wait = f'[ "$STIG_PATH" != 4.txt ] || until [ -e {go} ]; do sleep 0.02; done; '
    settings = {**SHELL, "agent_command": wait + WRITE, "sandbox_share": [str(go.parent)]}
    items = [item("F0", "0.txt")]
    items += [item(f"F{n}", f"{n}.txt", depends_on=[f"F{n - 1}"]) for n in range(1, 5)]
    arguments = [json.dumps(value) for value in (str(repository), items, settings)]
    process = subprocess.Popen(
        [sys.executable, "-c", IN_A_PROCESS, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as lines:
        assert any(line.startswith("landed F1") for line in lines)
        process.send_signal(signal.SIGKILL)
    process.wait()
    with TaskBoard(StateFolder(repository).find(None).board_url) as board:
        assert not board.progress(StateFolder(repository).find(None).run_id).is_complete

    go.touch()
    ran: Ran = resume_run(repository)

    assert ran.outcome.exit_code == 0
    assert ran.report["resumed"] == 1
    assert [landing["key"] for landing in ran.report["landings"]] == [f"F{n}" for n in range(5)]
    assert git(repository, "rev-list", "--count", "main") == "6"
    assert texts(repository) == [f"{n}.txt" for n in range(5)]
