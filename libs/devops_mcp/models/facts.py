"""What was so, and when."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import JsonObject, Model, Moment
from devops_mcp.models.pages import Order


@dataclass(frozen=True)
class NewFact:
    """That from `valid_from` on `value` was so of the key; None: that nothing was any more. Made of what was validated already."""

    subject: str
    predicate: str
    qualifier: str
    value: JsonObject | None
    valid_from: datetime
    event_id: UUID
    event_type: str
    source: str


class Fact(Model):
    """`value` was so of `subject` from `valid_from` until, and not at, `valid_until`; None: it still is.

    `predicate` says what of it: `deployed`, `alert`, `build` and so on. Of several of a kind, `qualifier` tells which.
    `event_id` and `event_type` are of the event that said so.
    """

    id: UUID
    subject: str
    predicate: str
    qualifier: str
    value: JsonObject
    valid_from: datetime
    valid_until: datetime | None
    event_id: UUID
    event_type: str
    source: str


LATEST_BEGUN = Order(field="valid_from")


class FactQuery(Model):
    """Facts that were so at `as_of`, or right before the event `before_event`; without both: now.

    `*` in `subject` stands for anything, as in `checkout@*`. With `history`, also what was so before.
    """

    subject: str | None = Field(default=None, min_length=1, max_length=600)
    predicate: str | None = Field(default=None, min_length=1, max_length=60)
    as_of: Moment | None = None
    before_event: UUID | None = None
    history: bool = False
