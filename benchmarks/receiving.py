"""Bare loops over a queue, which the worker is measured beside: receive ten, perhaps write them down, delete ten."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from psycopg_pool import AsyncConnectionPool

from benchmarks.measure import Speed, Stopwatch
from devops_mcp.events.connection import open_sqs
from devops_mcp.events.sqs import Outgoing, SqsQueue

Receipts = Sequence[str]
Receive = Callable[[], Awaitable[Receipts]]
"""Up to ten messages that are there, without waiting for any."""
Settle = Callable[[Receipts], Awaitable[object]]


@dataclass(frozen=True)
class BareLoops:
    """`standard` is the loop as anybody would write it, over aiobotocore's client; `own` the same over our queue client.

    `inserting` is `own` with one INSERT of the ten messages committed before they are deleted: the least that an effect costs.
    """

    queue: SqsQueue
    client: Any
    url: str
    pool: AsyncConnectionPool

    async def standard(self, count: int, loops: int) -> Speed:
        return await self._drain(count, loops, self._receive, self._delete)

    async def own(self, count: int, loops: int) -> Speed:
        return await self._drain(count, loops, self._receive_by_ours, self.queue.delete_batch)

    async def inserting(self, count: int, loops: int) -> Speed:
        async def settle(receipts: Receipts) -> None:
            async with self.pool.connection() as connection:
                await connection.execute(
                    "INSERT INTO bare (body) SELECT unnest(%s::bytea[])", ([b"x" * 200] * len(receipts),)
                )
            await self.queue.delete_batch(receipts)

        return await self._drain(count, loops, self._receive_by_ours, settle)

    async def _drain(self, count: int, loops: int, receive: Receive, settle: Settle) -> Speed:
        """With so many loops at once."""
        await self.queue.send_batch([Outgoing(body="x" * 200) for _ in range(count)])
        watch, left = Stopwatch(), count

        async def work() -> None:
            nonlocal left
            while left > 0:
                receipts = await receive()
                if receipts:
                    await settle(receipts)
                left -= len(receipts)

        await asyncio.gather(*(work() for _ in range(loops)))
        return watch.read(count)

    async def _receive_by_ours(self) -> Receipts:
        return [one.receipt for one in await self.queue.receive(wait_s=0)]

    async def _receive(self) -> Receipts:
        answer = await self.client.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=0
        )
        return [message["ReceiptHandle"] for message in answer.get("Messages", ())]

    async def _delete(self, receipts: Receipts) -> None:
        entries = [{"Id": str(n), "ReceiptHandle": receipt} for n, receipt in enumerate(receipts)]
        await self.client.delete_message_batch(QueueUrl=self.url, Entries=entries)


@asynccontextmanager
async def bare_loops(
    queue: SqsQueue, name: str, endpoint_url: str, database_url: str
) -> AsyncIterator[BareLoops]:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_sqs(endpoint_url=endpoint_url, region="us-east-1"))
        pool = await stack.enter_async_context(
            AsyncConnectionPool(
                database_url, min_size=4, max_size=20, open=False, kwargs={"autocommit": True}
            )
        )
        async with pool.connection() as connection:
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS bare (id bigserial PRIMARY KEY, body bytea NOT NULL)"
            )
        url = (await client.get_queue_url(QueueName=name))["QueueUrl"]
        yield BareLoops(queue, client, url, pool)
