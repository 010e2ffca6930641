"""Bring a sandbox's commits into the user's repository, with its `.git` taken for hostile.

Nothing in the sandbox's `.git` steers a process of ours: no git ever runs with it as its
repository, so its configuration, hooks, alternates and index mean nothing. HEAD is read as a short
text; objects are read as bytes, never through a link, packed anew, and given to a
`git unpack-objects --strict` of the user's repository, which names each object by its content,
checks its form, and refuses what links to an object that is not there.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stigmergy.coding.git.objects import check_ref
from stigmergy.coding.git.process import GitError, run_git
from stigmergy.coding.git.reader import ObjectReader
from stigmergy.coding.sandbox.disk import open_layered, read_layered
from stigmergy.coding.sandbox.gitdir import ObjectStore
from stigmergy.coding.sandbox.treediff import GITLINK, parse_tree
from stigmergy.errors import CorruptError, NotFoundError

__all__ = ["MOST_BYTES", "MOST_OBJECTS", "Harvest", "read_head"]

MOST_OBJECTS = 200_000
MOST_BYTES = 1024**3
"""Of the new objects together, unpacked."""
_MOST_OBJECT_BYTES = 512 * 1024**2

_OBJECTS = ".git/objects"
_KINDS = {"commit": 1, "tree": 2, "blob": 3}
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_HEADER = re.compile(rb"(?P<kind>commit|tree|blob) (?P<size>0|[1-9][0-9]{0,18})\0")
_HEADER_BYTES = 32
"""Enough for every header."""
_FAN_OUT = re.compile(r"[0-9a-f]{2}")
_BRANCH = re.compile(r"refs/heads/[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")
_PACK_FILE = re.compile(r"pack-[0-9a-f]{40,64}\.pack")


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """Where the commits lie, and where they go."""

    layers: Sequence[Path]
    """The checkout's layers, the writable one first; objects are looked for in that one only."""
    store: ObjectStore
    reader: ObjectReader
    scratch: Path
    """A folder that the sandbox cannot reach."""

    def bring(self, base: str, ref: str) -> str | None:
        """Set `ref` to the sandbox's HEAD with all that it needs; None when HEAD is `base`.

        Raises:
            CorruptError: HEAD or the objects are not what git would have made, are too large, or
                HEAD does not descend from `base`. Nothing points to them then.
        """
        check_ref(ref)
        head = read_head(self.layers, width=self.store.width)
        if head == base:
            return None
        if self._has_packs():
            pack, follows = self._repacked(base, head), False
        else:
            pack, follows = self._packed(base, head)
        git_dir = self.store.git_dir
        try:
            run_git(("unpack-objects", "-q", "--strict"), cwd=git_dir, stdin=pack)
        except GitError as error:
            raise _refused(head, error.stderr) from error
        self._see_commit(head)
        if not follows:
            asked = ("merge-base", "--is-ancestor", base, head)
            if run_git(asked, cwd=git_dir, accept=(0, 1)).code == 1:
                raise _refused(head, f"it does not descend from {base}, where the task started")
        run_git(("update-ref", ref, head), cwd=git_dir)
        return head

    def _see_commit(self, head: str) -> None:
        try:
            kind, _ = self.reader.read(head)
        except NotFoundError as error:
            raise _refused(head, "there is no such object") from error
        if kind != "commit":
            raise _refused(head, f"it is a {kind}, not a commit")

    # Loose objects: the common case, without a process

    def _packed(self, base: str, head: str) -> tuple[bytes, bool]:
        """A pack of what HEAD reaches and the sandbox made; and whether `base` is seen below it."""
        objects: list[tuple[str, bytes]] = []
        follows = False
        for kind, content, links in self._reachable(head):
            follows = follows or (kind == "commit" and base in links)
            objects.append((kind, content))
        return _pack(objects, self.store.digest), follows

    def _reachable(self, head: str) -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
        # What is not there the user's repository has, or the strict unpacking will miss it.
        loose = self._loose()
        taken = _Taken(head)
        waiting, seen = [head], {head}
        while waiting:
            oid = waiting.pop()
            if oid not in loose:
                continue
            data = read_layered(
                self.layers[:1],
                f"{_OBJECTS}/{oid[:2]}/{oid[2:]}",
                max_bytes=_MOST_OBJECT_BYTES,
            )
            if data is None:
                continue  # a whiteout
            kind, content = _inflate(oid, data, taken)
            links = _links(oid, kind, content)
            # A tree has an object twice where a folder or a file was copied; a pack may not.
            waiting += [link for link in dict.fromkeys(links) if link not in seen]
            seen.update(links)
            yield kind, content, links

    def _loose(self) -> frozenset[str]:
        """The ids of the loose objects: a tree links to many more, and a look-up of each costs."""
        return frozenset(
            folder + name
            for folder in self._names(_OBJECTS)
            if _FAN_OUT.fullmatch(folder) is not None
            for name in self._names(f"{_OBJECTS}/{folder}")
            if _OID.fullmatch(folder + name) is not None
        )

    # Packs: the agent ran `git gc`

    def _has_packs(self) -> bool:
        return any(_PACK_FILE.fullmatch(name) for name in self._names(f"{_OBJECTS}/pack"))

    def _names(self, folder: str) -> list[str]:
        handle = open_layered(self.layers[:1], folder)
        if handle is None:
            return []
        try:
            return os.listdir(handle)  # noqa: PTH208 # of a descriptor
        except NotADirectoryError:
            return []
        finally:
            os.close(handle)

    def _repacked(self, base: str, head: str) -> bytes:
        with tempfile.TemporaryDirectory(dir=self.scratch) as made:
            objects = Path(made)
            (objects / "pack").mkdir()
            self._copy_objects(objects)
            environment = {
                "GIT_DIR": str(self.store.git_dir),
                # Relative to the working folder, so that no path needs quoting.
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": ".",
            }
            try:
                for pack in (objects / "pack").glob("*.pack"):
                    asked = ("index-pack", f"pack/{pack.name}")  # never trust an index that came
                    run_git(asked, cwd=objects, env=environment)
                asked = ("rev-list", "--objects", "--no-object-names", head, f"^{base}")
                oids = run_git(asked, cwd=objects, env=environment).stdout
                # Only sizes are read so far: what is small in a pack may be huge outside of it.
                asked = ("cat-file", "--batch-check=%(objectsize)", "--buffer")
                sizes = run_git(asked, cwd=objects, env=environment, stdin=oids).stdout
                _see_sizes(head, sizes)
                asked = ("pack-objects", "--stdout", "-q")
                return run_git(asked, cwd=objects, env=environment, stdin=oids).stdout
            except GitError as error:
                raise _refused(head, error.stderr) from error

    def _copy_objects(self, target: Path) -> None:
        names = [
            f"pack/{name}" for name in self._names(f"{_OBJECTS}/pack") if _PACK_FILE.fullmatch(name)
        ]
        names += [f"{oid[:2]}/{oid[2:]}" for oid in self._loose()]
        left = MOST_BYTES
        for name in names:
            data = read_layered(self.layers[:1], f"{_OBJECTS}/{name}", max_bytes=left)
            if data is not None:
                left -= len(data)
                (target / name).parent.mkdir(exist_ok=True)
                (target / name).write_bytes(data)


