"""A connection to a server of the test, with policies that hardly wait."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devops_mcp.adapters.base import Outside
from devops_mcp.adapters.upstream import Upstream
from devops_mcp.resilience.backoff import Backoff
from devops_mcp.resilience.breaker import Breaker
from devops_mcp.resilience.bulkhead import Bulkhead
from devops_mcp.resilience.policies import Policies
from devops_mcp.resilience.retry import Retry
from support.clock import HandClock
from support.servers import LOOPBACK

CANARY = "canary-9f31c2ab77e04d"
"""The credential that every connection of `upstream` sends."""
ONCE = Retry(attempts=1)


def quick(
    name: str = "shop", *, retry: Retry | None = None, clock: HandClock | None = None, limit: int = 16
) -> Policies:
    """Policies that hardly wait."""
    return Policies(
        Breaker(name, now=clock or HandClock()),
        Bulkhead(name, limit=limit, max_wait_s=0.05),
        retry or Retry(backoff=Backoff(first_s=0.001, cap_s=0.001)),
    )


@asynccontextmanager
async def upstream(base_url: str, policies: Policies | None = None, **options) -> AsyncIterator[Upstream]:
    outside = Outside(private_networks=LOOPBACK, policies=policies or quick())
    connection = Upstream(
        "shop",
        base_url,
        outside,
        headers={"Authorization": f"Bearer {CANARY}"},
        **({"timeout_s": 5.0} | options),
    )
    try:
        yield connection
    finally:
        await connection.close()
