"""Rules for the files of this repository that no linter knows."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "src" / "stigmergy").rglob("*.py"))
PINS = sorted((ROOT / "requirements").glob("*.txt"))
BENCH_PINS = ROOT / "benchmarks" / "board" / "requirements.txt"

# Written so that this file does not contain what it looks for.
MACHINE_PATH = re.compile(
    r"(?<![\w.\-/])/(?:work/|root/\.|home/(?!\w*(?:you|user|me)\b)\w+/|opt/py)"
)
REGISTRY = re.compile(
    r"""pypi\.org/[s]imple | files\.python[h]osted | registry\.[n]pmjs | (?:extra-)?index-[u]rl
        | find-[l]inks\s*= """,
    re.VERBOSE,
)


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def lines_that_match(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    found: list[str] = []
    for path in paths:
        text = path.read_text(errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    return found


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    assert lines_that_match(MACHINE_PATH, tracked_files()) == []


@pytest.mark.parametrize(
    ("place", "is_one"),
    [
        (("", "work", "main"), True),
        (("cd ", "root", ".cache"), True),
        (("", "home", "anna", "code"), True),
        (("", "home", "you", "project"), False),
        (("src", "stigmergy", "coding", "work", "handoff.py"), False),
    ],
)
def test_what_a_machine_path_is(place: tuple[str, ...], is_one: bool) -> None:
    assert bool(MACHINE_PATH.search("/".join(place))) is is_one


def test_no_file_holds_the_address_of_a_package_registry() -> None:
    # scripts/lock keeps addresses out, so it names the options that do.
    assert lines_that_match(REGISTRY, [p for p in tracked_files() if p.name != "lock"]) == []


@pytest.mark.parametrize("path", [*PINS, BENCH_PINS], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_pin_file_has_versions_and_hashes_and_no_address(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"https?:|file:|^\s*-{1,2}(?!hash)[a-z]", text, re.MULTILINE)
    pins = re.split(r"\n(?=\S)", text.strip())
    assert pins
    for pin in pins:
        assert re.match(r"[a-z0-9._-]+==\S+", pin), pin
        assert "--hash=sha256:" in pin, pin


def test_pin_files_agree_on_every_version() -> None:
    versions: dict[str, set[str]] = {}
    for path in PINS:
        for name, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", path.read_text(), re.MULTILINE):
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_every_dependency_is_pinned() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = document["dependency-groups"]
    wanted = {
        "run.txt": document["project"]["dependencies"],
        "build.txt": groups["build"],
        "dev.txt": document["project"]["dependencies"] + groups["build"] + groups["dev"],
        "lock.txt": groups["lock"],
    }
    for file, requirements in wanted.items():
        text = (ROOT / "requirements" / file).read_text()
        pinned = re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE)
        names = {
            re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower()
            for requirement in requirements
            if isinstance(requirement, str)  # the others include a group
        }
        assert names - set(pinned) == set(), f"requirements/{file} lacks them; run: make lock"


def ignored_rules() -> Iterator[str]:
    """The lines of pyproject.toml that switch a rule of ruff off."""
    inside = False
    for line in (ROOT / "pyproject.toml").read_text().splitlines():
        if re.match(r"ignore = \[|\"[^\"]+\" = \[$", line):
            inside = True
        elif line.startswith("]"):
            inside = False
        elif inside:
            yield line


def test_every_ignored_rule_has_its_reason() -> None:
    rules = list(ignored_rules())
    assert rules
    assert [line for line in rules if not re.search(r'"[A-Z]+\d*",\s+# \w', line)] == []


def test_every_suppression_has_its_reason() -> None:
    suppression = re.compile(r"#\s*(?:type: ignore|pyright: ignore|[n]oqa)(?P<rest>.*)")
    codes_and_reason = re.compile(r"(?:\[[\w\-, ]+\]|: [A-Z]+\d+(?:, ?[A-Z]+\d+)*)[\s#\-—:]+\w")
    bare: list[str] = []
    for path in [p for p in tracked_files() if p.suffix == ".py"]:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            found = suppression.search(line)
            if found and not codes_and_reason.match(found["rest"]):
                bare.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert bare == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_module_says_what_it_is_for_and_what_is_public(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "it has no docstring"
    defined = set(names_defined(tree))
    exported = names_exported(tree)
    private = path.stem.startswith("_") and path.stem != "__init__"
    if any(not name.startswith("_") for name in defined) and not private:
        assert exported is not None, "it defines public names and has no __all__"
    assert set(exported or ()) - defined - set(names_imported(tree)) == set()


def names_defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case _:
                pass


def names_imported(tree: ast.Module) -> Iterator[str]:
    """Names that a module imports, those that it imports for types alone included."""
    for node in tree.body:
        inside = node.body if isinstance(node, ast.If) else [node]
        for statement in inside:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                yield from (alias.asname or alias.name for alias in statement.names)


def names_exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return None


def test_tests_have_names_of_their_own() -> None:
    # importmode=importlib would let two of the same name stand side by side and confuse readers.
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_the_source_tree_is_what_is_imported() -> None:
    spec = importlib.util.find_spec("stigmergy")
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT / "src"), f"{sys.prefix} holds another checkout"
