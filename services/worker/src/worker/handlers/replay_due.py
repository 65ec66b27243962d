"""`replay.due`: the next events of a replay are handed on."""

from collections.abc import Sequence
from uuid import UUID

from devops_mcp.events.messages import ReplayDue
from devops_mcp.operations.event_replays import Replayer


async def handle(replayer: Replayer, tenant_id: UUID, messages: Sequence[ReplayDue]) -> set[UUID]:
    return await replayer.process(tenant_id, messages)
