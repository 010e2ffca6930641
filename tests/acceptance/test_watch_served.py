"""`stig watch` of a board behind a real `stig serve`: what comes, and what keys do there."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stigmergy.board import Task, TaskBoard
from stigmergy.board.approvals import approval
from stigmergy.cli.watch.command import reached
from stigmergy.monitor import apply

STIG = Path(sys.executable).with_name("stig")
WITHIN_S = 60.0


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of a server of `board.db` in the folder, whose tokens are in `tokens`."""
    with TaskBoard(tmp_path / "board.db") as board:
        board.post(Task(task_type="work", task_id="cat"))
    command = [STIG, "serve", "--board", "board.db", "--port", "0", "--token-file", "tokens"]
    server = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert server.stdout is not None
    with server.stdout as lines:
        found = next(line for line in lines if line.startswith("http://"))
        yield found.split("#")[0].strip()
        server.terminate()
        lines.read()
    server.wait(WITHIN_S)


def test_a_served_board_is_seen_live_and_steered(address: str, tmp_path: Path) -> None:
    with (
        reached(
            run=None, board=address, token_file=tmp_path / "tokens", by="ann", repo=tmp_path
        ) as (feed, hands, _),
        TaskBoard(tmp_path / "board.db") as board,
        feed,
    ):
        first = feed.updates.get(timeout=WITHIN_S)
        assert first.snapshot is not None
        document = first.snapshot
        assert document["tasks"]["cat"]["status"] == "pending"
        hands.pause()
        assert board.rules().paused == ("*",)
        hands.resume()
        hands.want_agents(3)
        hands.cancel("cat")
        hands.retry("cat")
        board.post_many([approval("yes", "May it?"), approval("no", "May it?")])
        hands.approve("yes")
        hands.refuse("no", "not now")
        board.post(Task(task_type="work", task_id="dog"))
        until = time.monotonic() + WITHIN_S
        while "dog" not in document["tasks"]:
            update = feed.updates.get(timeout=max(0.1, until - time.monotonic()))
            assert update.delta is not None, update.trouble
            document = apply(document, update.delta)
        assert document["tasks"]["cat"]["status"] == "pending"
        assert document["paused"] == []
        assert document["votes"]["yes"]["state"] == "approved"
        refused = document["votes"]["no"]
        assert (refused["state"], refused["by"], refused["reason"]) == ("refused", "ann", "not now")
        kinds = [event.kind for event in board.events()]
        assert {"paused", "resumed", "agents_wanted", "cancelled", "retried"} <= set(kinds)
