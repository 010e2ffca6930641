"""Every fenced code block of the README and the docs is run, as a reader would run it.

The blocks of a page run from top to bottom in one fresh folder: Python in one namespace, shell
commands (after `$ `) with this environment's programs first on PATH, in one lasting session. What a
block shows is compared with what comes out; `…` or `...` stands for anything, alone on a line for
any lines. CONTRIBUTING.md tells writers the conventions; decision 0003 why this is not a library.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main
from markdown_it import MarkdownIt
from typer.core import TyperGroup

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])

SHELL_LIMIT_S = 100
# Shown as they are: nothing in them can be run or parsed.
SHOWN = {"text", "mermaid", "diff"}


class BlockError(Exception):
    """A block does not do what it shows. The message names the page and the line."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block, or a `<!-- run` comment: commands that readers need not see."""

    page: str
    line: int
    language: str
    option: str
    """The rest of the info string: `not-run: REASON`, `exit: STATUS` or nothing."""
    text: str

    def error(self, message: str) -> BlockError:
        return BlockError(f"{self.page}:{self.line}: {message}")


def blocks_of(page: str, text: str) -> Iterator[Block]:
    for token in MarkdownIt("commonmark").parse(text):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "fence":
            language, _, option = token.info.strip().partition(" ")
            yield Block(page, line, language, option.strip(), token.content)
        elif token.type == "code_block":
            yield Block(page, line, "", "", token.content)
        elif token.type == "html_block":
            hidden = re.match(r"<!-- run\n(.*?)-->", token.content, re.DOTALL)
            if hidden:
                yield Block(page, line, "sh", "", hidden[1])


def run_page(page: str, text: str, folder: Path) -> None:
    """Run what a page shows, in `folder`, which is the current one.

    Raises:
        BlockError: a block fails, or shows something else than what comes out.
    """
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page, text):
        if block.option.startswith("not-run:"):
            check_unrun(block)
            continue
        match block.language:
            case "python":
                run_python(block, namespace)
            case "console" | "sh":
                run_shell(block, folder)
            case _:
                check_data(block)


# --- blocks that are not run ---


def check_unrun(block: Block) -> None:
    """A block that cannot run here says why, and what it shows exists."""
    reason = block.option.removeprefix("not-run:").strip()
    if len(reason.split()) < 2:
        raise block.error("not-run needs a reason: ```sh not-run: needs a live model")
    match block.language:
        case "python":
            ast.parse(block.text)
        case "console" | "sh":
            for command, _ in commands_of(block):
                check_command(block, command)
        case _:
            raise block.error(f"a block of {block.language or 'no language'} is never run")


def check_command(block: Block, command: str) -> None:
    parsed = subprocess.run(["bash", "-n"], input=command, text=True, capture_output=True)
    if parsed.returncode:
        raise block.error(f"the shell cannot read {command!r}: {parsed.stderr.strip()}")
    for words in simple_commands(command):
        match Path(words[0]).name:
            case "stig":
                check_stig(block, words)
            case "make":
                check_make(block, words)
            case _:
                pass


