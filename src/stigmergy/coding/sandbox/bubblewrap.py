"""The bubblewrap command line: what a confined program sees of the machine, and nothing else."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from stigmergy.errors import UsageError

__all__ = ["HOME", "MODEL_SOCKET", "WORKSPACE", "Confinement", "copy_etc", "existing_folders"]

WORKSPACE = "/workspace"
HOME = "/home/agent"
MODEL_SOCKET = "/run/stigmergy/model.sock"

_SHM_BYTES = 512 * 1024**2
_PACKAGE = Path(__file__).resolve().parents[2]
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# What programs look up; no shadow, no ssh or TLS keys, no machine-id, no git or package settings.
_ETC = (
    "alternatives",
    "ca-certificates.conf",
    "debian_version",
    "group",
    "host.conf",
    "hosts",
    "java-*-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki/tls/certs",
    "pki/ca-trust/extracted",
    "profile",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)
_PROC_READ_ONLY = (
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/acpi",
    "/proc/scsi",
)
_ETC_NETWORK = ("resolv.conf", "gai.conf")


def existing_folders(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Paths that a user shares, made absolute.

    Raises:
        UsageError: one is not there.
    """
    found: list[Path] = []
    for path in paths:
        full = path.expanduser().absolute()
        if not full.exists():
            raise UsageError(f"the shared path {path} does not exist; mend `share`.")
        found.append(full)
    return tuple(found)


def copy_etc(target: Path, *, network: bool) -> None:
    """Make a folder with what programs look up in `/etc`, of what we may read ourselves.

    A copy, because binding thirty files one by one takes as long as all the rest of bubblewrap.
    """
    target.mkdir()
    root = Path("/etc")
    for pattern in _ETC + (_ETC_NETWORK if network else ()):
        for source in root.glob(pattern):
            copy = target / source.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, symlinks=True, copy_function=_copy_readable)
            else:
                _copy_readable(str(source), str(copy))


def _copy_readable(source: str, copy: str) -> None:
    with suppress(PermissionError, FileNotFoundError):
        shutil.copy2(source, copy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What the sandboxes of one factory have in common."""

    program: str
    """The path of `bwrap`."""
    etc: Path
    """What appears as `/etc`: see `copy_etc`."""
    readable: Sequence[Path]
    """Further folders and files that appear at their own paths, read-only."""
    network: bool
    path: str = field(init=False)
    """The part of our PATH that can be seen inside."""
    _common: list[str] = field(default_factory=list[str], init=False)
    _over_them: list[str] = field(default_factory=list[str], init=False)

    def __post_init__(self) -> None:
        self._common.extend(self._system_arguments())
        self._over_them.extend(self._shared_arguments())
        object.__setattr__(self, "path", self._visible_path())  # once; the class is frozen

    def argv(self, folder: Path, *, relay: Path | None) -> list[str]:
        """The command line up to the program.

        `folder` holds the `workspace`, `home` and `tmp` that are writable inside; `relay` is a
        Unix socket that appears as `MODEL_SOCKET`.
        """
        arguments = [self.program, *self._common]
        arguments += ["--bind", str(folder / "workspace"), WORKSPACE]
        arguments += ["--bind", str(folder / "home"), HOME]
        arguments += ["--bind", str(folder / "tmp"), "/tmp"]  # noqa: S108 # the sandbox's own
        arguments += self._over_them  # after /tmp, in which a shared path may lie
        if relay is not None:
            arguments += ["--ro-bind", str(relay), MODEL_SOCKET]
        return [*arguments, "--remount-ro", "/", "--chdir", "/", "--"]

    def _visible_path(self) -> str:
        roots = (Path("/usr"), *map(Path, _SYSTEM), *self._readable())
        found = [
            folder
            for folder in os.environ.get("PATH", "").split(":")
            if any(Path(folder).is_relative_to(root) for root in roots)
        ]
        return ":".join(found) or "/usr/local/bin:/usr/bin:/bin"

    def _system_arguments(self) -> list[str]:
        # As process 1 the supervisor cannot be signalled from inside, and saves bwrap's own.
        arguments = ["--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1"]
        arguments += ["--cap-drop", "ALL"]  # bwrap leaves them to root
        if self.network:
            arguments.append("--share-net")
        arguments += ["--hostname", "sandbox", "--ro-bind", "/usr", "/usr"]
        for path in map(Path, _SYSTEM):
            if path.is_symlink():
                arguments += ["--symlink", str(path.readlink()), str(path)]
            elif path.is_dir():
                arguments += ["--ro-bind", str(path), str(path)]
        arguments += ["--ro-bind", str(self.etc), "/etc"]
        arguments += ["--proc", "/proc"]
        # Root of the host, even without capabilities, owns these and could write them.
        for path in map(Path, _PROC_READ_ONLY):
            if path.exists():
                arguments += ["--ro-bind", str(path), str(path)]
        arguments += ["--dev", "/dev", "--size", str(_SHM_BYTES)]
        arguments += ["--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108 # the sandbox's own
        return arguments

    def _shared_arguments(self) -> list[str]:
        arguments: list[str] = []
        for path in self._readable():
            arguments += ["--ro-bind", str(path), str(path)]
        return arguments

    def _readable(self) -> list[Path]:
        """The given paths and our own Python; what lies in /usr is there already."""
        base = Path(sys.base_prefix)
        # A version manager may reach the interpreter through links: bind both ends.
        wanted = dict.fromkeys((Path(sys.prefix), base, base.resolve(), _PACKAGE, *self.readable))
        return [
            path for path in wanted if not path.is_relative_to("/usr") and os.path.lexists(path)
        ]
