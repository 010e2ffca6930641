"""What a planner may ask of the repository: reading and searching at one commit, bounded.

The answers are texts for a model, a mistake in a question as well: it can be asked again.
"""

from __future__ import annotations

import difflib
from typing import Final

from stigmergy.coding.git.process import GitError
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.plan.globs import pattern_fault, pattern_matches
from stigmergy.coding.plan.view import render_tree

__all__ = ["RepositoryTools"]

MAX_ANSWER_CHARS: Final = 20_000
MAX_HITS: Final = 100
MAX_HIT_CHARS: Final = 300
SEARCH_TIMEOUT_S: Final = 20.0


class RepositoryTools:
    """Thread-safe, read-only. Nothing outside the commit can be reached."""

    def __init__(self, repository: Repository, commit: str) -> None:
        self._repository = repository
        self._commit = commit
        entries = repository.ls_tree(commit)
        self._oids = {entry.path: entry.oid for entry in entries if entry.mode.startswith("100")}

    def read_file(self, path: str, start_line: int = 1, end_line: int | None = None) -> str:
        """Read a file, or the lines from start_line to end_line of it (counted from 1).

        Args:
            path: relative to the repository's root.
            start_line: the first line wanted.
            end_line: the last line wanted; all to the end if not given.
        """
        oid = self._oids.get(path)
        if oid is None:
            near = difflib.get_close_matches(path, self._oids, n=3)
            return f"There is no file {path!r}." + (f" Near: {', '.join(near)}." if near else "")
        data = self._repository.blob(oid)
        if b"\0" in data[:8000]:
            return f"{path!r} is binary ({len(data)} bytes)."
        lines = data.decode(errors="replace").splitlines()
        first, last = max(start_line, 1), min(end_line or len(lines), len(lines))
        return _bounded("\n".join(lines[first - 1 : last]) or "(no such lines)")

    def search(self, pattern: str, glob: str = "**") -> str:
        """Search all text files for an extended regular expression; hits are `path:line:text`.

        Args:
            pattern: a POSIX extended regular expression, matched within a line.
            glob: only files that it means, such as src/**/*.py.
        """
        if (fault := pattern_fault(glob)) is not None:
            return f"The glob {glob!r} {fault}."
        try:
            done = self._repository.git(
                "grep", "-I", "-n", "-E", "-z", "--max-count=20", "-e", pattern, self._commit,
                accept=(0, 1), timeout_s=SEARCH_TIMEOUT_S,
            )  # fmt: skip
        except GitError as error:
            return f"The search failed: {error.stderr[:500]}"
        hits: list[str] = []
        for line in done.stdout.decode(errors="replace").splitlines():
            name, _, rest = line.partition("\0")
            path = name.removeprefix(f"{self._commit}:")
            if pattern_matches(glob, path):
                number, _, text = rest.partition("\0")
                hits.append(f"{path}:{number}:{text[:MAX_HIT_CHARS]}")
        more = [f"… and {len(hits) - MAX_HITS} more"] if len(hits) > MAX_HITS else []
        return _bounded("\n".join([*hits[:MAX_HITS], *more]) or "No hits.")

    def list_files(self, glob: str = "**") -> str:
        """List the tracked files that a glob means; large folders are shown by their counts.

        Args:
            glob: such as src/**/*.py or src/core.
        """
        if (fault := pattern_fault(glob)) is not None:
            return f"The glob {glob!r} {fault}."
        found = [path for path in self._oids if pattern_matches(glob, path)]
        return _bounded(render_tree(found)) if found else "No files."


def _bounded(text: str) -> str:
    if len(text) <= MAX_ANSWER_CHARS:
        return text
    return f"{text[:MAX_ANSWER_CHARS]}\n[… cut; ask for less]"
