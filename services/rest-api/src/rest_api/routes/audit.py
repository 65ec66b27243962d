"""The audit log."""

from collections.abc import AsyncIterator
from uuid import UUID

from pydantic import Field

from devops_mcp.models.audit import AuditEntry, AuditFilter, AuditVerification
from devops_mcp.models.base import Model, Moment
from devops_mcp.models.pages import Page
from rest_api.endpoint import AnyEndpoint, Call, Endpoint, NoBody
from rest_api.listing import ByAge

TAG = "audit"


class AuditSearch(Model):
    """Which records. `actor_id` finds what a principal did and what was done on behalf of a user; `action` may end in `*`.

    `trace_id` finds what belongs together: a call of a tool and what it changed.
    """

    actor_id: UUID | None = None
    action: str | None = Field(default=None, max_length=100)
    target: str | None = Field(default=None, max_length=300)
    outcome: str | None = Field(default=None, pattern="^(ok|failed|denied|pending)$")
    trace_id: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")
    since: Moment | None = None
    until: Moment | None = None

    def filter(self) -> AuditFilter:
        return AuditFilter(**self.model_dump(include=set(AuditFilter.model_fields)))


class AuditPage(AuditSearch, ByAge):
    """A page of records, newest first. `cursor` is `next_cursor` of the page before."""


class OneRecord(Model):
    record_id: UUID


class Verification(Model):
    """`after` is `verified_to` of the answer before; 0: from the beginning."""

    after: int = Field(default=0, ge=0, le=2**62)


async def list_audit(call: Call[AuditPage, NoBody]) -> Page[AuditEntry]:
    """Search what was done, by whom and how it ended: calls of tools, changes, logins, and what was refused.

    Newest first unless `sort` says otherwise.
    """
    params = call.params
    return await call.platform.audit_log.page(
        call.principal, params.filter(), order=params.order, limit=params.limit
    )


async def get_audit_record(call: Call[OneRecord, NoBody]) -> AuditEntry:
    """Get one record."""
    return await call.platform.audit_log.get(call.principal, call.params.record_id)


async def export_audit(call: Call[AuditSearch, NoBody]) -> AsyncIterator[AuditEntry]:
    """Export the records as JSON Lines, newest first."""
    return await call.platform.audit_log.export(call.principal, call.params.filter())


async def verify_audit(call: Call[Verification, NoBody]) -> AuditVerification:
    """Hold the records against their chain of digests, up to 100,000 a request: a changed or missing one is found."""
    return await call.platform.audit_log.verify(call.principal, call.params.after)


_ALL = "/api/v1/audit"
AUDIT: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", _ALL, TAG, list_audit, Page[AuditEntry], params=AuditPage),
    Endpoint(
        "GET", f"{_ALL}/{{record_id}}", TAG, get_audit_record, AuditEntry, params=OneRecord, errors=(404,)
    ),
    Endpoint("GET", f"{_ALL}/export", TAG, export_audit, AuditEntry, params=AuditSearch, lines=True),
    Endpoint(
        "GET", f"{_ALL}/verify", TAG, verify_audit, AuditVerification, params=Verification, errors=(404,)
    ),
)
