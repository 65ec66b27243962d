"""What is written with a context's items to find them by: by their words at once, by their meaning when a worker has embedded them."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from devops_mcp.embedding.chunking import split
from devops_mcp.embedding.tokens import count_tokens
from devops_mcp.events.messages import EmbeddingRequested, FileAttached
from devops_mcp.events.queues import QueueName
from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.blobs import Attachment
from devops_mcp.models.contexts import ItemKind, NewItem, context_uri
from devops_mcp.models.ids import new_id
from devops_mcp.observability.tracing import current_traceparent
from devops_mcp.operations.text_files import is_text
from devops_mcp.repositories.context_appends import Beside, CountedItem, Part
from devops_mcp.repositories.outbox import Posting
from devops_mcp.repositories.transaction import Transaction


def beside_items(
    tenant_id: UUID,
    context_id: UUID,
    items: Sequence[CountedItem],
    *,
    embeds: bool,
    record: AuditRecord | None = None,
) -> Beside:
    """What makes items searchable: by their words with them, by their meaning when a worker has embedded them; and who appended them."""
    parts = [
        Part(new_id(), counted.id, number, text)
        for counted in items
        for number, text in enumerate(split(counted.item.text))
    ]
    postings = vector_requests(tenant_id, [part.id for part in parts]) if embeds else []
    postings += file_requests(tenant_id, [(item.id, item.attachment) for item in items])
    return Beside(context_uri(context_id), parts, postings, record)


def file_requests(tenant_id: UUID, files: Iterable[tuple[UUID, Attachment | None]]) -> list[Posting]:
    """What has the worker index the files of items, those that are text."""
    messages = [
        FileAttached(id=new_id(), tenant_id=tenant_id, item_id=item_id)
        for item_id, file in files
        if file is not None and is_text(file)
    ]
    trace = current_traceparent()
    return [Posting(m.id, QueueName.INDEXING, m.model_dump_json(), trace) for m in messages]


def summary_item(text: str, covers: tuple[int, int], made_by: str) -> CountedItem:
    """A summary of the items at the positions `covers`, to be appended."""
    item = NewItem(kind=ItemKind.SUMMARY, text=text, metadata={"made_by": made_by})
    return CountedItem(new_id(), item, count_tokens(text), covers)


async def request_vectors(tx: Transaction, passage_ids: Sequence[UUID], batch: int = 100) -> None:
    """Ask, through the outbox, for the vectors of passages that this transaction indexed."""
    if passage_ids:
        await tx.outbox.post(vector_requests(tx.tenant_id, passage_ids, batch))


def vector_requests(tenant_id: UUID, passage_ids: Sequence[UUID], batch: int = 100) -> list[Posting]:
    """What asks for the vectors of passages."""
    messages = [
        EmbeddingRequested(
            id=new_id(), tenant_id=tenant_id, passage_ids=tuple(passage_ids[start : start + batch])
        )
        for start in range(0, len(passage_ids), batch)
    ]
    trace = current_traceparent()
    return [Posting(m.id, QueueName.EMBEDDINGS, m.model_dump_json(), trace) for m in messages]
