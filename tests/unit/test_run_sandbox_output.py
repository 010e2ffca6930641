"""A listener that fails on what a program wrote last leaves nothing open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from stigmergy.coding.git.repository import Repository
from stigmergy.coding.sandbox.local import LocalSandboxes
from stigmergy.coding.sandbox.sandbox import SandboxSettings


class _BoardIsFullError(Exception):
    pass


def test_a_listener_that_fails_closes_the_pipes_all_the_same(
    make_repository: Callable[[Mapping[str, str | bytes]], Path], tmp_path: Path
) -> None:
    repository = make_repository({"a": "a\n"})
    with Repository(repository) as opened:
        start = opened.rev_parse("HEAD")

    def fail(line: str) -> None:
        raise _BoardIsFullError(line)

    settings = SandboxSettings(confine="none")
    with LocalSandboxes(repository, tmp_path / "state", settings) as factory:
        sandbox = factory.open("one", start)
        with pytest.raises(_BoardIsFullError, match="said"):
            # There is always more to read when the listener has failed, and that fails as well.
            sandbox.run(["yes", "said"], on_line=fail)
    # `no_leaks` of conftest looks for open pipes and processes.
