"""The own agent's tools on a checkout: what they do, and what their refusals teach."""

from __future__ import annotations

import os
import select
import subprocess
import time
from io import StringIO
from pathlib import Path

import pytest

from stigmergy.coding.work.inside.commits import Checkout, identity
from stigmergy.coding.work.inside.files import Files, replace_once
from stigmergy.coding.work.inside.paths import ToolError, resolve
from stigmergy.coding.work.inside.progress import Progress
from stigmergy.coding.work.inside.toolbox import Toolbox, UnknownToolError, check_arguments


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    (root / "src").mkdir(parents=True)
    (root / "src" / "app.py").write_text("def one():\n    return 1\n\n\ndef two():\n    return 2\n")
    (root / "README.md").write_text("# App\n")
    (root / ".gitignore").write_text("*.log\n")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


@pytest.fixture
def env() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **identity("A", "a@example.invalid")}


@pytest.fixture
def checkout(repo: Path, env: dict[str, str]) -> Checkout:
    return Checkout(str(repo), "HEAD", env)


@pytest.fixture
def files(checkout: Checkout) -> Files:
    return Files(checkout)


@pytest.fixture
def toolbox(checkout: Checkout, env: dict[str, str]) -> Toolbox:
    progress = Progress(StringIO())
    return Toolbox(checkout, {**env, "OPENAI_API_KEY": "secret"}, time.monotonic() + 60, progress)


def refusal(call: object, *args: object) -> str:
    assert callable(call)
    with pytest.raises(ToolError) as caught:
        call(*args)
    return str(caught.value)


# --- paths ---


@pytest.mark.parametrize("path", ["../x", "src/../../x", "/etc/passwd", "", ".", "./", "a\0b"])
def test_a_path_stays_inside(repo: Path, path: str) -> None:
    refusal(resolve, str(repo), path)


@pytest.mark.parametrize("path", [".git/config", "src/.git", ".GIT/hooks/x", ".git ./x", "./.git"])
def test_a_path_is_not_gits_own(repo: Path, path: str) -> None:
    assert "commit tool" in refusal(resolve, str(repo), path)


def test_a_path_nested_too_deeply_is_refused(files: Files) -> None:
    assert "1,501 parts" in refusal(files.write_file, "d/" * 1500 + "f", "text")
    assert "created" in files.write_file("d/" * 99 + "f", "text")


def test_an_absolute_path_inside_is_understood(repo: Path) -> None:
    assert resolve(str(repo), f"{repo}/src/app.py") == f"{repo}/src/app.py"


def test_links_are_refused_and_named(repo: Path, files: Files) -> None:
    (repo / "out").symlink_to("/etc")
    (repo / "file").symlink_to("src/app.py")
    assert "'/etc'" in refusal(files.read_file, "out/passwd", None, None)
    assert "'src/app.py'" in refusal(files.write_file, "file", "x")
    assert (repo / "file").is_symlink()


# --- reading ---


def test_a_range_of_lines_is_read(files: Files) -> None:
    text = files.read_file("src/app.py", 5, 6)
    assert text == "src/app.py: lines 5-6 of 6\ndef two():\n    return 2\n"


def test_a_long_file_says_where_to_go_on(repo: Path, files: Files) -> None:
    (repo / "long.txt").write_text("".join(f"line {n}\n" for n in range(1, 20_001)))
    head, _, text = files.read_file("long.txt", None, None).partition("\n")
    shown = text.count("\n")
    assert f"start_line={shown + 1}" in head
    assert files.read_file("long.txt", shown + 1, None).splitlines()[1] == f"line {shown + 1}"


def test_lines_are_counted_as_git_counts_them(repo: Path, files: Files) -> None:
    (repo / "feed.txt").write_text("a\x0cb\u2028c\nd\n")
    assert files.read_file("feed.txt", 2, 2).endswith("of 2\nd\n")


def test_what_is_no_text_file_is_said(repo: Path, files: Files) -> None:
    (repo / "image").write_bytes(b"\x89PNG\0\0")
    (repo / "latin").write_bytes("é".encode("latin-1"))
    os.mkfifo(repo / "pipe")
    assert "binary file of 6 bytes" in refusal(files.read_file, "image", None, None)
    assert "binary file" in refusal(files.read_file, "latin", None, None)
    assert "not a regular file" in refusal(files.read_file, "pipe", None, None)
    assert "list_files" in refusal(files.read_file, "src", None, None)
    assert "has 6 lines" in refusal(files.read_file, "src/app.py", 7, None)


