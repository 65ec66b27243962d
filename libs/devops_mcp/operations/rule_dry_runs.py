"""What a rule would have made of events that are stored, with nothing done."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from pydantic import Field

from devops_mcp.events.model import Event
from devops_mcp.models.base import Clock, Model, Moment, utc_now
from devops_mcp.models.event_queries import EventsWanted
from devops_mcp.models.pages import Order
from devops_mcp.models.principals import Principal
from devops_mcp.models.rules import Action, Match, RuleDraft
from devops_mcp.operations import event_log
from devops_mcp.operations.contexts import require
from devops_mcp.operations.rule_book import means
from devops_mcp.operations.rule_engine import OWNER_GONE, call_key
from devops_mcp.operations.rule_plans import Plan, RulePlanner, document_of
from devops_mcp.operations.rules import READ, existing
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.events import StoredEvent

MAX_SCANNED = 5_000
"""Events that one dry run looks at."""
_PAGE = 500
_UNSAVED = UUID(int=0)


class EventRange(Model):
    """Which stored events to try, newest first: those received at or after `since` and before `until`; up to `limit` that match."""

    since: Moment | None = None
    until: Moment | None = None
    cursor: UUID | None = None
    limit: int = Field(default=20, ge=1, le=100)


class WouldStart(Model):
    """An event that the rule means, and `action` as it would be done about it, unless there is a `problem`."""

    event_id: UUID
    type: str
    source: str
    subject: str
    title: str
    occurred_at: datetime
    action: Action
    problem: str | None = None


class DryRun(Model):
    """What a rule would have started, limits and repetitions not counted.

    `scanned` events were looked at; `next_cursor` goes on behind them.
    """

    items: tuple[WouldStart, ...]
    scanned: int
    next_cursor: str | None = None


class RuleDryRuns:
    def __init__(self, database: Database, planner: RulePlanner, *, now: Clock = utc_now) -> None:
        self._database = database
        self._planner = planner
        self._now = now

    async def of_draft(self, principal: Principal, draft: RuleDraft, wanted: EventRange) -> DryRun:
        """Of a rule that is not written yet, as if the principal had written it. Raises `InvalidInput` where it could not be."""
        require(principal, READ)
        require(principal, event_log.READ)
        self._planner.check(principal, draft)

        def plan(event: Event) -> Plan:
            key = call_key(_UNSAVED, 0, event.id)
            return self._planner.plan(principal, draft.action, event, document_of(event), key)

        return await self._run(principal.tenant_id, draft.match, plan, wanted)

    async def of_rule(self, principal: Principal, rule_id: UUID, wanted: EventRange) -> DryRun:
        """Of a rule as it is, with the rights that its owner has now. Raises `NotFound`."""
        require(principal, READ)
        require(principal, event_log.READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            rule = existing(await tx.rules.find(rule_id), rule_id)
            owner = await tx.principals.find(rule.owner_id, self._now())

        def plan(event: Event) -> Plan:
            if owner is None:
                return Plan(rule.action, OWNER_GONE)
            key = call_key(rule.id, rule.version, event.id)
            return self._planner.plan(owner, rule.action, event, document_of(event), key)

        return await self._run(principal.tenant_id, rule.match, plan, wanted)

    async def _run(
        self, tenant_id: UUID, match: Match, plan: Callable[[Event], Plan], wanted: EventRange
    ) -> DryRun:
        items: list[WouldStart] = []
        scanned, cursor, more = 0, wanted.cursor, True
        while more and scanned < MAX_SCANNED:
            page = await self._page(tenant_id, match, wanted, cursor)
            more = len(page) == _PAGE
            for stored in page:
                scanned, cursor = scanned + 1, stored.event.id
                if means(match, stored.event):
                    items.append(_would(stored.event, plan(stored.event)))
                if len(items) == wanted.limit:
                    return DryRun(items=tuple(items), scanned=scanned, next_cursor=str(cursor))
        return DryRun(items=tuple(items), scanned=scanned, next_cursor=str(cursor) if more else None)

    async def _page(
        self, tenant_id: UUID, match: Match, wanted: EventRange, cursor: UUID | None
    ) -> list[StoredEvent]:
        of_ours = bool(match.types or match.sources)
        among = EventsWanted(type="*" if of_ours else None, since=wanted.since, until=wanted.until)
        async with self._database.transaction(tenant_id) as tx:
            return await tx.events.page(among, order=Order(after_id=cursor), limit=_PAGE)


def _would(event: Event, plan: Plan) -> WouldStart:
    return WouldStart(
        event_id=event.id,
        type=event.type,
        source=event.source,
        subject=event.subject,
        title=event.title,
        occurred_at=event.occurred_at,
        action=plan.action,
        problem=plan.problem,
    )
