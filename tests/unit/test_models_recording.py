"""Recordings: what is written can be read, and what cannot be read says where."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from stigmergy.errors import CorruptError, NotFoundError
from stigmergy.models.recording import Recorder, load_recording
from stigmergy.models.redaction import Redactor

SECRET = "sk-very-secret-key"


def answer(text="hello"):
    return {
        "message": {"role": "assistant", "content": text},
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
        "finish_reason": "stop",
    }


def line(task="F07", turn=0, **changes):
    document = {"task": task, "turn": turn, "model": "m", "response": answer()}
    return json.dumps({**document, **changes})


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_what_was_recorded_is_loaded(tmp_path):
    path = tmp_path / "run.jsonl"
    with Recorder(path, redactor=Redactor(), label="run 1") as recorder:
        recorder.record("F07", 1, model="m", response=answer("second \ud800"))
        recorder.record("F07", 0, model="m", response=answer("first"))
    recording = load_recording(path)
    assert (recording.label, recording.origin) == ("run 1", "captured")
    assert recording.turns_of("F07") == (0, 1)
    assert recording.turns["F07", 0].response.message.content == "first"
    assert recording.turns["F07", 1].response.message.content == "second \ud800"
    assert path.stat().st_mode & 0o077 == 0


def test_no_secret_is_written(tmp_path):
    path = tmp_path / "run.jsonl"
    response = answer(f"the key is {SECRET}")
    response["message"]["tool_calls"] = [{"function": {"arguments": f'{{"x": "{SECRET}"}}'}}]
    with Recorder(path, redactor=Redactor([SECRET])) as recorder:
        recorder.record("F07", 0, model="m", response=response)
    assert SECRET not in path.read_text()
    assert "the key is [redacted]" in path.read_text()


def test_a_dummy_key_is_a_word_not_a_secret():
    assert Redactor(["ollama"]).text("run ollama") == "run ollama"


def test_a_longer_secret_is_not_left_half():
    redactor = Redactor(["secret-1", "secret-1-and-more"])
    assert redactor.json({"secret-1-and-more": ["secret-1"]}) == {"[redacted]": ["[redacted]"]}


def test_a_captured_turn_that_was_asked_again_counts_as_it_was_last(tmp_path):
    path = tmp_path / "run.jsonl"
    for text in ("first attempt", "second attempt"):
        with Recorder(path, redactor=Redactor()) as recorder:
            recorder.record("F07", 0, model="m", response=answer(text))
    recording = load_recording(path)
    assert recording.turns["F07", 0].response.message.content == "second attempt"


@pytest.mark.parametrize("header", [None, '{"recording": 1, "origin": "written"}'])
def test_a_written_turn_that_is_there_twice_is_a_mistake(tmp_path, header):
    path = write(tmp_path / "a.jsonl", header or "", line(), line(turn=1), line())
    with pytest.raises(CorruptError, match="second time") as caught:
        load_recording(path)
    assert caught.value.where == f"{path}:4"


@pytest.mark.parametrize(
    "bad",
    [
        "{",
        "[]",
        line(turn=-1),
        line(turn=True),
        line(task="../F07"),
        line(response=None),
        line(response={**answer(), "message": {"role": "user", "content": "x"}}),
        line(headers={}),
        '{"recording": 1}',
        "[" * 100_000,
    ],
)
def test_every_line_is_checked_and_named(tmp_path, bad):
    path = write(tmp_path / "a.jsonl", line(), bad)
    with pytest.raises(CorruptError) as caught:
        load_recording(path)
    assert str(caught.value).startswith(f"{path}:2: ")


def test_a_recording_of_another_version_is_refused(tmp_path):
    with pytest.raises(CorruptError, match="recording"):
        load_recording(write(tmp_path / "a.jsonl", '{"recording": 2}'))


def test_a_missing_recording_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"none\.jsonl"):
        load_recording(tmp_path / "none.jsonl")


def test_a_file_that_is_no_recording_is_not_appended_to(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n")
    with pytest.raises(CorruptError):
        Recorder(path, redactor=Redactor())
    assert path.read_text() == "my notes\n"


def test_a_message_without_calls_may_say_so_as_some_servers_do(tmp_path):
    response = answer()
    response["message"]["tool_calls"] = None
    assert load_recording(write(tmp_path / "a.jsonl", line(response=response))).turns


WRITER = """
import sys
from pathlib import Path
from stigmergy.models.recording import Recorder
from stigmergy.models.redaction import Redactor
with Recorder(Path(sys.argv[1]), redactor=Redactor()) as recorder:
    for turn in range(20):
        message = {"role": "assistant", "content": "x" * 20_000}
        recorder.record(sys.argv[2], turn, model="m", response={
            "message": message, "usage": None, "finish_reason": "stop"})
"""


def test_writers_in_threads_and_processes_keep_their_lines_whole(tmp_path):
    path = tmp_path / "run.jsonl"
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), f"P{number}"])
        for number in range(2)
    ]
    with Recorder(path, redactor=Redactor()) as recorder, ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(
                recorder.record, f"T{n % 4}", n // 4, model="m", response=answer("y" * 9000)
            )
            for n in range(40)
        ]
        for job in jobs:
            job.result()
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(load_recording(path).turns) == 2 * 20 + 40
