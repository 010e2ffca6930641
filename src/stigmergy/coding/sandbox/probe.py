"""What this machine lets sandboxes do, found out by doing it once."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stigmergy.coding.sandbox.places import mount_argv, python

__all__ = ["Ability", "bubblewrap", "overlay"]

_TIMEOUT_S = 20.0
_INSTALL = (
    "install bubblewrap (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap)"
)


@dataclass(frozen=True, slots=True)
class Ability:
    """Whether something works here, and why not or how."""

    available: bool
    reason: str


@functools.cache
def bubblewrap() -> Ability:
    """Whether programs can be confined with bubblewrap; `reason` is its path where they can."""
    if sys.platform != "linux":
        return Ability(available=False, reason="bubblewrap needs Linux")
    program = shutil.which("bwrap")
    if program is None:
        return Ability(available=False, reason=f"bwrap is not on PATH: {_INSTALL}")
    argv = [program, "--unshare-all", "--as-pid-1", "--die-with-parent", "--ro-bind", "/", "/"]
    argv += ["--proc", "/proc", "--dev", "/dev", "--size", "65536", "--tmpfs", "/tmp"]  # noqa: S108 - a mount point inside
    said = _try([*argv, "--", python(), "-I", "-S", "-c", ""])
    if said is None:
        return Ability(available=True, reason=program)
    return Ability(
        available=False,
        reason=f"bwrap does not work here: {said} (it needs user namespaces: see "
        "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, "
        "user.max_user_namespaces)",
    )


@functools.cache
def overlay(folder: Path, confine: str | None) -> Ability:
    """Whether overlays can be mounted over `folder`, by root or in a user namespace.

    `confine` is the path of `bwrap` when it is to run within.
    """
    if sys.platform != "linux":
        return Ability(available=False, reason="overlay file systems need Linux")
    with tempfile.TemporaryDirectory(dir=folder, prefix="probe-") as made:
        root = Path(made)
        for name in ("lower", "upper", "work", "target"):
            (root / name).mkdir()
        (root / "lower" / "below").touch()
        target = root / "target"
        check = "import os, sys; os.stat(sys.argv[1] + '/below'); open(sys.argv[1] + '/above', 'w')"
        within: Sequence[str] = ()
        if confine is not None:
            within = (confine, "--unshare-all", "--dev-bind", "/", "/", "--")
        argv = mount_argv(root, "lower", "upper", "work", "target")
        said = _try([*argv, *within, python(), "-I", "-S", "-c", check, str(target)])
        seen = (root / "upper" / "above").exists()
    if said is None and seen:
        return Ability(available=True, reason="mounted by root or in a user namespace")
    return Ability(available=False, reason=said or "what was written did not reach the upper layer")


def _try(argv: Sequence[str]) -> str | None:
    """Run it; None when it went well, else what it said."""
    try:
        ended = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"it did not end within {_TIMEOUT_S:g} s"
    except OSError as error:
        return str(error)
    if ended.returncode == 0:
        return None
    text = ended.stderr.decode(errors="replace").strip().removeprefix("stigmergy: ")
    return text[-400:] or f"it ended with {ended.returncode}"
