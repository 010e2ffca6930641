"""`stig board claim` and what its holder may say: a shell script is an agent by these."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from stigmergy.board import DEFAULT_LEASE_S, Lease, Task
from stigmergy.board.task import task_to_json
from stigmergy.cli.board.place import AsJson
from stigmergy.cli.board.reach import Place, open_any
from stigmergy.cli.board.reading import held, object_of, seconds, text_of
from stigmergy.cli.board.telling import pretty
from stigmergy.cli.console import clean, clock_time, duration
from stigmergy.errors import UsageError
from stigmergy.swarm.anyboard import AnyBoard, ProvesLeases

__all__ = ["NOTHING_TO_DO", "claim", "complete", "fail", "release", "renew", "report"]

NOTHING_TO_DO: Final = 5
"""How `claim` ends when there is no task for such an agent now."""
_LOOK_S: Final = 1.0
"""Tasks whose time comes make no event, so a waiting claim looks at least this often."""

TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task.")]
Agent = Annotated[str, typer.Option("--agent", metavar="AGENT", help="Who claimed it.")]
Fence = Annotated[str, typer.Option("--fence", metavar="N", help="The number that `claim` told.")]


def claim(
    *,
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Who takes it: any name.")],
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Only of this type; repeatable."),
    ] = None,
    capability: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="What the agent has; repeatable.")
    ] = None,
    lease: Annotated[
        str, typer.Option(metavar="TIME", help="How long the task is held without `renew`.")
    ] = f"{DEFAULT_LEASE_S:.0f}s",
    wait: Annotated[
        str | None, typer.Option(metavar="TIME", help="Wait so long until there is one.")
    ] = None,
    as_json: AsJson = False,
    board: Place,
) -> None:
    """Take the next task, and print its id and its fence on one line.

    Who reports on the task must name both, and the agent. Ends with 5 when
    there is nothing to take now. Report before the lease ends, or `renew` it:
    else the task goes to another agent, and what you report is refused.

    [bold]Examples[/bold]

      stig board claim worker-1 --type resize --lease 10m

      read -r id fence < <(stig board claim worker-1 --wait 1h)

      stig board claim worker-1 --capability gpu --json
    """
    lease_s = seconds(lease, what="--lease")
    until = time.monotonic() + (0.0 if wait is None else seconds(wait, what="--wait"))
    with open_any(board, may="worker") as opened:
        while True:
            left = until - time.monotonic()
            task = opened.claim_within(
                agent,
                wait_s=min(max(left, 0.0), _LOOK_S),
                capabilities=capability or (),
                task_types=types,
                lease_s=lease_s,
            )
            if task is not None or left <= 0:
                break
        if task is not None:
            task = replace(task, payload=opened.load(task.payload))
        proof = _proof(opened, task)
    if as_json:
        print(json.dumps(_document(task, proof), indent=2))
    elif task is not None:
        _show(task, proof)
    if task is None:
        if not as_json:
            typer.echo("nothing to take now", err=True)
        raise typer.Exit(NOTHING_TO_DO)


def complete(
    *,
    task_id: TaskId,
    agent: Agent,
    fence: Fence,
    result: Annotated[
        str | None, typer.Option(metavar="JSON", help="An object, @FILE, or - for stdin.")
    ] = None,
    as_json: AsJson = False,
    board: Place,
) -> None:
    """Hand in the result of a claimed task. Saying it twice changes nothing.

    [bold]Example[/bold]

      stig board complete resize-1 --agent w1 --fence 1 --result '{"size": 64}'
    """
    outcome = object_of(result, what="--result")
    with _reporting(board, fence) as opened:
        task = opened.complete(_held(opened, task_id, agent=agent, fence=fence), outcome)
    _say(task, f"completed {task.task_id}", as_json=as_json)


def fail(
    *,
    task_id: TaskId,
    agent: Agent,
    fence: Fence,
    error: Annotated[str, typer.Argument(metavar="ERROR", help="What went wrong; - for stdin.")],
    no_retry: Annotated[
        bool, typer.Option("--no-retry", help="It cannot go well: no further attempt.")
    ] = False,
    as_json: AsJson = False,
    board: Place,
) -> None:
    """Say that the attempt failed. The task is tried again while attempts are left.

    [bold]Examples[/bold]

      stig board fail resize-1 --agent w1 --fence 1 'no space left'

      ./job 2>log || stig board fail "$id" --agent w1 --fence "$fence" - <log
    """
    said = text_of(error, what="ERROR")
    with _reporting(board, fence) as opened:
        task = opened.fail(
            _held(opened, task_id, agent=agent, fence=fence), said, retry=not no_retry
        )
    again = (
        f"tried again in {duration(task.not_before - time.time())}"
        if not task.status.is_final
        else "for good"
    )
    _say(task, f"failed {task.task_id}, {again}", as_json=as_json)


def release(
    *,
    task_id: TaskId,
    agent: Agent,
    fence: Fence,
    delay: Annotated[
        str | None, typer.Option("--in", metavar="TIME", help="Nobody takes it before then.")
    ] = None,
    wait_for: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A task to be completed before; repeatable."),
    ] = None,
    reason: Annotated[str, typer.Option(help="For the journal.")] = "",
    as_json: AsJson = False,
    board: Place,
) -> None:
    """Give a claimed task back unharmed: the attempt does not count.

    [bold]Example[/bold]

      stig board release resize-1 --agent w1 --fence 1 --in 10m
    """
    delay_s = 0.0 if delay is None else seconds(delay, what="--in")
    with _reporting(board, fence) as opened:
        task = opened.release(
            _held(opened, task_id, agent=agent, fence=fence),
            wait_for=wait_for or (),
            delay_s=delay_s,
            reason=reason,
        )
    _say(task, f"released {task.task_id}", as_json=as_json)


def renew(
    *,
    task_id: TaskId,
    agent: Agent,
    fence: Fence,
    lease: Annotated[
        str, typer.Option(metavar="TIME", help="How long from now.")
    ] = f"{DEFAULT_LEASE_S:.0f}s",
    as_json: AsJson = False,
    board: Place,
) -> None:
    """Hold on to a claimed task for longer.

    [bold]Example[/bold]

      stig board renew resize-1 --agent w1 --fence 1 --lease 10m
    """
    lease_s = seconds(lease, what="--lease")
    with _reporting(board, fence) as opened:
        renewed = opened.renew(_held(opened, task_id, agent=agent, fence=fence), lease_s=lease_s)
    if as_json:
        told = {"task_id": task_id, "agent_id": agent, "fence": renewed.fence}
        print(json.dumps({"lease": {**told, "deadline": renewed.deadline}}, indent=2))
    else:
        typer.echo(f"renewed {task_id} until {clock_time(renewed.deadline)}")


def report(
    *,
    task_id: TaskId,
    agent: Agent,
    fence: Fence,
    progress: Annotated[
        str,
        typer.Argument(metavar="PROGRESS", help="How far it is: an object, @FILE, or - for stdin."),
    ],
    lease: Annotated[
        str, typer.Option(metavar="TIME", help="How long the lease runs from now.")
    ] = f"{DEFAULT_LEASE_S:.0f}s",
    as_json: AsJson = False,
    board: Place,
) -> None:
    """Say how far a claimed task is, for whoever watches. Renews the lease.

    [bold]Example[/bold]

      stig board report resize-1 '{"done": 3, "total": 10}' --agent w1 --fence 1
    """
    told = object_of(progress, what="PROGRESS")
    lease_s = seconds(lease, what="--lease")
    with _reporting(board, fence) as opened:
        task = opened.report(
            _held(opened, task_id, agent=agent, fence=fence), told, lease_s=lease_s
        )
    until = "" if task.lease_until is None else f" until {clock_time(task.lease_until)}"
    _say(task, f"reported on {task_id}, held{until}", as_json=as_json)


@contextmanager
def _reporting(board: Place, fence: str) -> Generator[AnyBoard]:
    """The board, for a report; who has no proof of the lease must be allowed to do without."""
    with open_any(board, may="worker" if "." in fence else "admin") as opened:
        yield opened


def _held(board: AnyBoard, task_id: str, *, agent: str, fence: str) -> Lease:
    """The lease that `claim` told, of which a board over HTTP told a proof as well."""
    number, _, proof = fence.partition(".")
    if not number.isdecimal() or not number.isascii():
        raise UsageError(f"--fence is {fence!r}: give what `claim` told")
    lease = held(task_id, agent=agent, fence=int(number))
    if proof and isinstance(board, ProvesLeases):
        board.remember(lease, proof)
    return lease


def _proof(board: AnyBoard, task: Task | None) -> str | None:
    if task is None or task.lease is None or not isinstance(board, ProvesLeases):
        return None
    return board.proof_of(task.lease)


def _document(task: Task | None, proof: str | None) -> dict[str, object]:
    if task is None or task.lease is None:
        return {"task": None, "lease": None}
    lease = asdict(task.lease) | ({} if proof is None else {"proof": proof})
    return {"task": task_to_json(task), "lease": lease}


def _show(task: Task, proof: str | None) -> None:
    lease = task.lease
    assert lease is not None, "it was claimed just now"
    left = duration(lease.deadline - time.time())
    attempt = f"attempt {task.attempts} of {task.max_attempts}"
    until = f"held until {clock_time(lease.deadline)} ({left})"
    parts = [Text(f"{clean(task.task_type)}, {attempt}; {until}", style="dim")]
    if task.description:
        parts.append(Text(clean(task.description)))
    if task.payload:
        parts.append(pretty(task.payload))
    # The first line is for `read -r id fence`, the rest for people. All in one go: who reads no
    # more than a line closes the pipe, and the claim must not end as if it had gone wrong.
    console = Console(highlight=False, soft_wrap=True)
    with console.capture() as capture:
        fence = str(lease.fence) if proof is None else f"{lease.fence}.{proof}"
        console.print(f"{task.task_id} {fence}", markup=False)
        console.print(*parts, sep="\n")
    typer.echo(capture.get(), nl=False)


def _say(task: Task, words: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"task": task_to_json(task)}, indent=2))
    else:
        typer.echo(clean(words))
