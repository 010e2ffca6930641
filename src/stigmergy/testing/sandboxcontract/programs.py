"""Files that go in and out of a sandbox, and programs that run in it, within limits."""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path

import pytest

from stigmergy.coding.sandbox.sandbox import (
    Limits,
    Sandbox,
    SandboxFactory,
    SandboxSettings,
)
from stigmergy.errors import CorruptError, UsageError
from stigmergy.testing.sandboxcontract.shared import (
    MARK,
    MakeFactory,
    SandboxFixtures,
    shell,
)

__all__ = ["ProgramContract"]


class ProgramContract(SandboxFixtures):
    """Programs end when they should, and leave nothing behind."""

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


def _running(mark: str) -> set[int]:
    """The processes that were started in our sandboxes and live."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
    return found
