"""A sandbox's own `.git`: its refs and index are private, its objects are the user's, read-only.

Nothing of the user's configuration comes in. Files are checked out byte for byte: no filters, no
line-ending or encoding conversion, so nothing that a repository's attributes name is ever run.
A file in Git LFS therefore appears as its pointer.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stigmergy.coding.git.process import run_git
from stigmergy.errors import CorruptError

__all__ = ["BRANCH", "ObjectStore", "isolated", "write_git_dir", "write_start"]

BRANCH = "refs/heads/work"
_MOST_ALTERNATES = 16

_CONFIG = """\
[core]
\trepositoryformatversion = {version}
\tfilemode = true
\tbare = false
\tlogallrefupdates = false
\thooksPath = /dev/null
\tautocrlf = false
\tfsmonitor = false
[index]
\tversion = 2
[splitIndex]
\tsharedIndexExpire = never
[gc]
\tauto = 0
[maintenance]
\tauto = false
[commit]
\tgpgSign = false
[advice]
\tdetachedHead = false
"""
_SHA256 = "[extensions]\n\tobjectFormat = sha256\n"

# The strongest attributes there are: a `.gitattributes` in the tree cannot bring a filter back.
_ATTRIBUTES = "* -text -filter -ident -working-tree-encoding\n"


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """Where the user's repository keeps its objects."""

    git_dir: Path
    folders: tuple[Path, ...]
    """Its object folder, then those that it borrows from."""
    digest: Callable[[bytes], bytes]
    """The hash that names its objects."""
    shallow: bytes | None

    @classmethod
    def of(cls, git_dir: Path) -> ObjectStore:
        """Look at a repository by its (common) git folder."""
        asked = (
            "rev-parse",
            "--show-object-format",
            "--git-path",
            "objects",
            "--git-path",
            "shallow",
        )
        answer = run_git(asked, cwd=git_dir).stdout
        kind, objects, shallow = answer.removesuffix(b"\n").split(b"\n", 2)
        marks = git_dir / os.fsdecode(shallow)
        return cls(
            git_dir=git_dir,
            folders=_with_alternates((git_dir / os.fsdecode(objects)).resolve()),
            digest=_sha256 if kind == b"sha256" else _sha1,
            shallow=marks.read_bytes() if marks.is_file() else None,
        )

    @property
    def width(self) -> int:
        """The length of an object id in bytes."""
        return len(self.digest(b""))


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _with_alternates(objects: Path) -> tuple[Path, ...]:
    found = [objects]
    for folder in found:
        listed = folder / "info" / "alternates"
        if not listed.is_file():
            continue
        for line in listed.read_bytes().splitlines():
            if line and not line.startswith(b"#"):
                other = (folder / os.fsdecode(line)).resolve()
                if other.is_dir() and other not in found:
                    found.append(other)
        if len(found) > _MOST_ALTERNATES:
            raise CorruptError(
                f"{objects} borrows objects from more than {_MOST_ALTERNATES} folders",
                where=str(listed),
            )
    return tuple(found)


def write_git_dir(folder: Path, store: ObjectStore) -> None:
    """Make a `.git` without commits and index: what all sandboxes have in common."""
    for name in ("info", "objects/info", "objects/pack", "refs/heads"):
        (folder / name).mkdir(parents=True)
    is_sha256 = store.width == 32
    config = _CONFIG.format(version=int(is_sha256)) + (_SHA256 if is_sha256 else "")
    (folder / "config").write_text(config)
    (folder / "HEAD").write_text(f"ref: {BRANCH}\n")
    (folder / "info/attributes").write_text(_ATTRIBUTES)
    lines = b"".join(os.fsencode(objects) + b"\n" for objects in store.folders)
    (folder / "objects/info/alternates").write_bytes(lines)
    if store.shallow is not None:
        (folder / "shallow").write_bytes(store.shallow)


def write_start(folder: Path, commit: str, index: bytes) -> None:
    """Put a `.git` onto a commit: its branch and its index."""
    heads = folder / "refs" / "heads"
    heads.mkdir(parents=True, exist_ok=True)
    (heads / "work").write_text(commit + "\n")
    (folder / "index").write_bytes(index)


def isolated(git_dir: Path, work_tree: Path) -> Mapping[str, str]:
    """The environment for git on our own folders, without the user's and the machine's settings."""
    return {
        "GIT_DIR": str(git_dir),
        "GIT_WORK_TREE": str(work_tree),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "0",
    }
