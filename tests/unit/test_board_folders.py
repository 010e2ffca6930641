"""Folders that a power cut does not take away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stigmergy.board import Limits, Task, TaskBoard
from stigmergy.board.folders import make_folder


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were synced, in order."""
    folders: list[Path] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.is_dir():
            folders.append(path)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return folders


def test_each_folder_that_holds_a_new_one_is_synced(tmp_path: Path, synced: list[Path]) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    make_folder(tmp_path / "a" / "b" / "c")
    assert len(synced) == 3, "there was nothing to make"


def test_a_folder_in_one_that_cannot_be_read_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refused)
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("kind", ["tasks", "board.db"])
def test_whatever_folder_a_board_makes_is_on_disk(
    tmp_path: Path, synced: list[Path], kind: str
) -> None:
    with TaskBoard(tmp_path / "new" / kind, limits=Limits(payload_bytes=10)) as board:
        board.post(Task(task_type="work", payload={"text": "long enough for a file"}))
    folders = {path for path in (tmp_path / "new").rglob("*") if path.is_dir()}
    assert len(folders) >= 2
    assert {folder.parent for folder in folders} | {tmp_path} <= set(synced)
