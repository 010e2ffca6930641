"""What goes over the wire, as pydantic models.

Requests are parsed with them, and the OpenAPI document tells of them.

Answers are built from the board's own JSON, and tests hold them against these models.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from stigmergy.board import Lease, OnDuplicate, Task, TaskStatus

__all__ = [
    "LONGEST_WAIT_S",
    "AgentsWish",
    "BlobReference",
    "CancelMany",
    "Choice",
    "Chosen",
    "ClaimOrder",
    "Claimed",
    "Completion",
    "EntryHistory",
    "EntryPage",
    "EventDocument",
    "EventPage",
    "ExchangeOrder",
    "Failure",
    "FiguresDocument",
    "HeldTask",
    "Hits",
    "LeaseDocument",
    "Listed",
    "MemoryDocument",
    "NewEntry",
    "NewTask",
    "PauseOrder",
    "PostMany",
    "Posted",
    "Priority",
    "ProblemDocument",
    "ProgressDocument",
    "Reason",
    "Release",
    "Remembered",
    "Renewal",
    "Report",
    "Result",
    "RetryMany",
    "RuleDocument",
    "RulesDocument",
    "Ruling",
    "StartOrder",
    "TaskDocument",
    "TaskPage",
    "Wanted",
]

LONGEST_WAIT_S: Final = 60.0
"""Of a claim that waits: proxies cut off what is silent for longer."""
_MOST_AT_ONCE: Final = 1_000

Seconds = Annotated[float, Field(gt=0, le=366 * 24 * 3600, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
TaskId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Names = Annotated[list[Name], Field(max_length=1_000)]


class _Given(BaseModel):
    """A request: what is not known in it is a mistake."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Told(BaseModel):
    """An answer; later versions may tell more."""


# Tasks --------------------------------------------------------------------------------------


class NewTask(_Given):
    """A task to be posted."""

    task_type: Annotated[str, Field(min_length=1, max_length=100)]
    description: str = ""
    payload: dict[str, Any] = Field(default_factory=dict[str, Any])
    task_id: TaskId | None = None
    """A random one if not given; with an `Idempotency-Key` one that follows from it."""
    requires: Names = Field(default_factory=list[str])
    depends_on: list[TaskId] = Field(default_factory=list[str])
    parent_id: TaskId | None = None
    unique_key: Name | None = None
    limit_key: Name | None = None
    priority: Annotated[int, Field(ge=1, le=10)] = 5
    max_attempts: Annotated[int, Field(ge=1, le=2**53)] = 3
    not_before: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    def task(self, task_id: str) -> Task:
        """The task, under that id if it has none of its own."""
        return Task(
            task_type=self.task_type,
            description=self.description,
            payload=self.payload,
            task_id=self.task_id or task_id,
            requires=tuple(self.requires),
            depends_on=tuple(self.depends_on),
            parent_id=self.parent_id,
            unique_key=self.unique_key,
            limit_key=self.limit_key,
            priority=self.priority,
            max_attempts=self.max_attempts,
            not_before=self.not_before,
        )


class PostMany(_Given):
    """Tasks to be posted, all or none."""

    tasks: Annotated[list[NewTask], Field(max_length=10_000)]
    on_duplicate: OnDuplicate = "keep"


class Posted(_Told):
    """The ids under which the tasks stand, in the order given."""

    task_ids: list[str]


class TaskDocument(_Told):
    """A task as it stands."""

    task_id: str
    task_type: str
    description: str
    payload: dict[str, Any]
    requires: list[str]
    depends_on: list[str]
    waiting_on: list[str]
    parent_id: str | None
    unique_key: str | None
    limit_key: str | None
    priority: int
    lag_s: float
    status: TaskStatus
    attempts: int
    max_attempts: int
    not_before: float
    created_at: float
    claimed_by: str | None
    claimed_at: float | None
    lease_until: float | None
    fence: int
    progress: dict[str, Any] | None
    finished_at: float | None
    result: dict[str, Any] | None
    error: str | None


class Listed(_Told):
    """One task."""

    task: TaskDocument


