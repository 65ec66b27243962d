"""The connection to Redis: quick to answer or quick to give up, because nothing here is worth waiting for."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from redis.asyncio import Connection, Redis, SSLConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from devops_mcp.models.errors import Unavailable

COMMAND_S = 0.05
"""So long a cache may take to answer: it is there to be quicker than the database."""


class _ToldWhenClosed(Connection):
    """Reports a connection that the other side has reset as one that is lost: with uvloop, the first write to it raises `RuntimeError`."""

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise RedisConnectionError("the connection was reset") from error


class _ToldWhenClosedSSL(_ToldWhenClosed, SSLConnection):
    """The same over TLS."""


_CONNECTIONS: Mapping[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: _ToldWhenClosed,
    SSLConnection: _ToldWhenClosedSSL,
}


@asynccontextmanager
async def open_redis(
    url: str, *, command_timeout_s: float = COMMAND_S, connect_timeout_s: float = 1.0
) -> AsyncIterator[Redis]:
    """A client that answers bytes, never retries, and gives a command up after `command_timeout_s`.

    It does not connect yet: a service starts without Redis and says so in its readiness.
    """
    client = Redis.from_url(
        url,
        socket_timeout=command_timeout_s,
        socket_connect_timeout=connect_timeout_s,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    pool = client.connection_pool
    pool.connection_class = _CONNECTIONS.get(pool.connection_class, pool.connection_class)
    try:
        yield client
    finally:
        await client.aclose()


async def ping(client: Redis) -> None:
    """Return when Redis answers; raises `Unavailable`."""
    try:
        await client.ping()
    except (RedisError, OSError) as error:
        raise Unavailable(f"redis cannot be reached ({type(error).__name__})", retry_after_s=1) from None
