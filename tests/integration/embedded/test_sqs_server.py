"""What our queue server does beyond SQS: it survives kill -9, stops at once, and is not to be used by browsers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from support.sqs_conformance import ATTRIBUTES, Queue, Sqs, reach_the_server
from support.sqs_server import SqsServer

HEADERS = {"X-Amz-Target": "AmazonSQS.ListQueues", "Content-Type": "application/x-amz-json-1.0"}


@asynccontextmanager
async def client_of(server: SqsServer) -> AsyncIterator[Sqs]:
    context = get_session().create_client(
        "sqs",
        region_name="us-east-1",
        endpoint_url=server.url,
        config=AioConfig(retries={"total_max_attempts": 1}),
    )
    async with context as client:
        yield Sqs(client)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SqsServer]:
    server = SqsServer(tmp_path / "sqs")
    await server.start()
    yield server
    server.stop()


@dataclass
class Told:
    """What the server has said it did, and what it was asked to delete."""

    sent: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    asked_to_delete: set[str] = field(default_factory=set)


async def send_until_killed(queue: Queue, told: Told) -> None:
    number = 0
    while True:
        bodies = [f"message {number + n}" for n in range(10)]
        number += 10
        await queue.send_all(*bodies)
        told.sent.update(bodies)
        while len(told.sent) > len(told.deleted) + 200:
            await asyncio.sleep(0.01)


async def take_until_killed(queue: Queue, told: Told) -> None:
    while True:
        messages = await queue.receive(limit=5, wait_s=1)
        bodies = [message["Body"] for message in messages]
        told.asked_to_delete.update(bodies)
        entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
        if entries:
            await queue.client.delete_message_batch(QueueUrl=queue.url, Entries=entries)
        told.deleted.update(bodies)


async def drain(queue: Queue) -> set[str]:
    bodies: list[str] = []
    while messages := await queue.receive(wait_s=2):
        bodies += [message["Body"] for message in messages]
        await asyncio.gather(*(queue.delete(message) for message in messages))
    assert len(bodies) == len(set(bodies))
    return set(bodies)


@pytest.mark.parametrize("durability", ["machine", "process"])
async def test_kill_9_loses_no_acknowledged_send_and_brings_back_nothing_deleted(
    tmp_path: Path, durability: str
):
    """D02, seen from the queue: what the sender was told is kept, what the receiver was told is gone."""
    server = SqsServer(tmp_path, durability=durability)
    await server.start()
    told = Told()
    async with client_of(server) as sqs:
        queue = await sqs.queue(VisibilityTimeout=1)
        work = [
            asyncio.create_task(send_until_killed(queue, told)),
            asyncio.create_task(take_until_killed(queue, told)),
        ]
        async with asyncio.timeout(60):
            while len(told.deleted) < 100:
                await asyncio.sleep(0.01)
        server.kill()
        for task in work:
            task.cancel()
        await asyncio.wait(work)

        await server.start()
        left = await drain(queue)

    assert len(told.sent) > len(told.deleted) >= 100
    assert left.isdisjoint(told.deleted)
    assert told.sent - told.asked_to_delete <= left
    server.stop()


async def test_after_a_kill_everything_is_as_it_was(tmp_path: Path):
    server = SqsServer(tmp_path)
    await server.start()
    async with client_of(server) as sqs:
        queue, dead = await sqs.with_dead_letters(max_receives=2, VisibilityTimeout=60)
        fifo = await sqs.queue(fifo=True)
        await queue.send("held", MessageAttributes=ATTRIBUTES)
        held = await queue.receive_one()
        await queue.send("late", DelaySeconds=60)
        await queue.send("ready", MessageAttributes=ATTRIBUTES)
        first = await fifo.send("1", MessageGroupId="a", MessageDeduplicationId="1")
        await fifo.delete(await fifo.receive_one())
        server.kill()

        await server.start()

        assert await queue.depth() == (1, 1, 1)
        assert (await queue.receive_one())["MessageAttributes"] == ATTRIBUTES
        await queue.keep(held, 0)
        again = await queue.receive_one()
        assert again["Attributes"]["ApproximateReceiveCount"] == "2"
        await queue.keep(again, 0)
        assert await queue.receive() == []
        assert (await dead.receive_one())["Body"] == "held"
        second = await fifo.send("2", MessageGroupId="a", MessageDeduplicationId="1")
        assert second["MessageId"] == first["MessageId"]
    server.stop()


async def test_a_handle_from_before_a_restart_still_deletes(tmp_path: Path):
    server = SqsServer(tmp_path)
    await server.start()
    async with client_of(server) as sqs:
        queue = await sqs.queue()
        await queue.send("x")
        message = await queue.receive_one()
        assert server.stop() == 0

        await server.start()
        await queue.delete(message)

        assert await queue.depth() == (0, 0, 0)
    server.stop()


async def test_a_stop_answers_who_waits(server: SqsServer):
    async with client_of(server) as sqs:
        queue = await sqs.queue()
        waiting = asyncio.create_task(queue.receive(wait_s=20))
        await reach_the_server(queue)

        async with asyncio.timeout(60):
            assert await asyncio.to_thread(server.stop) == 0
            assert await waiting == []
    await server.start()


async def test_a_poller_that_hung_up_swallows_nothing(server: SqsServer):
    async with client_of(server) as sqs:
        queue = await sqs.queue()
        gone = [asyncio.create_task(queue.receive(wait_s=20)) for _ in range(5)]
        await reach_the_server(queue)
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)
        await reach_the_server(queue)

        await queue.send("x")

        message = await queue.receive_one()
        assert message["Attributes"]["ApproximateReceiveCount"] == "1"


async def test_a_poll_on_a_queue_that_is_deleted_ends(server: SqsServer):
    async with client_of(server) as sqs:
        queue = await sqs.queue()
        waiting = asyncio.create_task(queue.receive(wait_s=20))
        await reach_the_server(queue)

        await sqs.client.delete_queue(QueueUrl=queue.url)

        async with asyncio.timeout(60):
            with pytest.raises(sqs.client.exceptions.QueueDoesNotExist):
                await waiting


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"headers": {**HEADERS, "Origin": "https://example.com"}}, "AccessDeniedException"),
        ({"headers": {"Content-Type": "application/x-www-form-urlencoded"}}, "InvalidAction"),
        ({"headers": {**HEADERS, "X-Amz-Target": "AmazonSQS.Nonsense"}}, "UnknownOperationException"),
        ({"content": b"{"}, "SerializationException"),
        ({"content": b"[]"}, "SerializationException"),
        ({"content": b'{"QueueNamePrefix": 1}'}, "SerializationException"),
        ({"content": b'{"QueueNamePrefix": NaN}'}, "SerializationException"),
        ({"content": b" " * (8 * 1024 * 1024 + 1)}, "RequestEntityTooLarge"),
    ],
)
async def test_a_request_that_is_no_ones_is_refused(server: SqsServer, change: dict[str, Any], kind: str):
    """J01: malformed requests get an error, and the server goes on."""
    async with httpx2.AsyncClient(base_url=server.url, timeout=60) as client:
        answer = await client.post("/", **{"headers": HEADERS, "content": b"{}", **change})

        assert answer.status_code == 400
        assert answer.json()["__type"].endswith(f"#{kind}")
        assert (await client.post("/", headers=HEADERS, content=b"{}")).status_code == 200


async def test_a_second_server_on_the_same_folder_refuses_to_start(server: SqsServer):
    second = SqsServer(server.data)

    with pytest.raises(AssertionError, match="ended with 78"):
        await second.start()
