"""A master key is exchanged: what older ones sealed is sealed with the newest, so that they can be taken away."""

from collections.abc import AsyncIterator
from uuid import UUID

import structlog

from devops_mcp.auth.envelope import Envelope
from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.master_keys import open_keyring
from devops_mcp.auth.sealing import SealBroken, SecretSeal
from devops_mcp.config import Settings
from devops_mcp.models.errors import ConfigurationError
from devops_mcp.operations import webhook_endpoints
from devops_mcp.operations.integrations import place_of
from devops_mcp.operations.upstream_access import place_of_personal
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.transaction import Transaction

log = structlog.get_logger()


class SecretRotation:
    """Every secret of every tenant, for the worker's role. Safe to do again, and by several at once."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._seal = SecretSeal(keyring)
        self._envelope = Envelope(keyring)

    async def reseal_all(self) -> int:
        """Seal anew what was not sealed with the newest key; how many there were. What cannot be opened is logged, and stays."""
        return sum([count async for _, count in self.by_tenant()])

    async def by_tenant(self) -> AsyncIterator[tuple[UUID, int]]:
        """The same, a tenant at a time."""
        for tenant_id in await self._database.tenant_ids():
            count = await webhook_endpoints.reseal(self._database, self._seal, tenant_id)
            async with self._database.transaction(tenant_id) as tx:
                count += await self._integrations(tx) + await self._personal(tx)
            yield tenant_id, count

    async def remaining(self) -> int:
        """How many secrets only open with an older key, or not at all. Raises `ConfigurationError` for another role than the worker's."""
        tenants = await self._database.tenant_ids()
        if not tenants:
            raise ConfigurationError("no tenants are seen: database_url must be of the worker's role")
        count = 0
        for tenant_id in tenants:
            async with self._database.transaction(tenant_id) as tx:
                count += len(await tx.webhook_endpoints.sealed_otherwise(self._seal.key_id))
                count += len(await tx.integrations.sealed_otherwise(self._envelope.key_id))
                count += len(await tx.personal_credentials.sealed_otherwise(self._envelope.key_id))
        return count

    async def _integrations(self, tx: Transaction) -> int:
        count = 0
        for row in await tx.integrations.sealed_otherwise(self._envelope.key_id):
            if (sealed := self._anew(row.sealed, place_of(row))) is not None:
                await tx.integrations.put_sealed(row.id, sealed)
                count += 1
        return count

    async def _personal(self, tx: Transaction) -> int:
        count = 0
        for row in await tx.personal_credentials.sealed_otherwise(self._envelope.key_id):
            if (sealed := self._anew(row.sealed, place_of_personal(tx.tenant_id, row))) is not None:
                await tx.personal_credentials.put_sealed(row, sealed)
                count += 1
        return count

    def _anew(self, sealed: bytes, place: str) -> bytes | None:
        try:
            return self._envelope.anew(sealed, place)
        except SealBroken as error:
            log.error("secret not opened", reason=error.message)
            return None


async def reseal(settings: Settings) -> tuple[int, int]:
    """All at once, for an operator: how many were sealed anew, and how many could not be."""
    keyring = await open_keyring(settings)
    async with open_database(
        settings.database_url.get_secret_value(), pool_size=1, application="reseal"
    ) as database:
        rotation = SecretRotation(database, keyring)
        return await rotation.reseal_all(), await rotation.remaining()
