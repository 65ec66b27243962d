"""What people store for integrations, so that systems are called as them."""

from datetime import datetime
from uuid import UUID

import orjson
from pydantic import JsonValue

from devops_mcp.auth.envelope import Envelope
from devops_mcp.models.base import Clock, Model, utc_now
from devops_mcp.models.errors import Conflict, InvalidInput, NotFound, Violation
from devops_mcp.models.ids import new_id
from devops_mcp.models.integrations import CredentialPolicy, PersonalCredential
from devops_mcp.models.principals import Principal
from devops_mcp.operations.adapter_settings import checked
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed
from devops_mcp.operations.integrations import Integrations
from devops_mcp.operations.upstream_access import place_of_personal
from devops_mcp.repositories.database import Database

OWN = "integrations:own"


class OwnCredential(Model):
    """That the caller has stored credentials for an integration."""

    integration: str
    created_at: datetime
    updated_at: datetime


class PersonalCredentialService:
    """The credentials of the person that the principal is, or acts for. Nobody sees or changes another's; nobody sees any."""

    def __init__(
        self, database: Database, integrations: Integrations, envelope: Envelope, *, now: Clock = utc_now
    ) -> None:
        self._database = database
        self._integrations = integrations
        self._envelope = envelope
        self._now = now

    async def all(self, principal: Principal) -> tuple[OwnCredential, ...]:
        """By the integration's name; none for who is no person and acts for none."""
        require(principal, OWN)
        if principal.user_id is None:
            return ()
        async with self._database.transaction(principal.tenant_id) as tx:
            return tuple(_shown(row) for row in await tx.personal_credentials.of(principal.user_id))

    async def get(self, principal: Principal, name: str) -> OwnCredential:
        """Raises `NotFound` where the caller has stored none."""
        for one in await self.all(principal):
            if one.integration == name:
                return one
        raise _none_stored(name)

    async def put(self, principal: Principal, name: str, credentials: dict[str, JsonValue]) -> OwnCredential:
        """Store them in place of those before; they count from the next call.

        Raises `NotFound`, `Conflict` for an integration that is called as the service only or a caller that is no person, `InvalidInput`.
        """
        require(principal, OWN)
        integration = self._integrations.named(principal.tenant_id, name)
        user_id = _person(principal)
        if integration.policy is CredentialPolicy.SERVICE:
            raise Conflict(f"{name} is called with the service's own credentials only")
        if not credentials:
            raise InvalidInput("credentials are missing", (Violation("body.credentials", "are missing"),))
        checked(integration.adapter, integration.options, credentials)
        now = self._now()
        row = PersonalCredential(
            integration=name, user_id=user_id, sealed=b"", version=new_id(), created_at=now, updated_at=now
        )
        place = place_of_personal(principal.tenant_id, row)
        sealed = self._envelope.close(orjson.dumps(credentials), place, integration.addresses())
        async with self._database.transaction(principal.tenant_id) as tx:
            stored = await tx.personal_credentials.put(row.model_copy(update={"sealed": sealed}))
            about: dict[str, JsonValue] = {"sets": [*sorted(credentials)]}
            await tx.audit.append([deed(principal, "integrations.own", _target(name, user_id), about)])
        return _shown(stored)

    async def delete(self, principal: Principal, name: str) -> None:
        """Forget them. Raises `NotFound`."""
        require(principal, OWN)
        async with self._database.transaction(principal.tenant_id) as tx:
            user_id = principal.user_id
            if user_id is None or not await tx.personal_credentials.delete(name, user_id):
                raise _none_stored(name)
            await tx.audit.append([deed(principal, "integrations.disown", _target(name, user_id))])


def _none_stored(name: str) -> NotFound:
    return NotFound(f"you have stored no credential for an integration {name!r}")


def _person(principal: Principal) -> UUID:
    if principal.user_id is None:
        raise Conflict(
            f"{principal.name} is no person and acts for none: there is nobody whose credential it is"
        )
    return principal.user_id


def _shown(row: PersonalCredential) -> OwnCredential:
    return OwnCredential(integration=row.integration, created_at=row.created_at, updated_at=row.updated_at)


def _target(name: str, user_id: UUID) -> str:
    return f"integration:{name}/user:{user_id}"
