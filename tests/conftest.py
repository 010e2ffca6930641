"""What holds for every test: a hermetic environment, one seed, nothing left running.

A part of the machine that a test needs and that is missing skips the test, with the reason; with
`CI=true` it fails it, for a skipped test proves nothing.
"""

from __future__ import annotations

import gc
import multiprocessing.resource_tracker
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from stigmergy.testing.faults.clocks import faketime_missing
from stigmergy.testing.faults.machine import mount_missing
from stigmergy.testing.faults.powercut import strace_missing
from stigmergy.testing.faults.wire import wire_missing
from stigmergy.testing.lavapipe import LAVAPIPE_IN_A_HURRY
from stigmergy.testing.postgres import PostgresServer, find_binaries

FIXED_SEED = 20_250_101
CI = os.environ.get("CI", "").lower() in {"1", "true"}
THREAD_GRACE_S = 10.0
PROBE_S = 120.0
CHROMIUM = Path("/usr/bin/chromium")

# No deadlines, and examples may be slow to draw: on a busy machine such limits fail tests that are
# right. pytest-timeout is the limit.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=25
)
patient = settings.get_profile("patient")
settings.register_profile("default", patient)
settings.register_profile("ci", patient, max_examples=100, print_blob=True, database=None)
settings.register_profile("nightly", patient, max_examples=2_000, print_blob=True)


# --- the run: profile, seed, long tests ---


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nightly",
        action="store_true",
        help="the long form: tests marked nightly, many more examples, another seed every time",
    )


@pytest.hookimpl(tryfirst=True)  # Hypothesis reads its options in its own pytest_configure
def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile(_profile(config))
    if config.option.hypothesis_seed is None:
        drawn = random.SystemRandom().randrange(2**32)
        config.option.hypothesis_seed = str(drawn if _is_nightly(config) else FIXED_SEED)


