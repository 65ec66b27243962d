"""What an SQS must do, as tests that run unchanged against any endpoint: against our own server, and against LocalStack.

A module inherits `SqsConformance`, imports the fixture `sqs`, and gives the fixture `sqs_endpoint`. Nothing here may be true of one
server only. The sums of attributes are what LocalStack answered.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

LONG_S = 10
"""A long poll that must end before: whoever waits as long has lost."""
ATTRIBUTES = {
    "text": {"DataType": "String", "StringValue": "grüße"},
    "number": {"DataType": "Number", "StringValue": "42"},
    "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\x01\xff"},
    "team.name": {"DataType": "String.label", "StringValue": "shop"},
}


@dataclass
class Queue:
    """A queue of one test, with the calls in short."""

    client: Any
    name: str
    url: str
    arn: str

    async def send(self, body: str, **more: Any) -> dict[str, Any]:
        return await self.client.send_message(QueueUrl=self.url, MessageBody=body, **more)

    async def send_all(self, *bodies: str, **more: Any) -> None:
        entries = [{"Id": str(n), "MessageBody": body, **more} for n, body in enumerate(bodies)]
        answer = await self.client.send_message_batch(QueueUrl=self.url, Entries=entries)
        assert len(answer["Successful"]) == len(bodies)

    async def receive(self, limit: int = 10, wait_s: int = 0, **more: Any) -> list[dict[str, Any]]:
        answer = await self.client.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=limit,
            WaitTimeSeconds=wait_s,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
            **more,
        )
        return answer.get("Messages", [])

    async def receive_one(self, wait_s: int = LONG_S, **more: Any) -> dict[str, Any]:
        messages = await self.receive(1, wait_s, **more)
        assert len(messages) == 1, f"{self.name} gave nothing within {wait_s} s"
        return messages[0]

    async def bodies(self, limit: int = 10, wait_s: int = 0, **more: Any) -> list[str]:
        return [message["Body"] for message in await self.receive(limit, wait_s, **more)]

    async def keep(self, message: dict[str, Any], visibility_s: int) -> None:
        await self.client.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=visibility_s
        )

    async def delete(self, message: dict[str, Any]) -> None:
        await self.client.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])

    async def attributes(self, *names: str) -> dict[str, str]:
        names = names or ("All",)
        answer = await self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=list(names))
        return answer.get("Attributes", {})

    async def depth(self) -> tuple[int, int, int]:
        """Visible, in flight, delayed."""
        counts = await self.attributes()
        names = ("", "NotVisible", "Delayed")
        visible, hidden, delayed = (int(counts[f"ApproximateNumberOfMessages{name}"]) for name in names)
        return visible, hidden, delayed


@dataclass
class Sqs:
    """A client, and queues that are gone after the tests."""

    client: Any
    made: list[str] = field(default_factory=list)

    async def queue(self, *, fifo: bool = False, name: str | None = None, **attributes: Any) -> Queue:
        name = name or f"test-{uuid4().hex[:12]}{'.fifo' if fifo else ''}"
        given = {key: str(value) for key, value in attributes.items()}
        if fifo:
            given["FifoQueue"] = "true"
        answer = await self.client.create_queue(QueueName=name, Attributes=given)
        url = answer["QueueUrl"]
        self.made.append(url)
        arn = await self.client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return Queue(self.client, name, url, arn["Attributes"]["QueueArn"])

    async def with_dead_letters(self, max_receives: int = 1, **more: Any) -> tuple[Queue, Queue]:
        dead = await self.queue(fifo=more.get("fifo", False))
        policy = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": max_receives})
        return await self.queue(RedrivePolicy=policy, **more), dead


async def code_of(refused: Any) -> str:
    """The error code of a call that must be refused."""
    with pytest.raises(ClientError) as caught:
        await refused
    return caught.value.response["Error"]["Code"]


async def exhaust(queue: Queue) -> None:
    """Receive and give back until the queue moves the message to its dead letters (`max_receives` 1)."""
    await queue.receive_one(VisibilityTimeout=0)
    assert await queue.receive() == []


class Asked(Protocol):
    """Whose depth can be asked for."""

    async def depth(self) -> object: ...


async def reach_the_server(queue: Asked) -> None:
    """Give a poll, or the end of one, the time to reach the server: what was asked after it has been answered.

    Where another server serves in threads, that tells nothing; a test that depends on it holds without, too.
    """
    for _ in range(3):
        await queue.depth()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sqs(sqs_endpoint: str) -> AsyncIterator[Sqs]:
    """To be imported beside the class."""
    context = get_session().create_client(
        "sqs",
        region_name="us-east-1",
        endpoint_url=sqs_endpoint,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=AioConfig(retries={"total_max_attempts": 1}, max_pool_connections=50),
    )
    async with context as client:
        sqs = Sqs(client)
        yield sqs
        await asyncio.gather(*(client.delete_queue(QueueUrl=url) for url in set(sqs.made)))


class SqsConformance:
    """Each test makes its own queues. The client is shared, because making one costs more than most tests."""

    pytestmark = pytest.mark.asyncio(loop_scope="module")

    # Messages, their attributes and sums

    async def test_a_message_comes_with_its_body_attributes_and_sums(self, sqs: Sqs):
        queue = await sqs.queue()
        body = '{"name": "Bücher & <b>\U0001f600</b>"}\r\n\t'

        sent = await queue.send(body, MessageAttributes=ATTRIBUTES)
        message = await queue.receive_one()

        assert message["Body"] == body
        assert message["MessageId"] == sent["MessageId"]
        assert message["MessageAttributes"] == ATTRIBUTES
        assert message["MD5OfBody"] == sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
        assert (
            message["MD5OfMessageAttributes"]
            == sent["MD5OfMessageAttributes"]
            == "9ffd91eca20299de3bbd3e26edf60461"
        )

    async def test_only_the_attributes_asked_for_come_and_the_sum_is_over_them(self, sqs: Sqs):
        queue = await sqs.queue()
        await queue.send("x", MessageAttributes=ATTRIBUTES)

        async def ask(**names: list[str]) -> dict[str, Any]:
            answer = await sqs.client.receive_message(QueueUrl=queue.url, VisibilityTimeout=0, **names)
            return answer["Messages"][0]

        bare = await ask()
        assert "MessageAttributes" not in bare
        assert "MD5OfMessageAttributes" not in bare
        assert "Attributes" not in bare
        assert set((await ask(MessageAttributeNames=["text"]))["MessageAttributes"]) == {"text"}
        by_prefix = await ask(MessageAttributeNames=["team.*"])
        assert set(by_prefix["MessageAttributes"]) == {"team.name"}
        assert by_prefix["MD5OfMessageAttributes"] == "7fcb709126e63985c7d63cf2b09ac5fb"
        chosen = await ask(MessageSystemAttributeNames=["SentTimestamp"])
        assert set(chosen["Attributes"]) == {"SentTimestamp"}

    async def test_a_message_tells_when_it_was_sent_and_how_often_received(self, sqs: Sqs):
        queue = await sqs.queue()
        await queue.send("x")

        first = (await queue.receive_one(VisibilityTimeout=0))["Attributes"]
        second = (await queue.receive_one())["Attributes"]

        assert abs(int(first["SentTimestamp"]) / 1_000 - time.time()) < 60
        assert second["SentTimestamp"] == first["SentTimestamp"]
        assert second["ApproximateFirstReceiveTimestamp"] == first["ApproximateFirstReceiveTimestamp"]
        assert [first["ApproximateReceiveCount"], second["ApproximateReceiveCount"]] == ["1", "2"]

    async def test_a_trace_header_travels_as_a_system_attribute(self, sqs: Sqs):
        queue = await sqs.queue()
        header = {
            "AWSTraceHeader": {
                "DataType": "String",
                "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793",
            }
        }

        await queue.send("x", MessageSystemAttributes=header)

        message = await queue.receive_one()
        assert message["Attributes"]["AWSTraceHeader"] == header["AWSTraceHeader"]["StringValue"]

    # Visibility

    async def test_a_received_message_is_hidden_until_its_timeout_ends(self, sqs: Sqs):
        queue = await sqs.queue(VisibilityTimeout=1)
        await queue.send("x")

        first = await queue.receive_one()
        assert await queue.receive() == []

        second = await queue.receive_one()
        assert second["MessageId"] == first["MessageId"]
        assert second["ReceiptHandle"] != first["ReceiptHandle"]

    async def test_a_message_given_back_is_there_at_once(self, sqs: Sqs):
        queue = await sqs.queue()
        await queue.send("x")

        await queue.keep(await queue.receive_one(), 0)

        assert await queue.bodies() == ["x"]

    async def test_a_message_given_back_wakes_a_long_poll(self, sqs: Sqs):
        queue = await sqs.queue()
        await queue.send("x")
        message = await queue.receive_one()

        waiting = asyncio.create_task(queue.receive_one())
        await reach_the_server(queue)
        await queue.keep(message, 0)

        assert (await waiting)["Body"] == "x"

    async def test_an_extended_message_stays_hidden_beyond_its_first_timeout(self, sqs: Sqs):
        queue = await sqs.queue(VisibilityTimeout=1)
        await queue.send("x")

        await queue.keep(await queue.receive_one(), 30)

        assert await queue.receive(wait_s=2) == []

    async def test_a_message_is_deleted_once_and_deleting_it_again_is_fine(self, sqs: Sqs):
        queue = await sqs.queue(VisibilityTimeout=0)
        await queue.send("x")
        message = await queue.receive_one()

        await queue.delete(message)
        await queue.delete(message)

        assert await queue.receive() == []
        assert await queue.depth() == (0, 0, 0)

    async def test_a_message_that_came_again_is_deleted_with_its_last_handle(self, sqs: Sqs):
        queue = await sqs.queue()
        await queue.send("x")
        await queue.receive_one(VisibilityTimeout=0)

        await queue.delete(await queue.receive_one())

        assert await queue.depth() == (0, 0, 0)

    async def test_a_deleted_messages_visibility_cannot_be_changed(self, sqs: Sqs):
        queue = await sqs.queue()
        await queue.send("x")
        message = await queue.receive_one()
        await queue.delete(message)

        assert await code_of(queue.keep(message, 10)) == "InvalidParameterValue"

    async def test_messages_come_oldest_first_also_after_they_were_given_back(self, sqs: Sqs):
        queue = await sqs.queue()
        for body in ("1", "2", "3"):
            await queue.send(body)
        for message in await queue.receive(2):
            await queue.keep(message, 0)

        assert await queue.bodies() == ["1", "2", "3"]

    # Waiting

    async def test_a_long_poll_without_messages_ends_empty_in_time(self, sqs: Sqs):
        queue = await sqs.queue()
        started = time.monotonic()

        assert await queue.receive(wait_s=1) == []

        assert 0.9 < time.monotonic() - started < 10

    async def test_a_send_wakes_a_long_poll(self, sqs: Sqs):
        queue = await sqs.queue()
        waiting = asyncio.create_task(queue.receive_one())
        await reach_the_server(queue)

        await queue.send("x")

        async with asyncio.timeout(10):
            assert (await waiting)["Body"] == "x"

    async def test_a_delayed_message_wakes_a_long_poll_when_its_time_has_come(self, sqs: Sqs):
        queue = await sqs.queue()
        started = time.monotonic()
        await queue.send("x", DelaySeconds=1)
        assert await queue.receive() == []

        await queue.receive_one()

        assert 0.9 < time.monotonic() - started < 10

    async def test_a_queues_own_delay_holds_unless_a_message_says_otherwise(self, sqs: Sqs):
        queue = await sqs.queue(DelaySeconds=1)
        await queue.send("late")
        await queue.send("now", DelaySeconds=0)

        assert await queue.bodies() == ["now"]
        assert await queue.bodies(wait_s=LONG_S) == ["late"]

    async def test_a_queues_own_waiting_time_makes_a_poll_long(self, sqs: Sqs):
        queue = await sqs.queue(ReceiveMessageWaitTimeSeconds=LONG_S)
        waiting = asyncio.create_task(sqs.client.receive_message(QueueUrl=queue.url))
        await reach_the_server(queue)

        await queue.send("x")

        assert [message["Body"] for message in (await waiting)["Messages"]] == ["x"]

    async def test_each_of_many_waiting_receivers_gets_its_own_message(self, sqs: Sqs):
        queue = await sqs.queue()
        waiting = [asyncio.create_task(queue.receive_one()) for _ in range(10)]
        await reach_the_server(queue)

        bodies = [str(n) for n in range(10)]
        await queue.send_all(*bodies)

        received = await asyncio.gather(*waiting)
        assert sorted(message["Body"] for message in received) == bodies

    # Dead letters and their return

    async def test_a_message_received_too_often_goes_to_the_dead_letters_with_its_attributes(self, sqs: Sqs):
        queue, dead = await sqs.with_dead_letters(max_receives=2)
        sent = await queue.send("x", MessageAttributes=ATTRIBUTES)
        await queue.receive_one(VisibilityTimeout=0)

        await exhaust(queue)

        letter = await dead.receive_one()
        assert letter["MessageId"] == sent["MessageId"]
        assert letter["Body"] == "x"
        assert letter["MessageAttributes"] == ATTRIBUTES
        assert letter["Attributes"]["DeadLetterQueueSourceArn"] == queue.arn
        assert await queue.depth() == (0, 0, 0)

    async def test_dead_letters_wake_a_long_poll(self, sqs: Sqs):
        queue, dead = await sqs.with_dead_letters()
        await queue.send("x")
        waiting = asyncio.create_task(dead.receive_one())
        await reach_the_server(queue)

        await exhaust(queue)

        assert (await waiting)["Body"] == "x"

    async def test_a_dead_letter_queue_knows_its_sources(self, sqs: Sqs):
        queue, dead = await sqs.with_dead_letters()

        answer = await sqs.client.list_dead_letter_source_queues(QueueUrl=dead.url)

        assert answer["queueUrls"] == [queue.url]

    async def test_a_move_task_brings_dead_letters_back_to_their_source(self, sqs: Sqs):
        queue, dead = await sqs.with_dead_letters()
        await queue.send("x", MessageAttributes=ATTRIBUTES)
        await exhaust(queue)

        started = await sqs.client.start_message_move_task(SourceArn=dead.arn)

        message = await queue.receive_one()
        assert started["TaskHandle"]
        assert message["Body"] == "x"
        assert message["MessageAttributes"] == ATTRIBUTES
        task = await self._finished_task(sqs, dead)
        assert (task["Status"], task["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 1)
        assert task["SourceArn"] == dead.arn
        assert await dead.depth() == (0, 0, 0)

    async def test_a_move_task_with_a_destination_moves_everything_there(self, sqs: Sqs):
        _, dead = await sqs.with_dead_letters()
        target = await sqs.queue()
        await dead.send_all("1", "2", "3")

        await sqs.client.start_message_move_task(SourceArn=dead.arn, DestinationArn=target.arn)

        task = await self._finished_task(sqs, dead)
        assert task["DestinationArn"] == target.arn
        assert sorted(await target.bodies()) == ["1", "2", "3"]

    async def test_a_slow_move_task_is_the_only_one_and_can_be_cancelled(self, sqs: Sqs):
        _, dead = await sqs.with_dead_letters()
        target = await sqs.queue()
        await dead.send_all(*(str(n) for n in range(5)))
        move = {"SourceArn": dead.arn, "DestinationArn": target.arn, "MaxNumberOfMessagesPerSecond": 1}

        task = await sqs.client.start_message_move_task(**move)
        again = await code_of(sqs.client.start_message_move_task(**move))
        await sqs.client.cancel_message_move_task(TaskHandle=task["TaskHandle"])

        assert again == "InvalidParameterValue"
        assert (await self._finished_task(sqs, dead))["Status"] == "CANCELLED"
        assert (await dead.depth())[0] >= 3

    async def _finished_task(self, sqs: Sqs, source: Queue) -> dict[str, Any]:
        async with asyncio.timeout(LONG_S):
            while True:
                answer = await sqs.client.list_message_move_tasks(SourceArn=source.arn)
                task = answer["Results"][0]
                if task["Status"] not in ("RUNNING", "CANCELLING"):
                    return task
                await asyncio.sleep(0.05)

    # FIFO

    async def test_a_group_comes_in_order_and_only_when_nothing_of_it_is_in_flight(self, sqs: Sqs):
        queue = await sqs.queue(fifo=True)
        for body in ("1", "2", "3"):
            await queue.send(body, MessageGroupId="a", MessageDeduplicationId=body)

        first = await queue.receive_one()
        assert first["Body"] == "1"
        assert await queue.receive() == []

        await queue.delete(first)
        assert await queue.bodies() == ["2", "3"]

    async def test_a_blocked_group_holds_no_other_group_back(self, sqs: Sqs):
        queue = await sqs.queue(fifo=True)
        await queue.send("a1", MessageGroupId="a", MessageDeduplicationId="1")
        await queue.receive_one()
        await queue.send("a2", MessageGroupId="a", MessageDeduplicationId="2")
        await queue.send("b1", MessageGroupId="b", MessageDeduplicationId="3")

        assert await queue.bodies() == ["b1"]

    async def test_a_fifo_message_tells_group_deduplication_id_and_a_rising_number(self, sqs: Sqs):
        queue = await sqs.queue(fifo=True)
        sent = [await queue.send(n, MessageGroupId="a", MessageDeduplicationId=n) for n in ("1", "2")]

        messages = await queue.receive()

        numbers = [message["Attributes"]["SequenceNumber"] for message in messages]
        assert numbers == [answer["SequenceNumber"] for answer in sent]
        assert int(numbers[0]) < int(numbers[1])
        assert [message["Attributes"]["MessageGroupId"] for message in messages] == ["a", "a"]
        assert [message["Attributes"]["MessageDeduplicationId"] for message in messages] == ["1", "2"]

    async def test_a_fifo_message_whose_timeout_ended_comes_before_what_follows(self, sqs: Sqs):
        queue = await sqs.queue(fifo=True, VisibilityTimeout=1)
        for body in ("1", "2"):
            await queue.send(body, MessageGroupId="a", MessageDeduplicationId=body)

        assert await queue.bodies(limit=1) == ["1"]

        assert await queue.bodies(wait_s=LONG_S) == ["1", "2"]

    async def test_fifo_messages_given_back_together_come_again_in_order(self, sqs: Sqs):
        queue = await sqs.queue(fifo=True)
        for body in ("1", "2", "3"):
            await queue.send(body, MessageGroupId="a", MessageDeduplicationId=body)
        for message in await queue.receive(2):
            await queue.keep(message, 0)

        assert await queue.bodies() == ["1", "2", "3"]

    async def test_deleting_wakes_a_long_poll_that_waits_for_the_group(self, sqs: Sqs):
        queue = await sqs.queue(fifo=True)
        for body in ("1", "2"):
            await queue.send(body, MessageGroupId="a", MessageDeduplicationId=body)
        first = await queue.receive_one()
        waiting = asyncio.create_task(queue.receive_one())
        await reach_the_server(queue)

        await queue.delete(first)

        assert (await waiting)["Body"] == "2"

    async def test_an_id_that_was_sent_is_not_sent_again_even_when_deleted(self, sqs: Sqs):
        queue = await sqs.queue(fifo=True)
        first = await queue.send("1", MessageGroupId="a", MessageDeduplicationId="same")
        second = await queue.send("2", MessageGroupId="a", MessageDeduplicationId="same")
        await queue.delete(await queue.receive_one())
        third = await queue.send("3", MessageGroupId="a", MessageDeduplicationId="same")

        assert first["MessageId"] == second["MessageId"] == third["MessageId"]
        assert await queue.receive() == []

    async def test_content_is_the_deduplication_id_where_the_queue_says_so(self, sqs: Sqs):
        queue = await sqs.queue(fifo=True, ContentBasedDeduplication="true")
        for body in ("same", "same", "other"):
            await queue.send(body, MessageGroupId="a")

        messages = await queue.receive()

        assert [message["Body"] for message in messages] == ["same", "other"]
        identity = hashlib.sha256(b"same").hexdigest()
        assert messages[0]["Attributes"]["MessageDeduplicationId"] == identity

    async def test_an_expired_handle_deletes_nothing_from_a_fifo_queue(self, sqs: Sqs):
        queue = await sqs.queue(fifo=True)
        await queue.send("1", MessageGroupId="a", MessageDeduplicationId="1")
        message = await queue.receive_one()
        await queue.keep(message, 0)

        assert await code_of(queue.delete(message)) == "InvalidParameterValue"

        assert await queue.bodies() == ["1"]

    async def test_a_fifo_queues_dead_letters_keep_their_group(self, sqs: Sqs):
        queue, dead = await sqs.with_dead_letters(fifo=True)
        await queue.send("1", MessageGroupId="a", MessageDeduplicationId="1")
        await queue.send("2", MessageGroupId="a", MessageDeduplicationId="2")
        await queue.receive(1, VisibilityTimeout=0)

        assert await queue.bodies() == ["2"]

        letter = await dead.receive_one()
        assert letter["Body"] == "1"
        assert letter["Attributes"]["MessageGroupId"] == "a"

    @pytest.mark.parametrize(
        ("parameters", "code"),
        [
            ({}, "MissingParameter"),
            ({"MessageGroupId": "a"}, "InvalidParameterValue"),
            (
                {"MessageGroupId": "a", "MessageDeduplicationId": "1", "DelaySeconds": 1},
                "InvalidParameterValue",
            ),
            ({"MessageGroupId": "with space", "MessageDeduplicationId": "1"}, "InvalidParameterValue"),
        ],
    )
    async def test_a_fifo_queue_refuses(self, sqs: Sqs, parameters: dict[str, Any], code: str):
        queue = await sqs.queue(fifo=True)

        assert await code_of(queue.send("x", **parameters)) == code

    # Batches and limits

    async def test_what_is_wrong_with_one_entry_of_a_batch_does_not_touch_the_others(self, sqs: Sqs):
        queue = await sqs.queue()
        entries = [
            {"Id": "good", "MessageBody": "x"},
            {"Id": "control-character", "MessageBody": "\x01"},
            {
                "Id": "bad-attribute",
                "MessageBody": "x",
                "MessageAttributes": {"a": {"DataType": "Nonsense", "StringValue": "x"}},
            },
        ]

        answer = await sqs.client.send_message_batch(QueueUrl=queue.url, Entries=entries)

        assert [entry["Id"] for entry in answer["Successful"]] == ["good"]
        assert {entry["Id"] for entry in answer["Failed"]} == {"control-character", "bad-attribute"}
        assert await queue.bodies() == ["x"]

    async def test_handles_that_are_none_fail_alone_in_a_batch(self, sqs: Sqs):
        queue = await sqs.queue()
        await queue.send_all("1", "2")
        one, two = await queue.receive()
        junk = {"Id": "junk", "ReceiptHandle": "junk"}

        kept = await sqs.client.change_message_visibility_batch(
            QueueUrl=queue.url,
            Entries=[
                {"Id": "one", "ReceiptHandle": one["ReceiptHandle"], "VisibilityTimeout": 0},
                junk | {"VisibilityTimeout": 0},
            ],
        )
        deleted = await sqs.client.delete_message_batch(
            QueueUrl=queue.url, Entries=[{"Id": "two", "ReceiptHandle": two["ReceiptHandle"]}, junk]
        )

        assert [entry["Id"] for entry in kept["Successful"]] == ["one"]
        assert [entry["Id"] for entry in deleted["Successful"]] == ["two"]
        for answer in (kept, deleted):
            assert [(e["Id"], e["Code"]) for e in answer["Failed"]] == [("junk", "ReceiptHandleIsInvalid")]
        assert await queue.bodies() == [one["Body"]]

    @pytest.mark.parametrize(
        ("ids", "code"),
        [
            ([], "EmptyBatchRequest"),
            ([str(n) for n in range(11)], "TooManyEntriesInBatchRequest"),
            (["a", "a"], "BatchEntryIdsNotDistinct"),
            (["not an id"], "InvalidBatchEntryId"),
            (["x" * 81], "InvalidBatchEntryId"),
        ],
    )
    async def test_a_batch_is_refused_whole(self, sqs: Sqs, ids: list[str], code: str):
        queue = await sqs.queue()
        entries = [{"Id": id_, "MessageBody": "x"} for id_ in ids]

        refused = await code_of(sqs.client.send_message_batch(QueueUrl=queue.url, Entries=entries))

        assert refused == f"AWS.SimpleQueueService.{code}"
        assert await queue.depth() == (0, 0, 0)

    async def test_a_batch_is_as_large_as_a_message_may_be_and_no_larger(self, sqs: Sqs):
        queue = await sqs.queue()
        half = "x" * 524_288
        entries = [{"Id": "1", "MessageBody": half}, {"Id": "2", "MessageBody": half}]
        too_much = [entries[0], {"Id": "2", "MessageBody": half + "x"}]

        refused = await code_of(sqs.client.send_message_batch(QueueUrl=queue.url, Entries=too_much))
        assert refused == "AWS.SimpleQueueService.BatchRequestTooLong"

        answer = await sqs.client.send_message_batch(QueueUrl=queue.url, Entries=entries)
        assert len(answer["Successful"]) == 2

    async def test_a_queues_own_limit_counts_bytes_of_body_and_attributes(self, sqs: Sqs):
        queue = await sqs.queue(MaximumMessageSize=1024)
        attribute = {"name": {"DataType": "String", "StringValue": "12345"}}

        await queue.send("ü" * 512)
        await queue.send("x" * (1024 - len("nameString12345")), MessageAttributes=attribute)

        assert await code_of(queue.send("ü" * 512 + "x")) == "InvalidParameterValue"
        too_long = queue.send("x" * (1025 - len("nameString12345")), MessageAttributes=attribute)
        assert await code_of(too_long) == "InvalidParameterValue"

    @pytest.mark.parametrize(
        ("operation", "parameters", "code"),
        [
            ("send_message", {"MessageBody": ""}, "MissingParameter"),
            ("send_message", {"MessageBody": "\x00"}, "InvalidMessageContents"),
            ("send_message", {"MessageBody": "x", "MessageDeduplicationId": "1"}, "InvalidParameterValue"),
            ("receive_message", {"MaxNumberOfMessages": 11}, "InvalidParameterValue"),
            ("receive_message", {"WaitTimeSeconds": 21}, "InvalidParameterValue"),
            ("delete_message", {"ReceiptHandle": "junk"}, "ReceiptHandleIsInvalid"),
            (
                "change_message_visibility",
                {"ReceiptHandle": "junk", "VisibilityTimeout": 1},
                "ReceiptHandleIsInvalid",
            ),
            ("get_queue_attributes", {"AttributeNames": ["Nonsense"]}, "InvalidAttributeName"),
            ("set_queue_attributes", {"Attributes": {"Nonsense": "1"}}, "InvalidAttributeName"),
            ("set_queue_attributes", {"Attributes": {"QueueArn": "x"}}, "InvalidAttributeName"),
            (
                "set_queue_attributes",
                {"Attributes": {"RedrivePolicy": '{"maxReceiveCount": 1}'}},
                "InvalidParameterValue",
            ),
        ],
    )
    async def test_a_wrong_request_is_refused(
        self, sqs: Sqs, operation: str, parameters: dict[str, Any], code: str
    ):
        queue = await sqs.queue()

        assert await code_of(getattr(sqs.client, operation)(QueueUrl=queue.url, **parameters)) == code

    async def test_a_handle_of_another_queue_is_refused(self, sqs: Sqs):
        queue, other = await sqs.queue(), await sqs.queue()
        await queue.send("x")
        message = await queue.receive_one()

        assert await code_of(other.delete(message)) == "ReceiptHandleIsInvalid"

    # Queues

    async def test_a_queue_that_is_not_there_is_said_so(self, sqs: Sqs):
        queue = await sqs.queue()
        missing = queue.url + "-missing"
        code = "AWS.SimpleQueueService.NonExistentQueue"

        assert await code_of(sqs.client.get_queue_url(QueueName=queue.name + "-missing")) == code
        assert await code_of(sqs.client.send_message(QueueUrl=missing, MessageBody="x")) == code
        assert await code_of(sqs.client.receive_message(QueueUrl=missing)) == code
        with pytest.raises(sqs.client.exceptions.QueueDoesNotExist):
            await sqs.client.purge_queue(QueueUrl=missing)

    async def test_a_queue_may_be_created_again_with_the_same_attributes_only(self, sqs: Sqs):
        queue = await sqs.queue(VisibilityTimeout=5)
        await queue.send("x")

        same = await sqs.client.create_queue(QueueName=queue.name, Attributes={"VisibilityTimeout": "5"})
        other = sqs.client.create_queue(QueueName=queue.name, Attributes={"VisibilityTimeout": "6"})

        assert same["QueueUrl"] == queue.url
        assert await code_of(other) == "QueueAlreadyExists"
        assert await queue.bodies() == ["x"]

    @pytest.mark.parametrize(
        ("name", "attributes", "code"),
        [
            ("with space", {}, "InvalidParameterValue"),
            ("x" * 81, {}, "InvalidParameterValue"),
            ("not.fifo", {}, "InvalidParameterValue"),
            ("fifo-without-suffix", {"FifoQueue": "true"}, "InvalidParameterValue"),
            ("unknown-attribute", {"Nonsense": "1"}, "InvalidAttributeName"),
        ],
    )
    async def test_a_queue_is_not_created(self, sqs: Sqs, name: str, attributes: dict[str, str], code: str):
        assert await code_of(sqs.client.create_queue(QueueName=name, Attributes=attributes)) == code

    async def test_attributes_are_what_was_set_and_the_defaults(self, sqs: Sqs):
        queue = await sqs.queue(VisibilityTimeout=7)
        await sqs.client.set_queue_attributes(
            QueueUrl=queue.url, Attributes={"DelaySeconds": "3", "MessageRetentionPeriod": "60"}
        )

        attributes = await queue.attributes()

        expected = {
            "DelaySeconds": "3",
            "MaximumMessageSize": "1048576",
            "MessageRetentionPeriod": "60",
            "QueueArn": f"arn:aws:sqs:us-east-1:000000000000:{queue.name}",
            "ReceiveMessageWaitTimeSeconds": "0",
            "VisibilityTimeout": "7",
        }
        assert expected.items() <= attributes.items()
        assert set(await queue.attributes("VisibilityTimeout")) == {"VisibilityTimeout"}
        assert "RedrivePolicy" not in attributes

    async def test_a_redrive_policy_is_kept_and_removed(self, sqs: Sqs):
        queue, dead = await sqs.with_dead_letters(max_receives=3)
        policy = json.loads((await queue.attributes("RedrivePolicy"))["RedrivePolicy"])
        assert policy == {"deadLetterTargetArn": dead.arn, "maxReceiveCount": 3}

        await sqs.client.set_queue_attributes(QueueUrl=queue.url, Attributes={"RedrivePolicy": ""})

        assert "RedrivePolicy" not in await queue.attributes()

    async def test_depth_counts_visible_hidden_and_delayed_messages(self, sqs: Sqs):
        queue = await sqs.queue()
        await queue.send_all("1", "2", "3", "4")
        await queue.send_all("late", DelaySeconds=60)
        await queue.receive_one()

        assert await queue.depth() == (3, 1, 1)

    async def test_a_purge_takes_every_message(self, sqs: Sqs):
        queue = await sqs.queue(VisibilityTimeout=1)
        await queue.send_all("1", "2")
        await queue.send_all("late", DelaySeconds=1)
        await queue.receive_one()

        await sqs.client.purge_queue(QueueUrl=queue.url)

        assert await queue.depth() == (0, 0, 0)
        assert await queue.receive(wait_s=2) == []

    async def test_queues_are_listed_by_prefix_and_page(self, sqs: Sqs):
        prefix = f"list-{uuid4().hex[:8]}-"
        urls = [(await sqs.queue(name=f"{prefix}{n}")).url for n in range(3)]

        everything = await sqs.client.list_queues(QueueNamePrefix=prefix)
        first = await sqs.client.list_queues(QueueNamePrefix=prefix, MaxResults=2)
        rest = await sqs.client.list_queues(
            QueueNamePrefix=prefix, MaxResults=2, NextToken=first["NextToken"]
        )

        assert sorted(everything["QueueUrls"]) == sorted(urls)
        assert sorted(first["QueueUrls"] + rest["QueueUrls"]) == sorted(urls)
        assert "NextToken" not in rest

    async def test_tags_are_kept_and_removed(self, sqs: Sqs):
        name = f"test-{uuid4().hex[:12]}"
        created = await sqs.client.create_queue(QueueName=name, tags={"team": "shop", "tier": "1"})
        url = created["QueueUrl"]
        sqs.made.append(url)

        await sqs.client.tag_queue(QueueUrl=url, Tags={"tier": "2", "new": "yes"})
        await sqs.client.untag_queue(QueueUrl=url, TagKeys=["team", "absent"])

        assert (await sqs.client.list_queue_tags(QueueUrl=url))["Tags"] == {"tier": "2", "new": "yes"}

    async def test_a_deleted_queue_is_gone_with_its_messages(self, sqs: Sqs):
        queue = await sqs.queue()
        await queue.send("x")

        await sqs.client.delete_queue(QueueUrl=queue.url)
        sqs.made.remove(queue.url)

        assert await code_of(queue.send("y")) == "AWS.SimpleQueueService.NonExistentQueue"

    @pytest.mark.parametrize(
        ("operation", "parameters", "code"),
        [
            (
                "start_message_move_task",
                {"SourceArn": "arn:aws:sqs:us-east-1:000000000000:none"},
                "ResourceNotFoundException",
            ),
            (
                "list_message_move_tasks",
                {"SourceArn": "arn:aws:sqs:us-east-1:000000000000:none"},
                "ResourceNotFoundException",
            ),
            ("cancel_message_move_task", {"TaskHandle": "junk"}, "InvalidParameterValue"),
        ],
    )
    async def test_a_wrong_move_task_is_refused(
        self, sqs: Sqs, operation: str, parameters: dict[str, Any], code: str
    ):
        assert await code_of(getattr(sqs.client, operation)(**parameters)) == code

    async def test_only_dead_letters_can_be_moved(self, sqs: Sqs):
        queue = await sqs.queue()

        refused = sqs.client.start_message_move_task(SourceArn=queue.arn)

        assert await code_of(refused) == "InvalidParameterValue"

    # Callers who leave

    async def test_a_poller_that_hung_up_loses_nothing(self, sqs: Sqs):
        # LocalStack still gives it the message, which then is there again after its timeout.
        queue = await sqs.queue(VisibilityTimeout=1)
        gone = asyncio.create_task(queue.receive_one())
        await reach_the_server(queue)
        gone.cancel()
        await asyncio.wait([gone])

        await queue.send("x")

        assert (await queue.receive_one())["Body"] == "x"