def simple_commands(command: str) -> Iterator[list[str]]:
    """The programs that a command line starts, each with its words, variables left out."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("();<>|&"):
            if words:
                yield words
            words = []
        elif words or not re.match(r"\w+=", word):
            words.append(word)


def check_stig(block: Block, words: list[str]) -> None:
    from stigmergy.cli.app import app

    command = typer.main.get_command(app)
    for word in words[1:]:
        if word == "--":
            return
        if word.startswith("-") and word != "-":
            options = command.params
            known = {name for each in options for name in (*each.opts, *each.secondary_opts)}
            if word.partition("=")[0] not in known | {"--help", "-h"}:
                raise block.error(f"`{command.name}` has no option {word}")
        elif isinstance(command, TyperGroup):
            if word not in command.commands:
                raise block.error(f"stig has no command {word!r}")
            command = command.commands[word]


def check_make(block: Block, words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for word in words[1:]:
        if not word.startswith("-") and "=" not in word and word not in targets:
            raise block.error(f"the Makefile has no target {word!r}")


def check_data(block: Block) -> None:
    try:
        match block.language:
            case "json":
                json.loads(block.text)
            case "jsonl":
                for line in block.text.splitlines():
                    json.loads(line)
            case "toml":
                tomllib.loads(block.text)
            case language if language in SHOWN:
                pass
            case language:
                raise block.error(f"what is {language!r}? Name a language that this test knows")
    except ValueError as error:
        raise block.error(f"not {block.language}: {error}") from error


# --- Python ---


def run_python(block: Block, namespace: dict[str, object]) -> None:
    """Run statement by statement; a comment after `print(…)` shows what it prints."""
    lines = block.text.splitlines()
    for statement in ast.parse(block.text).body:
        code = compile(
            ast.Module([statement], type_ignores=[]), block.page, "exec", dont_inherit=True
        )
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output):
                exec(code, namespace)  # the repository's own documents
        except Exception as error:
            raise block.error(f"line {statement.lineno} of the block: {error!r}") from error
        shown = re.search(r"\)  # (.+)$", lines[(statement.end_lineno or 1) - 1])
        if ast.unparse(statement).startswith("print(") and shown:
            compare(block, ast.unparse(statement), shown[1], output.getvalue())


# --- the shell ---


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    """Each command with the output shown after it; a script without `$ ` is one command."""
    if not re.search(r"^\$ ", block.text, re.MULTILINE):
        yield block.text, ""
        return
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        length = 1
        while length < len(lines) and (
            lines[length - 1].endswith("\\") or lines[length].startswith("> ")
        ):
            length += 1
        command = [line.removeprefix("> ") for line in lines[:length]]
        yield "\n".join(command), "\n".join(lines[length:])


def run_shell(block: Block, folder: Path) -> None:
    wanted = re.fullmatch(r"exit: (\d+)", block.option)
    if block.option and not wanted:
        raise block.error(f"the option {block.option!r} is neither `not-run: …` nor `exit: …`")
    commands = list(commands_of(block))
    for number, (command, shown) in enumerate(commands, start=1):
        status, output = run_command(block, command, folder)
        expected = int(wanted[1]) if wanted and number == len(commands) else 0
        if status != expected:
            raise block.error(f"`{command}` ended with {status}, not {expected}:\n{output}")
        if shown.strip():
            compare(block, command, shown, output)


def run_command(block: Block, command: str, folder: Path) -> tuple[int, str]:
    """Run one command where the one before left off: its folder, its exported variables."""
    session = folder.with_name(f"{folder.name}.session")
    script = (
        f"test -e {session} && . {session}\n"
        f'trap \'{{ export -p; printf "cd %q\\n" "$PWD"; }} >{session}\' EXIT\n'
        f"{command}\n"
    )
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
        "COLUMNS": "100",
    }
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            output, _ = shell.communicate(timeout=SHELL_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise block.error(f"`{command}` took longer than {SHELL_LIMIT_S} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    return shell.returncode, output


# --- what is shown ---


def compare(block: Block, command: str, shown: str, output: str) -> None:
    if not is_as_shown(shown, output):
        raise block.error(f"`{command}` gives\n{tidy(output)}\nand shown is\n{tidy(shown)}")


def is_as_shown(shown: str, output: str) -> bool:
    pattern = "".join(
        r"(?:.*\n)*" if line in {"…\n", "...\n"} else any_text_between(line)
        for line in tidy(shown).splitlines(keepends=True)
    )
    return re.fullmatch(pattern, tidy(output)) is not None


def any_text_between(line: str) -> str:
    return ".*".join(re.escape(part) for part in re.split(r"…|\.\.\.", line))


def tidy(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.strip().splitlines())


# --- the tests ---


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    monkeypatch.chdir(folder)
    run_page(str(page.relative_to(ROOT)), page.read_text(), folder)


def page_with(language: str, *lines: str) -> str:
    return "\n".join(["# Page", "", f"```{language}", *lines, "```", ""])


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        (page_with("python", "x = 1", "1 / 0"), "line 2 of the block: ZeroDivisionError"),
        (page_with("python", "print(1 + 1)  # 3"), "shown is\n3"),
        (page_with("console", "$ echo one", "two"), "shown is\ntwo"),
        (page_with("console", "$ echo one", "$ false"), "`false` ended with 1, not 0"),
        (page_with("console exit: 3", "$ true"), "ended with 0, not 3"),
        (page_with("console maybe", "$ true"), "neither"),
        (page_with("sh not-run:", "ls"), "needs a reason"),
        (page_with("sh not-run: has no end", "if true"), "the shell cannot read"),
        (page_with("console not-run: an old option", "$ stig run --fast"), "no option --fast"),
        (page_with("console not-run: an old command", "$ X=1 stig fly"), "no command 'fly'"),
        (page_with("console not-run: an old target", "$ cd x && make tea"), "no target 'tea'"),
        (page_with("json", "{"), "not json"),
        (page_with("toml", "a ="), "not toml"),
        (page_with("", "anything"), "Name a language"),
        ("# Page\n\n    indented code\n", "Name a language"),
    ],
)
def test_a_page_that_is_wrong_fails(
    text: str, trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BlockError, match=re.escape(trouble)) as failure:
        run_page("page.md", text, tmp_path)
    assert str(failure.value).startswith("page.md:3: ")


@pytest.mark.parametrize(
    "text",
    [
        page_with("python", "x = 20", "print(x + 1)  # 21") + page_with("python", "assert x == 20"),
        page_with("console", "$ printf 'a\\nb\\nc\\n'", "a", "…", "c"),
        page_with("console", "$ echo took 12 ms", "took ... ms", "$ echo two \\", "  lines"),
        page_with("console", "$ mkdir in; cd in; export KEY=1") + page_with("sh", '[ "$KEY" = 1 ]'),
        page_with("console exit: 3", "$ exit 3"),
        "<!-- run\ntouch here\n-->\n\n" + page_with("console", "$ ls", "here"),
        page_with("sh not-run: needs a live model", "stig run --model openai:x && make test"),
        page_with("toml", "a = 1") + page_with("json", "[]") + page_with("text", "any"),
    ],
)
def test_a_page_that_is_right_passes(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    monkeypatch.chdir(folder)
    run_page("page.md", text, folder)


@pytest.mark.parametrize(
    ("shown", "output", "same"),
    [
        ("a\n…", "a\n", True),
        ("a\n…", "a\nb\nc\n", True),
        ("…\nz", "x\ny\nz", True),
        ("a … c", "a b\nc", False),
        ("a.c", "abc", False),
        ("a", "a\nb", False),
    ],
)
def test_what_an_ellipsis_stands_for(shown: str, output: str, same: bool) -> None:
    assert is_as_shown(shown, output) is same
