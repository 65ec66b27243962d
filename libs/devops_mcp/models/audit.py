"""What was done, by whom, on whose behalf, from where, and how it ended."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from devops_mcp.models.base import JsonObject, Model, Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One action. `arguments` hold no secrets: they are masked before the record is made; of a change they hold `before` and `after`.

    `user_id` is the user that the actor is, or acts for; `address` from where it called.
    Made of what was checked before, once a tool call, so it is no model that would check it again.
    """

    id: UUID
    tenant_id: UUID
    actor_id: UUID
    actor: str
    user_id: UUID | None = None
    address: str | None = None
    action: str
    target: str
    outcome: str
    error_code: str | None = None
    duration_ms: float
    arguments: JsonObject = field(default_factory=dict)
    trace_id: str | None = None
    at: datetime


class AuditEntry(Model):
    """One record as it stands in the log. `hash` is the SHA-256 of the record and of `prev_hash`, in hexadecimal digits.

    `seq` numbers the tenant's records without a gap; records older than the chain have none. `arguments` are null for who may not see
    payloads.
    """

    id: UUID
    seq: int | None
    at: datetime
    actor_id: UUID
    actor: str
    user_id: UUID | None
    address: str | None
    action: str
    target: str
    outcome: str
    error_code: str | None
    duration_ms: float
    arguments: JsonObject | None
    trace_id: str | None
    prev_hash: str | None
    hash: str | None


class AuditFilter(Model):
    """Which records; `action` may end in `*`. `actor_id` finds what was done by somebody and on their behalf."""

    actor_id: UUID | None = None
    action: str | None = None
    target: str | None = None
    outcome: str | None = None
    trace_id: str | None = None
    since: Moment | None = None
    until: Moment | None = None

    def terms(self) -> dict[str, object]:
        """For a query: the action as a whole, or what it begins with."""
        begins = self.action is not None and self.action.endswith("*")
        return {
            **dict(self),
            "action": None if begins else self.action,
            "action_prefix": self.action[:-1] if self.action is not None and begins else None,
        }


class ChainEnd(Model):
    """A place in a tenant's chain: the number of a record and its digest."""

    seq: int
    hash: str


class CheckedEntries(Model):
    """What came out for some records: the last of them, the first that is not what was written, the first that does not follow."""

    count: int
    seq: int | None
    hash: str | None
    changed_at: int | None
    broken_at: int | None


class AuditVerification(Model):
    """`intact` says whether every record up to `verified_to` is what was written and follows the one before it.

    Where it is false, `broken_at` is the number of the first record that is changed, missing or out of order, and `problem` says which.
    With `more`, go on with `after` = `verified_to`. Note `seq` and `hash` of the end somewhere else: who can write the whole database can
    make a new chain, but not one that ends as yours did.
    """

    intact: bool
    records: int
    verified_to: int
    end: ChainEnd
    more: bool = False
    broken_at: int | None = None
    problem: str | None = None
