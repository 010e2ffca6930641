"""Paths that a model names: inside the repository, not through links, not into `.git`.

The sandbox is what keeps a program in; these checks keep a mistaken call from doing harm, and
their texts teach the model the right one.
"""

from __future__ import annotations

import os
import stat

__all__ = ["ToolError", "resolve"]

_MOST_PARTS = 100
"""Folders nested deeper break tools, beginning with `os.makedirs`, which calls itself."""


class ToolError(Exception):
    """A tool could not do what was asked; the text goes to the model."""


def resolve(root: str, path: str) -> str:
    """The absolute form of `path`, which is relative to `root`.

    Raises:
        ToolError: it leads out of the repository, into `.git`, or through a link, or is too deep.
    """
    if "\0" in path:
        raise ToolError("a path cannot hold a NUL character")
    relative = os.path.relpath(path, root) if os.path.isabs(path) else path
    parts = [part for part in relative.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise ToolError(
            f"{path!r} leads out of the repository: give a path relative to its root, without '..'"
        )
    if not parts:
        raise ToolError("name a file: this path is the repository's root")
    if len(parts) > _MOST_PARTS:
        raise ToolError(
            f"this path has {len(parts):,} parts: give one with at most {_MOST_PARTS}, "
            "nested less deeply"
        )
    # Git refuses these names too: on some file systems they are the same folder.
    if any(part.lower().rstrip(". ") == ".git" for part in parts):
        raise ToolError(f"{path!r} is git's own: use the commit tool")
    _refuse_links(root, parts)
    return os.path.join(root, *parts)


def _refuse_links(root: str, parts: list[str]) -> None:
    at = root
    for depth, part in enumerate(parts, start=1):
        at = os.path.join(at, part)
        try:
            mode = os.lstat(at).st_mode
        except FileNotFoundError:
            return
        except OSError as error:  # a component that is a file, a name that is too long
            raise ToolError(f"{'/'.join(parts)}: {error.strerror}") from None
        if stat.S_ISLNK(mode):
            name = "/".join(parts[:depth])
            raise ToolError(f"{name!r} is a link to {os.readlink(at)!r}: use that path instead")
