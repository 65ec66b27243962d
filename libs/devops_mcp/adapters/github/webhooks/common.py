"""What every translation is given, and what every event gets from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, TypeVar
from uuid import UUID

from devops_mcp.adapters.base import Origin
from devops_mcp.adapters.shapes import Shape, first_line, read
from devops_mcp.models.errors import InvalidInput, UpstreamInvalid
from devops_mcp.models.ids import new_id

SYSTEM = "github"
MAX_TITLE = 300
MAX_TEXT = 20_000

ShapeT = TypeVar("ShapeT", bound=Shape)


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


@dataclass(frozen=True, slots=True)
class Payload:
    """A body whose form fits its event, with where it came from."""

    event: str
    body: Mapping[str, Any]
    origin: Origin
    received_at: datetime

    @property
    def action(self) -> str | None:
        action = self.body.get("action")
        return action if isinstance(action, str) else None

    @property
    def repo(self) -> str | None:
        return self._name("repository", "full_name")

    @property
    def subject(self) -> str:
        """The repository, else whose event it is: organization, enterprise, account of the installation, or sender."""
        account = self.body.get("installation")
        owner = account.get("account") if isinstance(account, dict) else None
        return (
            self.repo
            or self._name("organization", "login")
            or self._name("enterprise", "slug")
            or (owner.get("login") if isinstance(owner, dict) else None)
            or self.sender
            or "github"
        )

    @property
    def sender(self) -> str | None:
        return self._name("sender", "login")

    def part(self, name: str, shape: type[ShapeT]) -> ShapeT:
        """The object under `name`; raises `InvalidInput` when it is not what the event should carry."""
        return self.whole(shape, self.body.get(name), f"body.{name}")

    def whole(self, shape: type[ShapeT], raw: Any = None, where: str = "body") -> ShapeT:
        """The body itself in this shape."""
        try:
            return read(shape, self.body if raw is None and where == "body" else raw)
        except UpstreamInvalid as error:
            raise InvalidInput(f"the body is not that of a {self.event!r} event: {where}: {error}") from None

    def told(self, title: str, url: str | None, at: datetime | None, *, actor: str | None = None) -> Told:
        """What every event tells; a time that the payload lacks is that of its arrival."""
        return Told(
            id=new_id(),
            tenant_id=self.origin.tenant_id,
            system=SYSTEM,
            source=self.origin.integration,
            subject=self.subject,
            title=first_line(title, MAX_TITLE),
            url=url,
            actor=actor or self.sender,
            occurred_at=_aware(at, self.received_at),
        )

    def _name(self, key: str, field: str) -> str | None:
        holder = self.body.get(key)
        value = holder.get(field) if isinstance(holder, dict) else None
        return value if isinstance(value, str) and value else None


def text(value: str) -> str:
    """A body for an event: bounded, and without the NUL that databases refuse."""
    return value.replace("\x00", "\ufffd")[:MAX_TEXT]


def about(title: str) -> str:
    """`: title`, or nothing."""
    return f": {title}" if title else ""


def _aware(at: datetime | None, otherwise: datetime) -> datetime:
    if at is None:
        return otherwise
    return at if at.tzinfo is not None else at.replace(tzinfo=otherwise.tzinfo)
