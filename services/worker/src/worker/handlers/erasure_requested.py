"""`erasure.requested`: everything of a tenant is removed."""

from collections.abc import Sequence
from uuid import UUID

from devops_mcp.events.messages import ErasureRequested
from devops_mcp.operations.erasure import Eraser


async def handle(eraser: Eraser, tenant_id: UUID, messages: Sequence[ErasureRequested]) -> set[UUID]:
    return await eraser.process(tenant_id, messages)
