"""What every translation is given, and what every event gets from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.deliveries import Told, told
from devops_mcp.adapters.shapes import Shape, read
from devops_mcp.models.errors import InvalidInput, UpstreamInvalid

SYSTEM = "github"

ShapeT = TypeVar("ShapeT", bound=Shape)


@dataclass(frozen=True, slots=True)
class Payload:
    """A body whose form fits its event, with where it came from."""

    event: str
    body: Mapping[str, Any]
    origin: Origin
    delivery: Delivery

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
        return told(
            SYSTEM,
            self.delivery,
            self.origin,
            subject=self.subject,
            title=title,
            url=url,
            actor=actor or self.sender,
            at=at,
        )

    def _name(self, key: str, field: str) -> str | None:
        holder = self.body.get(key)
        value = holder.get(field) if isinstance(holder, dict) else None
        return value if isinstance(value, str) and value else None
