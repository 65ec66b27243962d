"""The audit record of what somebody does besides calling tools: written in the transaction of the change itself."""

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from pydantic import JsonValue

from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import Forbidden
from devops_mcp.models.ids import new_id
from devops_mcp.models.principals import Principal
from devops_mcp.observability.caller import current_address
from devops_mcp.observability.tracing import current_trace_id
from devops_mcp.operations.masking import masked, writable
from devops_mcp.repositories.database import Database

SYSTEM_ACTOR = UUID(int=1)
"""Who acts where nobody asked: the worker, by a rule of ours."""


def deed(
    principal: Principal, action: str, target: str, arguments: Mapping[str, JsonValue] | None = None
) -> AuditRecord:
    """That `principal` did `action` to `target`, such as `dead_letters.purge` to `queue:events`."""
    return deed_in(principal.tenant_id, principal, action, target, arguments)


def deed_in(
    tenant_id: UUID,
    principal: Principal,
    action: str,
    target: str,
    arguments: Mapping[str, JsonValue] | None = None,
) -> AuditRecord:
    """That the operator's `principal` did it to another tenant, for that one's log."""
    record = _record(tenant_id, principal.id, principal.name, action, target, arguments or {})
    return replace(record, user_id=principal.user_id, address=current_address())


def deed_of_ours(
    tenant_id: UUID, action: str, target: str, arguments: Mapping[str, JsonValue]
) -> AuditRecord:
    """That the worker did it by itself."""
    return _record(tenant_id, SYSTEM_ACTOR, "worker", action, target, arguments)


async def permit(database: Database, principal: Principal, permission: str, target: str) -> None:
    """Raise `Forbidden`, and leave a record of it, unless the principal has the permission to change something."""
    if not principal.may(permission):
        action = permission.replace(":", ".")
        raise await denial(database, principal, action, target, f"lacks the permission {permission!r}")


async def denial(database: Database, principal: Principal, action: str, target: str, why: str) -> Forbidden:
    """The error to raise, once a record is left of what the principal was refused."""
    async with database.transaction(principal.tenant_id) as tx:
        await tx.audit.append([refused(principal, action, target)])
    refusal = Forbidden(f"{principal.name} {why}")
    refusal.recorded = True
    return refusal


def refused(principal: Principal, action: str, target: str, code: str = Forbidden.code) -> AuditRecord:
    """That the principal was refused something that nobody recorded, with the error of this code."""
    return replace(deed(principal, action, target), outcome="denied", error_code=code)


def _record(
    tenant_id: UUID,
    actor_id: UUID,
    actor: str,
    action: str,
    target: str,
    arguments: Mapping[str, JsonValue],
) -> AuditRecord:
    return AuditRecord(
        id=new_id(),
        tenant_id=tenant_id,
        actor_id=actor_id,
        actor=actor,
        action=action,
        target=writable(target),
        outcome="ok",
        duration_ms=0.0,
        arguments=masked(arguments),
        trace_id=current_trace_id(),
        at=utc_now(),
    )
