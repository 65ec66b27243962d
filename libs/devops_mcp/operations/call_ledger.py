"""The account of every call of a tool: measured, logged, audited, added up, published, and written into the context that it belongs to.

What is called of the suite itself is audited and not published: nobody waits to hear that somebody searched. A sign of life that went
well is only measured.
"""

from collections.abc import Mapping

import structlog
from pydantic import JsonValue

from devops_mcp.adapters.base import Effect
from devops_mcp.embedding.tokens import count_tokens
from devops_mcp.events.model import ToolCalled
from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.base import OWN_SYSTEM, Clock, JsonObject, utc_now
from devops_mcp.models.errors import Forbidden, QuotaExceeded
from devops_mcp.models.ids import new_id
from devops_mcp.models.principals import Principal
from devops_mcp.models.usage import CallUsed
from devops_mcp.observability.caller import current_address
from devops_mcp.observability.metrics import Metrics
from devops_mcp.observability.tracing import current_trace_id, current_traceparent
from devops_mcp.operations.audit import AuditTrail
from devops_mcp.operations.catalogue import SUITE, CatalogueEntry
from devops_mcp.operations.context_journal import ContextJournal
from devops_mcp.operations.deeds import refused
from devops_mcp.operations.masking import bounded
from devops_mcp.operations.quota_keeper import QuotaKeeper
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.upstream_access import Acting

INPUT_REQUIRED = "input_required"
"""How a call ended that asked its caller something, and goes on with the caller's next."""
SLOW_S = 1.0
UPSTREAM = "@upstream"
_OUTCOMES: Mapping[str | None, str] = {None: "ok", INPUT_REQUIRED: "pending"}
log = structlog.get_logger()


class CallLedger:
    """Written off the path of the call, and never lost on a clean stop; whoever is told that a system was changed finds it written."""

    def __init__(
        self,
        audit: AuditTrail,
        journal: ContextJournal,
        metrics: Metrics,
        quotas: QuotaKeeper,
        *,
        now: Clock = utc_now,
    ) -> None:
        self._audit = audit
        self._journal = journal
        self._metrics = metrics
        self._quotas = quotas
        self._now = now

    async def begin(self, requester: Requester, entry: CatalogueEntry) -> None:
        """Raise `NotFound` or `Forbidden` when the call names a context that its caller may not append to, and `QuotaExceeded`.

        `Unavailable` when no record could be kept of the call.
        """
        await self._audit.make_room(requester.principal.tenant_id)
        if _belongs(requester, entry) and requester.context_id is not None:
            await self._journal.check(requester.principal, requester.context_id)
        if entry.tool.sign_of_life:
            return
        try:
            await self._quotas.admit_call(requester.principal)
        except QuotaExceeded as refusal:
            await self.refuse(requester, entry, refusal.code)
            refusal.recorded = True
            raise

    async def enter(
        self,
        requester: Requester,
        entry: CatalogueEntry,
        arguments: Mapping[str, JsonValue],
        *,
        code: str | None,
        said: str,
        seconds: float,
        acting: Acting | None = None,
    ) -> None:
        """`code` is that of the error it ended with; `said` what the caller was told; `acting` as whom a system was called."""
        tool, principal = entry.tool.name, requester.principal
        self._metrics.tool_call(tool, code or "ok", seconds)
        # The audit log has every call; the service's log those that somebody may have to look into.
        if code is not None or seconds > SLOW_S:
            log.info("tool called", tool=tool, outcome=code or "ok", duration_ms=round(seconds * 1000, 1))
        if entry.tool.sign_of_life and code is None:
            return
        about = {**bounded(arguments), **_upstream(acting), **_led_by(requester)}
        record = self._record(principal, entry, about, code, seconds)
        if entry.tool.sign_of_life:
            self._audit.keep(record)
            return
        used = CallUsed(entry.system, count_tokens(said))
        self._quotas.spend(principal, used.tokens)
        if entry.system == SUITE or code == INPUT_REQUIRED:
            kept = self._audit.keep(record, used=used)
        else:
            event = _event(record, entry, requester)
            kept = self._audit.keep(record, event, current_traceparent(), used)
        if _belongs(requester, entry) and requester.context_id is not None and code != INPUT_REQUIRED:
            self._journal.keep(principal, requester.context_id, tool, arguments, said)
        if (
            entry.system != SUITE
            and entry.tool.effect is not Effect.READ
            and not await self._audit.written(kept)
        ):
            log.warning("change answered before it was recorded", tool=tool, record_id=str(record.id))

    def _record(
        self,
        principal: Principal,
        entry: CatalogueEntry,
        arguments: JsonObject,
        code: str | None,
        seconds: float,
    ) -> AuditRecord:
        return AuditRecord(
            id=new_id(),
            tenant_id=principal.tenant_id,
            actor_id=principal.id,
            actor=principal.name,
            user_id=principal.user_id,
            address=current_address(),
            action=f"tool.{entry.tool.effect}",
            target=entry.tool.name,
            outcome=_OUTCOMES.get(code, "failed"),
            error_code=code,
            duration_ms=seconds * 1000,
            arguments=arguments,
            trace_id=current_trace_id(),
            at=self._now(),
        )

    async def refuse(self, requester: Requester, entry: CatalogueEntry, code: str = Forbidden.code) -> None:
        """Record that somebody called a tool that is not for them, and that they were told is not there; or for what else was refused."""
        action, tool = f"tool.{entry.tool.effect}", entry.tool.name
        await self._audit.record(refused(requester.principal, action, tool, code))


def _led_by(requester: Requester) -> JsonObject:
    """The rules that led to the call, where no caller did."""
    return {"@rules": [str(rule_id) for rule_id in requester.rules]} if requester.rules else {}


def _event(record: AuditRecord, entry: CatalogueEntry, requester: Requester) -> ToolCalled:
    ended = "failed" if record.error_code else "succeeded"
    return ToolCalled(
        id=record.id,
        tenant_id=record.tenant_id,
        system=OWN_SYSTEM,
        source=OWN_SYSTEM,
        subject=record.target,
        title=f"{record.actor} called {record.target}, which {ended}",
        actor=record.actor,
        occurred_at=record.at,
        tool_system=entry.system,
        effect=entry.tool.effect.value,
        failed=record.error_code is not None,
        error_code=record.error_code,
        duration_ms=round(record.duration_ms, 3),
        rules=requester.rules,
    )


def _upstream(acting: Acting | None) -> JsonObject:
    """Which integration was called and as whom, beside the arguments, none of which has such a name."""
    return (
        {} if acting is None else {UPSTREAM: {"integration": acting.integration.name, "as": acting.as_whom}}
    )


def _belongs(requester: Requester, entry: CatalogueEntry) -> bool:
    """What is done to contexts themselves is not written into them again."""
    return requester.context_id is not None and entry.system != SUITE
