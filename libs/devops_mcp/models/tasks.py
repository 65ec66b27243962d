"""Tasks: calls of tools that go on in the worker, and what becomes of them."""

from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import JsonObject, Model, Moment
from devops_mcp.models.content import Block
from devops_mcp.models.conversation import Answer, Question


class TaskStatus(StrEnum):
    """`COMPLETED` is a tool that ran, even to an error of its own; `FAILED` is one that could not be run to its end."""

    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


class TaskPriority(StrEnum):
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


QuestionKind: TypeAlias = Literal["form", "sampling", "roots"]


class TasksWanted(Model):
    """All that are named must hold. `since` and `until` bound the time of submission; `until` itself is outside."""

    status: TaskStatus | None = None
    tool: str | None = Field(default=None, max_length=64)
    priority: TaskPriority | None = None
    owner_id: UUID | None = None
    context_id: UUID | None = None
    since: Moment | None = None
    until: Moment | None = None


class TaskResult(Model):
    """What the tool answered, or the error it ended with: `code` and `error` are then set."""

    data: JsonObject = Field(default_factory=dict)
    blocks: tuple[Block, ...] = ()
    code: str | None = None
    error: str | None = None


class TaskOrigin(Model):
    """The run of a rule that started a task where no caller did. `rules` led to it one after the other, its own the last.

    `destructive` says that whoever wrote the rule lets it lose something with nobody asked.
    """

    run_id: UUID
    rules: tuple[UUID, ...]
    destructive: bool = False


class NewTask(Model):
    """A call to be run.

    `answerable` are the kinds of questions that its caller can answer later; `answers` those given beforehand. `limits` are those of the
    credential that it was asked for with: a narrow token's task may no more than the token.
    """

    id: UUID
    owner_id: UUID
    tool: str
    arguments: JsonObject
    priority: TaskPriority = TaskPriority.NORMAL
    answerable: tuple[QuestionKind, ...] = ()
    answers: dict[str, Answer] = Field(default_factory=dict)
    context_id: UUID | None = None
    origin: TaskOrigin | None = None
    limits: tuple[tuple[str, ...], ...] = ()
    expires_at: datetime


class Task(NewTask):
    """`attempt` goes up with each worker that begins it, and each time that it is sent again from the dead letters.

    `attempts_before` is where it stood then, the last time.

    `questions` wait for answers while its status is `input_required`.
    """

    tenant_id: UUID
    status: TaskStatus
    message: str | None = None
    progress: float | None = None
    total: float | None = None
    questions: dict[str, Question] = Field(default_factory=dict)
    result: TaskResult | None = None
    attempt: int
    attempts_before: int = 0
    created_at: datetime
    updated_at: datetime

    @property
    def ended(self) -> bool:
        return self.status in ENDED
