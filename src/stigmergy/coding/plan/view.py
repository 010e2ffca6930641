"""The repository as the planner reads it: a bounded text, made from what stands at one commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stigmergy.coding.git.repository import Repository

__all__ = ["RepoView", "read_view", "render_tree", "render_view"]

DOCUMENTS: Final = ("SPEC.md", "README.md", "AGENTS.md", "FEATURES.json")
MAX_DOCUMENT_CHARS: Final = 20_000
MAX_TREE_LINES: Final = 300
MAX_COMMITS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoView:
    """What there is at a commit, as far as a planner is shown it unasked."""

    commit: str
    paths: tuple[str, ...]
    log: tuple[str, ...] = ()
    """Abbreviated id and subject, the latest first."""
    documents: Mapping[str, str]
    """The root's specification files by name, cut to `MAX_DOCUMENT_CHARS`."""


def read_view(repository: Repository, commit: str) -> RepoView:
    """Read what a planner is shown."""
    entries = repository.ls_tree(commit)
    log = repository.git("log", f"-{MAX_COMMITS}", "--format=%h %s", commit)
    wanted = {name.lower() for name in DOCUMENTS}
    return RepoView(
        commit=commit,
        paths=tuple(entry.path for entry in entries),
        log=tuple(log.stdout.decode(errors="replace").splitlines()),
        documents={
            entry.path: _bounded(repository.blob(entry.oid).decode(errors="replace"))
            for entry in entries
            if entry.path.lower() in wanted and entry.mode.startswith("100")
        },
    )


def render_view(view: RepoView) -> str:
    """The view as text for a model. Pure."""
    parts = [
        f"# Repository at commit {view.commit[:12]}",
        f"## {len(view.paths)} files\n{render_tree(view.paths)}",
        "## Latest commits\n" + ("\n".join(view.log) or "(none)"),
    ]
    parts += [f"## {name}\n{_fenced(text)}" for name, text in view.documents.items()]
    return "\n\n".join(parts)


def render_tree(paths: Sequence[str], *, max_lines: int = MAX_TREE_LINES) -> str:
    """The files, or so many levels of folders as fit, each with how many files it has. Pure."""
    if len(paths) <= max_lines:
        return "\n".join(sorted(paths)) or "(empty)"
    deepest = max(path.count("/") for path in paths) + 1
    for depth in range(deepest, 0, -1):
        lines = _folded(paths, depth)
        if len(lines) <= max_lines:
            return "\n".join(lines)
    lines = _folded(paths, 1)
    return "\n".join([*lines[:max_lines], f"… and {len(lines) - max_lines} more"])


def _folded(paths: Sequence[str], depth: int) -> list[str]:
    counts = Counter("/".join(path.split("/")[:depth]) for path in paths)
    files = set(paths)
    return [
        name if name in files else f"{name}/ ({count} files)"
        for name, count in sorted(counts.items())
    ]


def _bounded(text: str) -> str:
    if len(text) <= MAX_DOCUMENT_CHARS:
        return text
    left = len(text) - MAX_DOCUMENT_CHARS
    return f"{text[:MAX_DOCUMENT_CHARS]}\n[… {left} more characters; read_file has the rest]"


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text.rstrip()}\n{fence}"
