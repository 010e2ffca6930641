"""What stacking does with the odd shapes of git: names, modes, links, renames, merges."""

import functools
import os
import subprocess

import pytest

from stigmergy.coding.git.repository import Repository
from stigmergy.coding.merge.batch import Candidate
from stigmergy.coding.merge.proof import Landing, Proof, Unproved, prove
from stigmergy.coding.merge.stack import AlreadyIn, Conflicted, NoCommit, Stacked, Strategy, stack

LINES = "".join(f"line {number}\n" for number in range(1, 41))
ODD = [
    "plain",
    "with space",
    'quo"te',
    "new\nline",
    "tab\t",
    "ünïcode",
    "-dash",
    "\udcff.bin",
    ":x",
]


class Tree:
    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "n")
        self.git("config", "user.email", "e@example.invalid")
        self.git("config", "protocol.file.allow", "always")

    def git(self, *args):
        done = subprocess.run(["git", *args], cwd=self.path, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode(errors="surrogateescape").strip()

    def put(self, name, text):
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())

    def line(self, number, text, name="text"):
        lines = (self.path / name).read_text().splitlines(keepends=True)
        lines[number - 1] = text + "\n"
        self.put(name, "".join(lines))

    def commit(self, message="work"):
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def on(self, start, change):
        self.git("checkout", "-q", "-f", "--detach", start)
        change()
        return self.commit()


@pytest.fixture
def tree(tmp_path):
    made = Tree(tmp_path / "r")
    made.put("text", LINES)
    made.put("bin", bytes(range(256)) * 8)
    made.put("gone", "".join(f"gone {n}\n" for n in range(9)))
    made.base = made.commit("base")
    return made


@pytest.fixture
def repository(tree):
    with Repository(tree.path) as opened:
        yield opened


def run(repository, tree, branch, onto, strategy=Strategy.REBASE, base=None):
    candidate = Candidate(task_id="T", commit=branch, base=base or tree.base)
    return stack(repository, candidate, onto=onto, strategy=strategy, when=2e9)


def proved(repository, branch, result):
    landing = Landing(fork=result.fork, branch=branch, before=result.onto, after=result.commit)
    return prove(repository, [landing])[0]


STRATEGIES = pytest.mark.parametrize("strategy", list(Strategy))


@STRATEGIES
def test_odd_names_modes_links_and_binary_content_land_exactly(tree, repository, strategy):
    def work():
        for name in ODD:
            (tree.path / os.fsdecode(os.fsencode(name))).write_text("x")
        (tree.path / "text").chmod(0o755)
        (tree.path / "link").symlink_to("nowhere/at all")
        tree.put("bin", bytes(reversed(range(256))) * 8)
        (tree.path / "gone").unlink()

    branch = tree.on(tree.base, work)
    onto = tree.on(tree.base, lambda: tree.put("mine", "mine"))
    result = run(repository, tree, branch, onto, strategy)
    assert isinstance(result, Stacked)
    assert proved(repository, branch, result).kind == "identical"
    files = {entry.path: entry for entry in repository.ls_tree(result.commit)}
    assert set(files) == {*ODD, "text", "link", "bin", "mine"}
    assert files["text"].mode == "100755"
    assert files["link"].mode == "120000"
    assert repository.read_file(result.commit, "link") == b"nowhere/at all"
    assert repository.read_file(result.commit, "new\nline") == b"x"


@STRATEGIES
def test_a_submodule_moves(tree, repository, strategy, tmp_path):
    other = Tree(tmp_path / "sub")
    other.put("a", "a")
    first = other.commit()
    other.put("a", "b")
    second = other.commit()

    def pin(commit):
        tree.git("update-index", "--add", "--cacheinfo", f"160000,{commit},sub")

    tree.git("checkout", "-q", "--detach", tree.base)
    pin(first)
    tree.git("commit", "-q", "-m", "pin")
    start = tree.git("rev-parse", "HEAD")
    pin(second)
    tree.git("commit", "-q", "-m", "move")
    branch = tree.git("rev-parse", "HEAD")
    onto = tree.git("commit-tree", f"{start}^{{tree}}", "-p", start, "-m", "empty")
    result = run(repository, tree, branch, onto, strategy, base=start)
    assert isinstance(result, Stacked)
    assert proved(repository, branch, result).kind == "identical"
    assert {e.oid for e in repository.ls_tree(result.commit) if e.path == "sub"} == {second}


