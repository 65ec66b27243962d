"""As whom a system is called: with the integration's own credentials, or as the person who asks. The integration's policy decides."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import structlog

from devops_mcp.auth.envelope import Envelope
from devops_mcp.auth.sealing import SealBroken
from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import PersonalCredentialMissing
from devops_mcp.models.integrations import CredentialPolicy, PersonalCredential
from devops_mcp.models.principals import Principal
from devops_mcp.operations.integrations import Integration, Integrations, Person
from devops_mcp.repositories.database import Database

SERVICE = "service"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Acting:
    """An integration, and as whom it is called."""

    integration: Integration
    person: Person | None = None

    @property
    def as_whom(self) -> str:
        """For the audit log."""
        return SERVICE if self.person is None else f"user:{self.person.user_id}"

    @property
    def key(self) -> tuple[str, str, str]:
        """Answers are alike only where this is."""
        mark = "" if self.person is None else self.person.mark
        return self.integration.name, self.integration.stamp, mark


class UpstreamAccess:
    """Decides as whom, anew for each call: a credential that is stored or taken away counts from the next."""

    def __init__(self, integrations: Integrations, database: Database, envelope: Envelope) -> None:
        self.integrations = integrations
        self._database = database
        self._envelope = envelope

    async def acting(self, principal: Principal, integration: Integration) -> Acting:
        """Raises `PersonalCredentialMissing` where the service may not stand in for the person."""
        if integration.policy is CredentialPolicy.SERVICE:
            return Acting(integration)
        person = await self._person(integration, principal.user_id)
        if person is None and integration.policy is CredentialPolicy.PERSONAL_REQUIRED:
            raise PersonalCredentialMissing(
                f"{integration.name} is called as a person only: store a credential of your own with "
                f"PUT /api/v1/me/credentials/{integration.name}"
                if principal.user_id is not None
                else f"{integration.name} is called as a person only, and {principal.name} acts for none"
            )
        return Acting(integration, person)

    def connected(self, acting: Acting) -> AbstractAsyncContextManager[Any]:
        """The integration's client, as whom it was decided."""
        return self.integrations.connected(acting.integration, acting.person)

    @asynccontextmanager
    async def client(self, principal: Principal, integration: Integration) -> AsyncIterator[Any]:
        """Both steps in one."""
        async with self.connected(await self.acting(principal, integration)) as client:
            yield client

    async def _person(self, integration: Integration, user_id: UUID | None) -> Person | None:
        if user_id is None:
            return None
        async with self._database.transaction(integration.tenant_id) as tx:
            row = await tx.personal_credentials.find(integration.name, user_id)
        if row is None:
            return None
        try:
            credentials: JsonObject = orjson.loads(
                self._envelope.open(
                    row.sealed, place_of_personal(integration.tenant_id, row), integration.addresses()
                )
            )
        except SealBroken as error:
            # Also where the operator has configured another address since: it was not given for that one.
            log.error("secret not opened", reason=error.message)
            raise PersonalCredentialMissing(
                f"your credential for {integration.name} was stored for another address, or cannot be opened; store it again"
            ) from None
        return Person(user_id, f"{user_id}/{row.version}", credentials)


def place_of_personal(tenant_id: UUID, row: PersonalCredential) -> str:
    """What a personal credential is sealed for besides the integration's addresses: whose it is, and its version."""
    return f"{tenant_id}/personal_credentials/{row.integration}/{row.user_id}/{row.version}"
