"""What a kind of sandbox does besides that confines writes, network and processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from stigmergy.coding.sandbox.sandbox import (
    Limits,
    Sandbox,
    SandboxSettings,
)
from stigmergy.testing.sandboxcontract.shared import (
    MakeFactory,
    SandboxFixtures,
    git,
    on_loopback,
    shell,
)

__all__ = ["ConfinementContract"]

_CONNECT = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"


class ConfinementContract(SandboxFixtures):
    """Nothing but the workspace can be written, nothing but the model reached, nobody else seen."""

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
