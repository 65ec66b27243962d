"""`blobs.released`: bytes that nothing refers to any more are removed."""

from collections.abc import Sequence
from uuid import UUID

from devops_mcp.events.messages import BlobsReleased
from devops_mcp.operations.blobs import BlobStore


async def handle(blobs: BlobStore, tenant_id: UUID, messages: Sequence[BlobsReleased]) -> set[UUID]:
    """One after the other; what was removed before is passed over, so a repetition does nothing."""
    return {message.id for message in messages if await blobs.remove(tenant_id, message.blob_ids)}
