"""What an event sets going besides its own effect: in the transaction that processes it, so that it is set going once."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias
from uuid import UUID

from devops_mcp.events.model import Event
from devops_mcp.models.webhooks import EventFilter
from devops_mcp.operations.rule_engine import RuleEngine
from devops_mcp.operations.webhook_endpoints import notify_all
from devops_mcp.repositories.transaction import Transaction

Listening: TypeAlias = Sequence[tuple[UUID, EventFilter]]


async def react(
    tx: Transaction,
    events: Sequence[Event],
    listening: Listening,
    traces: Mapping[UUID, str | None],
    rules: RuleEngine | None = None,
) -> None:
    """Set going what the tenant wants to happen. `listening` are the endpoints that choose; `traces` traceparents by event id."""
    await _deliver(tx, _heard(events, listening), traces)
    if rules is not None:
        await rules.react(tx, events, traces)


def _heard(events: Sequence[Event], listening: Listening) -> list[tuple[UUID, UUID]]:
    """Which endpoint hears of which event, by what it has chosen itself."""
    return [
        (endpoint_id, event.id)
        for event in events
        for endpoint_id, chosen in listening
        if chosen.matches(type_=event.type, source=event.source, subject=event.subject)
    ]


async def _deliver(
    tx: Transaction, pairs: Sequence[tuple[UUID, UUID]], traces: Mapping[UUID, str | None]
) -> None:
    if pairs:
        await notify_all(tx, await tx.webhook_deliveries.create(list(dict.fromkeys(pairs))), traces)
