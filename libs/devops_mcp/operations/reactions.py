"""What an event sets going besides its own effect: in the transaction that processes it, so that it is set going once."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from devops_mcp.events.model import Event
from devops_mcp.operations.rule_engine import RuleEngine
from devops_mcp.operations.webhook_endpoints import notify_all
from devops_mcp.repositories.transaction import Transaction


async def react(
    tx: Transaction,
    events: Sequence[Event],
    traces: Mapping[UUID, str | None],
    rules: RuleEngine | None = None,
) -> None:
    """Set going what the tenant wants to happen. `traces` are traceparents by event id."""
    await _deliver(tx, await _heard(tx, events), traces)
    if rules is not None:
        await rules.react(tx, events, traces)


async def _heard(tx: Transaction, events: Sequence[Event]) -> list[tuple[UUID, UUID]]:
    """Which endpoint hears of which event, by what it has chosen itself."""
    listening = await tx.webhook_endpoints.listening()
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
