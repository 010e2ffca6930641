"""Findings: the documents that items leave beside the code, and the report that they make.

The text of an item's findings is in git, at the commit that its agent made; the board says which.
So nothing is lost with a process, and the report is written anew from the board at each end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stigmergy.board import JsonObject, Task, TaskStatus, TaskType
from stigmergy.coding.context import RunContext
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.tasks import is_sweep, item_key, work_to_land
from stigmergy.coding.work.handoff import Handoff
from stigmergy.coding.work.inside.text import clip_middle

__all__ = ["Finding", "findings_before", "kept_findings", "read_findings", "render_report"]

MAX_CHARS: Final = 200_000
"""Of one item's findings; the middle of a longer document is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one item found, or why it found nothing."""

    key: str
    title: str
    task_type: str = ""
    text: str = ""
    """Empty: nothing was kept."""
    agent_id: str = ""
    commit: str = ""
    concerns: tuple[str, ...] = ()
    error: str = ""


def read_findings(repository: Repository, commit: str, path: str) -> str:
    """The findings that a commit has at a path; empty where there are none."""
    data = repository.read_file(commit, path)
    text = "" if data is None else data.decode(errors="replace")
    return clip_middle(text.strip(), MAX_CHARS)


def kept_findings(run: RunContext) -> list[Finding]:
    """Of every item of the run that has ended, in the order in which they were planned."""
    tasks = run.board.list_all(task_types=[TaskType.LAND], parent_id=run.run_id)
    lands = [task for task in tasks if task.status.is_final and not is_sweep(task)]
    found = [_finding(run, land) for land in sorted(lands, key=lambda land: land.created_at)]
    return [each for each in found if each.text or each.error]


def findings_before(run: RunContext, task: Task) -> str:
    """What the items that a task waited for have found, as one text; empty if nothing."""
    parts: list[str] = []
    for name in task.depends_on:
        land = run.board.get(name)
        if land is not None and land.task_type == TaskType.LAND:
            finding = _finding(run, land)
            if finding.text:
                parts.append(f"## {finding.key}: {finding.title}\n\n{finding.text}")
    return "\n\n".join(parts)


def _finding(run: RunContext, land: Task) -> Finding:
    title = land.description.strip().partition("\n")[0]
    key = item_key(land)
    if land.status is not TaskStatus.COMPLETED:
        return Finding(key=key, title=title, error=land.error or str(land.status))
    kept: JsonObject = (land.result or {}).get("findings") or {}
    work = run.board.get(work_to_land(land))
    if not kept or work is None:
        return Finding(key=key, title=title)
    result = run.board.load(work.result) or {}
    handoff = Handoff.model_validate(result.get("handoff"))
    return Finding(
        key=key,
        title=title,
        task_type=work.task_type,
        text=read_findings(run.repository, str(kept["at"]), str(kept["path"])),
        agent_id=str(kept.get("by", "")),
        commit=str(kept["at"]),
        concerns=handoff.concerns,
    )


def render_report(
    *, title: str, objective: str, label: str, start: str, findings: Sequence[Finding]
) -> str:
    """The report as Markdown. Pure."""
    parts = [f"# {title}"]
    if label:
        parts.append(f"> {label}")
    parts.append("\n".join(f"> {line}" for line in objective.strip().splitlines()))
    parts.append(f"The repository was read at commit `{start[:12]}`.")
    for each in findings:
        if each.text:
            parts += [f"# {each.key}: {each.title}", each.text, _source(each)]
    missing = [each for each in findings if not each.text]
    if missing:
        lines = [f"- {each.key}: {each.title}: {each.error}" for each in missing]
        parts += ["# What was not answered", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _source(finding: Finding) -> str:
    agent = finding.agent_id.rpartition("/")[2] or "an agent"
    lines = [f"*Found by {agent} ({finding.task_type}), commit `{finding.commit[:12]}`.*"]
    lines += [f"- Concern: {line}" for line in finding.concerns]
    return "\n".join(lines)