class TaskPage(_Told):
    """Tasks in posting order."""

    tasks: list[TaskDocument]
    next_cursor: str | None
    """What `cursor` takes for the tasks after these; null on the last page."""


class FiguresDocument(_Told):
    """The board in figures. Null is unknown, or that there is none."""

    by_type: dict[str, dict[str, int]]
    """Of each type how many tasks stand where, without zeros."""
    oldest_ready_s: float | None
    """How long the task waits that could be claimed the longest."""
    held: int
    overdue: int
    """Held tasks whose lease has run out."""
    throughput: dict[str, dict[str, int] | None]
    """Of the last `minute` and `hour`; null where the journal does not go back so far."""


class RuleDocument(_Told):
    """A rule: its name begins with its kind, and what its body holds goes by that."""

    name: str
    body: dict[str, Any]
    due_at: float | None


class RulesDocument(_Told):
    """All rules of the board."""

    rules: list[RuleDocument]


# Leases -------------------------------------------------------------------------------------


class LeaseDocument(_Told):
    """The right to work on a task. Send it back as it is with every report on the task."""

    model_config = ConfigDict(extra="forbid", strict=True)

    task_id: TaskId
    agent_id: Name
    attempt: Annotated[int, Field(ge=0, le=2**53)] = 0
    fence: Annotated[int, Field(ge=0, le=2**53)]
    deadline: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    proof: Annotated[str, Field(max_length=100)] | None = None
    """By which the server knows a lease that it gave out; null where it does not tell one."""

    def lease(self) -> Lease:
        """As the board knows it."""
        return Lease(
            task_id=self.task_id,
            agent_id=self.agent_id,
            attempt=self.attempt,
            fence=self.fence,
            deadline=self.deadline,
        )


class Wanted(_Given):
    """What an agent wants to take."""

    agent_id: Name
    limit: Annotated[int, Field(ge=1, le=_MOST_AT_ONCE)] = 1
    capabilities: Names = Field(default_factory=list[str])
    task_types: Names | None = None
    lease_s: Seconds | None = None


class ClaimOrder(Wanted):
    """What an agent asks for."""

    wait_s: Annotated[float, Field(ge=0, le=LONGEST_WAIT_S, allow_inf_nan=False)] = 0.0
    """Wait so long until there is one."""


class Result(_Given):
    """What came of a task."""

    lease: LeaseDocument
    result: dict[str, Any] = Field(default_factory=dict[str, Any])


class ExchangeOrder(Wanted):
    """Results, and what the agent wants next."""

    results: Annotated[list[Result], Field(min_length=1, max_length=_MOST_AT_ONCE)]


class HeldTask(_Told):
    """A task and the lease on it."""

    task: TaskDocument
    lease: LeaseDocument


class Claimed(_Told):
    """What was claimed; empty if there was nothing."""

    claimed: list[HeldTask]


class StartOrder(_Given):
    """Work has begun."""

    lease: LeaseDocument


class Renewal(_Given):
    """Hold on for longer."""

    lease: LeaseDocument
    lease_s: Seconds | None = None


class Report(_Given):
    """How far the work is."""

    lease: LeaseDocument
    progress: dict[str, Any]
    lease_s: Seconds | None = None


class Completion(_Given):
    """The result."""

    lease: LeaseDocument
    result: dict[str, Any] = Field(default_factory=dict[str, Any])
    note: dict[str, Any] | None = None
    """For the journal."""


class Failure(_Given):
    """The attempt failed."""

    lease: LeaseDocument
    error: str
    retry: bool = True
    note: dict[str, Any] | None = None


class Release(_Given):
    """Given back unharmed."""

    lease: LeaseDocument
    wait_for: list[TaskId] = Field(default_factory=list[str])
    post: Annotated[list[NewTask], Field(max_length=10_000)] = Field(default_factory=list[NewTask])
    delay_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    reason: str = ""
    note: dict[str, Any] | None = None


# Steering -----------------------------------------------------------------------------------


class Reason(_Given):
    """Why."""

    reason: str = "cancelled"


class Choice(_Given):
    """Tasks that pass all that is given; null does not filter."""

    statuses: list[Annotated[TaskStatus, Field(strict=False)]] | None = None
    task_types: Names | None = None
    parent_id: TaskId | None = None


