"""What an attached file is found by, where it is text: the worker cuts it into passages of its item, whose owner and end they share."""

from collections.abc import Sequence
from uuid import UUID

from devops_mcp.embedding.chunking import split
from devops_mcp.events.messages import FileAttached
from devops_mcp.models.contexts import context_uri
from devops_mcp.models.errors import NotFound
from devops_mcp.models.ids import new_id
from devops_mcp.models.passages import NewPassage, PassageKind
from devops_mcp.operations.blobs import BlobStore
from devops_mcp.operations.item_indexing import request_vectors
from devops_mcp.operations.masking import writable
from devops_mcp.operations.settled_letters import log_settled
from devops_mcp.operations.text_files import MAX_FILE_TEXT, text_of
from devops_mcp.repositories.attached_files import FILE_PARTS, AttachedFile
from devops_mcp.repositories.database import Database

CONSUMER = "indexing"
_AT_ONCE = 100


class FileIndexer:
    """Makes text that is attached to contexts searchable: by its words, with `embeds` by its meaning too."""

    def __init__(self, database: Database, blobs: BlobStore, *, embeds: bool) -> None:
        self._database = database
        self._blobs = blobs
        self._embeds = embeds

    async def process(self, tenant_id: UUID, messages: Sequence[FileAttached]) -> set[UUID]:
        """Index each; the ids of the messages that had an effect. A file whose context is gone has no passages, and gets none."""
        return {message.id for message in messages if await self._index(tenant_id, message)}

    async def _index(self, tenant_id: UUID, message: FileAttached) -> bool:
        async with self._database.transaction(tenant_id) as tx:
            file = await tx.attached_files.find(message.item_id)
        if file is None:
            return False
        try:
            body = await self._blobs.read(tenant_id, file.blob_id)
        except NotFound:  # removed meanwhile, with its context
            return False
        texts = split(writable(text_of(file.attachment, body)), max_passages=MAX_FILE_TEXT)
        async with self._database.transaction(tenant_id) as tx:
            if not await tx.attached_files.hold(file) or not await tx.processed.claim(CONSUMER, [message.id]):
                return False
            log_settled(CONSUMER, await tx.dead_letters.settle(CONSUMER, [message.id]))
            for start in range(0, len(texts), _AT_ONCE):
                part = [
                    (new_id(), _passage(file, number, text))
                    for number, text in enumerate(texts[start : start + _AT_ONCE], start)
                ]
                added = await tx.passages.add(part, owner_id=file.owner_id)
                if self._embeds:
                    await request_vectors(tx, added)
        return True


def _passage(file: AttachedFile, number: int, text: str) -> NewPassage:
    return NewPassage(
        kind=PassageKind.CONTEXT_ITEM,
        source_id=file.item_id,
        part=FILE_PARTS + number,
        context_id=file.context_id,
        title=f"{file.title}: {file.attachment.name}",
        text=text,
        uri=f"{context_uri(file.context_id)}#{file.position}",
        occurred_at=file.created_at,
        metadata={
            "kind": file.kind,
            "position": file.position,
            "attachment": file.attachment.name,
            "media_type": file.attachment.media_type,
        },
    )
