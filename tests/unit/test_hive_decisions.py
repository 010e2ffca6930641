"""What a strategy makes of a run: names, who may change what, whose turn it is."""

from __future__ import annotations

import threading

import pytest

from stigmergy.coding.findings import Finding, render_report
from stigmergy.coding.hive import HiveSpec, check_hive_name, for_hive, name_of
from stigmergy.coding.plan.document import sift
from stigmergy.coding.plan.workitem import WorkItem
from stigmergy.coding.strategies.strategy import load_strategy
from stigmergy.coding.turns import Turns
from stigmergy.coding.work.handoff import Assignment, OwnAgent
from stigmergy.errors import UsageError
from stigmergy.swarm import Stop


def hive(strategy: str, **fields: object) -> HiveSpec:
    found = load_strategy(strategy, folders=()).strategy
    return HiveSpec.model_validate({"name": "h", "strategy": found, **fields})


def test_a_name_is_made_of_the_objective_and_like_no_other() -> None:
    assert name_of("Add CSV export!", taken=()) == "add-csv-export"
    assert name_of("Add CSV export!", taken=("add-csv-export",)) == "add-csv-export-2"
    assert name_of("x", taken=("x", "x-2", "x-3")) == "x-4"
    assert name_of("…", taken=()) == "hive"
    long = name_of("word " * 100, taken=())
    assert len(long) <= 40
    check_hive_name(long)


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a/b", "a..b", "a.", "a.lock", "a" * 61])
def test_a_name_that_could_not_stand_in_a_path_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a hive"):
        check_hive_name(name)


def test_a_testing_hive_changes_tests_and_what_the_user_allows() -> None:
    spec = hive("testing")
    kind = spec.type_of("test")
    tests = ("tests/a.py", "pkg/tests/deep/b.txt", "src/test_c.py", "web/x.test.ts")
    assert spec.outside(kind, "i", tests) == ()
    program = ("src/a.py", "contest/a.py", "testsuite.py", "src/latest.py")
    assert spec.outside(kind, "i", program) == program
    allowed = hive("testing", may_change=("src/a.py",))
    assert allowed.outside(kind, "i", ("src/a.py", "src/b.py")) == ("src/b.py",)


def test_a_development_hive_may_change_everything() -> None:
    spec = hive("development")
    assert spec.outside(spec.type_of("code"), "i", ("a", "b/c")) == ()


def test_findings_are_kept_or_land_in_a_file_of_their_own() -> None:
    kept, landed = hive("research"), hive("research", land=True)
    kind = kept.type_of("research")
    assert (kept.lands, landed.lands) == (False, True)
    assert (kept.only_kept(kind), landed.only_kept(kind)) == (True, False)
    assert kept.findings_path("q1") == "FINDINGS.md"
    assert landed.findings_path("q1") == "findings/h/q1.md"
    assert landed.outside(kind, "q1", ("findings/h/q1.md", "findings/h/q2.md")) == (
        "findings/h/q2.md",
    )


def test_the_research_step_is_an_item_of_its_type() -> None:
    step = load_strategy("research", folders=()).strategy.type_of("research")
    spec = hive("development", research=step)
    (item,) = spec.first_items("Build it")
    assert (item.key, item.task_type) == ("research", "research")
    assert "Build it" in item.description
    assert spec.task_types == ("code", "research")
    assert spec.only_kept(spec.type_of("research"))
    assert hive("development").first_items("Build it") == ()


def test_an_assignment_of_findings_says_where_to_look_and_where_to_write() -> None:
    spec = hive("research")
    given = Assignment(
        task_id="q1",
        task_type="research",
        description="Why?",
        scope=("src/**",),
        base="0" * 40,
        gate=("make", "test"),
        agent=OwnAgent(model="m"),
    )
    made = for_hive(given, spec, spec.type_of("research"), key="q1")
    assert made.scope == ("FINDINGS.md",)
    assert made.context["look_at"] == "- src/**"
    assert made.gate == ()
    assert "# Research" in made.system_prompt
    assert "merge queue" not in made.system_prompt
    plain = hive("development")
    coding = for_hive(given, plain, plain.type_of("code"), key="q1")
    assert coding.scope == ("src/**",)
    assert "merge queue" in coding.system_prompt


def test_a_type_is_one_of_the_strategy_or_a_mistake() -> None:
    drafts = [
        {"id": "a", "title": "A", "type": "test"},
        {"id": "b", "title": "B", "type": "song"},
        {"id": "c", "title": "C"},
    ]
    sifted = sift(drafts, types=("test",), max_items=9)
    assert [(item.key, item.task_type) for item in sifted.items] == [("a", "test"), ("c", "")]
    assert [fault.field for fault in sifted.mistakes] == ["type"]
    assert [item.task_type for item in hive("testing").typed(sifted.items)] == ["test", "test"]
    # Where there are no types, what a model says of one is passed over.
    assert [item.task_type for item in sift(drafts, max_items=9).items] == ["", "", ""]


def test_a_report_has_what_was_found_and_what_was_not() -> None:
    text = render_report(
        title="Research: h",
        objective="Why?\nHow?",
        label="replay: x",
        start="a" * 40,
        findings=[
            Finding(key="q1", title="One", task_type="research", text="Because.", agent_id="r/a-1",
                    commit="b" * 40, concerns=("not sure",)),
            Finding(key="q2", title="Two", error="given up"),
        ],
    )  # fmt: skip
    assert text.index("> replay: x") < text.index("> Why?\n> How?") < text.index("# q1: One")
    assert "*Found by a-1 (research), commit `bbbbbbbbbbbb`.*\n- Concern: not sure" in text
    assert text.rstrip().endswith("- q2: Two: given up")


def test_the_one_that_has_waited_longest_has_the_next_turn() -> None:
    turns, stop, order = Turns(), Stop(), list[str]()

    def work(name: str) -> None:
        with turns.taken(stop) as mine:
            assert mine
            order.append(name)

    threads: list[threading.Thread] = []
    with turns.taken(stop) as mine:
        assert mine
        for name in ("first", "second"):
            thread = threading.Thread(target=work, args=(name,))
            threads.append(thread)
            thread.start()
            while len(turns._queue) <= len(threads):
                pass  # until it stands in line
        assert order == []
    for thread in threads:
        thread.join()
    assert order == ["first", "second"]


def test_who_waits_for_a_turn_heeds_the_stop() -> None:
    turns, stop = Turns(), Stop()
    got: list[bool] = []

    def work() -> None:
        with turns.taken(stop) as mine:
            got.append(mine)

    with turns.taken(stop):
        thread = threading.Thread(target=work)
        thread.start()
        stop.set()
        thread.join()
    assert got == [False]


def test_an_item_as_such_has_no_type() -> None:
    assert WorkItem(key="a", title="A").task_type == ""