def pytest_report_header(config: pytest.Config) -> list[str]:
    seed = config.option.hypothesis_seed
    header = [f"seed: {seed} (--hypothesis-seed={seed} repeats it), examples: {_profile(config)}"]
    reasons = {name: probe() for name, probe in PARTS.items()}
    header += [f"missing: {name}: {reason}" for name, reason in reasons.items() if reason]
    return header


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _is_nightly(config):
        return
    long = [item for item in items if item.get_closest_marker("nightly")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def _is_nightly(config: pytest.Config) -> bool:
    return bool(config.getoption("--nightly"))


def _profile(config: pytest.Config) -> str:
    if _is_nightly(config):
        return "nightly"
    return "ci" if CI else "default"


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Randomness for one test, the same in every run with the seed in the header."""
    seed = request.config.option.hypothesis_seed
    return random.Random(f"{seed} {request.node.nodeid}")


# --- parts of the machine ---


@cache
def _bwrap_trouble() -> str | None:
    return _trouble(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"])


@cache
def _overlay_trouble() -> str | None:
    namespace = ["unshare", "--mount"]
    if os.geteuid() != 0:
        namespace += ["--user", "--map-root-user"]
    # Where the tests' own folders lie: an overlay cannot be stacked on every file system.
    with tempfile.TemporaryDirectory() as folder:
        for name in ("lower", "upper", "work", "view"):
            Path(folder, name).mkdir()
        options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work,userxattr"
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/view"]
        return _trouble([*namespace, *mount])


def _postgres_trouble() -> str | None:
    if find_binaries() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    return None


def _pgbouncer_trouble() -> str | None:
    return _trouble(["pgbouncer", "--version"])


def _chromium_trouble() -> str | None:
    if not CHROMIUM.exists():
        return f"{CHROMIUM} is not installed (Debian: apt-get install chromium)"
    return None


def _wabt_trouble() -> str | None:
    return _trouble(["wast2json", "--version"])


@cache
def _wasm_cc_trouble() -> str | None:
    return _trouble(["clang", "--target=wasm32", "--version"]) or _trouble(["wasm-ld", "--version"])


@cache
def _vulkan_trouble() -> str | None:
    """Asked in another process: a driver that is not there for wgpu may end the one that asks."""
    probe = "import wgpu; wgpu.gpu.request_adapter_sync(power_preference='high-performance')"
    return _trouble([sys.executable, "-c", probe])


def _trouble(argv: list[str]) -> str | None:
    """Why a program does not work here, or None."""
    if shutil.which(argv[0]) is None:
        return f"{argv[0]} is not installed"
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PROBE_S)
    if done.returncode == 0:
        return None
    return done.stderr.strip() or f"{argv[0]} ended with {done.returncode}"


PARTS: Mapping[str, Callable[[], str | None]] = {
    "needs_bwrap": _bwrap_trouble,
    "needs_chromium": _chromium_trouble,
    "needs_overlay": _overlay_trouble,
    "needs_pgbouncer": _pgbouncer_trouble,
    "needs_postgres": _postgres_trouble,
    "needs_mount": mount_missing,
    "needs_strace": strace_missing,
    "needs_faketime": faketime_missing,
    "needs_network": wire_missing,
    "needs_vulkan": _vulkan_trouble,
    "needs_wabt": _wabt_trouble,
    "needs_wasm_cc": _wasm_cc_trouble,
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, probe in PARTS.items():
        reason = probe() if item.get_closest_marker(marker) else None
        if reason and CI:
            pytest.fail(f"{marker}: {reason} (CI=true: a missing part is a failure)", pytrace=False)
        if reason:
            pytest.skip(f"{marker}: {reason}")


# --- the environment ---

_DROPPED_PREFIXES = ("STIG_", "OPENAI_", "ANTHROPIC_", "GIT_", "XDG_")
_DROPPED_SUFFIXES = ("_API_KEY", "_PROXY")
_GIT_CONFIG = """\
[user]
    name = Tester
    email = tester@example.invalid
[init]
    defaultBranch = main
[commit]
    gpgSign = false
"""


@pytest.fixture(scope="session", autouse=True)
def hermetic_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting, key, git configuration or proxy of the person who runs the tests gets in."""
    home = tmp_path_factory.mktemp("home")
    git_config = home / ".gitconfig"
    git_config.write_text(_GIT_CONFIG)
    # Who was started in the background ignores Ctrl-C, and so would all that tests start.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            upper = name.upper()
            if upper.startswith(_DROPPED_PREFIXES) or upper.endswith(_DROPPED_SUFFIXES):
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("GIT_CONFIG_GLOBAL", str(git_config))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        # Mesa writes it from a thread of its own, whose file may be open when a test ends.
        patch.setenv("MESA_SHADER_CACHE_DISABLE", "true")
        for name, value in LAVAPIPE_IN_A_HURRY.items():
            patch.setenv(name, value)
        yield


MakeRepository = Callable[[Mapping[str, str | bytes]], Path]


@pytest.fixture
def make_repository(tmp_path: Path) -> MakeRepository:
    """Make a git repository with one commit on `main` that holds these files.

    The same files make the same commit id. Each call makes another repository.
    """

    def make(files: Mapping[str, str | bytes]) -> Path:
        root = Path(tempfile.mkdtemp(prefix="repository-", dir=tmp_path))
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        date = "2025-01-01T00:00:00Z"
        environment = {**os.environ, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        for command in (
            ["init", "--quiet", "--initial-branch=main"],
            ["add", "--all"],
            ["commit", "--quiet", "--allow-empty", "--message=Start"],
        ):
            subprocess.run(["git", *command], cwd=root, env=environment, check=True)
        return root

    return make


@pytest.fixture(scope="session")
def postgres_server(hermetic_environment: None) -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests of this process that are marked `needs_postgres`.

    What stops or kills a server starts one of its own.
    """
    # Not under tmp_path: those folders are closed to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="stig-pg-"))
    try:
        with PostgresServer.start(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database, which goes with the test."""
    name = f"test_{uuid.uuid4().hex}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


# --- nothing is left behind ---


@pytest.fixture(scope="session")
def resource_tracker() -> None:
    """Started before any test: multiprocessing keeps one, and its pipe, for the whole process."""
    multiprocessing.resource_tracker.ensure_running()


@pytest.fixture(autouse=True)
def no_leaks(resource_tracker: None) -> Iterator[None]:
    """A test must not leave a thread, a child process or an open file behind.

    It comes first and goes last, so what fixtures of wider scope hold is not held against it.
    """
    threads, children, files = _threads(), _children(), _open_files()
    yield
    faults = [
        *(f"the thread {thread.name!r} still runs" for thread in _lingering(threads)),
        *(f"the process {_name_and_kill(pid)} still runs" for pid in _children() - children),
    ]
    if faults or _open_files() - files:
        # Garbage may hold files; only when something is open is it worth the time to look.
        gc.collect()
        faults += [f"{target} is still open" for _, target in sorted(_open_files() - files)]
    if faults:
        pytest.fail(f"left behind: {'; '.join(faults)}", pytrace=False)


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.daemon}


def _lingering(before: set[threading.Thread]) -> list[threading.Thread]:
    """Threads that are there since, and do not end by themselves in a moment."""
    started = _threads() - before
    for thread in started:
        thread.join(THREAD_GRACE_S)
    return [thread for thread in started if thread.is_alive()]


def _children() -> set[int]:
    """Direct children, zombies too: whoever starts a process also waits for it."""
    children: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            children |= {int(pid) for pid in (task / "children").read_text().split()}
        except (FileNotFoundError, ProcessLookupError):  # the thread has ended
            continue
    return children


def _name_and_kill(pid: int) -> str:
    """A leaked child's name, after its end: it must not disturb the tests that come."""
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return f"{pid} ({name})"


_DRIVERS_OWN = ("/memfd:allocation", "/dev/nvidia", "/dev/dri/")
"""What a graphics driver keeps open for as long as the process lives."""


def _open_files() -> set[tuple[int, str]]:
    """Each descriptor with what it is of."""
    found: set[tuple[int, str]] = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
            if not target.startswith(_DRIVERS_OWN):
                found.add((int(entry.name), target))
        except FileNotFoundError:  # the one that listed the folder
            continue
    return found
