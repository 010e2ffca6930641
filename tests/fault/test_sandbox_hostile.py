"""A sandbox's `.git` is an attacker's: nothing in it runs, leads outside or corrupts ours."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path

import pytest

from stigmergy.coding.sandbox import harvest
from stigmergy.coding.sandbox.disk import remove_tree
from stigmergy.coding.sandbox.local import LocalSandboxes
from stigmergy.coding.sandbox.sandbox import Sandbox, SandboxSettings
from stigmergy.errors import CorruptError
from stigmergy.testing.sandboxes import COMMIT, commit_all, git, shell

REF = "refs/stigmergy/test/T1"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    (root / "file").write_text("text\n")
    commit_all(root)
    return root


@pytest.fixture(params=["worktree", pytest.param("overlay", marks=pytest.mark.needs_overlay)])
def factory(
    repository: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[LocalSandboxes]:
    # Unconfined, so that the attacks are not stopped before they reach what is tested here.
    settings = SandboxSettings(view=request.param, confine="none")
    with LocalSandboxes(repository, tmp_path / "state", settings) as factory:
        yield factory


@pytest.fixture
def sandbox(factory: LocalSandboxes, repository: Path) -> Sandbox:
    return factory.open("T1", git(repository, "rev-parse", "HEAD"))


def loose(kind: str, content: bytes) -> tuple[str, bytes]:
    data = f"{kind} {len(content)}\0".encode() + content
    return sha1(data).hexdigest(), zlib.compress(data)


def plant(sandbox: Sandbox, kind: str, content: bytes, *, name: str | None = None) -> str:
    oid, data = loose(kind, content)
    oid = name or oid
    sandbox.write_file(f"repo/.git/objects/{oid[:2]}/{oid[2:]}", data)
    return oid


def commit_of(tree: str, parent: str) -> bytes:
    who = "A <a@example.invalid> 1 +0000"
    return f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nx\n".encode()


def set_head(sandbox: Sandbox, oid: str) -> None:
    sandbox.write_file("repo/.git/HEAD", oid.encode())


def test_no_setting_hook_or_attribute_of_the_sandbox_runs_on_the_host(
    sandbox: Sandbox, factory: LocalSandboxes, repository: Path, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {ran}\n")
    evil.chmod(0o755)
    settings = (
        "core.fsmonitor",
        "core.sshCommand",
        "core.editor",
        "core.pager",
        "core.gitProxy",
        "core.alternateRefsCommand",
        "uploadpack.packObjectsHook",
        "filter.evil.smudge",
        "filter.evil.clean",
        "filter.evil.process",
        "diff.external",
        "gpg.program",
    )
    shell(sandbox, f"echo 2 >> file; {COMMIT}")
    shell(sandbox, "; ".join(f"git config {name} {evil}" for name in settings))
    shell(
        sandbox,
        f"mkdir -p .git/hooks; for h in post-checkout reference-transaction update pre-receive"
        f" post-index-change; do cp {evil} .git/hooks/$h; done;"
        "git config core.hooksPath .git/hooks;"
        f"echo '* filter=evil diff=evil' | tee .gitattributes > .git/info/attributes",
    )
    ran.unlink(missing_ok=True)
    assert sandbox.export(REF) == git(repository, "rev-parse", REF)
    sandbox.close()
    factory.open("T2", git(repository, "rev-parse", "main")).close()
    assert not ran.exists()


def test_objects_behind_links_and_alternates_do_not_come_in(
    sandbox: Sandbox, repository: Path, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    git(private, "init", "--quiet")
    (private / "secret").write_text("secret\n")
    commit_all(private)
    secret = git(private, "rev-parse", "HEAD:secret")
    objects = private / ".git" / "objects"
    base = sandbox.base
    tree = plant(sandbox, "tree", b"100644 stolen\0" + bytes.fromhex(secret))
    head = plant(sandbox, "commit", commit_of(tree, base))
    set_head(sandbox, head)
    shard, rest = secret[:2], secret[2:]
    for attack in (
        f"echo {objects} >> .git/objects/info/alternates",
        f"mkdir -p .git/objects/{shard}; ln -s {objects}/{shard}/{rest} .git/objects/{shard}/",
        f"rm -r .git/objects/{shard}; ln -s {objects}/{shard} .git/objects/",
        f"rm -r .git/objects/pack; ln -s {objects}/pack .git/objects/pack",
        f"mv .git/objects .git/o; ln -s {objects} .git/objects",
        f"mv .git .g; ln -s {private}/.git .git",
        f"rm .git; echo 'gitdir: {private}/.git' > .git",
    ):
        shell(sandbox, attack)
        with pytest.raises(CorruptError):
            sandbox.export(REF)
    assert git(repository, "for-each-ref", "refs/stigmergy") == ""
    with pytest.raises(Exception, match="returned non-zero"):
        git(repository, "cat-file", "-e", secret)


@pytest.mark.parametrize(
    "name", [b".git", b"..", b"a/b", b".GIT", b"git~1", ".g\u200cit".encode()], ids=repr
)
def test_a_tree_with_a_dangerous_name_is_refused(
    sandbox: Sandbox, repository: Path, name: bytes
) -> None:
    blob = plant(sandbox, "blob", b"[core]\n")
    inner = plant(sandbox, "tree", b"100644 config\0" + bytes.fromhex(blob))
    tree = plant(sandbox, "tree", b"40000 " + name + b"\0" + bytes.fromhex(inner))
    set_head(sandbox, plant(sandbox, "commit", commit_of(tree, sandbox.base)))
    with pytest.raises(CorruptError):
        sandbox.export(REF)
    assert git(repository, "for-each-ref", "refs/stigmergy") == ""


def test_broken_objects_are_refused(sandbox: Sandbox, repository: Path) -> None:
    base_tree = git(repository, "rev-parse", f"{sandbox.base}^{{tree}}")
    missing = plant(sandbox, "commit", commit_of("1" * 40, sandbox.base))
    file = git(repository, "rev-parse", "main:file")
    blob_as_tree = plant(sandbox, "commit", commit_of(file, sandbox.base))
    lying = plant(sandbox, "commit", commit_of(base_tree, sandbox.base), name="ab" * 20)
    not_a_commit = plant(sandbox, "commit", b"tree nonsense\n\n")
    blob = plant(sandbox, "blob", b"x")
    broken = "cd" * 20
    sandbox.write_file(f"repo/.git/objects/{broken[:2]}/{broken[2:]}", b"not zlib")
    bomb = "ef" * 20
    sandbox.write_file(
        f"repo/.git/objects/{bomb[:2]}/{bomb[2:]}", zlib.compress(b"blob 99\0" + bytes(1 << 22))
    )
    for head in (missing, blob_as_tree, lying, not_a_commit, blob, broken, bomb, "9" * 40):
        set_head(sandbox, head)
        with pytest.raises(CorruptError):
            sandbox.export(REF)
    assert git(repository, "for-each-ref", "refs/stigmergy") == ""
    git(repository, "fsck", "--strict")


def test_packs_are_indexed_anew_and_checked(sandbox: Sandbox, repository: Path) -> None:
    shell(sandbox, f"echo 2 >> file; {COMMIT}; git repack -q -a -d -l")
    shell(sandbox, "cd .git/objects/pack; chmod u+w *; for f in *.idx; do echo garbage > $f; done")
    assert sandbox.export(REF) == git(repository, "rev-parse", REF)


def test_a_damaged_pack_is_refused(sandbox: Sandbox, repository: Path) -> None:
    shell(
        sandbox, f"echo 2 >> file; {COMMIT}; git repack -q -a -d -l; chmod u+w .git/objects/pack/*"
    )
    damage = "printf XXXX | dd of=$f bs=1 seek=40 conv=notrunc status=none"
    shell(sandbox, f"for f in .git/objects/pack/*.pack; do {damage}; done")
    with pytest.raises(CorruptError):
        sandbox.export(REF)
    assert git(repository, "for-each-ref", "refs/stigmergy") == ""


def test_pipes_and_devices_in_place_of_objects_do_not_make_us_wait(
    sandbox: Sandbox, repository: Path
) -> None:
    oid = "12" * 20
    shell(sandbox, f"mkdir -p .git/objects/12; mkfifo .git/objects/12/{oid[2:]}; rm -f .git/HEAD")
    set_head(sandbox, oid)
    with pytest.raises(CorruptError):
        sandbox.export(REF)
    shell(sandbox, "rm .git/HEAD; mkfifo .git/HEAD")
    with pytest.raises(CorruptError):
        sandbox.export(REF)
    assert git(repository, "for-each-ref", "refs/stigmergy") == ""


_NEST = """
import os
for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
open("file", "w").close()
os.symlink("/", "link")
"""


def test_folders_nested_beyond_every_limit_are_removed(
    repository: Path, tmp_path: Path, factory: LocalSandboxes, sandbox: Sandbox
) -> None:
    ended = sandbox.run([sys.executable, "-c", _NEST])
    assert ended.code == 0
    sandbox.close()
    factory.open("T2", git(repository, "rev-parse", "main")).close()
    factory.close()
    assert sorted(entry.name for entry in (tmp_path / "state").iterdir()) == ["lock"]


def test_a_git_folder_among_tracked_files_is_gone_for_the_next(
    repository: Path, factory: LocalSandboxes
) -> None:
    (repository / "src").mkdir()
    (repository / "src" / "tracked").touch()
    commit_all(repository)
    head = git(repository, "rev-parse", "HEAD")
    first = factory.open("T1", head)
    shell(first, "git init --quiet src; git -C src config core.fsmonitor evil; echo x > src/new")
    first.close()
    second = factory.open("T2", head)
    assert shell(second, "ls -A src; git status --porcelain --ignored") == "tracked"


def test_what_a_killed_run_left_nested_is_removed_by_the_next(
    repository: Path, tmp_path: Path
) -> None:
    left = tmp_path / "state" / "boxes" / "1-T1"
    left.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", _NEST], cwd=left, check=True)
    with LocalSandboxes(repository, tmp_path / "state", SandboxSettings(confine="none")):
        assert not left.exists()


def test_a_link_in_what_is_removed_is_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("text\n")
    gone = tmp_path / "gone"
    (gone / "locked" / "inner").mkdir(parents=True)
    (gone / "locked" / "link").symlink_to(kept)
    (gone / "locked" / "inner").chmod(0)
    (gone / "locked").chmod(0)
    remove_tree(gone)
    assert not gone.exists()
    (tmp_path / "link").symlink_to(kept)
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "link")
    assert (kept / "file").read_text() == "text\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


_BIG = f"head -c 3000000 /dev/zero > a; head -c 3000001 /dev/zero > b; {COMMIT}"


@pytest.mark.parametrize("how", ["git repack -q -a -d -l", "true"], ids=["packed", "loose"])
@pytest.mark.parametrize(
    ("limit", "most"), [("MOST_BYTES", 4_000_000), ("_MOST_OBJECT_BYTES", 2_000_000)]
)
def test_objects_count_by_what_they_unpack_to(
    sandbox: Sandbox,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    limit: str,
    most: int,
) -> None:
    shell(sandbox, f"{_BIG}; {how}")
    monkeypatch.setattr(harvest, limit, most)
    with pytest.raises(CorruptError, match="it brings"):
        sandbox.export(REF)
    assert git(repository, "for-each-ref", "refs/stigmergy") == ""
    monkeypatch.undo()
    assert sandbox.export(REF) == git(repository, "rev-parse", REF)


def test_packed_objects_are_counted(
    sandbox: Sandbox, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell(sandbox, f"echo 2 >> file; {COMMIT}; git repack -q -a -d -l")
    monkeypatch.setattr(harvest, "MOST_OBJECTS", 2)  # a commit, a tree and a blob come
    with pytest.raises(CorruptError, match="more than 2 objects"):
        sandbox.export(REF)
    assert git(repository, "for-each-ref", "refs/stigmergy") == ""


@pytest.mark.parametrize("said", [3, 23, 99, 1 << 40])
def test_a_loose_object_is_judged_before_it_is_inflated(sandbox: Sandbox, said: int) -> None:
    size = 32 * 1024**2
    bomb = zlib.compress(f"blob {said}\0".encode() + bytes(size))
    sandbox.write_file(f"repo/.git/objects/ef/{'ef' * 19}", bomb)
    set_head(sandbox, "ef" * 20)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptError):
            sandbox.export(REF)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 4


def test_only_known_variables_are_passed_on(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_TOKEN", "secret")
    monkeypatch.setenv("LC_TIME", "C")
    lines: list[str] = []
    sandbox.run(["env"], on_line=lines.append)
    assert "LC_TIME=C" in lines
    assert not [line for line in lines if "secret" in line]


def test_nothing_is_left_for_the_next_sandbox(
    factory: LocalSandboxes, repository: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("text\n")
    (repository / "inner" / "deep").mkdir(parents=True)
    (repository / "inner" / "file").write_text("text\n")
    (repository / "inner" / "deep" / "file").write_text("text\n")
    (repository / ".gitignore").write_text("ignored\n")
    commit_all(repository)
    base = git(repository, "rev-parse", "HEAD")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{base},module")
    git(repository, "commit", "--quiet", "--message=a submodule")
    tip = git(repository, "rev-parse", "HEAD")
    first = factory.open("T1", tip)
    clean = listing(first)
    shell(
        first,
        "mkdir -p module/sub; echo note > module/sub/note; git init -q inner;"
        "echo note > inner/.git/note; echo 'gitdir: /' > inner/deep/.git; echo > ignored;"
        f"mkdir -p new/.git; echo note > new/.git/note; ln -s {outside} inner/link;"
        f"rm inner/deep/file; mkdir inner/deep/file; echo > inner/deep/file/note",
    )
    first.close()
    second = factory.open("T2", tip)
    assert listing(second) == clean
    assert shell(second, "git status --porcelain --ignored") == ""
    assert (outside / "kept").exists()


def listing(sandbox: Sandbox) -> str:
    return shell(sandbox, "find . -path ./.git -prune -o -print | sort")
