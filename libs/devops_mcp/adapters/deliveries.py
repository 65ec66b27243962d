"""What the webhook translations of all systems share: the body as an object, bounded texts, and the fields of every event."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict
from uuid import UUID

import orjson

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.shapes import first_line
from devops_mcp.models.errors import InvalidInput
from devops_mcp.models.ids import new_id

MAX_TITLE = 300
MAX_TEXT = 20_000
MAX_SUBJECT = 300


class Told(TypedDict):
    """The fields of every event."""

    id: UUID
    tenant_id: UUID
    system: str
    source: str
    subject: str
    title: str
    url: str | None
    actor: str | None
    occurred_at: datetime


def json_object(delivery: Delivery) -> Mapping[str, Any]:
    """The body as a JSON object; raises `InvalidInput` for anything else."""
    if "form" in delivery.headers.get("content-type", ""):
        raise InvalidInput("the webhook sends a form; set its content type to application/json")
    try:
        body = orjson.loads(delivery.body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise InvalidInput("the body is not a JSON object")
    return body


def told(
    system: str,
    delivery: Delivery,
    origin: Origin,
    *,
    subject: str,
    title: str,
    url: str | None = None,
    actor: str | None = None,
    at: datetime | None = None,
) -> Told:
    """What every event tells; a time that the payload lacks is that of its arrival, one without an offset is in UTC."""
    return Told(
        id=new_id(),
        tenant_id=origin.tenant_id,
        system=system,
        source=origin.integration,
        subject=subject[:MAX_SUBJECT],
        title=first_line(title, MAX_TITLE),
        url=url,
        actor=actor,
        occurred_at=delivery.received_at if at is None else aware(at),
    )


def text(value: str) -> str:
    """A body for an event: bounded, and without the NUL that databases refuse."""
    return value.replace("\x00", "\ufffd")[:MAX_TEXT]


def about(title: str) -> str:
    """`: title`, or nothing."""
    return f": {title}" if title else ""


def aware(at: datetime) -> datetime:
    """A time without an offset is in UTC."""
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