@STRATEGIES
def test_both_sides_change_one_file_in_different_places(tree, repository, strategy):
    branch = tree.on(tree.base, lambda: tree.line(3, "three"))
    onto = tree.on(tree.base, lambda: tree.line(30, "thirty"))
    result = run(repository, tree, branch, onto, strategy)
    text = repository.read_file(result.commit, "text").decode()
    assert "three\n" in text
    assert "thirty\n" in text
    assert proved(repository, branch, result) == Proof(kind="patch", paths=1)


@STRATEGIES
def test_a_rename_follows_an_edit_on_the_other_side_both_ways(tree, repository, strategy):
    def renamed():
        (tree.path / "text").rename(tree.path / "moved")

    rename = tree.on(tree.base, renamed)
    edit = tree.on(tree.base, lambda: tree.line(3, "three"))
    for branch, onto in ((rename, edit), (edit, rename)):
        result = run(repository, tree, branch, onto, strategy)
        assert isinstance(result, Stacked)
        assert "three" in repository.read_file(result.commit, "moved").decode()
        assert repository.read_file(result.commit, "text") is None
        assert isinstance(proved(repository, branch, result), Proof)


def test_both_renaming_one_file_differently_is_a_conflict(tree, repository):
    sides = [
        tree.on(tree.base, functools.partial((tree.path / "text").rename, tree.path / to))
        for to in "ab"
    ]
    result = run(repository, tree, *sides)
    assert isinstance(result, Conflicted)
    assert "rename/rename" in result.detail


def test_delete_against_modify_is_a_conflict_both_ways(tree, repository):
    deleted = tree.on(tree.base, (tree.path / "text").unlink)
    edited = tree.on(tree.base, lambda: tree.line(3, "three"))
    for branch, onto in ((deleted, edited), (edited, deleted)):
        result = run(repository, tree, branch, onto)
        assert isinstance(result, Conflicted)
        assert result.paths == ("text",)
        assert "modify/delete" in result.detail


def test_a_file_against_a_folder_and_binary_against_binary_are_conflicts(tree, repository):
    file = tree.on(tree.base, lambda: tree.put("new", "file"))
    folder = tree.on(tree.base, lambda: tree.put("new/inner", "x"))
    assert isinstance(run(repository, tree, file, folder), Conflicted)
    one = tree.on(tree.base, lambda: tree.put("bin", b"\0one"))
    two = tree.on(tree.base, lambda: tree.put("bin", b"\0two"))
    assert run(repository, tree, one, two).paths == ("bin",)


def test_a_conflict_names_the_commit_of_the_branch(tree, repository):
    def two():
        tree.put("fine", "fine")
        tree.commit("fine one")
        tree.line(3, "three")

    branch = tree.on(tree.base, two)
    onto = tree.on(tree.base, lambda: tree.line(3, "drei"))
    result = run(repository, tree, branch, onto)
    assert f"at commit {branch[:12]} (work)" in result.detail


def test_commits_on_the_same_lines_one_after_another_replay(tree, repository):
    def work():
        for text in ("a", "b", "c"):
            tree.line(3, text)
            tree.commit(f"say {text}")
        tree.put("end", "")

    branch = tree.on(tree.base, work)
    onto = tree.on(tree.base, lambda: tree.line(30, "thirty"))
    result = run(repository, tree, branch, onto)
    assert len(result.commits) == 4
    assert proved(repository, branch, result).kind == "patch"
    subjects = tree.git("log", "--format=%s", f"{onto}..{result.commit}").splitlines()
    assert subjects == ["work", "say c", "say b", "say a"]