@dataclass(slots=True)
class _Taken:
    """What of the limits on new objects is used up."""

    head: str
    objects: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        """Count an object, before its content is in memory.

        Raises:
            CorruptError: it is too large, or one too many.
        """
        self.objects += 1
        self.size += size
        if size > _MOST_OBJECT_BYTES:
            raise _refused(self.head, f"it brings an object of {size} bytes")
        if self.objects > MOST_OBJECTS or self.size > MOST_BYTES:
            limit = f"{MOST_OBJECTS} objects or {MOST_BYTES} bytes"
            raise _refused(self.head, f"it brings more than {limit}")


def _see_sizes(head: str, sizes: bytes) -> None:
    taken = _Taken(head)
    for line in sizes.splitlines():
        if not line.isdigit():
            raise _refused(head, f"an object is missing: {line[:100].decode(errors='replace')}")
        taken.add(int(line))


def read_head(layers: Sequence[Path], *, width: int) -> str:
    """The commit that HEAD names.

    Raises:
        CorruptError: it names none.
    """
    text = _ref_text(layers, ".git/HEAD")
    if text.startswith("ref: "):
        name = text.removeprefix("ref: ").strip()
        if _BRANCH.fullmatch(name) is None or any(
            part in {"", ".", ".."} for part in name.split("/")
        ):
            raise _no_head("it points outside of refs/heads")
        text = _ref_text(layers, f".git/{name}", packed=name)
    oid = text.strip()
    if _OID.fullmatch(oid) is None or len(oid) != 2 * width:
        raise _no_head(f"{oid[:80]!r} is not an object id")
    return oid


