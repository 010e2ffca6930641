"""What a sandbox shows of the repository, and the commits that come back from it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from stigmergy.coding.sandbox.sandbox import (
    Sandbox,
    SandboxFactory,
)
from stigmergy.errors import CorruptError, UsageError
from stigmergy.testing.sandboxcontract.shared import (
    COMMIT,
    FILES,
    REF,
    SandboxFixtures,
    commit_all,
    git,
    shell,
)

__all__ = ["CheckoutContract"]


class CheckoutContract(SandboxFixtures):
    """A checkout is the commit, private, and gives back commits alone."""

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
