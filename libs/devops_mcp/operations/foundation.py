"""What the operations stand on: the stores, the keys and the models, opened from the settings before any operation is made."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.master_keys import open_keyring
from devops_mcp.cache.changes import Changes
from devops_mcp.cache.rates import Rate
from devops_mcp.cache.redis import COMMAND_S, open_redis
from devops_mcp.config import Settings
from devops_mcp.embedding.choose import Environs, OpenedModels, open_models
from devops_mcp.models.errors import ConfigurationError
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.blobs import BlobStore, open_blob_store
from devops_mcp.operations.caller_rates import CallerRates
from devops_mcp.outbound.addresses import Network, parse_networks
from devops_mcp.repositories.database import Database, open_database

REST, MCP = "rest-api", "mcp-server"


@dataclass(frozen=True, slots=True)
class Foundation:
    """The parts beneath the operations of the service named `application`."""

    settings: Settings
    application: str
    metrics: Metrics
    private_networks: tuple[Network, ...]
    database: Database
    redis: Redis
    embedding: OpenedModels
    keyring: Keyring
    blobs: BlobStore
    changes: Changes

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where each answering service is reached: what tokens are issued for. That of rest-api issues them."""
        return {REST: self.settings.rest.url, MCP: self.settings.mcp.url}

    @property
    def embeds(self) -> bool:
        return self.embedding.provider is not None

    def request_rates(self) -> CallerRates | None:
        """How often one caller may ask, or None where the operator set no limit."""
        return self._rates(self.settings.requests_per_s, self.settings.requests_burst, "requests")

    def call_rates(self) -> CallerRates | None:
        """How often one caller may call a tool, or None where the operator set no limit."""
        return self._rates(self.settings.tool_calls_per_s, self.settings.tool_calls_burst, "calls")

    def _rates(self, per_s: float, burst: int, what: str) -> CallerRates | None:
        if per_s == 0:
            return None
        rate = Rate(per_s, burst, what)
        return CallerRates(self.redis, rate, kind=what, of_tenant=self.settings.tenant_rate_factor)


@asynccontextmanager
async def open_foundation(
    settings: Settings, metrics: Metrics, *, application: str, redis_command_s: float = COMMAND_S
) -> AsyncIterator[Foundation]:
    """Open them, closing in reverse order. Raises `ConfigurationError` for settings that cannot work."""
    private_networks = _networks(settings)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(
                settings.database_url.get_secret_value(),
                pool_size=settings.database_pool_size,
                application=application,
            )
        )
        redis = await stack.enter_async_context(
            open_redis(settings.redis_url.get_secret_value(), command_timeout_s=redis_command_s)
        )
        embedding = await stack.enter_async_context(
            open_models(
                settings.embedding_provider,
                settings.embedding_model_dir,
                settings.embedding_models,
                Environs(private_networks, settings.aws_region),
            )
        )
        changes = Changes(redis)
        stack.push_async_callback(changes.close)
        yield Foundation(
            settings=settings,
            application=application,
            metrics=metrics,
            private_networks=private_networks,
            database=database,
            redis=redis,
            embedding=embedding,
            keyring=await open_keyring(settings),
            blobs=await stack.enter_async_context(open_blob_store(settings, database)),
            changes=changes,
        )


def _networks(settings: Settings) -> tuple[Network, ...]:
    try:
        return parse_networks(settings.private_networks)
    except ValueError as error:
        raise ConfigurationError(f"private_networks: {error}") from None