def _ref_text(layers: Sequence[Path], path: str, *, packed: str | None = None) -> str:
    data = read_layered(layers, path, max_bytes=4096)
    if data is None and packed is not None:
        lines = read_layered(layers, ".git/packed-refs", max_bytes=1024**2) or b""
        found = (line.split(b" ", 1) for line in lines.splitlines() if b" " in line)
        data = next((oid for oid, name in found if name == packed.encode()), None)
    if data is None:
        raise _no_head(f"there is no {path}")
    return data.decode(errors="replace")


def _no_head(reason: str) -> CorruptError:
    return CorruptError(f"the sandbox's HEAD cannot be read: {reason}", where=".git/HEAD")


def _refused(head: str, reason: str) -> CorruptError:
    return CorruptError(f"the sandbox's commit {head} was refused: {reason}", where=head)


def _inflate(oid: str, data: bytes, taken: _Taken) -> tuple[str, bytes]:
    """Kind and content of a loose object's bytes.

    Its header is judged first: a few kilobytes may hold a gigabyte.
    """
    stream = zlib.decompressobj()
    try:
        start = stream.decompress(data, _HEADER_BYTES)
        found = _HEADER.match(start)
        if found is None:
            raise CorruptError(f"object {oid} is not a git object", where=oid)
        size = int(found["size"])
        taken.add(size)
        content = start[found.end() :]
        # One byte more than there should be, so that the stream is read to its end; 0 is no limit.
        left = max(size - len(content), 0) + 1
        content += stream.decompress(stream.unconsumed_tail, left)
    except zlib.error as error:
        raise CorruptError(f"object {oid} is not compressed data: {error}", where=oid) from error
    if not stream.eof or len(content) != size:
        raise CorruptError(f"object {oid} is not as long as it says", where=oid)
    return found["kind"].decode(), content


def _links(oid: str, kind: str, content: bytes) -> tuple[str, ...]:
    """The objects that one refers to."""
    try:
        if kind == "tree":
            entries = parse_tree(content, oid).values()
            return tuple(entry.oid for entry in entries if entry.mode != GITLINK)
        if kind == "commit":
            head = content.partition(b"\n\n")[0].decode(errors="replace").splitlines()
            lines = (line.partition(" ") for line in head)
            found = tuple(value for key, _, value in lines if key in {"tree", "parent"})
            if all(_OID.fullmatch(link) for link in found):
                return found
    except (ValueError, IndexError) as error:
        raise CorruptError(f"object {oid} is not a {kind}: {error}", where=oid) from error
    if kind == "blob":
        return ()
    raise CorruptError(f"object {oid} is not a {kind}", where=oid)


def _pack(objects: Sequence[tuple[str, bytes]], digest: Callable[[bytes], bytes]) -> bytes:
    """A pack without deltas. Source: git's `Documentation/gitformat-pack.txt`."""
    parts = [struct.pack(">4sII", b"PACK", 2, len(objects))]
    for kind, content in objects:
        size = len(content)
        byte = _KINDS[kind] << 4 | size & 0xF
        size >>= 4
        head = bytearray()
        while size:
            head.append(byte | 0x80)
            byte = size & 0x7F
            size >>= 7
        head.append(byte)
        parts += [bytes(head), zlib.compress(content, 1)]
    body = b"".join(parts)
    return body + digest(body)
