"""What people and agents do to contexts, for the audit log. What they append stands in the contexts themselves, whose it is here."""

from uuid import UUID

from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.base import JsonObject
from devops_mcp.models.contexts import Context
from devops_mcp.models.principals import Principal
from devops_mcp.operations.deeds import deed
from devops_mcp.repositories.transaction import Transaction

_SAID = {"title", "metadata", "compact_above", "expires_at"}


async def note_deed(
    tx: Transaction, principal: Principal, verb: str, context_id: UUID, about: JsonObject
) -> None:
    """Leave a record, in the transaction of the change, that the principal did it to the context."""
    await tx.audit.append([deed(principal, f"contexts.{verb}", f"context:{context_id}", about)])


def appended(principal: Principal, context_id: UUID) -> AuditRecord:
    """That the principal appended to the context; what it appended is written with it."""
    return deed(principal, "contexts.append", f"context:{context_id}")


def said_of(context: Context) -> JsonObject:
    """What a record tells of a context."""
    said: JsonObject = context.model_dump(mode="json", include=_SAID)
    return said


async def note_change(tx: Transaction, principal: Principal, before: Context, after: Context) -> None:
    """As `note_deed`, of what is said of a context."""
    changed: JsonObject = {"before": said_of(before), "after": said_of(after)}
    await note_deed(tx, principal, "update", before.id, changed)
