"""Layers grow with what changes, whatever files are called, and what nobody uses is removed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stigmergy.coding.git.reader import ObjectReader
from stigmergy.coding.sandbox import layers as layering
from stigmergy.coding.sandbox.disk import open_layered
from stigmergy.coding.sandbox.gitdir import ObjectStore
from stigmergy.coding.sandbox.layers import Layers, LayerStore
from stigmergy.coding.sandbox.local import LocalSandboxes
from stigmergy.coding.sandbox.sandbox import SandboxSettings
from stigmergy.testing.sandboxes import commit_all, git, shell


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    for number in range(30):
        (root / f"f{number:02}").write_text("0\n")
    commit_all(root)
    return root


@pytest.fixture
def store(repository: Path, tmp_path: Path) -> Iterator[LayerStore]:
    reader = ObjectReader(repository / ".git")
    store = LayerStore(ObjectStore.of(repository / ".git"), reader, tmp_path / "layers")
    yield store
    store.close()
    reader.close()


@pytest.fixture
def check_out(store: LayerStore, tmp_path: Path) -> Callable[[str], tuple[Path, Layers]]:
    def check_out(commit: str) -> tuple[Path, Layers]:
        upper = tmp_path / f"upper-{len(list(tmp_path.iterdir()))}"
        upper.mkdir()
        return upper, store.check_out(commit, upper)

    return check_out


def shown(upper: Path, layers: Layers) -> dict[str, bytes]:
    """The files that the layers show, by the rules of overlays."""
    found: dict[str, bytes] = {}
    roots = (upper, *layers.folders)
    names = {entry.name for root in roots for entry in root.iterdir() if entry.name != ".git"}
    for name in names:
        handle = open_layered(roots, name)
        if handle is not None:
            with os.fdopen(handle, "rb") as file:
                found[name] = file.read()
    return found


def test_every_commit_of_a_long_line_is_shown_right_over_few_layers(
    repository: Path,
    store: LayerStore,
    check_out: Callable[[str], tuple[Path, Layers]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("_LAYER_AFTER", 2), ("_FLATTEN_AFTER", 3), ("_REBASE_AFTER", 14)):
        monkeypatch.setattr(layering, name, value)
    opened: list[Layers] = []
    for step in range(20):
        for number in range(step, step + 3):
            (repository / f"f{number:02}").write_text(f"{step}\n")
        (repository / f"f{step:02}").unlink()
        commit = commit_all(repository)
        upper, layers = check_out(commit)
        store._background.submit(int).result()  # what was begun beside us is done
        assert shown(upper, layers) == {
            path.name: path.read_bytes() for path in repository.iterdir() if path.is_file()
        }
        assert len(layers.folders) <= 5
        opened.append(layers)
    made = {folder for layers in opened for folder in layers.folders}
    assert any(folder.name.startswith("layer-") for folder in made)
    assert sum(folder.name.startswith("base-") for folder in made) > 1
    for layers in opened:
        store.give_back(layers)
    store._background.submit(int).result()
    left = set(store._root.iterdir())
    assert left == {folder for view in store._views for folder in layering._layers(view).folders}
    assert len(left) < len(made)


@pytest.mark.parametrize(
    "view", ["worktree", pytest.param("overlay", marks=pytest.mark.needs_overlay)]
)
def test_odd_names_links_and_submodules_are_checked_out_byte_for_byte(
    repository: Path, tmp_path: Path, view: str
) -> None:
    def odd_files(root: bytes, content: bytes) -> None:
        for name in (b"new\nline", b"\xff\xfe", b'quote"', b" lead", b"-rf", "ümlaut".encode()):
            with open(root + b"/" + name, "wb") as file:  # noqa: PTH123 # bytes
                file.write(content)

    (repository / ".gitattributes").write_text(
        "*.txt filter=evil ident eol=crlf\n*.u16 working-tree-encoding=UTF-16\n"
    )
    (repository / "a.txt").write_bytes(b"$Id$\nline\r\n")
    (repository / "b.u16").write_text("text", encoding="utf-16")
    git(repository, "add", "--all")
    (repository / "sub").mkdir()
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    odd_files(os.fsencode(repository), b"one")
    git(repository, "add", "new\nline", ":(glob)**")
    git(repository, "commit", "--quiet", "--message", "Odd")
    first = git(repository, "rev-parse", "HEAD")
    odd_files(os.fsencode(repository), b"two")
    git(repository, "commit", "--quiet", "-a", "--message", "More")
    second = git(repository, "rev-parse", "HEAD")
    git(repository, "config", "filter.evil.smudge", f"touch {tmp_path}/ran; cat")
    git(repository, "config", "filter.evil.clean", f"touch {tmp_path}/ran; cat")
    with LocalSandboxes(repository, tmp_path / "state", SandboxSettings(view=view)) as factory:
        for name, commit in (("a", first), ("b", second)):
            sandbox = factory.open(name, commit)
            assert shell(sandbox, "rm .git/index; git reset -q; git status --porcelain") == ""
            stored = subprocess.run(
                ["git", "cat-file", "blob", f"{commit}:a.txt"], cwd=repository, capture_output=True
            ).stdout
            assert sandbox.read_file("repo/a.txt", max_bytes=100) == stored
            assert (
                shell(sandbox, "ls -d sub; cat ./-rf") == f"sub\n{'one' if name == 'a' else 'two'}"
            )
            sandbox.close()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "view", ["worktree", pytest.param("overlay", marks=pytest.mark.needs_overlay)]
)
def test_a_repository_without_files_can_be_worked_in(tmp_path: Path, view: str) -> None:
    repository = tmp_path / "empty"
    repository.mkdir()
    git(repository, "init", "--quiet")
    start = commit_all(repository)
    with LocalSandboxes(repository, tmp_path / "state", SandboxSettings(view=view)) as factory:
        sandbox = factory.open("a", start)
        shell(sandbox, "echo x > x; git add x; git -c user.name=a -c user.email=a@b commit -qm x")
        assert sandbox.export("refs/stigmergy/x")
    assert git(repository, "show", "refs/stigmergy/x:x") == "x"


def test_git_takes_no_checked_out_file_for_changed(
    repository: Path, check_out: Callable[[str], tuple[Path, Layers]]
) -> None:
    check_out(commit_all(repository))
    (repository / "f00").write_text("1\n")
    upper, layers = check_out(commit_all(repository))
    # Git's rule for a file that may have changed unseen, in the seconds that it compares.
    written = int((upper / ".git/index").stat().st_mtime)
    files = [path for root in (upper, *layers.folders) for path in root.glob("f*")]
    assert len(files) == 31
    assert all(int(path.stat().st_mtime) < written for path in files)