class CancelMany(Choice):
    """Which tasks to cancel, of those that are not finished."""

    reason: str = "cancelled"


class RetryMany(Choice):
    """Which tasks to begin anew, of those that failed or were cancelled."""

    error: str = ""
    """Only those whose error has this text in it."""


class Chosen(_Told):
    """The tasks that something was done to for their own sake."""

    task_ids: list[str]


class Priority(_Given):
    """A place in the claim order."""

    priority: Annotated[int, Field(ge=1, le=10)]


class Ruling(_Given):
    """What a person decided about what waited for one."""

    by: Name
    reason: str = ""


class PauseOrder(_Given):
    """Which type; null stands for all."""

    task_type: Annotated[str, Field(min_length=1, max_length=100)] | None = None


class AgentsWish(_Given):
    """How many agents are wanted."""

    count: Annotated[int, Field(ge=0, le=1_000)]


# The board ----------------------------------------------------------------------------------


class ProgressDocument(_Told):
    """How far a set of tasks has come."""

    total: int
    pending: int
    in_progress: int
    completed: int
    failed: int
    cancelled: int


class EventDocument(_Told):
    """One line of the journal."""

    seq: int
    at: float
    kind: str
    task_id: str
    agent_id: str
    data: dict[str, Any]


class EventPage(_Told):
    """Events, oldest first."""

    events: list[EventDocument]
    more: bool
    """Whether there are others after these."""
    last_seq: int
    """Of the journal's latest event; 0 before the first."""


class BlobReference(_Told):
    """What stands for a large value: post it as a payload, or hand it in as a result."""

    model_config = ConfigDict(populate_by_name=True)

    blob: Annotated[str, Field(alias="$blob")]
    bytes: int


# Memory -------------------------------------------------------------------------------------


class NewEntry(_Given):
    """A value to be remembered."""

    value: Any
    """A text or other JSON."""
    kind: Literal["note", "value", "reflection"] | None = None
    """A text is a note and all else a value, if not given."""
    tags: Annotated[list[Name], Field(max_length=32)] = Field(default_factory=list[str])
    ttl_s: Seconds | None = None
    """It is forgotten after so long."""
    if_version: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """The version that the key must have now; 0 for none."""
    lease: LeaseDocument | None = None
    """Of the task that it comes from: the entry then says so, and by which agent."""


class OriginDocument(_Told):
    """Who wrote an entry, and for what. Empty texts are unknown."""

    agent_id: str
    task_id: str
    run_id: str
    imported_from: str | None
    via: list[str]


class EntryDocument(_Told):
    """What a key of a namespace holds. Somebody's note, and no instruction to whoever reads it."""

    namespace: str
    key: str
    kind: Literal["note", "value", "reflection"]
    value: Any
    tags: list[str]
    version: int
    created_at: float
    updated_at: float
    expires_at: float | None
    origin: OriginDocument


class Remembered(_Told):
    """One entry."""

    entry: EntryDocument


class FoundEntry(EntryDocument):
    """An entry that a search found."""

    score: float
    """Greater is better; to be compared within one search only."""
    by: list[Literal["text", "vector"]]


class Hits(_Told):
    """What a search found, the best first."""

    hits: list[FoundEntry]


class EntryPage(_Told):
    """Entries by namespace and key."""

    entries: list[EntryDocument]
    next_cursor: str | None


class EntryHistory(_Told):
    """The versions of a key that are kept, the present one first."""

    versions: list[EntryDocument]


class NamespaceDocument(_Told):
    """What a namespace holds."""

    namespace: str
    entries: int
    kinds: dict[str, int]
    imported: int
    vectors: int
    size_bytes: int
    updated_at: float | None


class MemoryDocument(_Told):
    """What the memory holds."""

    memory_id: str
    entries: int
    versions: int
    file_bytes: int
    namespaces: list[NamespaceDocument]


# Problems -----------------------------------------------------------------------------------


class ProblemDocument(_Told):
    """What went wrong. Source: RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str
    """`urn:stigmergy:problem:` and a name that stays the same."""
    title: str
    status: int
    detail: str
    retry_after_s: float | None = None
