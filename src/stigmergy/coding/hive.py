"""A hive: a run that has a name and a strategy. What that changes of a run is decided here. Pure.

There is one engine. A hive's strategy adds prompts and task types to it, says which paths an item
may change, and which items leave findings, a document that is kept beside the code, in place of
commits that land.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from pydantic import BaseModel, ConfigDict

from stigmergy.coding.plan.globs import pattern_matches
from stigmergy.coding.plan.workitem import WorkItem
from stigmergy.coding.strategies.strategy import Strategy, WorkType
from stigmergy.coding.work.briefing import system_prompt
from stigmergy.coding.work.handoff import Assignment
from stigmergy.errors import UsageError

__all__ = [
    "RESEARCH_KEY",
    "HiveSpec",
    "check_hive_name",
    "findings_key",
    "for_hive",
    "name_of",
    "single_item",
]

RESEARCH_KEY: Final = "research"
"""The item of the step that comes before all others."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")
_FINDINGS: Final = "FINDINGS.md"
_LANDED_FINDINGS: Final = "findings"
_NAME_CHARS: Final = 40
_LANDS: Final = (
    "\nYour document lands in the repository. Leave nothing but it changed: work that touches any "
    "other file comes back.\n"
)


class HiveSpec(BaseModel):
    """What a run that is a hive was asked for, as it stands in `run.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    strategy: Strategy
    """Whole, so that a resumed hive is what it was whatever became of the file."""
    research: WorkType | None = None
    """What the research step before all others is; None: there is none."""
    land: bool = False
    """Findings land in the repository as well."""
    may_change: tuple[str, ...] = ()
    """What the user allows beside what the strategy does."""

    @property
    def lands(self) -> bool:
        """Something of it comes onto the target branch; such a hive has its repository alone."""
        return self.land or self.strategy.lands

    @property
    def task_types(self) -> tuple[str, ...]:
        """All that its agents take, mending aside."""
        extra = () if self.research is None else (self.research.name,)
        return tuple(dict.fromkeys((*(each.name for each in self.strategy.types), *extra)))

    def type_of(self, name: str) -> WorkType:
        """The work type of that name."""
        if self.research is not None and name == self.research.name:
            return self.research
        return self.strategy.type_of(name)

    def findings_path(self, key: str) -> str:
        """Where an agent writes the findings of an item, in its checkout."""
        return f"{_LANDED_FINDINGS}/{self.name}/{key}.md" if self.land else _FINDINGS

    def only_kept(self, work: WorkType) -> bool:
        """What such an item leaves is kept and does not land."""
        return work.product == "findings" and not self.land

    def outside(self, work: WorkType, key: str, paths: Iterable[str]) -> tuple[str, ...]:
        """Those of the paths that an item must not change."""
        if work.product == "findings":
            allowed: Sequence[str] = (self.findings_path(key),)
        elif not work.may_change:
            return ()
        else:
            allowed = (*work.may_change, *self.may_change)
        return tuple(
            path for path in paths if not any(pattern_matches(each, path) for each in allowed)
        )

    def first_items(self, objective: str) -> tuple[WorkItem, ...]:
        """What is done before anything is planned."""
        if self.research is None:
            return ()
        return (
            WorkItem(
                key=RESEARCH_KEY,
                title="Research what the others of this hive must know, before they begin",
                description=f"They will work on this objective:\n\n{objective.strip()}",
                acceptance=(
                    "the parts of the repository that matter for it are named, with what they do",
                    "conventions, pitfalls and open questions are named, with their evidence",
                ),
                priority=1,
                task_type=self.research.name,
            ),
        )

    def typed(self, items: Iterable[WorkItem]) -> tuple[WorkItem, ...]:
        """The items, each with a type: the first one where the planner named none."""
        first = self.strategy.types[0].name
        return tuple(replace(item, task_type=item.task_type or first) for item in items)

    def planner_text(self) -> str:
        """What its planner is told beside the general instructions."""
        lines = [f"- `{each.name}`: {each.summary}" for each in self.strategy.types]
        parts = [f"# The strategy: {self.strategy.name}", self.strategy.planner]
        parts.append("Give each item one of these as its `type`:\n\n" + "\n".join(lines))
        return "\n\n".join(part for part in parts if part)


def for_hive(assignment: Assignment, hive: HiveSpec, work: WorkType, *, key: str) -> Assignment:
    """An assignment as the strategy wants it: its prompts, and where findings are written."""
    finds = work.product == "findings"
    prompt = system_prompt(assignment.task_type, finds=finds, more=work.prompt)
    update: dict[str, object] = {"system_prompt": prompt}
    if finds:
        context = dict(assignment.context)
        if assignment.scope:
            context["look_at"] = "\n".join(f"- {pattern}" for pattern in assignment.scope)
        if hive.land:
            prompt += _LANDS
        update |= {
            "system_prompt": prompt,
            "scope": (hive.findings_path(key),),
            "context": context,
            "gate": assignment.gate if hive.land else (),
        }
    return assignment.model_copy(update=update)


def single_item(objective: str, strategy: Strategy) -> WorkItem:
    """The whole objective as one item, where no model is there to plan."""
    title, _, rest = objective.strip().partition("\n")
    return WorkItem(
        key="objective",
        title=title,
        description=rest.strip(),
        task_type=strategy.types[0].name,
    )


def findings_key(run_id: str, key: str) -> str:
    """Where the memory has the findings of an item."""
    return f"{run_id}/findings/{key}"


def name_of(objective: str, *, taken: Iterable[str]) -> str:
    """A name for a hive that was given none, like no other's."""
    words = re.findall(r"[a-z0-9]+", objective.lower())
    made = ""
    for word in words:
        longer = f"{made}-{word}" if made else word
        if len(longer) > _NAME_CHARS:
            break
        made = longer
    made = made or "hive"
    others = set(taken)
    numbered = (f"{made}-{number}" for number in range(2, len(others) + 3))
    return made if made not in others else next(name for name in numbered if name not in others)


def check_hive_name(name: str) -> None:
    """See that a hive can be called so.

    Raises:
        UsageError: it cannot.
    """
    if _NAME.fullmatch(name) is None or ".." in name or name.endswith((".", ".lock")):
        raise UsageError(
            f"{name[:80]!r} cannot be the name of a hive: start with a small letter or a digit, go "
            "on with these, '.', '_' or '-', up to 60"
        )
