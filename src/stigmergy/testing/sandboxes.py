"""The contract of the Sandbox seam: subclass it, say how a factory is made, run it with pytest.

class TestMySandboxes(SandboxContract):
    @pytest.fixture
    def make_factory(self, repository, tmp_path):
        return lambda settings, model: MySandboxes(repository, tmp_path / "s", settings, model)

A kind that confines programs keeps `ConfinedSandboxContract`; one that does not must say so.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from stigmergy.coding.sandbox.sandbox import (
    Exit,
    Limits,
    ModelSocket,
    Sandbox,
    SandboxFactory,
    SandboxSettings,
)
from stigmergy.errors import CorruptError, UsageError

__all__ = [
    "ConfinedSandboxContract",
    "MakeFactory",
    "SandboxContract",
    "commit_all",
    "git",
    "on_loopback",
    "shell",
]

MakeFactory = Callable[[SandboxSettings, ModelSocket | None], SandboxFactory]

REF = "refs/stigmergy/test/tasks/T1"
_MARK = "STIG_CONTRACT"
_IDENTITY = ("-c", "user.name=Agent", "-c", "user.email=agent@example.invalid")
COMMIT = "git add -A && git -c user.name=Agent -c user.email=a@example.invalid commit -q -m work"
FILES = {
    "README.md": "# A project\n",
    "src/one.txt": "one\n",
    "src/two.txt": "two\n",
    "docs/deep/er/page.md": "page\n",
    "run.sh": "#!/bin/sh\necho ran\n",
    "empty": "",
}


def git(repository: Path, *arguments: str) -> str:
    """Run git in a repository; its output without the last newline."""
    done = subprocess.run(
        ["git", *_IDENTITY, *arguments], cwd=repository, check=True, capture_output=True, text=True
    )
    return done.stdout.removesuffix("\n")


def commit_all(repository: Path, message: str = "Change") -> str:
    """Commit the whole working tree; the commit's id."""
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(repository, "rev-parse", "HEAD")


def shell(sandbox: Sandbox, script: str) -> str:
    """Run a script of ours in a sandbox; its output. It must succeed."""
    ended = sandbox.run(["sh", "-c", script])
    assert ended.ok, ended
    return ended.stdout_tail.removesuffix("\n")


@contextlib.contextmanager
def on_loopback() -> Generator[int]:
    """Something that listens on the host's 127.0.0.1; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


class _Gateway(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = False


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:  # the name that http.server calls
        """Send back what came."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        """A Unix socket's peer has no address."""
        return "sandbox"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # its name
        """Say nothing."""


