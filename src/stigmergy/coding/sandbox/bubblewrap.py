"""The bubblewrap command line: what a confined program sees of the machine, and nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stigmergy.errors import UsageError

__all__ = ["HOME", "MODEL_SOCKET", "WORKSPACE", "Confinement", "existing_folders"]

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
    "java-17-openjdk",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What the sandboxes of one factory have in common."""

    program: str
    """The path of `bwrap`."""
    readable: Sequence[Path]
    """Further folders and files that appear at their own paths, read-only."""
    network: bool
    model_socket: Path | None
    _common: list[str] = field(default_factory=list[str], init=False)
    _over_them: list[str] = field(default_factory=list[str], init=False)

    def __post_init__(self) -> None:
        self._common.extend(self._system_arguments())
        self._over_them.extend(self._shared_arguments())

    def argv(self, workspace: Path, home: Path, temporary: Path) -> list[str]:
        """The command line up to the program; the named folders are writable inside."""
        return [
            self.program,
            *self._common,
            *("--bind", str(workspace), WORKSPACE),
            *("--bind", str(home), HOME),
            *("--bind", str(temporary), "/tmp"),  # noqa: S108 # the sandbox's own
            *self._over_them,  # after /tmp, in which a shared path may lie
            *("--remount-ro", "/", "--chdir", "/"),
            "--",
        ]

    def path(self) -> str:
        """The part of our PATH that can be seen inside."""
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
        names = _ETC + (_ETC_NETWORK if self.network else ())
        for path in (Path("/etc") / name for name in names):
            if path.exists():
                arguments += ["--ro-bind", str(path), str(path)]
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
        if self.model_socket is not None and not self.network:
            arguments += ["--ro-bind", str(self.model_socket), MODEL_SOCKET]
        return arguments

    def _readable(self) -> list[Path]:
        """The given paths and our own Python; what lies in /usr is there already."""
        base = Path(sys.base_prefix)
        # A version manager may reach the interpreter through links: bind both ends.
        wanted = dict.fromkeys((Path(sys.prefix), base, base.resolve(), _PACKAGE, *self.readable))
        return [
            path for path in wanted if not path.is_relative_to("/usr") and os.path.lexists(path)
        ]
