"""Installs Debian packages, where this user may do so without being asked for a password.

Never raises over a package that cannot be had: the caller decides whether it can go on without.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Needed", "apt_prefix", "install", "main"]


@dataclass(frozen=True)
class Needed:
    """A program that tests use, the package that brings it, and what is skipped without it."""

    program: str
    package: str
    purpose: str
    off_path: str = ""
    """A pattern of where it lies, from the root, if its package keeps it off PATH."""

    def is_there(self) -> bool:
        """Whether this machine has it."""
        if shutil.which(self.program) is not None:
            return True
        return bool(self.off_path) and any(Path("/").glob(self.off_path))


TEST_PROGRAMS = (
    Needed("git", "git", "every test with a repository"),
    Needed("bwrap", "bubblewrap", "the tests of confined sandboxes"),
    Needed("strace", "strace", "the tests of power cuts"),
    Needed("faketime", "faketime", "the tests of clocks that jump"),
    Needed("ip", "iproute2", "the tests of networks that fail"),
    Needed("pgbouncer", "pgbouncer", "the tests behind a pooler of PostgreSQL"),
    Needed("initdb", "postgresql", "the tests on PostgreSQL", "usr/lib/postgresql/*/bin/initdb"),
    Needed("wast2json", "wabt", "the tests that read WebAssembly's own suite"),
    Needed("chromium", "chromium", "the tests of the dashboard"),
    Needed("clang", "clang", "the tests that compile programs to WebAssembly"),
    Needed("wasm-ld", "lld", "the tests that link programs to WebAssembly"),
    Needed(
        "lvp_icd",
        "mesa-vulkan-drivers",
        "the tests on a GPU's driver (lavapipe)",
        "usr/share/vulkan/icd.d/lvp_icd*.json",
    ),
)
BACKPORTED = ("mesa-vulkan-drivers",)
"""Taken from Debian's backports where there are any: lavapipe before Mesa 23 stops loops early."""
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/no-cluster-of-stigmergy.conf")
"""Read by Debian's package, which otherwise makes a database cluster that starts at every boot."""


def apt_prefix() -> tuple[str, ...] | None:
    """How to run apt-get here, or None where there is no apt-get or no right to use it."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return ()
    if shutil.which("sudo") is None:
        return None
    passwordless = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
    return ("sudo", "-n") if passwordless.returncode == 0 else None


def install(packages: Sequence[str]) -> str | None:
    """Install packages; None when it went well, otherwise why it did not, in one sentence."""
    prefix = apt_prefix()
    by_hand = f"sudo apt-get install {' '.join(packages)}"
    if prefix is None:
        return f"this user may not install packages here; ask someone who may to run: {by_hand}"
    print(f"Installing the system package {', '.join(packages)} …", flush=True)
    # RUNLEVEL=1 starts no service of a package. `env` because sudo drops variables; a fresh machine
    # has no package lists, hence the update.
    apt = [*prefix, "env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    update = subprocess.run([*apt, "update"], capture_output=True, text=True, check=False)
    command = [*apt, "install", "--yes", "--no-install-recommends", *packages]
    newer = [package for package in packages if package in BACKPORTED]
    if newer and (source := _backports()):
        _install_backported(prefix, apt, newer, source)
    with _without_cluster(prefix) if "postgresql" in packages else nullcontext():
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return None
    # A list that could not be refreshed matters only when the installation then failed.
    log = f"{update.stderr}\n{result.stdout}\n{result.stderr}".strip()
    return f"`{by_hand}` failed:\n{log[-2000:]}"


def _backports() -> str | None:
    """The line of apt's sources that names this Debian's backports, if they can lie anywhere."""
    release = Path("/etc/os-release")
    facts = dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line)
    codename = facts.get("VERSION_CODENAME", "").strip('"')
    keys = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    if facts.get("ID") != "debian" or not codename or not keys.exists():
        return None
    mirror = _mirror(codename)
    return f"deb [signed-by={keys}] {mirror} {codename}-backports main" if mirror else None


def _mirror(codename: str) -> str | None:
    """Where this machine gets its Debian from, which has the backports too."""
    listing = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)"]
    done = subprocess.run(listing, capture_output=True, text=True, check=False)
    rows = (line.split() for line in done.stdout.splitlines())
    return next((row[0] for row in rows if row[1:] == [codename, "main"]), None)


def _install_backported(
    prefix: Sequence[str], apt: Sequence[str], packages: Sequence[str], source: str
) -> None:
    """Try the backported packages; where that fails, the ordinary ones are installed after it."""
    sources = Path("/etc/apt/sources.list.d/stigmergy-backports.list")
    write = [*prefix, "install", "-D", "--mode=644", "/dev/stdin", str(sources)]
    subprocess.run(write, input=f"{source}\n", capture_output=True, text=True, check=False)
    suite = source.split()[-2]
    subprocess.run([*apt, "update"], capture_output=True, text=True, check=False)
    subprocess.run(
        [*apt, "install", "--yes", "--no-install-recommends", "-t", suite, *packages],
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def _without_cluster(prefix: Sequence[str]) -> Generator[None]:
    """While it lasts, a PostgreSQL that is installed makes and starts no database cluster."""
    setting = "create_main_cluster = false\n"
    write = [*prefix, "install", "-D", "--mode=644", "/dev/stdin", str(NO_CLUSTER)]
    subprocess.run(write, input=setting, capture_output=True, text=True, check=False)
    try:
        yield
    finally:
        subprocess.run([*prefix, "rm", "-f", str(NO_CLUSTER)], capture_output=True, check=False)


def main() -> int:
    """Bring what the tests use; 0 even when something is missing, for its tests say so."""
    missing = [needed for needed in TEST_PROGRAMS if not needed.is_there()]
    if not missing:
        return 0
    trouble = install([needed.package for needed in missing])
    for needed in missing:
        if not needed.is_there():
            print(f"{needed.program} is missing: {needed.purpose} cannot run", file=sys.stderr)
    if trouble:
        print(trouble, file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
