"""What the dashboard asks of a run's own files: commits, previews, conversations."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from stigmergy.board import Task, TaskBoard
from stigmergy.coding.git.repository import Repository
from stigmergy.errors import NotFoundError, UsageError
from stigmergy.server.live.commits import MOST_DIFF_BYTES, commit_document
from stigmergy.server.live.conversation import MOST_ENTRIES, SpellBook, conversation
from stigmergy.server.live.preview import MOST_FILE_BYTES, PreviewTickets, preview_headers


def git(path, *args):
    done = subprocess.run(["git", *args], cwd=path, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(path: Path, files: dict[str, str | bytes | None], message: str) -> str:
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content.encode() if isinstance(content, str) else content)
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "-m", message)
    return git(path, "rev-parse", "HEAD")


@pytest.fixture
def path(make_repository):
    return make_repository({"a.txt": "one\n"})


@pytest.fixture
def repository(path):
    with Repository(path) as opened:
        yield opened


# --- commits ---


def test_a_commit_is_told_with_its_files_and_patch(path, repository) -> None:
    oid = commit(path, {"a.txt": "two\n", "b/c.bin": b"\0\1", "d": "x\n"}, "Change\n\nBecause.")

    document = commit_document(repository, oid)

    assert (document["subject"], document["body"]) == ("Change", "Because.")
    assert document["files"] == [
        {"path": "a.txt", "added": 1, "removed": 1},
        {"path": "b/c.bin", "added": None, "removed": None},
        {"path": "d", "added": 1, "removed": 0},
    ]
    assert "-one\n+two\n" in document["diff"]
    assert document["truncated"] is False
    json.dumps(document)


def test_a_commit_is_told_since_an_earlier_one_when_that_is_asked(path, repository) -> None:
    since = commit(path, {"b.txt": "before\n"}, "Before")
    commit(path, {"c.txt": "c\n"}, "Middle")
    oid = commit(path, {"d.txt": "d\n"}, "Last")

    document = commit_document(repository, oid, since=since)

    assert [file["path"] for file in document["files"]] == ["c.txt", "d.txt"]
    assert "+c" in document["diff"]
    assert "before" not in document["diff"]
    with pytest.raises(UsageError):
        commit_document(repository, oid, since="--output=x")


def test_the_first_commit_has_a_patch_too(path, repository) -> None:
    assert "+one" in commit_document(repository, git(path, "rev-parse", "HEAD"))["diff"]


def test_a_merge_is_told_against_its_first_parent(path, repository) -> None:
    git(path, "checkout", "--quiet", "-b", "side")
    commit(path, {"side.txt": "s\n"}, "Side")
    git(path, "checkout", "--quiet", "main")
    commit(path, {"main.txt": "m\n"}, "Main")
    git(path, "merge", "--quiet", "--no-edit", "side")

    document = commit_document(repository, git(path, "rev-parse", "HEAD"))

    assert [one["path"] for one in document["files"]] == ["side.txt"]


def test_a_long_patch_is_cut_at_a_line_and_says_so(path, repository) -> None:
    oid = commit(path, {"big.txt": "line of text\n" * 100_000}, "Big")

    document = commit_document(repository, oid)

    assert document["truncated"] is True
    assert len(document["diff"]) <= MOST_DIFF_BYTES
    assert document["diff"].endswith("+line of text\n")


@pytest.mark.parametrize("name", ["HEAD", "main", "--help", "-p", "", "0" * 39, "../x"])
def test_only_full_ids_are_looked_up(repository, name) -> None:
    with pytest.raises(UsageError):
        commit_document(repository, name)


def test_a_commit_that_is_not_there_is_said(repository) -> None:
    with pytest.raises(NotFoundError):
        commit_document(repository, "0" * 40)


# --- the preview ---


def test_a_preview_reads_the_files_of_its_commit_and_no_later_one(path, repository) -> None:
    first = commit(path, {"index.html": "<p>first", "js/app.js": "1"}, "First")
    tickets = PreviewTickets(repository)
    ticket = tickets.issue(first)
    commit(path, {"index.html": "<p>second"}, "Second")

    assert ticket.index == "index.html"
    assert tickets.read(ticket.name, "").body == b"<p>first"
    script = tickets.read(ticket.name, "js/app.js")
    assert (script.body, script.media_type) == (b"1", "text/javascript; charset=utf-8")


def test_a_folder_shows_its_page(path, repository) -> None:
    oid = commit(path, {"docs/index.html": "docs"}, "Docs")
    tickets = PreviewTickets(repository)

    ticket = tickets.issue(oid)

    assert ticket.index == "docs/index.html"
    assert tickets.read(ticket.name, "docs/").body == b"docs"


@pytest.mark.parametrize(
    "name", ["../a.txt", "x/../a.txt", "/etc/passwd", ".git/config", ":a.txt", "a.txt\0", "*", "//"]
)
def test_nothing_but_a_file_of_the_tree_is_read(path, repository, name) -> None:
    tickets = PreviewTickets(repository)
    ticket = tickets.issue(git(path, "rev-parse", "HEAD"))

    with pytest.raises(NotFoundError):
        tickets.read(ticket.name, name)


def test_links_are_not_followed(path, repository) -> None:
    (path / "link").symlink_to("/etc/passwd")
    oid = commit(path, {}, "Link")
    tickets = PreviewTickets(repository)
    ticket = tickets.issue(oid)

    with pytest.raises(NotFoundError):
        tickets.read(ticket.name, "link")


def test_a_file_too_large_is_said_and_not_sent(path, repository) -> None:
    oid = commit(path, {"big": b"\0" * (MOST_FILE_BYTES + 1)}, "Big")
    tickets = PreviewTickets(repository)
    ticket = tickets.issue(oid)

    with pytest.raises(NotFoundError, match="too large"):
        tickets.read(ticket.name, "big")


def test_old_tickets_end_and_guessed_ones_open_nothing(path, repository) -> None:
    tickets = PreviewTickets(repository)
    head = git(path, "rev-parse", "HEAD")
    first = tickets.issue(head)
    for _ in range(64):
        tickets.issue(head)

    for name in (first.name, "guessed", ""):
        with pytest.raises(NotFoundError, match="over"):
            tickets.read(name, "a.txt")


def test_a_previewed_page_is_confined_to_its_own_ticket() -> None:
    policy = preview_headers("http://127.0.0.1:1", "T")["Content-Security-Policy"]

    assert "sandbox allow-scripts" in policy
    assert "allow-same-origin" not in policy
    assert "connect-src http://127.0.0.1:1/preview/T/ data: blob:" in policy
    assert "form-action 'none'" in policy
    assert "frame-ancestors 'self'" in policy


# --- conversations ---


@pytest.fixture
def board():
    with TaskBoard("memory://") as opened:
        yield opened


def work(board, agent, task_id, *told):
    if board.get(task_id) is None:
        board.post(Task(task_type="code", description="d", task_id=task_id))
    task = board.start(board.claim(agent))
    for line in told:
        board.record("progress", task_id=task_id, agent_id=agent, data=line)
    return task


def told_by(board, agent, **options):
    options = {"task_id": None, "after": 0, "folder": None, **options}
    return conversation(board, SpellBook(board), agent, **options)


def test_an_agent_that_nobody_knows_has_no_conversation(board) -> None:
    document = told_by(board, "nobody")

    assert (document["source"], document["entries"], document["task_id"]) == ("unknown", [], None)


def test_without_a_kept_conversation_the_journal_tells(board) -> None:
    task = work(
        board,
        "a",
        "t",
        {"kind": "step", "step": 1},
        {"kind": "text", "text": "I think."},
        {"kind": "tool", "name": "bash", "brief": "ls"},
        {"kind": "done", "name": "bash", "ok": False, "duration_ms": 12},
    )
    board.fail(task, "gave up", retry=False)

    document = told_by(board, "a")

    assert document["source"] == "journal"
    assert [(e["kind"], e.get("text")) for e in document["entries"]] == [
        ("event", "claimed t"),
        ("text", "I think."),
        ("tool", "ls"),
        ("done", None),
        ("event", "failed t: gave up"),
    ]


def test_of_a_kept_conversation_each_agent_has_its_own_time(board, tmp_path) -> None:
    first = work(board, "a", "t")
    begun = board.history("t")[-1].at
    board.release(first)
    work(board, "b", "t")
    taken = board.history("t")[-1].at
    lines = [
        {"at": begun - 500.0, "kind": "said", "text": "somebody before"},
        {"at": begun, "kind": "said", "text": "of a"},
        {"at": taken + 100.0, "kind": "said", "text": "of b"},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))

    mine = told_by(board, "b", folder=tmp_path)

    assert mine["source"] == "conversation"
    assert [e["text"] for e in mine["entries"]][-1] == "of b"
    assert "somebody before" not in [e["text"] for e in mine["entries"]]
    assert "of b" not in [e["text"] for e in told_by(board, "a", folder=tmp_path)["entries"]]


def test_a_long_conversation_comes_in_pages(board) -> None:
    work(board, "a", "t", *({"kind": "text", "text": str(n)} for n in range(MOST_ENTRIES + 9)))
    first = told_by(board, "a")

    second = told_by(board, "a", after=first["next"])

    assert (len(first["entries"]), first["more"]) == (MOST_ENTRIES, True)
    assert (len(second["entries"]), second["more"]) == (10, False)
    assert told_by(board, "a", after=second["next"])["entries"] == []


def test_any_earlier_task_can_be_chosen_and_the_latest_is_shown(board) -> None:
    board.complete(work(board, "a", "one", {"kind": "text", "text": "first"}), {})
    work(board, "a", "two", {"kind": "text", "text": "second"})

    latest, earlier = told_by(board, "a"), told_by(board, "a", task_id="one")

    assert latest["task_id"] == "two"
    assert [t["task_id"] for t in latest["tasks"]] == ["one", "two"]
    assert "first" in [e.get("text") for e in earlier["entries"]]


def test_a_replay_tells_nothing_of_what_comes_later(board) -> None:
    work(board, "a", "t", {"kind": "text", "text": "said"})
    begun = board.history("t")[0].at

    assert told_by(board, "a", until=begun - 1.0)["entries"] == []
    assert told_by(board, "a", until=begun - 1.0)["tasks"] == []
    assert told_by(board, "a", until=begun + 60.0)["entries"] != []
