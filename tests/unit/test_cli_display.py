"""What is shown while a run goes on: the live table, lines, and JSON."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence

import pytest
from rich.console import Console

from stigmergy.board import Event, JsonObject
from stigmergy.cli.console import clean, clean_lines, duration, money
from stigmergy.cli.frame import frame, share_rows
from stigmergy.cli.live import LiveDisplay, make_display
from stigmergy.cli.plain import JsonDisplay, PlainDisplay
from stigmergy.monitor import RunView, SwarmView

LABEL = "replay: the model's words come from a recording"
HOSTILE = "[red]bad[/red]\x1b[2J\x1b]8;;https://evil.invalid\x07x\x9b31m\u202e\r\nnext"
START = 1_000_000.0


class Journal:
    """A journal by hand, folded as it is written."""

    def __init__(self, *, agents: int = 4, label: str = LABEL, confined: bool = True) -> None:
        self.swarm = SwarmView()
        self.view = self.swarm.run
        self.now = START
        self.lines: list[str] = []
        sandbox = dict.fromkeys(
            ("writes_confined", "network_confined", "processes_confined"), confined
        )
        self.tell(
            "run_started",
            run_id="20261121-101500-3fa2",
            label=label,
            target="refs/heads/main",
            agents=agents,
            gate=["make"],
            sandbox={"view": "overlay", **sandbox},
        )

    def tell(
        self, event_kind: str, task_id: str = "", agent_id: str = "", **said: object
    ) -> list[str]:
        data: JsonObject = dict(said)
        seq = self.view.seq + 1
        event = Event(
            seq=seq, at=self.now, kind=event_kind, task_id=task_id, agent_id=agent_id, data=data
        )
        lines = self.swarm.take([event])
        self.lines += lines
        return lines

    def item(self, key: str, title: str = "A feature") -> None:
        self.tell("posted", f"{key}.land", task_type="land")
        self.tell("items_planned", items=[{"key": key, "title": title, "depends_on": []}])

    def work(self, number: int, key: str, brief: str = "run pytest") -> None:
        agent = f"run/agent-{number}"
        self.tell("claimed", key, agent, attempt=1)
        self.tell("progress", key, agent, kind="tool", brief=brief)

    def land(self, key: str) -> None:
        note = {"commit": "abcdef1234" * 4, "batch_size": 2, "gate_s": 3.0, "proof": "tree"}
        self.tell("completed", f"{key}.land", "run/queue", status="completed", **note)

    def send_back(self, key: str, detail: str = "2 failed") -> None:
        told = {"returned": "gate-red", "detail": detail, "fix": f"{key}.fix1"}
        self.tell("released", f"{key}.land", "run/queue", wait_for=[told["fix"]], **told)


def draw(view: RunView, *, width: int = 100, height: int = 40) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), record=True)
    console.print(frame(view, now=START + 60, width=width, height=height))
    return console.export_text().splitlines()


def big(agents: int, busy: int) -> Journal:
    journal = Journal(agents=agents)
    for number in range(60):
        journal.item(f"F{number:02d}", "A feature with a title of some length " * 3)
    for number in range(20):
        journal.land(f"F{number:02d}")
        journal.send_back(f"F{number + 20:02d}", "a reason " * 30)
    for number in range(busy):
        journal.work(
            number + 1,
            f"F{number % 20 + 40}.fix{number // 20 + 1}",
            "run " + "python3 -m pytest " * 10,
        )
    journal.tell("gate_started", task_ids=[f"F{number:02d}.land" for number in range(30)])
    return journal


# --- the frame ---


@pytest.mark.parametrize("height", [6, 7, 10, 16, 23, 24, 49, 80])
@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize(("agents", "busy"), [(100, 100), (100, 28), (4, 4), (4, 0)])
def test_a_frame_never_outgrows_its_terminal(
    width: int, height: int, agents: int, busy: int
) -> None:
    lines = draw(big(agents, busy).view, width=width, height=height)
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width


def test_the_label_stands_in_every_frame_that_has_room_for_the_run_at_all() -> None:
    for width, height in ((40, 7), (80, 24), (200, 60)):
        lines = draw(big(100, 28).view, width=width, height=height)
        assert any(line.startswith("replay: ") for line in lines), (width, height)


def test_busy_agents_are_shown_and_the_others_counted() -> None:
    text = "\n".join(draw(big(100, 28).view, width=120, height=60))
    assert all(f"agent-{number} " in text for number in range(1, 29))
    assert "… and 72 idle" in text
    small = "\n".join(draw(big(100, 28).view, width=80, height=24))
    assert "more at work, 72 idle" in small


def test_small_terminals_keep_the_gate_landings_and_what_came_back() -> None:
    text = "\n".join(draw(big(100, 28).view, width=80, height=23))
    for part in ("gate ", "models ", "speed ", "landed ", "returned ", "20 of 60 items landed"):
        assert part in text, part


def test_the_queue_is_no_agent() -> None:
    journal = Journal(agents=2)
    journal.item("F01")
    journal.tell("claimed", "F01.land", "run/queue", attempt=1)
    assert "2 agents, all idle" in "\n".join(draw(journal.view))


def test_nothing_from_outside_acts_on_the_terminal() -> None:
    journal = Journal(label=f"replay: {HOSTILE}")
    journal.item("F01", HOSTILE)
    journal.item("F02", HOSTILE)
    journal.work(1, "F01", HOSTILE)
    journal.send_back("F02", HOSTILE)
    console = Console(width=160, height=40, file=(out := io.StringIO()), color_system=None)
    console.print(frame(journal.view, now=START, width=160, height=40))
    text = out.getvalue()
    assert not set(text) & set("\x1b\x9b\x07\r\u202e")
    assert text.count("[red]bad[/red]") == 4


def test_open_protection_is_called_open() -> None:
    assert "writes and network and processes OPEN" in "\n".join(draw(Journal(confined=False).view))
    assert "OPEN" not in "\n".join(draw(Journal().view))


def test_no_model_call_is_no_unknown_and_an_unpriced_call_is_no_zero() -> None:
    journal = Journal(label="")
    assert "no calls" in "\n".join(draw(journal.view))
    journal.tell("model_call", prompt_tokens=None, completion_tokens=None, cost_usd=None)
    text = "\n".join(draw(journal.view))
    assert "1 call · cost unknown · tokens unknown" in text
    journal.tell("model_call", prompt_tokens=1500, completion_tokens=5, cost_usd=0.5)
    text = "\n".join(draw(journal.view))
    assert "≥ 1,500 tokens in, 5 out (1 call unknown)" in text
    assert "cost unknown, ≥ $0.5000" in text


def test_replayed_calls_are_called_replayed() -> None:
    journal = Journal()
    told = {"prompt_tokens": 10, "completion_tokens": 5, "cost_usd": 0.0}
    journal.tell("model_call", replayed=True, **told)
    assert "1 call, all replayed" in "\n".join(draw(journal.view))
    journal.tell("model_call", replayed=False, **told)
    assert "2 calls, 1 replayed" in "\n".join(draw(journal.view))


def test_agents_come_before_old_landings_when_rows_are_short() -> None:
    room = share_rows(8, agents=20, landings=5, returns=3)
    assert (room.agents, room.landings, room.returns) == (5, 2, 1)
    room = share_rows(30, agents=3, landings=50, returns=50)
    assert (room.agents, room.landings, room.returns) == (3, 5, 3)


# --- the displays ---


def test_the_live_table_is_drawn_at_most_five_times_a_second_and_at_the_end() -> None:
    now = [START]
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=24)
    journal = Journal()
    with LiveDisplay(console, clock=lambda: now[0]) as display:
        display.update(journal.view, journal.lines)
        for number in range(100):
            now[0] += 0.01
            journal.item(f"F{number:02d}")
            display.update(journal.view, [f"line {number:02d}"])
        drawn = out.getvalue().count("stigmergy ")
        assert 4 <= drawn <= 14, "rich draws twice where lines scroll by"
    text = out.getvalue()
    assert all(f"line {number:02d}" in text for number in range(100)), "no line is dropped"
    assert "0 of 100 items landed" in text


def test_lines_carry_the_time_and_the_label_and_silence_is_broken() -> None:
    now = [START]
    out = io.StringIO()
    journal = Journal()
    display = PlainDisplay(out, clock=lambda: now[0])
    display.update(journal.view, journal.lines)
    said = out.getvalue().splitlines()
    at = time.strftime("%H:%M:%S", time.localtime(START))
    assert all(line.startswith(f"{at} ") for line in said)
    assert f"{at} {LABEL}" in said
    now[0] += 29
    display.update(journal.view, [])
    assert out.getvalue().splitlines() == said
    now[0] += 1
    display.update(journal.view, [])
    display.update(journal.view, [])
    (sign,) = out.getvalue().splitlines()[len(said) :]
    assert "no items yet" in sign
    assert LABEL in sign


def test_a_line_stays_one_line() -> None:
    out = io.StringIO()
    journal = Journal(label="")
    PlainDisplay(out, clock=lambda: START).update(journal.view, [HOSTILE])
    assert out.getvalue().splitlines()[-1].endswith("[red]bad[/red]x next")


def json_lines(lines: Sequence[str], journal: Journal) -> list[dict[str, object]]:
    out = io.StringIO()
    with JsonDisplay(out, clock=lambda: START) as display:
        display.update(journal.view, lines)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_says_each_line_and_in_the_end_the_report() -> None:
    journal = Journal()
    journal.tell("run_ended", exit_code=1, verdict="none landed")
    *lines, last = json_lines(journal.lines, journal)
    assert [line["line"] for line in lines] == journal.lines
    assert all(line["label"] == LABEL for line in (*lines, last))
    report = last["report"]
    assert isinstance(report, dict)
    assert (report["exit_code"], report["cost_usd"], report["label"]) == (1, None, LABEL)


def test_json_reports_nothing_of_a_run_that_broke_off() -> None:
    journal = Journal(label="")
    assert json_lines(["x"], journal) == [{"at": START, "line": "x"}]


def test_the_display_is_chosen_by_flags_and_terminal() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True)
    pipe = Console(file=io.StringIO(), force_terminal=False)
    assert isinstance(make_display(as_json=False, plain=False, console=terminal), LiveDisplay)
    assert isinstance(make_display(as_json=False, plain=True, console=terminal), PlainDisplay)
    assert isinstance(make_display(as_json=False, plain=False, console=pipe), PlainDisplay)
    assert isinstance(make_display(as_json=True, plain=False, console=terminal), JsonDisplay)


# --- cleaning ---


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain ünï 漢字 🙂", "plain ünï 漢字 🙂"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\", "text"),
        ("\x1bPdcs\x1b\\after", "after"),
        ("\x9b2Jafter", "after"),
        ("cut off \x1b[", "cut off"),
        ("a\r\nb\u2028c\td", "a b c d"),
        ("a\u202eb\u200bc\x00d\x7f\x85e", "abcd e"),
        ("lone \ud800 surrogate", "lone  surrogate"),
    ],
)
def test_clean_leaves_text_and_takes_what_a_terminal_obeys(raw: str, shown: str) -> None:
    assert clean(raw) == shown


def test_clean_lines_keeps_lines_apart_and_indented() -> None:
    assert clean_lines("a\n  \x1b[1mb\x1b[0m\tc\r\n\n") == ["a", "  b  c"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "unknown"),
        (-1.0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 m 00 s"),
        (3599.9, "1 h 00 m"),
        (7800, "2 h 10 m"),
    ],
)
def test_durations_read_well_at_their_borders(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_unknown_money_is_unknown() -> None:
    assert [money(value) for value in (None, 0, 0.01234, 1234.5)] == [
        "unknown",
        "$0.00",
        "$0.0123",
        "$1,234.50",
    ]
