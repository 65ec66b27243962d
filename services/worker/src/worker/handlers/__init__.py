"""What the worker does with a message: one file a type, one `match` over all of them.

A handler gets messages of one type and one tenant, as many as came together, and gives them their effect in one transaction. It returns
the ids of those that had not had it before, or raises, and then none of them has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, assert_never
from uuid import UUID

from devops_mcp.events.messages import (
    BlobsReleased,
    CompactionRequested,
    EmbeddingRequested,
    ErasureRequested,
    EventReceived,
    FileAttached,
    Message,
    NotificationDue,
    ReplayDue,
    ResultKept,
    TaskReady,
)
from devops_mcp.observability.caller import set_caller
from devops_mcp.operations.blobs import BlobStore
from devops_mcp.operations.compaction import Compactor
from devops_mcp.operations.erasure import Eraser
from devops_mcp.operations.event_replays import Replayer
from devops_mcp.operations.events import EventProcessor
from devops_mcp.operations.file_indexing import FileIndexer
from devops_mcp.operations.result_indexing import ResultIndexer
from devops_mcp.operations.task_runner import TaskRunner
from devops_mcp.operations.vectors import PassageEmbedder
from devops_mcp.operations.webhook_sending import WebhookSender
from worker.handlers import (
    blobs_released,
    compaction_requested,
    embedding_requested,
    erasure_requested,
    event_received,
    file_attached,
    notification_due,
    replay_due,
    result_kept,
    task_ready,
)

Traces: TypeAlias = Mapping[UUID, str]
"""Traceparents of the messages' processing, by message id."""

MessageT = TypeVar(
    "MessageT",
    EventReceived,
    ResultKept,
    FileAttached,
    EmbeddingRequested,
    TaskReady,
    NotificationDue,
    CompactionRequested,
    BlobsReleased,
    ErasureRequested,
    ReplayDue,
)


@dataclass(frozen=True, slots=True)
class Handlers:
    """The handlers with what they work on. Without a model `embedder` is None, and nothing may send it work."""

    processor: EventProcessor
    results: ResultIndexer
    files: FileIndexer
    embedder: PassageEmbedder | None
    runner: TaskRunner
    sender: WebhookSender
    compactor: Compactor
    blobs: BlobStore
    eraser: Eraser
    replayer: Replayer

    async def handle(self, tenant_id: UUID, messages: Sequence[Message], traces: Traces) -> set[UUID]:
        """Hand messages of one type and tenant to their handler; the ids of those that had their effect now.

        The tenant is whom they are handled for: it holds a part of the pool only, as a caller does.
        """
        set_caller(tenant_id)
        first = messages[0]
        match first:
            case EventReceived():
                return await event_received.handle(
                    self.processor, tenant_id, _all(EventReceived, messages), traces
                )
            case ResultKept():
                return await result_kept.handle(self.results, tenant_id, _all(ResultKept, messages))
            case FileAttached():
                return await file_attached.handle(self.files, tenant_id, _all(FileAttached, messages))
            case EmbeddingRequested():
                return await embedding_requested.handle(
                    self.embedder, tenant_id, _all(EmbeddingRequested, messages)
                )
            case TaskReady():
                return await task_ready.handle(self.runner, tenant_id, _all(TaskReady, messages))
            case NotificationDue():
                return await notification_due.handle(self.sender, tenant_id, _all(NotificationDue, messages))
            case CompactionRequested():
                return await compaction_requested.handle(
                    self.compactor, tenant_id, _all(CompactionRequested, messages)
                )
            case BlobsReleased():
                return await blobs_released.handle(self.blobs, tenant_id, _all(BlobsReleased, messages))
            case ErasureRequested():
                return await erasure_requested.handle(
                    self.eraser, tenant_id, _all(ErasureRequested, messages)
                )
            case ReplayDue():
                return await replay_due.handle(self.replayer, tenant_id, _all(ReplayDue, messages))
            case _:
                assert_never(first)


def _all(type_: type[MessageT], messages: Sequence[Message]) -> list[MessageT]:
    return [message for message in messages if isinstance(message, type_)]
