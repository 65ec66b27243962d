"""The rules of tenants as the worker remembers them, so that an event that none of them means costs no query.

What is remembered only chooses: whoever starts a rule reads it again, locked. So a rule that was just changed, disabled or deleted starts
nothing by its old words; a new one may miss what happens within its first moments.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID

from devops_mcp.cache.changes import Changes, ResourceChange
from devops_mcp.cache.channel import Gap
from devops_mcp.events.model import Event
from devops_mcp.models.rules import Match, Rule
from devops_mcp.operations.rule_plans import document_of
from devops_mcp.repositories.transaction import Transaction

RULES_URI = "devops://rules"
"""What is said to have changed when a rule has."""
_MAX_TENANTS = 10_000


@dataclass(frozen=True, slots=True)
class BookTimes:
    """Seconds for which rules are remembered, while changes are heard of and while they are not.

    A change may be heard of before it is committed, so that what is read then is old: never for long.
    """

    listening_s: float = 5.0
    deaf_s: float = 2.0


@dataclass(slots=True)
class TenantRules:
    """The enabled rules of a tenant."""

    rules: Sequence[Rule]
    read_at: float = 0.0
    _of_type: dict[str, list[Rule]] = field(default_factory=dict)

    def meaning(self, events: Iterable[Event]) -> list[tuple[Rule, Event]]:
        """Which rules mean which of the events, oldest rule first."""
        if not self.rules:
            return []
        return [(rule, event) for event in events for rule in self._meaning(event)]

    def _meaning(self, event: Event) -> list[Rule]:
        chosen = [rule for rule in self._by_type(event.type) if _chooses(rule.match, event)]
        if not any(rule.match.fields for rule in chosen):
            return chosen
        document = document_of(event)
        return [rule for rule in chosen if rule.match.holds(document)]

    def _by_type(self, type_: str) -> list[Rule]:
        if type_ not in self._of_type:
            self._of_type[type_] = [rule for rule in self.rules if rule.match.admits_type(type_)]
        return self._of_type[type_]


class RuleBook:
    """One a process. Without `changes`, or outside of `running()`, what is remembered is read again every `deaf_s` seconds."""

    def __init__(
        self,
        changes: Changes | None = None,
        *,
        times: BookTimes | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._changes = changes
        self._times = times or BookTimes()
        self._monotonic = monotonic
        self._tenants: dict[UUID, TenantRules] = {}
        self._listening = False
        self._changed = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["RuleBook"]:
        """Hear of changes within this block."""
        listening = asyncio.create_task(self._listen(), name="rule book")
        try:
            yield self
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    async def of(self, tx: Transaction) -> TenantRules:
        """The rules of the transaction's tenant."""
        known = self._tenants.get(tx.tenant_id)
        lasts = self._times.listening_s if self._listening else self._times.deaf_s
        if known is not None and self._monotonic() - known.read_at < lasts:
            return known
        before = self._changed
        read = TenantRules(await tx.rules.enabled(), self._monotonic())
        if before == self._changed:  # otherwise what was read may be from before the change
            self._remember(tx.tenant_id, read)
        return read

    def _remember(self, tenant_id: UUID, read: TenantRules) -> None:
        if len(self._tenants) >= _MAX_TENANTS:
            self._tenants.clear()
        self._tenants[tenant_id] = read

    async def _listen(self) -> None:
        if self._changes is None:
            return
        async for heard in self._changes.listen():
            if isinstance(heard, Gap):
                self._listening = heard.listening
                self._changed += 1
                self._tenants.clear()
            elif isinstance(heard, ResourceChange) and heard.uri == RULES_URI:
                self._changed += 1
                self._tenants.pop(heard.tenant_id, None)


def means(match: Match, event: Event) -> bool:
    """Whether the event is meant, fields and all."""
    return match.admits_type(event.type) and _chooses(match, event) and match.holds(document_of(event))


def _chooses(match: Match, event: Event) -> bool:
    return match.chooses(type_=event.type, system=event.system, source=event.source, subject=event.subject)