def test_an_author_in_latin_1_and_a_signature_do_not_hinder_a_replay(tree, repository):
    raw = (
        f"tree {tree.git('rev-parse', tree.base + '^{tree}')}\nparent {tree.base}\n"
        "author J\xfcrgen <j@example.invalid> 1500000000 -0330\n"
        "committer J\xfcrgen <j@example.invalid> 1500000000 -0330\n"
        "encoding ISO-8859-1\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n abc\n"
        " -----END PGP SIGNATURE-----\n\nGr\xfc\xdfe"
    ).encode("latin-1")
    tree.put("new", "n")
    tree.git("add", "-A")
    raw = raw.replace(raw[5:45], tree.git("write-tree").encode())
    branch = repository.write_commit(raw)
    onto = tree.on(tree.base, lambda: tree.put("mine", "mine"))
    landed = repository.commit(run(repository, tree, branch, onto).commit)
    assert landed.author == "J\xfcrgen <j@example.invalid> 1500000000 -0330".encode("latin-1")
    assert landed.message == "Gr\xfc\xdfe".encode("latin-1")
    assert landed.encoding == b"ISO-8859-1"
    assert "gpgsig" not in tree.git("cat-file", "-p", landed.oid)


@STRATEGIES
def test_a_branch_that_merged_main_itself_lands(tree, repository, strategy):
    moved = tree.on(tree.base, lambda: tree.line(3, "three"))

    def work():
        tree.put("new", "n")
        tree.commit("mine")
        tree.git("merge", "-q", "--no-edit", moved)
        tree.put("more", "m")

    branch = tree.on(tree.base, work)
    onto = tree.on(moved, lambda: tree.line(3, "drei"))
    result = run(repository, tree, branch, onto, strategy)
    assert isinstance(result, Stacked)
    assert isinstance(proved(repository, branch, result), Proof)
    files = {entry.path for entry in repository.ls_tree(result.commit)}
    assert {"new", "more"} <= files
    assert "drei" in repository.read_file(result.commit, "text").decode()
    merges = tree.git("rev-list", "--merges", f"{onto}..{result.commit}").split()
    assert bool(merges) == (strategy is Strategy.MERGE_COMMIT)


@STRATEGIES
def test_criss_cross_merges_land_with_a_proof(tree, repository, strategy):
    left = tree.on(tree.base, lambda: tree.line(3, "left"))
    right = tree.on(tree.base, lambda: tree.line(30, "right"))

    def crossing(other, name):
        def work():
            tree.git("merge", "-q", "--no-edit", other)
            tree.put(name, name)

        return work

    onto = tree.on(left, crossing(right, "onto"))
    branch = tree.on(right, crossing(left, "branch"))
    result = run(repository, tree, branch, onto, strategy)
    assert isinstance(result, Stacked)
    assert isinstance(proved(repository, branch, result), Proof)
    assert repository.read_file(result.commit, "onto") == b"onto"
    assert repository.read_file(result.commit, "branch") == b"branch"


def test_part_of_the_work_in_main_already_is_recorded_as_overlap(tree, repository):
    def work():
        tree.line(3, "three")
        tree.line(20, "twenty")
        tree.put("same", "same")

    branch = tree.on(tree.base, work)

    def theirs():
        tree.line(3, "three")
        tree.put("same", "same")

    onto = tree.on(tree.base, theirs)
    result = run(repository, tree, branch, onto)
    proof = proved(repository, branch, result)
    assert proof == Proof(kind="lines", paths=1, overlap=("same", "text"))


def test_all_of_the_work_in_main_already_is_not_no_commit(tree, repository):
    branch = tree.on(tree.base, lambda: tree.line(3, "three"))

    def theirs():
        tree.line(3, "three")
        tree.put("mine", "mine")

    onto = tree.on(tree.base, theirs)
    assert run(repository, tree, branch, onto) == AlreadyIn(onto)
    assert isinstance(run(repository, tree, tree.base, onto), NoCommit)


def test_unrelated_history_conflicts(tree, repository):
    tree.git("checkout", "-q", "--orphan", "alien")
    tree.put("alien", "x")
    branch = tree.commit()
    result = run(repository, tree, branch, tree.base)
    assert isinstance(result, Conflicted)
    assert "no history in common" in result.detail


