"""`notification.due`: a delivery to an integrator's webhook is tried."""

from collections.abc import Sequence
from uuid import UUID

from devops_mcp.events.messages import NotificationDue
from devops_mcp.operations.webhook_sending import WebhookSender


async def handle(sender: WebhookSender, tenant_id: UUID, messages: Sequence[NotificationDue]) -> set[UUID]:
    return await sender.send(tenant_id, messages)
