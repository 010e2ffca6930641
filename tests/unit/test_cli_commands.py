"""`stig status`, `logs` and `report`, on boards that a scripted run has written."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from stigmergy.board import Task, TaskBoard, TaskType, open_store
from stigmergy.cli import doctor, logs, report, status
from stigmergy.coding.rundir import RunDirectory, StateFolder
from stigmergy.coding.spec import RunSpec
from stigmergy.coding.tasks import Rework, fix_task, land_id
from stigmergy.config import Settings
from stigmergy.errors import NotFoundError

RUN_ID = "20261121-101500-3fa2"
LABEL = "replay: the model's words come from a recording (spreadsheet)"
HOSTILE = (
    "[red]bad[/red] \x1b[2J\x1b]0;owned\x07 [link=https://evil.invalid]x[/link]\nsecond\u202eline"
)
START = 1_795_256_100.0
MakeRepository = Callable[[dict[str, str]], Path]

app = typer.Typer()
for command in (status.status, logs.logs, report.report, doctor.doctor):
    app.command()(command)


@dataclass
class Script:
    """Writes what a run would write, at times of its own."""

    board: TaskBoard
    directory: RunDirectory
    now: list[float] = field(default_factory=lambda: [START])

    def after(self, seconds: float) -> None:
        self.now[0] += seconds

    def begin(self, label: str = LABEL, **facts: object) -> None:
        sandbox = {
            "view": "overlay",
            "writes_confined": True,
            "network_confined": True,
            "processes_confined": True,
        }
        data = {
            "run_id": RUN_ID,
            "label": label,
            "target": "refs/heads/main",
            "gate": ["make", "test"],
            "agents": 4,
            "sandbox": sandbox,
        }
        self.board.record("run_started", data=data | facts)

    def plan(self, key: str, title: str, depends_on: tuple[str, ...] = ()) -> None:
        code = Task(
            task_id=key,
            task_type=TaskType.CODE,
            payload={"key": key},
            depends_on=tuple(land_id(name) for name in depends_on),
            max_attempts=1,
        )
        land = Task(
            task_id=land_id(key),
            task_type=TaskType.LAND,
            payload={"key": key},
            depends_on=(key,),
            max_attempts=1000,
        )
        self.board.post_many([code, land])
        planned = {"key": key, "title": title, "depends_on": list(depends_on)}
        self.board.record("items_planned", data={"items": [planned]})

    def claim(self, agent: str, kind: TaskType) -> Task:
        task = self.board.claim(f"{RUN_ID}/{agent}", task_types=[kind], lease_s=3600)
        assert task is not None
        return task

    def progress(self, task: Task, **said: object) -> None:
        agent = task.claimed_by or ""
        self.board.record("progress", task_id=task.task_id, agent_id=agent, data=dict(said))

    def hand_in(self, task: Task, summary: str) -> None:
        note = {"handoff": "complete", "summary": summary, "commits": 1}
        self.board.complete(task, {"commit": "c" * 40}, note=note)

    def gate(self, *keys: str, green: bool, seconds: float = 4.0) -> None:
        names = [land_id(key) for key in keys]
        self.board.record("gate_started", data={"task_ids": names})
        self.after(seconds)
        data = {"task_ids": names, "green": green, "duration_s": seconds, "reason": "2 failed"}
        self.board.record("gate_ended", data=data)

    def land(self, land: Task, commit: str) -> None:
        note = {"key": land.payload["key"], "commit": commit, "batch_size": 1, "gate_s": 4.0}
        self.board.complete(land, note, note=note | {"proof": "tree"})

    def send_back(self, land: Task, work: Task, detail: str) -> None:
        fix = fix_task(land, work, Rework(kind="gate-red", detail=detail), max_attempts=1)
        told = {"returned": "gate-red", "detail": detail, "fix": fix.task_id}
        self.board.release(land, wait_for=[fix.task_id], post=[fix], note=told)

    def call(self, task: Task, **said: object) -> None:
        data: dict[str, object] = {"model": "m1", "provider": "p1", "replayed": False}
        self.board.record("model_call", task_id=task.task_id, data=data | said)

    def end(self, exit_code: int, verdict: str) -> None:
        self.board.record("run_ended", data={"exit_code": exit_code, "verdict": verdict})


@dataclass
class Place:
    """A repository with one prepared run."""

    repo: Path
    state: StateFolder
    directory: RunDirectory

    @contextmanager
    def script(self) -> Iterator[Script]:
        now = [START]
        store = open_store(self.directory.board_url, clock=lambda: now[0])
        with TaskBoard(store=store) as board:
            yield Script(board, self.directory, now)

    def stig(self, *words: str, code: int = 0) -> str:
        return self.ask(*words, code=code).stdout

    def ask(self, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, [*words, "--repo", str(self.repo)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result


@pytest.fixture
def place(make_repository: MakeRepository, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TZ", "UTC")
    repo = make_repository({"Makefile": "test:\n\ttrue\n"})
    state = StateFolder(repo)
    state.prepare()
    spec = RunSpec(
        repository=repo,
        target="refs/heads/main",
        start="a" * 40,
        source="features",
        source_text="FEATURES.json",
        gate=("make", "test"),
        settings=Settings(agents=4),
        created_at=START,
        label=LABEL,
    )
    directory = state.create(RUN_ID, spec)
    return Place(repo, state, directory)


def play(script: Script) -> None:
    """F01 lands; F02 comes back, is mended and lands; F03 is at work; F04 waits for it."""
    script.begin()
    script.plan("F01", "Cells keep numbers")
    script.plan("F02", f"Sums {HOSTILE}")
    script.plan("F03", "Charts")
    script.plan("F04", "Export of charts", depends_on=("F03",))
    script.after(5)
    first = script.claim("agent-1", TaskType.CODE)
    second = script.claim("agent-2", TaskType.CODE)
    script.progress(first, kind="tool", name="run", brief="pytest -q")
    script.progress(second, kind="text", text=HOSTILE)
    script.call(first, prompt_tokens=1200, completion_tokens=80, cost_usd=0.0125)
    script.call(second, prompt_tokens=None, completion_tokens=None, cost_usd=None)
    script.after(20)
    script.hand_in(first, "Numbers are kept")
    script.hand_in(second, HOSTILE)
    one = script.claim("queue", TaskType.LAND)
    two = script.claim("queue", TaskType.LAND)
    script.gate("F01", "F02", green=False)
    script.gate("F01", green=True)
    script.land(one, "1" * 40)
    script.send_back(two, second, f"test_sum fails: {HOSTILE}")
    mending = script.claim("agent-2", TaskType.FIX)
    script.after(30)
    script.hand_in(mending, "Sums are right now")
    two = script.claim("queue", TaskType.LAND)
    script.gate("F02", green=True)
    script.land(two, "2" * 40)
    third = script.claim("agent-1", TaskType.CODE)
    script.progress(third, kind="tool", name="edit_file", brief="charts.py")


def finish(script: Script) -> None:
    third = script.board.get("F03")
    assert third is not None
    script.board.fail(third, f"the agent says failed: {HOSTILE}", retry=False)
    script.after(5)
    script.end(1, "2 of 4 items landed, 2 did not")


def assert_harmless(text: str) -> None:
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]bad[/red]" in text, "markup in data is shown, not obeyed"


# --- status ---


def test_status_of_a_crashed_run_says_so_and_how_to_go_on(place: Place) -> None:
    with place.script() as script:
        play(script)
    said = place.stig("status")
    assert "crashed" in said
    assert "stig resume" in said
    assert LABEL in said
    assert_harmless(said)


def test_status_tells_what_each_item_waits_for(place: Place) -> None:
    with place.script() as script:
        play(script)
    told = json.loads(place.stig("status", "--json"))
    waits = {item["key"]: item["waits_for"] for item in told["items"]}
    assert waits == {"F01": None, "F02": None, "F03": "agent-1", "F04": "F03"}
    assert {item["key"]: item["state"] for item in told["items"]} == {
        "F01": "landed",
        "F02": "landed",
        "F03": "coding",
        "F04": "waiting",
    }


def test_work_that_came_back_waits_for_its_fix(place: Place) -> None:
    with place.script() as script:
        script.begin()
        script.plan("F01", "One")
        work = script.claim("agent-1", TaskType.CODE)
        script.hand_in(work, "done")
        script.send_back(script.claim("queue", TaskType.LAND), work, "red")
        told = json.loads(place.stig("status", "--json"))
        assert told["items"][0]["waits_for"] == "a free agent"
        script.claim("agent-2", TaskType.FIX)
    told = json.loads(place.stig("status", "--json"))
    assert told["items"][0]["waits_for"] == "agent-2"


def test_status_of_a_held_run_is_running_and_of_another_run_is_not(place: Place) -> None:
    with place.script() as script:
        play(script)
    with place.state.locked(RUN_ID):
        assert json.loads(place.stig("status", "--json"))["state"] == "running"
    with place.state.locked("20261121-101500-0000"):
        assert json.loads(place.stig("status", "--json"))["state"] == "crashed"


def test_status_all_lists_runs_that_never_started_too(place: Place) -> None:
    with place.script() as script:
        play(script)
        finish(script)
    place.state.create("20261122-000000-aaaa", place.directory.read_spec())
    rows = json.loads(place.stig("status", "--all", "--json"))["runs"]
    assert [(row["run_id"], row["state"]) for row in rows] == [
        (RUN_ID, "ended"),
        ("20261122-000000-aaaa", "not started"),
    ]
    assert "2/4" in place.stig("status", "--all")


def test_a_run_without_a_board_is_reported_and_none_is_made(place: Place) -> None:
    with pytest.raises(NotFoundError, match="stig run"):
        place.stig("status")
    assert not (place.directory.path / "board.db").exists()


# --- logs ---


def test_logs_of_an_item_hold_all_its_tasks_and_of_a_task_that_alone(place: Place) -> None:
    with place.script() as script:
        play(script)
    item = place.stig("logs", "F02")
    assert "came back (gate-red), F02.fix1 mends it" in item
    assert "landed as 2222222222" in item
    assert "F01" not in item
    task = place.stig("logs", "F02.fix1")
    assert "handed in as complete, commits: 1: Sums are right now" in task
    assert "came back" not in task
    assert_harmless(item)


def test_logs_of_an_agent_show_its_progress_and_nobody_elses(place: Place) -> None:
    with place.script() as script:
        play(script)
    said = place.stig("logs", "agent-1")
    assert "> run pytest -q" in said
    assert "> edit_file charts.py" in said
    assert "1,200 tokens in, 80 out" in said, "a model is asked by whoever holds the task"
    assert "F02" not in said


def test_logs_as_json_are_the_events_themselves(place: Place) -> None:
    with place.script() as script:
        play(script)
        expected = [event.seq for event in script.board.history("F03")]
    lines = place.stig("logs", "F03", "--json").splitlines()
    events = [event for event in map(json.loads, lines) if event["task_id"] == "F03"]
    assert [event["seq"] for event in events] == expected
    assert all("\x1b" not in line for line in lines)


def test_logs_of_somebody_unknown_name_those_who_are_there(place: Place) -> None:
    with place.script() as script:
        play(script)
    with pytest.raises(NotFoundError, match=r"no agent, item or task 'F99'.*agent-1"):
        place.stig("logs", "F99")


def test_logs_without_a_name_tell_the_run_under_its_label(place: Place) -> None:
    with place.script() as script:
        play(script)
    lines = place.stig("logs").splitlines()
    assert lines[0].startswith(LABEL)
    assert any("landed F01 as 1111111111" in line for line in lines)
    assert_harmless("\n".join(lines))


def test_follow_tells_what_comes_and_ends_with_the_run(place: Place) -> None:
    with place.script() as script, place.state.locked(RUN_ID):
        play(script)
        writer = threading.Thread(target=finish, args=(script,))
        writer.start()
        said = place.stig("logs", "--follow")
        writer.join()
    assert said.splitlines()[-1].endswith("2 of 4 items landed, 2 did not")


def test_follow_of_a_crashed_run_does_not_wait_for_ever(place: Place) -> None:
    with place.script() as script:
        play(script)
    assert "nobody runs this" in place.ask("logs", "--follow").stderr


# --- report ---


def test_report_says_what_came_back_and_how_it_was_mended(place: Place) -> None:
    with place.script() as script:
        play(script)
        finish(script)
    told = json.loads(place.stig("report", "--json"))
    (mending,) = told["mendings"]
    assert (mending["kind"], mending["fix"]) == ("gate-red", "F02.fix1")
    assert (mending["came_to"], mending["commit"]) == ("landed", "2" * 40)
    assert [landing["key"] for landing in told["landings"]] == ["F01", "F02"]
    assert told["gate_mean_s"] == 4.0
    assert told["landings_per_hour"] == pytest.approx(2 * 3600 / told["duration_s"])
    assert set(told["failures"]) == {"F03", "F04"}
    assert told["exit_code"] == 1


def test_report_never_calls_an_unknown_cost_nothing(place: Place) -> None:
    with place.script() as script:
        script.begin()
        script.plan("F01", "One")
        work = script.claim("agent-1", TaskType.CODE)
        script.call(work, prompt_tokens=None, completion_tokens=None, cost_usd=None)
        script.end(1, "over")
    told = json.loads(place.stig("report", "--json"))
    assert told["cost_usd"] is None
    assert told["prompt_tokens"] is None
    (model,) = told["models"]
    assert (model["cost_usd"], model["prompt_tokens"]) == (None, None)
    said = place.stig("report")
    assert "tokens unknown, cost unknown" in said
    assert "$0" not in said


def test_report_counts_what_is_unknown_beside_what_is_known(place: Place) -> None:
    with place.script() as script:
        play(script)
    said = place.stig("report")
    assert "cost unknown, ≥ $0.0125" in said
    assert "≥ $0.0125" in said


def test_report_of_an_unfinished_run_says_so_and_claims_no_exit_code(place: Place) -> None:
    with place.script() as script:
        play(script)
    told = json.loads(place.stig("report", "--json"))
    assert (told["state"], told["exit_code"], told["ended_at"]) == ("crashed", None, None)
    assert told["duration_s"] == pytest.approx(67.0), "up to the last event, not to now"
    assert "crashed" in place.stig("report")


def test_every_form_of_the_report_carries_the_label_and_no_live_markup(place: Place) -> None:
    with place.script() as script:
        play(script)
        finish(script)
    page = place.stig("report")
    assert LABEL in page
    assert_harmless(page)
    markdown = place.stig("report", "--markdown")
    assert LABEL in markdown
    assert "\x1b" not in markdown
    assert "https://" not in markdown
    assert "[link" not in markdown.replace("\\[link", "")
    assert "| F02 | gate-red | F02.fix1 | landed as 2222222222 |" in markdown
    page = place.stig("report", "--html")
    assert LABEL in html.unescape(page)
    assert_harmless(page)
    assert "<script" not in page


def test_the_page_of_a_report_is_well_formed_and_shows_time_and_money(place: Place) -> None:
    with place.script() as script:
        play(script)
        finish(script)
    page = place.stig("report", "--html")
    seen = Tags()
    seen.feed(page)
    assert seen.open == [], "every tag is closed"
    assert seen.kinds.isdisjoint({"script", "link", "img", "iframe", "a", "form"})
    titles = [text for tag, text in seen.texts if tag == "title"]
    assert "F01: completed after 20 s" in titles
    assert "F03: failed after 0.0 s" in titles
    assert "1 item: completed after 4.0 s" in titles, "the gate has a lane of its own"
    assert "F02 came back: gate-red" in titles
    headings = [text for tag, text in seen.texts if tag == "h3"]
    assert headings[:3] == ["Time by task", "Tokens by task", "Cost by task"]
    assert "Cost by model" in headings
    shown = {text for tag, text in seen.texts if tag == "text"}
    assert {"1,280, 1 call", "$0.0125", "20 s, 1 attempt"} <= shown


def test_what_nothing_is_known_of_has_no_bars(place: Place) -> None:
    with place.script() as script:
        script.begin()
        script.plan("F01", "One")
        work = script.claim("agent-1", TaskType.CODE)
        script.call(work, prompt_tokens=None, completion_tokens=None, cost_usd=None)
        script.after(3)
        script.hand_in(work, "done")
    for form in ("--html", "--markdown"):
        said = place.stig("report", form).lower()
        assert "by task" in said or "| task | time |" in said
        assert "tokens by task" not in said
        assert "| task | tokens |" not in said
        assert "cost by task" not in said
    spent = json.loads(place.stig("report", "--json"))["spent"]["task"]["F01"]
    assert (spent["time_s"], spent["tokens"], spent["cost_usd"]) == (3.0, None, None)


class Tags(HTMLParser):
    """What tags a page has, and their texts."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.kinds: set[str] = set()
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.kinds.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.kinds.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.append((self.open[-1], data))


def test_report_keeps_apart_what_each_model_took(place: Place) -> None:
    with place.script() as script:
        script.begin()
        script.plan("F01", "One")
        work = script.claim("agent-1", TaskType.CODE)
        told = {"prompt_tokens": 10, "completion_tokens": 1}
        script.call(work, cost_usd=1.5, **told)
        script.call(work, model="m2", provider=None, cost_usd=0.0, replayed=True, **told)
    models = json.loads(place.stig("report", "--json"))["models"]
    assert [(m["model"], m["provider"], m["replayed"], m["cost_usd"]) for m in models] == [
        ("m1", "p1", 0, 1.5),
        ("m2", "recording", 1, 0.0),
    ]
    assert "nothing paid" in place.stig("report")
