"""rest-api and mcp-server as they are composed, served from this process on a free port over the test's own database and Redis."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from devops_mcp.auth.api_keys import generate_key, hash_secret, parse_key
from devops_mcp.config import IntegrationSettings, Settings
from devops_mcp.models.base import utc_now
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import ApiKey, PrincipalKind
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.platform import open_platform
from devops_mcp.repositories.api_keys import insert_as_owner
from devops_mcp.serving.server import listening
from mcp_server.app import open_app as open_mcp_app
from rest_api.app import open_app as open_rest_app

REST_URL, MCP_URL = "https://rest.example.com", "https://mcp.example.com"
"""What tokens are issued for; where the services are reached is told by the functions that run them."""

# A service in this process shares its loop with the test and with other services. A loop that was busy for longer than a cache may take
# to answer would be told that Redis is down, and what a test sees then depends on the machine's load.
open_platform.__wrapped__.__kwdefaults__["redis_command_s"] = 5.0  # type: ignore[attr-defined]


def settings_for(
    database_url: str, redis_url: str, integrations: Sequence[dict[str, Any]] = (), **others: Any
) -> Settings:
    """Settings of a service on a free port."""
    server: dict[str, Any] = {"port": 0, "drain_timeout_s": 5, "receive_timeout_s": 2}
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        master_keys=("a master key for the tests, and nothing else",),
        database_pool_size=4,
        rest=server | {"public_url": REST_URL},
        mcp=server | {"public_url": MCP_URL},
        private_networks=("127.0.0.0/8",),
        integrations=tuple(IntegrationSettings(**integration) for integration in integrations),
        **others,
    )


@asynccontextmanager
async def running_rest(settings: Settings) -> AsyncIterator[str]:
    """rest-api's base URL while the block runs."""
    metrics = Metrics()
    async with (
        open_rest_app(settings, metrics, asyncio.Event()) as app,
        listening(app, settings.rest) as port,
    ):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def running_mcp(settings: Settings, stop: asyncio.Event | None = None) -> AsyncIterator[str]:
    """mcp-server's base URL while the block runs; `stop` begins the drain of its sockets."""
    ending = stop or asyncio.Event()
    async with open_mcp_app(settings, Metrics(), ending) as app, listening(app, settings.mcp) as port:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            ending.set()


async def new_key(owner_url: str, *grants: str, **changes: Any) -> str:
    """A fresh API key in the default tenant, or in the one that `changes` name."""
    key = generate_key()
    parts = parse_key(key)
    assert parts is not None
    row = ApiKey(
        id=new_id(),
        tenant_id=DEFAULT_TENANT_ID,
        prefix=parts.prefix,
        secret_hash=hash_secret(parts.secret),
        kind=PrincipalKind.AGENT,
        name="tester",
        grants=grants or ("*",),
        created_at=utc_now(),
    )
    await insert_as_owner(owner_url, row.model_copy(update=changes))
    return key
