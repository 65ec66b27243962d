"""A transaction that parts join: what one task does in several transactions becomes one, without any of them knowing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from devops_mcp.repositories.connection import Connection
from devops_mcp.repositories.transaction import Transaction


class Joined:
    """The transaction that is open. Tasks that the owner starts have transactions of their own, as they may outlive it."""

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._owner: asyncio.Task[Any] | None = asyncio.current_task()

    def takes(self, tenant_id: UUID) -> bool:
        """Whether who asks, for this tenant, is to be a part."""
        return tenant_id == self._tenant_id and asyncio.current_task() is self._owner

    @asynccontextmanager
    async def part(self) -> AsyncIterator[Transaction]:
        """A savepoint: undone where the block raises, else as lasting as the whole."""
        await self._connection.begin()
        try:
            async with self._connection.transaction():
                transaction = Transaction(self._connection, self._tenant_id)
                yield transaction
                await transaction.flush()
                await self._connection.begin()
        except BaseException:
            self._connection.drop_deferred()
            raise


JOINED: ContextVar[Joined | None] = ContextVar("joined_transaction", default=None)