def test_a_wrong_folder_is_put_right(files: Files) -> None:
    assert "did you mean src/app.py?" in refusal(files.read_file, "lib/app.py", None, None)


# --- writing ---


def test_a_file_is_made_with_its_folders(repo: Path, files: Files) -> None:
    assert files.write_file("a/b/c.txt", "x\ny") == "created a/b/c.txt (2 lines)"
    assert (repo / "a/b/c.txt").read_text() == "x\ny"


def test_replacing_a_file_keeps_that_it_can_be_run(repo: Path, files: Files) -> None:
    (repo / "tool").write_text("#!/bin/sh\n")
    (repo / "tool").chmod(0o755)
    assert files.write_file("tool", "#!/bin/sh\ntrue\n").startswith("replaced")
    assert (repo / "tool").stat().st_mode & 0o777 == 0o755


def test_writing_where_a_file_is_a_folder_fails_kindly(files: Files) -> None:
    assert "README.md/x" in refusal(files.write_file, "README.md/x", "x")
    assert "cannot be written" in refusal(files.write_file, "src", "x")


def test_an_edit_changes_one_place(repo: Path, files: Files) -> None:
    said = files.edit_file("src/app.py", "    return 2", "    return 3")
    assert said == "changed src/app.py at line 6"
    assert (repo / "src/app.py").read_text().endswith("return 3\n")


def test_an_edit_of_what_stands_twice_names_the_lines() -> None:
    said = refusal(lambda: replace_once("a\nb\na\n", "a", "c", path="f"))
    assert "2 times in f (lines 1, 3)" in said


def test_an_edit_with_other_white_space_shows_what_stands_there() -> None:
    text = "if x:\n        return 1\n"
    said = refusal(lambda: replace_once(text, "if x:\n    return 1", "y", path="f"))
    assert "at line 1" in said
    assert "        return 1" in said


def test_an_edit_that_remembers_one_line_is_told_where_it_is() -> None:
    said = refusal(lambda: replace_once("a = 1\nlong_name = 2\n", "long_name = 2\nc", "", path="f"))
    assert "stands at 2" in said


def test_an_edit_that_is_none_is_refused() -> None:
    refusal(lambda: replace_once("a", "a", "a", path="f"))
    refusal(lambda: replace_once("a", "", "b", path="f"))


def test_an_edit_keeps_the_files_line_ends(repo: Path, files: Files) -> None:
    (repo / "dos.txt").write_bytes(b"a\r\nb\r\nc\r\n")
    files.edit_file("dos.txt", "a\nb", "x\ny")
    assert (repo / "dos.txt").read_bytes() == b"x\r\ny\r\nc\r\n"


# --- finding ---


def test_files_are_listed_without_what_git_ignores(repo: Path, files: Files) -> None:
    (repo / "debug.log").write_text("")
    (repo / "src" / "__pycache__").mkdir()
    (repo / "src" / "__pycache__" / "app.pyc").write_text("")
    assert files.list_files(None).splitlines() == [".gitignore", "README.md", "src/app.py"]


@pytest.mark.parametrize("glob", ["*.py", "src/*.py", "**/*.py", "src", "./src/*", "src/"])
def test_globs_find_files_in_folders(files: Files, glob: str) -> None:
    assert files.list_files(glob) == "src/app.py"


@pytest.mark.parametrize("glob", ["../*", "/etc/*", "a/../../b", "x\0"])
def test_globs_stay_inside(files: Files, glob: str) -> None:
    refusal(files.list_files, glob)
    refusal(files.search, "x", glob)


def test_a_search_finds_lines_of_new_files(repo: Path, files: Files) -> None:
    (repo / "new.py").write_text("def three(): ...\n")
    said = files.search(r"^def \w+", "*.py").splitlines()
    assert said == [
        "new.py:1:def three(): ...",
        "src/app.py:1:def one():",
        "src/app.py:5:def two():",
    ]
    assert files.search("^nothing$", None).startswith("nothing matches")


def test_a_search_is_no_option_and_a_bad_one_is_said(files: Files) -> None:
    assert files.search("--open-files-in-pager=touch x", None).startswith("nothing matches")
    assert "git grep" in refusal(files.search, "(", None)