def test_a_target_dated_in_the_future_is_stacked_on_rightly(tree, repository):
    onto = tree.base
    for number in range(12):
        candidate = tree.on(tree.base, lambda number=number: tree.put(f"f{number}", "x"))
        result = stack(
            repository,
            Candidate(task_id="T", commit=candidate, base=tree.base),
            onto=onto,
            strategy=Strategy.REBASE,
            when=1.0,
        )
        assert len(result.commits) == 1
        onto = result.commit
    dates = [int(date) for date in tree.git("log", "--format=%ct", onto).split()]
    assert dates == sorted(dates, reverse=True)


# The proof, against landings that are wrong on purpose


def wrong(repository, tree, branch, before, change):
    after = tree.on(before, change)
    landing = Landing(fork=tree.base, branch=branch, before=before, after=after)
    return prove(repository, [landing])[0]


def test_a_landing_that_drops_a_line_keeps_theirs_or_adds_one_has_no_proof(tree, repository):
    def work():
        tree.line(3, "three")
        tree.line(20, "twenty")

    branch = tree.on(tree.base, work)
    before = tree.on(tree.base, lambda: tree.line(30, "thirty"))
    assert isinstance(wrong(repository, tree, branch, before, work), Proof)
    dropped = wrong(repository, tree, branch, before, lambda: tree.line(3, "three"))
    assert isinstance(dropped, Unproved)
    assert "missing 'twenty'" in dropped.detail

    def more():
        work()
        tree.line(10, "ten")

    assert isinstance(wrong(repository, tree, branch, before, more), Unproved)

    def incoming():  # "keep incoming": the branch's whole file over main's
        tree.git("checkout", "-q", branch, "--", "text")

    lost = wrong(repository, tree, branch, before, incoming)
    assert isinstance(lost, Unproved)
    assert "thirty" in lost.detail


def test_a_landing_that_forgets_a_mode_a_file_or_binary_content_has_no_proof(tree, repository):
    def work():
        tree.line(3, "three")
        (tree.path / "text").chmod(0o755)
        tree.put("bin", b"\0branch")
        tree.put("new", "n")

    branch = tree.on(tree.base, work)
    before = tree.on(tree.base, lambda: tree.line(30, "thirty"))

    def no_mode():
        work()
        (tree.path / "text").chmod(0o644)

    def no_binary():
        work()
        tree.put("bin", b"\0other")

    def no_file():
        work()
        (tree.path / "new").unlink()

    assert isinstance(wrong(repository, tree, branch, before, work), Proof)

    def no_indent():
        work()
        tree.line(3, "  three")

    for fault in (no_mode, no_binary, no_file, no_indent):
        assert isinstance(wrong(repository, tree, branch, before, fault), Unproved), fault


def test_a_landing_that_takes_back_what_both_sides_had_done_has_no_proof(tree, repository):
    def both():
        tree.line(3, "three")
        tree.put("bin", b"\0both")

    def work():
        both()
        tree.put("new", "n")

    branch = tree.on(tree.base, work)
    before = tree.on(tree.base, both)
    right = wrong(repository, tree, branch, before, work)
    assert right == Proof(kind="lines", paths=1, overlap=("bin", "text"))

    def back(path):
        def change():
            tree.git("checkout", "-q", tree.base, "--", path)
            tree.put("new", "n")

        return change

    for path in ("text", "bin"):
        assert isinstance(wrong(repository, tree, branch, before, back(path)), Unproved), path


def test_many_landings_are_proved_each_by_itself(tree, repository):
    one = tree.on(tree.base, lambda: tree.put("one", "1"))
    two = tree.on(tree.base, lambda: tree.put("two", "2"))
    first = run(repository, tree, one, tree.base)
    second = run(repository, tree, two, first.commit)
    good = [
        Landing(fork=tree.base, branch=one, before=tree.base, after=first.commit),
        Landing(fork=tree.base, branch=two, before=first.commit, after=second.commit),
    ]
    swapped = [Landing(fork=tree.base, branch=two, before=tree.base, after=first.commit)]
    kinds = [type(found) for found in prove(repository, [*good, *swapped])]
    assert kinds == [Proof, Proof, Unproved]