class SandboxContract:
    """What every kind of sandbox does. `make_factory` is the subclass's fixture."""

    confined = False
    """Whether the factory must claim to confine writes, network and processes: see below."""
    mark = f"{os.getpid()}.{time.monotonic_ns()}"
    """Tells our programs from those of other runs on the same machine."""

    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        """A small repository with one commit."""
        root = tmp_path / "repository"
        root.mkdir()
        git(root, "init", "--quiet", "--initial-branch=main")
        for name, text in FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        (root / "run.sh").chmod(0o755)
        (root / "link").symlink_to("src/one.txt")
        commit_all(root, "Start")
        return root

    @pytest.fixture
    def commit(self, repository: Path) -> str:
        """The repository's first commit."""
        return git(repository, "rev-parse", "HEAD")

    @pytest.fixture
    def factory(self, make_factory: MakeFactory) -> Iterator[SandboxFactory]:
        """A factory with default settings, closed at the end."""
        factory = make_factory(SandboxSettings(env={_MARK: self.mark}), None)
        yield factory
        factory.close()

    @pytest.fixture
    def sandbox(self, factory: SandboxFactory, commit: str) -> Sandbox:
        """A sandbox at the first commit; the factory closes it."""
        return factory.open("T1", commit)

    # The checkout

    def test_the_checkout_is_the_commit(self, sandbox: Sandbox, commit: str) -> None:
        """Every file, mode and link; and git agrees."""
        assert sandbox.base == commit
        assert shell(sandbox, "git rev-parse HEAD") == commit
        assert shell(sandbox, "git status --porcelain") == ""
        assert shell(sandbox, "git fsck --no-dangling 2>&1") == ""
        assert shell(sandbox, "./run.sh; readlink link; cat src/two.txt") == "ran\nsrc/one.txt\ntwo"
        assert shell(sandbox, "git ls-files | wc -l").strip() == str(len(FILES) + 1)

    def test_a_later_commit_shows_what_it_changed(
        self, factory: SandboxFactory, repository: Path, commit: str
    ) -> None:
        """Added, changed, removed, mode, link, file to folder and back; in any order of opening."""
        factory.open("first", commit).close()
        (repository / "src/one.txt").write_text("changed\n")
        (repository / "src/new file.txt").write_text("new\n")
        (repository / "README.md").chmod(0o755)
        (repository / "link").unlink()
        (repository / "link").mkdir()
        (repository / "link" / "inner").write_text("now a folder\n")
        git(repository, "rm", "-r", "--quiet", "docs", "src/two.txt")
        (repository / "docs").write_text("now a file\n")
        later = commit_all(repository)
        for name, asked in (("later", later), ("earlier", commit), ("again", later)):
            sandbox = factory.open(name, asked)
            listed = shell(sandbox, "git ls-tree -r HEAD; git status --porcelain")
            assert listed == git(repository, "ls-tree", "-r", asked)
            found = shell(sandbox, "find . -path ./.git -prune -o ! -type d -print | sort")
            names = git(repository, "ls-tree", "-r", "--name-only", asked).splitlines()
            assert found.splitlines() == sorted(f"./{name}" for name in names)
            # A new index trusts no file times: this compares every file's content.
            shell(sandbox, 'rm .git/index && git reset -q && test -z "$(git status --porcelain)"')
            sandbox.close()

    def test_sandboxes_do_not_see_each_other_and_the_user_sees_nothing(
        self, factory: SandboxFactory, repository: Path, commit: str
    ) -> None:
        """Writes, removals and refs stay inside."""
        one, two = factory.open("one", commit), factory.open("two", commit)
        shell(one, "echo x > src/one.txt; rm src/two.txt; touch new; git branch mine")
        assert shell(two, "git status --porcelain; git branch | wc -l").strip() == "1"
        assert git(repository, "status", "--porcelain") == ""
        assert git(repository, "for-each-ref", "--format=%(refname)") == "refs/heads/main"

    def test_nothing_of_an_earlier_sandbox_shows(
        self, factory: SandboxFactory, commit: str
    ) -> None:
        """Not its files, its ignored files, its git settings, hooks and commits, nor its home."""
        before = factory.open("before", commit)
        before.write_file("task.json", b"{}")
        shell(
            before,
            "echo '*.tmp' > .gitignore; touch x.tmp untracked; "
            "chmod 644 run.sh; rm -r docs; ln -s / docs; chmod 000 src;"
            "git config alias.evil '!touch /tmp/evil'; echo exit 1 > .git/hooks_were_here;"
            "touch $HOME/left $TMPDIR/left $STIG_WORKSPACE/left; chmod 700 src;"
            f"{COMMIT}; git init -q sub; touch sub/x",
        )
        before.close()
        after = factory.open("after", commit)
        assert after.read_file("task.json", max_bytes=100) is None
        assert shell(after, "ls -A $STIG_WORKSPACE $HOME $TMPDIR | grep left; true") == ""
        assert shell(after, "git status --porcelain --ignored; git config alias.evil; true") == ""
        assert shell(after, "git rev-parse HEAD; ls -A .git | grep hooks; true") == commit
        assert shell(after, "ls docs/deep/er; ./run.sh") == "page.md\nran"

    def test_an_unknown_commit_and_a_bad_name_are_refused(
        self, factory: SandboxFactory, commit: str
    ) -> None:
        """And a name that is in use."""
        for name, asked in (("a", "0" * 40), ("a", "main"), ("../a", commit), ("", commit)):
            with pytest.raises(UsageError):
                factory.open(name, asked)
        factory.open("a", commit)
        with pytest.raises(UsageError):
            factory.open("a", commit)

    def test_many_threads_open_at_once(self, factory: SandboxFactory, commit: str) -> None:
        """Each gets its own."""
        seen: list[str] = []

        def work(number: int) -> None:
            sandbox = factory.open(f"T{number}", commit)
            shell(sandbox, f"echo {number} > mine")
            seen.append(shell(sandbox, "cat mine; git status --porcelain"))
            sandbox.close()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(seen) == [f"{number}\n?? mine" for number in range(6)]

    # Commits

    def test_commits_come_back(self, sandbox: Sandbox, repository: Path, commit: str) -> None:
        """With their history, under the ref that was asked for, and nothing else moves."""
        shell(sandbox, f"echo 1 > a && {COMMIT} && mkdir -p p/q && echo 2 > p/q/b && {COMMIT}")
        head = sandbox.export(REF)
        assert head == git(repository, "rev-parse", REF)
        assert git(repository, "rev-list", "--count", f"{commit}..{REF}") == "2"
        assert git(repository, "show", f"{REF}:p/q/b") == "2"
        assert git(repository, "rev-parse", "HEAD") == commit
        assert git(repository, "status", "--porcelain") == ""
        git(repository, "fsck", "--strict", "--connectivity-only")

    def test_without_a_commit_there_is_nothing_to_export(
        self, sandbox: Sandbox, repository: Path
    ) -> None:
        """Uncommitted changes do not count."""
        shell(sandbox, "echo 1 > a; git add a")
        assert sandbox.export(REF) is None
        assert git(repository, "for-each-ref", "refs/stigmergy") == ""

    def test_commits_come_back_after_git_gc_and_from_any_head(
        self, sandbox: Sandbox, repository: Path
    ) -> None:
        """Packed objects and refs, another branch, a detached HEAD, a merge."""
        shell(
            sandbox,
            f"git checkout -q -b side && echo 1 > a && {COMMIT} && git checkout -q work &&"
            f"echo 2 > b && {COMMIT} && git -c user.name=a -c user.email=a@b merge -q side &&"
            "git gc -q --prune=now && git pack-refs --all",
        )
        head = sandbox.export(REF)
        assert head is not None
        assert git(repository, "show", f"{REF}:a") == "1"
        shell(sandbox, f"git checkout -q --detach && echo 3 > c && {COMMIT}")
        assert sandbox.export(REF) == git(repository, "rev-parse", REF) != head
        assert git(repository, "show", f"{REF}:c") == "3"

    def test_a_head_that_left_the_base_is_refused(self, sandbox: Sandbox, repository: Path) -> None:
        """An orphan branch, a HEAD that is no commit, no repository any more."""
        before = git(repository, "for-each-ref")
        for script in (
            f"git checkout -q --orphan other && {COMMIT}",
            "t=$(git rev-parse HEAD^{tree}); echo $t > .git/HEAD",
            "echo 'ref: refs/heads/../../../../../etc/passwd' > .git/HEAD",
            "echo nonsense > .git/HEAD",
            "rm -rf .git",
        ):
            shell(sandbox, script)
            with pytest.raises(CorruptError):
                sandbox.export(REF)
        assert git(repository, "for-each-ref") == before

    # Files

    def test_files_go_in_and_out(self, sandbox: Sandbox) -> None:
        """Of the workspace and of the checkout, before and after a program ran."""
        sandbox.write_file("task.json", b'{"a": 1}')
        sandbox.write_file("repo/src/deep/file", b"from outside")
        assert shell(sandbox, "cat ../task.json src/deep/file") == '{"a": 1}from outside'
        shell(
            sandbox, "echo done > $STIG_WORKSPACE/result.json; rm src/one.txt; echo 2 > src/deep/2"
        )
        assert sandbox.read_file("result.json", max_bytes=100) == b"done\n"
        assert sandbox.read_file("repo/src/one.txt", max_bytes=100) is None
        assert sandbox.read_file("repo/src/two.txt", max_bytes=100) == b"two\n"
        assert sandbox.read_file("repo/src/deep/2", max_bytes=100) == b"2\n"
        assert sandbox.read_file("no/such/file", max_bytes=100) is None
        sandbox.write_file("repo/src/one.txt", b"back")
        assert shell(sandbox, "cat src/one.txt") == "back"

    def test_files_that_lead_astray_are_refused(self, sandbox: Sandbox) -> None:
        """Links, folders, pipes, what is too large; reading and writing."""
        shell(
            sandbox,
            "cd ..; ln -s /etc/passwd result.json; ln -s /etc away; mkdir folder; mkfifo pipe;"
            "head -c 200 /dev/zero > large; rm -r repo/src; ln -s / repo/src",
        )
        for path in (
            "result.json",
            "away/passwd",
            "folder",
            "pipe",
            "large",
            "repo/src/etc/passwd",
        ):
            with pytest.raises(CorruptError):
                sandbox.read_file(path, max_bytes=100)
        for path in ("result.json", "away/x", "folder", "repo/src/tmp/x"):
            with pytest.raises(CorruptError):
                sandbox.write_file(path, b"x")
        for path in ("../x", "/etc/passwd", "a/../../x", "", "a//b"):
            with pytest.raises(UsageError):
                sandbox.read_file(path, max_bytes=100)

    # Programs

    def test_a_program_gets_its_arguments_and_tells_its_end(self, sandbox: Sandbox) -> None:
        """Arguments as they are, both streams, the exit status or signal."""
        lines: list[str] = []
        script = 'printf "%s\\n" "$@" "$NAME"; echo err >&2; exit 3'
        ended = sandbox.run(
            ["sh", "-c", script, "x", "a b", "$HOME;`id`", "ü"],
            env={"NAME": "line"},
            on_line=lines.append,
        )
        assert (ended.code, ended.reason, ended.ok) == (3, "exited", False)
        assert lines == ["a b", "$HOME;`id`", "ü", "line"]
        assert ended.stderr_tail == "err\n"
        assert sandbox.run(["sh", "-c", "kill -9 $$"]).code == -9
        assert sandbox.run(["pwd"], cwd="repo/src").stdout_tail.endswith("/repo/src\n")

    def test_a_missing_program_ends_with_127(self, sandbox: Sandbox) -> None:
        """It is never a success."""
        ended = sandbox.run(["no-such-program"])
        assert (ended.code, ended.ok) == (127, False)
        assert "no-such-program" in ended.stderr_tail
        assert sandbox.run(["./README.md"]).code == 126

    def test_output_is_bounded_and_its_end_is_kept(self, sandbox: Sandbox) -> None:
        """What is beyond the limit is counted; a line without an end does not grow for ever."""
        lines: list[str] = []
        ended = sandbox.run(
            ["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end"],
            limits=Limits(output_bytes=2_000_000),
            on_line=lines.append,
        )
        assert ended.dropped_bytes == 3_000_009 - 2_000_000
        assert sum(map(len, lines)) == 2_000_000
        assert ended.stdout_tail.endswith("x\nthe end\n")

    def test_time_is_limited(self, sandbox: Sandbox) -> None:
        """And what it printed until then is there."""
        ended = sandbox.run(["sh", "-c", "echo begun; sleep 100"], limits=Limits(wall_s=2.0))
        assert (ended.reason, ended.ok) == ("timed-out", False)
        assert ended.stdout_tail == "begun\n"
        assert ended.duration_s < 60

    def test_the_stop_event_ends_it(self, sandbox: Sandbox) -> None:
        """Soon."""
        stop = threading.Event()
        ended = sandbox.run(
            ["sh", "-c", "echo begun; sleep 100"], stop=stop, on_line=lambda _: stop.set()
        )
        assert ended.reason == "stopped"
        assert ended.duration_s < 60

    def test_no_process_outlives_the_run(self, sandbox: Sandbox) -> None:
        """Not a background job, not a daemon that left its session and its parent."""
        daemon = (
            "import os, time\n"
            "if os.fork(): os._exit(0)\n"
            "os.setsid()\n"
            "if os.fork(): os._exit(0)\n"
            "for fd in range(3): os.close(fd)\n"
            "end = time.monotonic() + 60\n"
            "while time.monotonic() < end:\n"
            "    os.utime(os.environ['STIG_WORKSPACE'] + '/beat')\n"
            "    time.sleep(0.01)\n"
        )
        shell(sandbox, "touch $STIG_WORKSPACE/beat")
        script = '"$0" -c "$1" & sleep 60 & wait %1; sleep 0.3'
        assert sandbox.run(["sh", "-c", script, sys.executable, daemon]).ok
        assert _running(self.mark) == set()
        sandbox.run(
            ["sh", "-c", script + "; sleep 60", sys.executable, daemon], limits=Limits(wall_s=1)
        )
        assert _running(self.mark) == set()

    def test_memory_file_size_and_processes_are_limited(self, sandbox: Sandbox) -> None:
        """Of one process and of all together."""
        hog = "x = bytearray(600 << 20); print('had it')"
        ended = sandbox.run([sys.executable, "-c", hog], limits=Limits(memory_bytes=300 << 20))
        assert not ended.ok
        assert "had it" not in ended.stdout_tail
        many = (
            "import os, time\nfor _ in range(3): os.fork()\nx = b'x' * (60 << 20)\ntime.sleep(60)"
        )
        ended = sandbox.run([sys.executable, "-c", many], limits=Limits(memory_bytes=200 << 20))
        assert (ended.code, "memory limit" in ended.stderr_tail) == (-9, True)
        ended = sandbox.run(
            ["sh", "-c", "head -c 1000000 /dev/zero > big"], limits=Limits(file_bytes=100_000)
        )
        assert not ended.ok
        forks = "import os, time\nfor _ in range(60):\n    if not os.fork(): break\ntime.sleep(60)"
        ended = sandbox.run([sys.executable, "-c", forks], limits=Limits(processes=30, wall_s=20))
        assert not ended.ok
        assert ended.reason == "exited"

    def test_an_error_while_it_runs_leaves_nothing_running(self, sandbox: Sandbox) -> None:
        """The caller's error comes through."""

        def fail(line: str) -> None:
            raise LookupError(line)

        with pytest.raises(LookupError):
            sandbox.run(["sh", "-c", "echo x; sleep 60"], on_line=fail)
        assert _running(self.mark) == set()

    def test_the_environment_is_an_allow_list(
        self, make_factory: MakeFactory, commit: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ours does not come in, what is set does."""
        monkeypatch.setenv("SECRET_TOKEN", "do-not-tell")
        monkeypatch.setenv("GIT_DIR", "/nowhere")
        factory = make_factory(SandboxSettings(env={"CI": "1"}), None)
        sandbox = factory.open("T1", commit)
        monkeypatch.delenv("GIT_DIR")
        seen = shell(sandbox, "env; cat /proc/*/environ | tr '\\0' '\\n' | grep -c do-not; true")
        factory.close()
        if factory.protection.processes_confined:
            assert "do-not-tell" not in seen
            assert seen.splitlines()[-1] == "0"
        assert "CI=1" in seen
        assert "GIT_DIR=" not in seen

    def test_closing_is_idempotent_and_final(self, factory: SandboxFactory, commit: str) -> None:
        """A closed sandbox runs nothing, and its name is free."""
        sandbox = factory.open("T1", commit)
        sandbox.close()
        sandbox.close()
        with pytest.raises(UsageError):
            sandbox.run(["true"])
        factory.open("T1", commit).close()
        factory.close()
        factory.close()
        with pytest.raises(UsageError):
            factory.open("T2", commit)

    # What it says of itself, and the way to the model

    def test_the_protection_tells_the_truth(self, factory: SandboxFactory) -> None:
        """What is missing is said, with a reason."""
        told = factory.protection
        claims = (told.writes_confined, told.network_confined, told.processes_confined)
        assert claims == (self.confined,) * 3
        assert all(claims) or told.notes

    def test_the_model_gateway_is_reached_through_the_base_url(
        self, make_factory: MakeFactory, commit: str, tmp_path: Path
    ) -> None:
        """In and out, larger than any buffer, several at once."""
        with _gateway(tmp_path) as model:
            factory = make_factory(SandboxSettings(), model)
            ended: Exit = factory.open("T1", commit).run([sys.executable, "-c", _ASK])
            factory.close()
        assert ended.ok, ended
        if factory.protection.network_confined:
            assert model.url not in ended.stdout_tail


class ConfinedSandboxContract(SandboxContract):
    """What a kind does besides that confines writes, network and processes."""

    confined = True

    def test_only_the_workspace_is_writable_and_home_is_invisible(
        self, sandbox: Sandbox, repository: Path, tmp_path: Path
    ) -> None:
        """The user's repository, home and files cannot be found."""
        secret = Path.home() / "secret"
        secret.write_text("do not read")
        targets = ["/etc/x", "/usr/x", "/bin/x", "/x", "/dev/x"]
        targets += [str(Path(sys.prefix) / "x"), str(repository / ".git" / "objects" / "x")]
        wrote = "for f; do if (echo x > $f) 2>/dev/null; then echo $f; fi; done"
        assert sandbox.run(["sh", "-c", wrote, "sh", *targets]).stdout_tail == ""
        # Not written to, only asked: where the answer is wrong, the host would be changed.
        assert shell(sandbox, "find /proc/sys /etc /proc/sysrq-trigger -writable; true") == ""
        assert shell(sandbox, "grep CapEff /proc/self/status").split()[1].strip("0") == ""
        for hidden in (secret, repository / "README.md", repository / ".git" / "config"):
            assert not sandbox.run(["cat", str(hidden)]).ok
        assert shell(sandbox, f"ls {tmp_path} | grep -v repository; true") == ""
        assert git(repository, "status", "--porcelain") == ""
        assert shell(sandbox, "ls /etc | grep -c -E 'shadow|ssh'; true") == "0"

    def test_the_host_is_not_reached_over_the_network(self, sandbox: Sandbox) -> None:
        """Not even its loopback."""
        with on_loopback() as port:
            ended = sandbox.run([sys.executable, "-c", _CONNECT, str(port)])
        assert ended.code == 1
        assert "ConnectionRefusedError" in ended.stderr_tail

    def test_a_granted_network_reaches_the_host(
        self, make_factory: MakeFactory, commit: str
    ) -> None:
        """Only when the settings say so, and then the protection says so too."""
        factory = make_factory(SandboxSettings(network=True), None)
        assert not factory.protection.network_confined
        with on_loopback() as port:
            ended = factory.open("T1", commit).run([sys.executable, "-c", _CONNECT, str(port)])
        factory.close()
        assert ended.ok, ended

    def test_processes_see_no_other_and_cannot_stop_their_supervisor(
        self, sandbox: Sandbox
    ) -> None:
        """Killing everything in sight harms nobody but themselves."""
        script = "kill -9 1; kill -STOP 1; kill -9 -1; ls -d /proc/[0-9]* | wc -l; exit 5"
        ended = sandbox.run(["sh", "-c", script], limits=Limits(wall_s=20))
        assert ended.reason == "exited"
        trace = "open('/proc/1/mem', 'r+b')"
        assert "PermissionError" in sandbox.run([sys.executable, "-c", trace]).stderr_tail
        assert not sandbox.run(["kill", "-0", str(os.getpid())]).ok


_CONNECT = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"
_ASK = """
import os, threading, urllib.request
base = os.environ["OPENAI_BASE_URL"]
print(base)
wrong = []
def ask(number):
    body = bytes([number]) * 3_000_000
    with urllib.request.urlopen(base + "/chat/completions", data=body, timeout=60) as answer:
        if answer.read() != body:
            wrong.append(number)
threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
raise SystemExit(len(wrong))
"""


@contextlib.contextmanager
def _gateway(folder: Path) -> Generator[ModelSocket]:
    """An echo in the model gateway's place, on a Unix socket and on loopback."""
    path = folder / "model.sock"
    over_tcp = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    with _Gateway(str(path), _Answer) as over_unix, over_tcp:
        servers = (over_unix, over_tcp)
        threads = [threading.Thread(target=each.serve_forever, args=(0.05,)) for each in servers]
        for thread in threads:
            thread.start()
        try:
            yield ModelSocket(path=path, url=f"http://127.0.0.1:{over_tcp.server_port}/v1")
        finally:
            for each in servers:
                each.shutdown()
            for thread in threads:
                thread.join()


def _running(mark: str) -> set[int]:
    """The processes that were started in our sandboxes and live."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"{_MARK}={mark}".encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
    return found