def test_a_search_with_many_hits_is_cut(repo: Path, files: Files) -> None:
    (repo / "many.txt").write_text("hit\n" * 5_000 + "x" * 100_000 + "hit\n")
    said = files.search("hit", "many.txt")
    assert said.endswith("narrow the pattern or the glob")
    assert len(said) < 70_000


# --- running and committing ---


def test_a_program_runs_in_the_repository(toolbox: Toolbox, repo: Path) -> None:
    said = toolbox.call("run", {"argv": ["sh", "-c", "pwd; exit 3"]})
    assert said.startswith("exit status 3,")
    assert said.rstrip().endswith(str(repo))


def test_a_program_does_not_get_the_models_token(toolbox: Toolbox) -> None:
    assert "secret" not in toolbox.call("run", {"argv": ["env"]})


def test_a_missing_program_explains_that_there_is_no_shell(toolbox: Toolbox) -> None:
    said = refusal(toolbox.call, "run", {"argv": ["ls | wc"]})
    assert "no shell" in said


def test_a_program_that_takes_too_long_is_killed_with_its_children(
    toolbox: Toolbox, repo: Path
) -> None:
    script = "sleep 600 & echo $! > child; echo begun; wait"
    said = toolbox.call("run", {"argv": ["sh", "-c", script], "timeout_s": 3.0})
    assert "killed after" in said
    assert "begun" in said
    assert ends(int((repo / "child").read_text()))


def test_a_program_left_in_the_background_is_killed(toolbox: Toolbox, repo: Path) -> None:
    toolbox.call("run", {"argv": ["sh", "-c", "sleep 600 & echo $! > child"]})
    assert ends(int((repo / "child").read_text()))


def test_long_output_keeps_its_start_and_its_end(toolbox: Toolbox) -> None:
    said = toolbox.call("run", {"argv": ["sh", "-c", "echo first; yes | head -500000; echo last"]})
    assert "\nfirst\n" in said
    assert said.endswith("last\n")
    assert "bytes left out" in said
    assert len(said) < 40_000


def test_a_commit_holds_everything_but_caches(toolbox: Toolbox, repo: Path) -> None:
    (repo / "src" / "__pycache__").mkdir()
    (repo / "src" / "__pycache__" / "app.cpython-311.pyc").write_text("")
    assert toolbox.call("commit", {"message": "All of it"}) == "committed 3 paths"
    assert toolbox.call("commit", {"message": "Again"}).startswith("nothing has changed")
    listed = subprocess.run(["git", "ls-files"], cwd=repo, capture_output=True, text=True).stdout
    assert "pycache" not in listed


def test_a_hook_of_the_project_does_not_stand_in_the_way(toolbox: Toolbox, repo: Path) -> None:
    for name in ("pre-commit", "prepare-commit-msg"):
        hook = repo / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
    assert toolbox.call("commit", {"message": "Work"}).startswith("committed")


# --- arguments ---


@pytest.mark.parametrize(
    ("name", "arguments", "teaches"),
    [
        ("browse", {}, "there are read_file, write_file"),
        ("read_file", {}, "path is missing; it takes path, start_line?, end_line?"),
        ("read_file", {"path": 3}, "path must be a string"),
        ("read_file", {"path": "\ud800"}, "not valid Unicode"),
        ("read_file", {"path": "a", "line": 3}, "no argument 'line'"),
        ("read_file", {"path": "a", "start_line": 0}, "whole number from 1"),
        ("read_file", {"path": "a", "start_line": True}, "whole number from 1"),
        ("run", {"argv": "ls -l"}, "list of strings"),
        ("run", {"argv": ["a", 1]}, "list of strings"),
        ("run", {"argv": []}, "must not be empty"),
        ("run", {"argv": ["a"], "timeout_s": float("nan")}, "number above 0"),
        ("finish", {"status": "failed", "summary": ""}, "complete, partial, blocked"),
    ],
)
def test_a_call_that_does_not_fit_is_told_what_would(
    name: str, arguments: dict[str, object], teaches: str
) -> None:
    with pytest.raises(UnknownToolError) as caught:
        check_arguments(name, arguments)
    assert teaches in str(caught.value)


def test_an_optional_argument_may_be_null() -> None:
    check_arguments("read_file", {"path": "a", "start_line": None})


def ends(pid: int) -> bool:
    """It is gone, or goes within seconds: a kill takes effect when the kernel comes to it."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 60.0)[0])
    finally:
        os.close(descriptor)
