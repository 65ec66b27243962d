"""What travels through the queues: small references to rows, never the payload itself.

A message names its tenant so that the worker can set it before it reads the row; the row, not the message, is believed.
"""

from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import Field, TypeAdapter

from devops_mcp.events.queues import IN_ORDER, QueueName
from devops_mcp.models.base import Model


class EventReceived(Model):
    """An event was stored and waits to be processed."""

    type: Literal["event.received"] = "event.received"
    id: UUID
    tenant_id: UUID
    event_id: UUID


class ResultKept(Model):
    """A result of a tool of `system` was kept whole and waits to be indexed."""

    type: Literal["result.kept"] = "result.kept"
    id: UUID
    tenant_id: UUID
    result_id: UUID
    system: str = Field(max_length=100)


class FileAttached(Model):
    """A file of text was attached to a context with this item and waits to be indexed."""

    type: Literal["file.attached"] = "file.attached"
    id: UUID
    tenant_id: UUID
    item_id: UUID


class EmbeddingRequested(Model):
    """Passages were indexed as text and wait for their vectors."""

    type: Literal["embedding.requested"] = "embedding.requested"
    id: UUID
    tenant_id: UUID
    passage_ids: tuple[UUID, ...] = Field(min_length=1, max_length=256)


class TaskReady(Model):
    """A task is to be run, or to be run on."""

    type: Literal["task.ready"] = "task.ready"
    id: UUID
    tenant_id: UUID
    task_id: UUID


class NotificationDue(Model):
    """A delivery to an integrator's webhook is to be tried."""

    type: Literal["notification.due"] = "notification.due"
    id: UUID
    tenant_id: UUID
    delivery_id: UUID


class CompactionRequested(Model):
    """A context is to be summed up, but for the latest items that make up `keep_tokens`."""

    type: Literal["compaction.requested"] = "compaction.requested"
    id: UUID
    tenant_id: UUID
    context_id: UUID
    keep_tokens: int = Field(ge=0)


class BlobsReleased(Model):
    """Nothing refers to these blobs any more, as far as is known."""

    type: Literal["blobs.released"] = "blobs.released"
    id: UUID
    tenant_id: UUID
    blob_ids: tuple[UUID, ...] = Field(min_length=1, max_length=256)


class ErasureRequested(Model):
    """Everything of the tenant is to be removed; `id` is the erasure's."""

    type: Literal["erasure.requested"] = "erasure.requested"
    id: UUID
    tenant_id: UUID


class ReplayDue(Model):
    """The next events of a replay are to be handed on."""

    type: Literal["replay.due"] = "replay.due"
    id: UUID
    tenant_id: UUID
    replay_id: UUID


Message: TypeAlias = Annotated[
    EventReceived
    | ResultKept
    | FileAttached
    | EmbeddingRequested
    | TaskReady
    | NotificationDue
    | CompactionRequested
    | BlobsReleased
    | ErasureRequested
    | ReplayDue,
    Field(discriminator="type"),
]
"""`id` is what once-in-effect is kept by: the same id is the same message, however often it is delivered."""

MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


def group_in(queue: QueueName, message: Message) -> UUID | None:
    """Among which others the message keeps its order in this queue: those about the same context. None where the queue keeps none."""
    if queue not in IN_ORDER:
        return None
    return message.context_id if isinstance(message, CompactionRequested) else message.id
