"""`stig serve` and `stig run --serve` as a user types them."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from stigmergy import Task, TaskBoard
from stigmergy.server.auth import Scope, read_token_file
from stigmergy.testing.runs import item

STIG = Path(sys.executable).with_name("stig")


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def environment(state: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STIG_")}
    return {**kept, "XDG_STATE_HOME": str(state), "COLUMNS": "200", **more}


def admin(url: str, file: Path) -> httpx.Client:
    token = next(each.text for each in read_token_file(file) if each.scope is Scope.ADMIN)
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"{url}/api/v1", headers=headers, trust_env=False)


def test_a_run_is_served_while_it_works(
    make_repository: Callable[[Mapping[str, str | bytes]], Path], tmp_path: Path
) -> None:
    repository = make_repository({"gate.sh": "true\n", "README": "start\n"})
    features = tmp_path / "FEATURES.json"
    features.write_text(json.dumps({"features": [item("F01", "a.txt"), item("F02", "b.txt")]}))
    go = tmp_path / "go"
    agent = f'until [ -e {go} ]; do sleep 0.1; done; echo x > "$STIG_PATH"'
    words = ["run", "--serve", "--plain", "--gate", "sh gate.sh", "--agents", "1"]
    words += ["--agent-shell", "--agent-command", agent, "--features", str(features)]
    words += ["--confine", "none"]
    process = subprocess.Popen(
        [STIG, *words],
        cwd=repository,
        env=environment(tmp_path / "state"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with ended(process):
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if "its tokens are in" in line:
                break
        url = next(m[0] for line in said if (m := re.search(r"http://127\.0\.0\.1:\d+", line)))
        assert "token=" not in "".join(said)  # nobody knows who reads this
        with admin(url, Path(said[-1].split()[-1])) as client:
            until = time.monotonic() + 60
            while not client.get("/tasks", params={"status": "in_progress"}).json()["tasks"]:
                assert time.monotonic() < until
                time.sleep(0.1)
            kinds = [e["kind"] for e in client.get("/events").json()["events"]]
            assert "run_started" in kinds
            assert client.post("/pause", json={}).status_code == 204
            go.touch()
            while client.get("/tasks", params={"status": "in_progress"}).json()["tasks"]:
                assert time.monotonic() < until
                time.sleep(0.1)
            pending = {"status": "pending", "task_type": "code"}
            assert len(client.get("/tasks", params=pending).json()["tasks"]) == 1
            assert client.post("/resume", json={}).status_code == 204
        out, errors = process.communicate(timeout=100)
        assert process.returncode == 0, out + errors
    assert (repository / "b.txt").exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz", trust_env=False)


def test_the_address_has_the_token_in_it_only_on_a_terminal(tmp_path: Path) -> None:
    with TaskBoard(tmp_path / "board.db") as board:
        board.post(Task(task_type="job"))
    command = [STIG, "serve", "--port", "0", "--token-file", "tokens"]
    reading, writing = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(tmp_path / "state"),
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    with ended(process):
        assert select.select([reading], [], [], 60)[0]
        shown = os.read(reading, 4096).decode()
        token = re.search(r"#token=(\S+)", shown)
        assert token is not None
        assert f"admin {token[1]}" in (tmp_path / "tokens").read_text()
        url = shown.partition("/#")[0]
        assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
        process.terminate()
        assert process.wait(60) == 0
    os.close(reading)
    assert oct((tmp_path / "tokens").stat().st_mode & 0o777) == "0o600"


def test_a_token_of_the_environment_is_the_only_one_and_is_never_shown(tmp_path: Path) -> None:
    with TaskBoard(tmp_path / "board.db"):
        pass
    token = "stig_0123456789abcdefghij"
    process = subprocess.Popen(
        [STIG, "serve", "--port", "0", "--log-level", "info", "--log-format", "json"],
        cwd=tmp_path,
        env=environment(tmp_path / "state", STIG_TOKEN=token),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with ended(process):
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{url}/api/v1/progress", headers=headers, trust_env=False)
        assert answer.status_code == 200
        wrong = {"Authorization": "Bearer stig_wrong"}
        assert httpx.get(f"{url}/api/v1/tasks", headers=wrong, trust_env=False).status_code == 401
        process.terminate()
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert token not in url + out + errors
    assert "stig_wrong" not in errors
    said = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    requests = [one for one in said if one["logger"] == "stigmergy.server" and "status" in one]
    assert [(one["method"], one["path"], one["status"]) for one in requests] == [
        ("GET", "/api/v1/progress", 200),
        ("GET", "/api/v1/tasks", 401),
    ]
    assert requests[0]["token"]
    assert requests[1]["token"] is None
    assert list(tmp_path.rglob("tokens")) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "--certificate"),
        (["--board", "nowhere.db"], "there is no board"),
        (["--certificate", "c.pem"], "belong together"),
        (["--allow-origin", "evil"], "no origin"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_message(
    tmp_path: Path, words: list[str], said: str
) -> None:
    with TaskBoard(tmp_path / "board.db"):
        pass
    done = subprocess.run(
        [STIG, "serve", "--port", "0", *words],
        cwd=tmp_path,
        env=environment(tmp_path / "state"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
