"""A real run sends its trace while it goes on, as its journal gives it, and logs in JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from stigmergy.testing.otlp import Collector
from stigmergy.testing.runs import item

STIG = Path(sys.executable).with_name("stig")
START = {"gate.sh": "! grep -rn BAD --include=*.txt .\n", "README": "start\n"}


def stig(
    repository: Path, *words: str, code: int = 0, **environ: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [STIG, *words], cwd=repository, capture_output=True, text=True, env=os.environ | environ
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def repository(make_repository: Callable[[Mapping[str, str | bytes]], Path]) -> Path:
    return make_repository(START)


def run(repository: Path, tmp_path: Path, *options: str, code: int = 0, **environ: str) -> str:
    file = tmp_path / "FEATURES.json"
    file.write_text(json.dumps({"features": [item("F1", "1.txt"), item("F2", "2.txt")]}))
    return stig(
        repository,
        *("run", "--features", str(file), "--gate", "sh gate.sh", "--plain", "--agent-shell"),
        *("--agent-command", 'echo "$STIG_DESCRIPTION" > "$STIG_PATH"', *options),
        code=code,
        **environ,
    ).stderr


def test_a_trace_that_is_sent_live_is_the_one_that_the_journal_gives(
    repository: Path, tmp_path: Path
) -> None:
    with Collector() as live, Collector() as later:
        run(repository, tmp_path, "--otel", STIG_OTEL_ENDPOINT=live.url)
        said = stig(repository, "trace", "export", "--to", later.url).stdout
        lines = stig(repository, "trace", "export").stdout.splitlines()
    sent = {span.span_id: span.SerializeToString() for span in live.spans}
    again = {span.span_id: span.SerializeToString() for span in later.spans}
    assert sent == again
    assert said == f"sent {len(again)} spans to {later.url}\n"
    documents = [json.loads(line) for line in lines]
    assert {bytes.fromhex(each["span_id"]) for each in documents} == set(again)
    assert {each["name"].partition(" ")[0] for each in documents} == {
        *("run", "plan", "task", "invoke_agent", "execute_tool", "gate", "merge"),
    }
    (root,) = [each for each in documents if each["parent_id"] is None]
    assert (root["name"], root["status"]) == ("run", "ok")
    assert len({each["trace_id"] for each in documents}) == 1
    assert all(root["start"] <= each["start"] <= each["end"] <= root["end"] for each in documents)


def test_a_collector_that_is_away_holds_no_run_up(repository: Path, tmp_path: Path) -> None:
    with Collector() as collector:
        collector.refuses = True
        told = run(repository, tmp_path, STIG_OTEL_ENDPOINT=collector.url)
    assert "spans were not sent" in told


def test_an_endpoint_that_is_none_is_told_before_anything_starts(
    repository: Path, tmp_path: Path
) -> None:
    told = run(repository, tmp_path, code=2, STIG_OTEL_ENDPOINT="here")
    assert "otel_endpoint is 'here'" in told
    assert not (repository / ".stigmergy").exists()


def test_a_runs_log_in_json_has_its_events(repository: Path, tmp_path: Path) -> None:
    told = run(repository, tmp_path, "--log-format", "json", "--log-level", "info")
    records = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    landed = [r for r in records if r["event"] == "completed" and r["task_id"].endswith(".land")]
    assert {record["task_id"] for record in landed} == {"F1.land", "F2.land"}
    assert {record["logger"] for record in records} == {"stigmergy.run"}
    assert len({record["run_id"] for record in records}) == 1
    assert "progress" not in {record["event"] for record in records}
