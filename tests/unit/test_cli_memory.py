"""`stig memory`: what each command does to a memory, says on a terminal and tells a script."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner, Result

from stigmergy.cli.memory import memory as memory_app
from stigmergy.errors import NotFoundError, UsageError
from stigmergy.memory import Memory, Reflection

MakeRepository = Callable[[Mapping[str, str | bytes]], Path]
STIG = Path(sys.executable).with_name("stig")
HOSTILE = "[red]bad[/red] \x1b[2J\x1b]0;owned\x07\nsecond\u202eline"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("STIG_MEMORY", str(tmp_path / "memory.db"))
    return tmp_path / "memory.db"


def ask(*words: str, code: int = 0, stdin: str | bytes = "") -> Result:
    result = CliRunner().invoke(memory_app, list(words), input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def stig(*words: str, code: int = 0, stdin: str | bytes = "") -> str:
    return ask(*words, code=code, stdin=stdin).stdout


def told(*words: str, stdin: str | bytes = "") -> dict[str, object]:
    return json.loads(stig(*words, "--json", stdin=stdin))


# --- store and get ---


def test_what_is_stored_can_be_got(place: Path) -> None:
    assert stig("store", "tips", "use uv", "--key", "k", "--tag", "a") == "tips/k version 1\n"
    assert "tips/k  note  a\n" in stig("get", "tips", "k")
    entry = told("get", "tips", "k")["entry"]
    assert entry["value"] == "use uv"
    assert entry["origin"]["agent_id"] == "person"
    with Memory(place) as memory:
        assert memory.stats().entries == 1


def test_who_says_so_can_be_told() -> None:
    stig("store", "t", "x", "--key", "k", "--agent", "a1", "--task", "F01", "--run", "r")
    assert "by a1, task F01, run r" in stig("get", "t", "k")


def test_json_is_stored_as_what_it_is() -> None:
    entry = told("store", "t", '{"rps": 5}', "--key", "k", "--kind", "value")["entry"]
    assert (entry["kind"], entry["value"]) == ("value", {"rps": 5})
    with pytest.raises(UsageError, match="VALUE is not JSON, as a value must be"):
        stig("store", "t", "{", "--kind", "value")
    with pytest.raises(UsageError, match="is no reflection"):
        stig("store", "t", "{}", "--kind", "reflection")


def test_a_text_comes_from_stdin() -> None:
    stig("store", "t", "-", "--key", "k", stdin="one\ntwo\n")
    assert told("get", "t", "k")["entry"]["value"] == "one\ntwo"


def test_history_and_versions() -> None:
    stig("store", "t", "one", "--key", "k", "--if-version", "0")
    stig("store", "t", "two", "--key", "k", "--ttl", "1h")
    assert [e["value"] for e in told("get", "t", "k", "--history")["history"]] == ["one"]
    assert "two" in stig("get", "t", "k")
    assert "one" in stig("get", "t", "k", "--history")
    with pytest.raises(Exception, match="has version 2, not 0"):
        stig("store", "t", "three", "--key", "k", "--if-version", "0")


def test_a_secret_is_left_out_and_that_is_told() -> None:
    done = ask("store", "t", "key " + "ghp_" + "a1" * 18, "--key", "k")
    assert "looked like a secret" in done.stderr
    assert told("get", "t", "k")["entry"]["value"] == "key [redacted]"


def test_what_is_not_there_is_told_with_what_to_do(place: Path) -> None:
    for words in (["get", "t", "k"], ["list"], ["search", "x"], ["stats"], ["export"]):
        with pytest.raises(NotFoundError, match="`stig memory store NAMESPACE TEXT` begins one"):
            stig(*words)
    assert not place.exists()
    stig("store", "t", "x")
    with pytest.raises(NotFoundError, match="`stig memory list t` shows what is"):
        stig("get", "t", "k")
    with pytest.raises(NotFoundError, match="nothing at t/k"):
        stig("delete", "t", "k")


# --- search and list ---


def test_search_takes_words_as_they_come() -> None:
    stig("store", "a", "retries after a timeout", "--key", "1", "--tag", "net")
    stig("store", "b", "timeout of the gate", "--key", "2")
    out = stig("search", "timeout", "OR", "retry")
    assert out.index("a/1") < out.index("b/2")
    assert [f["key"] for f in told("search", "timeout", "-n", "b")["found"]] == ["2"]
    assert [f["key"] for f in told("search", "timeout", "--tag", "net")["found"]] == ["1"]
    assert stig("search", "nowhere") == "nothing found\n"
    with pytest.raises(UsageError, match="there is no kind 'x'"):
        stig("search", "timeout", "--kind", "x")


def test_a_list_has_pages() -> None:
    for number in range(3):
        stig("store", "t", "x", "--key", f"k{number}")
    assert "… and more: --after t/k1" in stig("list", "--limit", "2")
    assert [e["key"] for e in told("list", "--after", "t/k1")["entries"]] == ["k2"]
    assert stig("list", "nowhere") == "no entry\n"


def test_a_reflection_reads_as_one_line(place: Path) -> None:
    with Memory(place) as memory:
        memory.reflect(
            "t",
            Reflection(
                category="fix", description="mended", outcome="landed", recommendations=("test it",)
            ),
            key="k",
        )
    assert "fix, landed: mended; test it" in stig("search", "mended")
    assert '"outcome": "landed"' in stig("get", "t", "k")


def test_outside_data_comes_out_clean(place: Path) -> None:
    stig("store", "t", HOSTILE, "--key", "k")
    for words in (["get", "t", "k"], ["list"], ["search", "bad"]):
        out = stig(*words)
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert "[red]bad[/red]" in out


def test_statistics() -> None:
    stig("store", "t", "x", "--key", "k")
    stig("store", "t", "y", "--key", "k")
    out = stig("stats")
    assert "entries: 1; earlier versions: 1" in out
    assert told("stats")["namespaces"][0]["namespace"] == "t"


# --- delete ---


def test_delete_forgets_a_key_or_a_namespace() -> None:
    for number in range(3):
        stig("store", "t", "x", "--key", f"k{number}")
    assert stig("delete", "t", "k0") == "forgot 1 entry\n"
    for words in (["delete", "t"], ["delete", "t", "k1", "--all"]):
        with pytest.raises(UsageError, match="give a KEY to forget, or --all"):
            stig(*words)
    assert told("delete", "t", "--all") == {"deleted": 2}


# --- export and import ---


def test_knowledge_goes_from_one_namespace_to_another() -> None:
    stig("store", "rust", "borrow less", "--key", "k")
    lines = stig("export", "rust")
    done = ask("import", "typescript", stdin=lines)
    assert done.stdout == "imported 1 entry from stdin\n"
    assert "this very memory" in done.stderr
    out = stig("get", "typescript", "k")
    assert "shared_from_stdin" in out
    assert "by person, imported from stdin, which says so" in out


def test_a_file_is_written_whole_and_nothing_else_overwritten(tmp_path: Path) -> None:
    stig("store", "t", "x", "--key", "k")
    assert stig("export", "--output", "all.jsonl") == "exported 1 entry\n"
    assert stig("export", "--output", "all.jsonl") == "exported 1 entry\n"
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is no export: it is not overwritten"):
        stig("export", "--output", "mine.txt")
    assert told("export", "--output", "all.jsonl") == {"entries": 1}
    with pytest.raises(NotFoundError, match="nothing in the namespace"):
        stig("export", "gone", "--output", "all.jsonl")
    assert (tmp_path / "all.jsonl").read_bytes().count(b"\n") == 3


def test_conflicts_are_told_and_the_policy_is_heeded() -> None:
    stig("store", "t", "theirs", "--key", "k")
    stig("export", "--output", "them.jsonl")
    stig("store", "t", "mine", "--key", "k")
    out = stig("import", "--input", "them.jsonl")
    assert "conflict: t/k holds something else here: kept" in out
    out = stig("import", "--input", "them.jsonl", "--from", "team a", "--on-conflict", "both")
    assert "conflict: t/k holds something else here: both: the new one is k@2" in out
    done = told("import", "--input", "them.jsonl", "--on-conflict", "replace")
    assert done["conflicts"] == [{"namespace": "t", "key": "k", "done": "replaced"}]
    assert told("get", "t", "k")["entry"]["origin"]["imported_from"] == "them.jsonl"


def test_a_wrong_line_is_told_by_its_number() -> None:
    with pytest.raises(UsageError, match=r"line 2: it is not JSON.*Nothing was imported"):
        stig("import", stdin='{"stigmergy_memory":1}\nhello\n')


# --- which memory, and the program itself ---


def test_a_repository_has_a_memory_of_its_own(
    make_repository: MakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = make_repository({"src/a": "x"})
    monkeypatch.delenv("STIG_MEMORY")
    monkeypatch.chdir(repository / "src")
    with pytest.raises(NotFoundError, match="begins one"):
        stig("list")
    stig("store", "t", "x")
    assert (repository / ".stigmergy" / "memory.db").is_file()
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=repository, capture_output=True, check=True
    )
    assert status.stdout == b""


def test_a_memory_that_came_with_a_repository_is_refused(
    make_repository: MakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = make_repository({".stigmergy/memory.db": b"x"})
    monkeypatch.delenv("STIG_MEMORY")
    monkeypatch.chdir(repository)
    for words in (["list"], ["store", "t", "x"]):
        with pytest.raises(UsageError, match="git tracks files"):
            stig(*words)


def test_outside_a_repository_a_memory_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STIG_MEMORY")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UsageError, match="name one with --memory PATH or STIG_MEMORY"):
        stig("list")
    stig("store", "t", "x", "--memory", "here.db")
    assert (tmp_path / "here.db").is_file()


def command_names() -> list[str]:
    group = typer.main.get_command(memory_app)
    assert isinstance(group, TyperGroup)
    return sorted(group.commands)


def test_the_commands_are_those_that_are_promised() -> None:
    assert command_names() == sorted(
        ["store", "get", "search", "list", "delete", "stats", "export", "import"]
    )


@pytest.mark.parametrize("name", command_names())
def test_help_teaches_with_an_example(name: str) -> None:
    text = stig(name, "--help")
    assert "Example" in text
    assert f"stig memory {name}" in text


def test_the_program_says_what_is_wrong_and_ends_with_its_code(tmp_path: Path) -> None:
    done = subprocess.run([STIG, "memory", "get", "t", "k"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("stig: there is no memory at ")
    for value in ("first words", "second words"):
        subprocess.run([STIG, "memory", "store", "t", value], check=True, capture_output=True)
    found = subprocess.run(
        [STIG, "memory", "search", "second", "--json"], capture_output=True, text=True, check=True
    )
    assert [each["value"] for each in json.loads(found.stdout)["found"]] == ["second words"]
