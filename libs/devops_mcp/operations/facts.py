"""Facts: written as events are processed, and asked for as of any time."""

from collections.abc import Sequence

from devops_mcp.events.model import Event
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.facts import Fact, FactQuery
from devops_mcp.models.ids import new_id
from devops_mcp.models.pages import Order, Page
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import require
from devops_mcp.operations.event_log import READ
from devops_mcp.operations.fact_rules import facts_of
from devops_mcp.operations.moments import moment_of
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.facts import FactFilter
from devops_mcp.repositories.transaction import Transaction


class FactService:
    """Facts of the principal's tenant."""

    def __init__(self, database: Database, *, now: Clock = utc_now) -> None:
        self._database = database
        self._now = now

    async def page(self, principal: Principal, query: FactQuery, *, order: Order, limit: int) -> Page[Fact]:
        """What was so at the time that the query means. Raises `NotFound` for an event that there is not."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            moment = await moment_of(tx, principal, query.as_of, query.before_event) or self._now()
            wanted = FactFilter(moment, query.subject, query.predicate, query.history)
            found = await tx.facts.as_of(wanted, order, limit + 1)
        return order.page(found, limit)


def record_facts(tx: Transaction, events: Sequence[Event]) -> None:
    """Write what the events tell in the transaction that processes them, with its next statement."""
    facts = [(new_id(), fact) for event in events for fact in facts_of(event)]
    if facts:
        tx.facts.record(facts)
