from __future__ import annotations

import os
from pathlib import Path

from stigmergy.coding.sandbox.disk import remove_tree


def make_nest(top: Path, depth: int) -> None:
    """Folders in folders, far beyond the longest path that the system takes at once."""
    top.mkdir()
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("folder", dir_fd=here)
        inner = os.open("folder", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def test_however_deep_an_agent_nested_folders_they_are_removed(tmp_path: Path) -> None:
    make_nest(tmp_path / "nest", 3000)
    remove_tree(tmp_path / "nest")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_permissions_is_removed_and_a_link_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    locked = tmp_path / "top" / "locked"
    locked.mkdir(parents=True)
    (locked / "file").touch()
    (locked / "link").symlink_to(outside)
    locked.chmod(0)
    remove_tree(tmp_path / "top")
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "kept").exists()


def test_removing_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    remove_tree(tmp_path / "never")
