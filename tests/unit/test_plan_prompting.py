"""What a planner's model is shown: bounded, complete, and only what is new."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stigmergy.coding.git.repository import Repository
from stigmergy.coding.plan.policy import ItemOutcome
from stigmergy.coding.plan.prompting import (
    faults_prompt,
    first_prompt,
    follow_up_prompt,
    instructions,
)
from stigmergy.coding.plan.repo_tools import RepositoryTools
from stigmergy.coding.plan.request import PlanRequest
from stigmergy.coding.plan.scratchpad import MAX_SECTION_CHARS, Scratchpad, read_scratchpad
from stigmergy.coding.plan.view import RepoView, read_view, render_tree, render_view
from stigmergy.coding.plan.workitem import Fault

VIEW = RepoView(commit="c" * 40, paths=("a.py", "src/b.py"), documents={"SPEC.md": "```\nx\n```"})


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    files = {
        "SPEC.md": b"# Spec\n" + b"x" * 30_000,
        "docs/README.md": b"not the root's\n",
        "src/a.py": b"one\ntwo\nthree\n",
        "src/binary.bin": b"\0\1\2",
        "src/long.txt": b"needle " + b"y" * 5_000 + b"\n",
        "many.txt": b"needle\n" * 300,
    }
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (tmp_path / "README.md").symlink_to("/etc/passwd")
    for args in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Begin"]):
        author = ["-c", "user.name=T", "-c", "user.email=t@example.invalid"]
        subprocess.run(["git", *author, *args], cwd=tmp_path, check=True)
    with Repository(tmp_path) as opened:
        yield opened


def test_the_view_holds_the_roots_documents_bounded(repository: Repository) -> None:
    view = read_view(repository, repository.rev_parse("HEAD"))
    assert list(view.documents) == ["SPEC.md"]
    assert "more characters; read_file has the rest" in view.documents["SPEC.md"]
    assert len(view.documents["SPEC.md"]) < 21_000
    assert view.log[0].endswith(" Begin")


def test_a_document_cannot_end_its_own_fence() -> None:
    assert "````\n```\nx\n```\n````" in render_view(VIEW)


def test_a_large_tree_is_folded_to_what_fits() -> None:
    paths = [f"src/p{n % 7}/m{n}.py" for n in range(500)] + ["README.md"]
    lines = render_tree(paths, max_lines=20).splitlines()
    assert "README.md" in lines
    assert "src/p0/ (72 files)" in lines
    assert len(lines) == 8


def test_a_flat_tree_that_does_not_fit_says_how_many_are_left() -> None:
    lines = render_tree([f"f{n:03}" for n in range(50)], max_lines=10).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "… and 40 more"


@pytest.mark.parametrize(
    ("path", "lines", "answer"),
    [
        ("src/a.py", (2, 2), "two"),
        ("src/a.py", (2, None), "two\nthree"),
        ("src/a.py", (-5, 99), "one\ntwo\nthree"),
        ("src/a.py", (9, 12), "(no such lines)"),
        ("src/binary.bin", (1, None), "'src/binary.bin' is binary (3 bytes)."),
        ("src/b.py", (1, None), "There is no file 'src/b.py'. Near: src/a.py."),
        ("README.md", (1, None), "There is no file 'README.md'."),
    ],
)
def test_reading_stays_at_the_commits_regular_files(
    repository: Repository, path: str, lines: tuple[int, int | None], answer: str
) -> None:
    tools = RepositoryTools(repository, repository.rev_parse("HEAD"))
    assert tools.read_file(path, *lines).startswith(answer)


def test_answers_are_bounded(repository: Repository) -> None:
    tools = RepositoryTools(repository, repository.rev_parse("HEAD"))
    assert len(tools.read_file("SPEC.md")) < 21_000
    hits = tools.search("needle").splitlines()
    assert len([hit for hit in hits if hit.startswith("many.txt:")]) == 20
    assert max(map(len, hits)) < 400


def test_a_search_is_limited_by_its_glob_and_faults_are_answers(repository: Repository) -> None:
    tools = RepositoryTools(repository, repository.rev_parse("HEAD"))
    assert tools.search("t[wh]", "src/*.py") == "src/a.py:2:two\nsrc/a.py:3:three"
    assert tools.search("--output=x") == "No hits."
    assert "search failed" in tools.search("(")
    assert "leaves the repository" in tools.search("x", "../*")
    assert tools.list_files("src/*.py") == "src/a.py"
    assert tools.list_files("zzz") == "No files."


def request(**fields: object) -> PlanRequest:
    values: dict[str, object] = {"objective": "Go", "view": VIEW, "sprint": 3, "max_items": 7}
    return PlanRequest(**(values | fields))  # type: ignore[arg-type] # test shorthand


def test_a_first_prompt_after_a_restart_tells_of_earlier_items() -> None:
    text = first_prompt(
        request(
            ended={"A": ItemOutcome(status="landed", summary="added a")},
            open=frozenset({"B"}),
            scratchpad=Scratchpad(goals="half way"),
        )
    )
    for part in ("# Objective\nGo", "src/b.py", "A landed. added a", "Still open: B", "half way",
                 "# Sprint 3\nPlan at most 7 items."):  # fmt: skip
        assert part in text


def test_a_follow_up_without_news_says_so() -> None:
    assert "No item has ended." in follow_up_prompt(request())


def test_news_are_bounded() -> None:
    ended = {f"i{n}": ItemOutcome(status="landed", summary="s" * 5_000) for n in range(300)}
    text = follow_up_prompt(request(ended=ended))
    assert len(text) < 250_000
    assert "(100 earlier ones are not shown)" in text


def test_faults_are_bounded_and_may_hold_dollar_signs() -> None:
    text = faults_prompt([Fault("A", "scope", f"$x {n}") for n in range(30)])
    assert "$x 19" in text
    assert "… and 10 more" in text


def test_the_instructions_name_the_tools_that_there_are() -> None:
    for name in ("submit_plan", "read_file", "search", "list_files"):
        assert f"`{name}`" in instructions()


def test_a_scratchpad_section_is_cut_and_says_so() -> None:
    pad = read_scratchpad({"goals": "g" * 10_000, "state": 7, "zzz": "x"}, before=Scratchpad())
    assert len(pad.goals) == MAX_SECTION_CHARS
    assert pad.goals.endswith("keep this section shorter]")
    assert pad.state == ""


@pytest.mark.parametrize("value", [None, 3, [], {}, {"goals": None}])
def test_what_is_no_scratchpad_leaves_the_old_one(value: object) -> None:
    before = Scratchpad(goals="kept")
    assert read_scratchpad(value, before=before) == before


def test_a_bare_text_is_the_state() -> None:
    before = Scratchpad(goals="kept")
    assert read_scratchpad("now", before=before) == Scratchpad(goals="kept", state="now")


def test_notes_of_the_memory_stand_in_the_first_prompt_alone() -> None:
    request = PlanRequest(objective="o", view=VIEW, sprint=1, max_items=3, memory="> a note")
    assert "# Notes from the swarm's memory\n> a note" in first_prompt(request)
    assert "a note" not in follow_up_prompt(request)
