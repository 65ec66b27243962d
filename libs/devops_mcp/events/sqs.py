"""The queues, over SQS. A call costs much the same whatever it carries, so everything goes in batches."""

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from devops_mcp.events.batches import BATCH, Entry, split
from devops_mcp.events.calls import SqsCalls, open_calls
from devops_mcp.events.connection import MAX_WAIT_S, refused_entry, translated
from devops_mcp.events.queues import QUEUES, QueueName, QueueSpec
from devops_mcp.events.received import ATTEMPT, MESSAGE_ID, REASON, TRACEPARENT, Epitaph, Received
from devops_mcp.models.errors import PlatformError, Unavailable

__all__ = ["BATCH", "Depth", "Epitaph", "Outgoing", "Received", "SqsQueue", "open_queues"]

_CALL_S = 10.0
_ANSWER_S = 5.0
_LATEST = 4
_SLOWER, _AT_LEAST_S, _AT_MOST_S = 10, 0.1, 2.0
_MAX_ATTRIBUTES = 10
_MAX_REASON = 1_000
_SYSTEM_ATTRIBUTES = ["ApproximateReceiveCount", "SentTimestamp", "MessageGroupId"]
_NOT_IN_MESSAGES = re.compile("[^\u0009\u000a\u000d\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send. A FIFO queue needs `group` and takes no `delay_s`."""

    body: str = field(repr=False)
    traceparent: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    delay_s: int = 0
    group: str | None = None
    deduplication_id: str | None = None


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages a queue holds, approximately. `ready` may be received now."""

    ready: int
    in_flight: int
    delayed: int


class SqsQueue:
    """One queue and its dead-letter queue. Open with `open_queues`.

    Every method raises `Unavailable` when the service cannot be reached or the queue does not exist, `ConfigurationError` when it refuses
    our credentials. Batches of any length are cut into requests; where only some of these fail, what they carried is returned as failed.
    """

    def __init__(self, calls: SqsCalls, spec: QueueSpec, name: str, dead_name: str) -> None:
        self._calls = calls
        self._spec = spec
        self._name = name
        self._dead_name = dead_name
        self._urls: dict[str, str] = {}
        self._asking = asyncio.Lock()
        self._took: deque[float] = deque(maxlen=_LATEST)

    def answering_s(self) -> float:
        """So long an answer may be on its way, going by the latest ones: a receive that has waited for longer found nothing."""
        return min(_AT_MOST_S, max(_AT_LEAST_S, _SLOWER * max(self._took, default=_AT_MOST_S)))

    def dead_letters(self) -> "SqsQueue":
        """The dead-letter queue, as a queue to receive from. What cannot be taken from there stays there."""
        return SqsQueue(self._calls, self._spec, self._dead_name, self._dead_name)

    async def send_batch(self, messages: Sequence[Outgoing]) -> dict[int, PlatformError]:
        """Send; return, by their positions, the messages that the queue did not take, and why."""
        entries = [_entry_to_send(position, message) for position, message in enumerate(messages)]
        failures = await self._submit_all("SendMessageBatch", entries, in_order=self._spec.fifo)
        return {int(id_): error for id_, error in failures.items()}

    async def receive(self, max_messages: int = BATCH, *, wait_s: int = MAX_WAIT_S) -> list[Received]:
        """Take up to ten messages, waiting up to 20 s for the first."""
        answer = await self._call(
            "ReceiveMessage",
            self._name,
            wait_s + _ANSWER_S,
            MaxNumberOfMessages=max_messages,
            WaitTimeSeconds=wait_s,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=_SYSTEM_ATTRIBUTES,
        )
        return [_read(message) for message in answer.get("Messages", ())]

    async def delete_batch(self, receipts: Sequence[str]) -> list[str]:
        """Acknowledge; return the receipts that were refused. One that is deleted already is no failure."""
        entries = [{"Id": str(n), "ReceiptHandle": receipt} for n, receipt in enumerate(receipts)]
        failures = await self._submit_all("DeleteMessageBatch", entries)
        return [receipts[int(id_)] for id_ in failures]

    async def change_visibility_batch(self, receipts: Sequence[str], visibility_s: int) -> list[str]:
        """Keep messages for that long from now on, or give them back with 0; return the receipts whose lease is over."""
        entries = [
            {"Id": str(n), "ReceiptHandle": receipt, "VisibilityTimeout": visibility_s}
            for n, receipt in enumerate(receipts)
        ]
        failures = await self._submit_all("ChangeMessageVisibilityBatch", entries)
        return [receipts[int(id_)] for id_ in failures]

    async def send_to_dead_letters(self, received: Received, reason: str) -> None:
        """Put a copy into the dead-letter queue, with the reason and where it was; the message itself is still to be deleted.

        A message move task without a destination cannot bring it back, because it was not SQS that moved it: name the destination.
        """
        letter = Outgoing(
            received.body,
            attributes=_with_epitaph(received, reason),
            # A FIFO queue's letters keep no order among each other.
            group=received.message_id if self._spec.fifo else None,
            deduplication_id=received.message_id if self._spec.fifo else None,
        )
        failures = await self._submit(
            "SendMessageBatch", self._dead_name, [_entry_to_send(0, letter)], _CALL_S
        )
        for error in failures.values():
            raise error

    async def depth(self, *, dead_letters: bool = False) -> Depth:
        """How full the queue is, or its dead-letter queue."""
        answer = await self._call(
            "GetQueueAttributes",
            self._dead_name if dead_letters else self._name,
            _CALL_S,
            AttributeNames=["All"],
        )
        counts = answer["Attributes"]
        return Depth(
            ready=int(counts["ApproximateNumberOfMessages"]),
            in_flight=int(counts["ApproximateNumberOfMessagesNotVisible"]),
            delayed=int(counts["ApproximateNumberOfMessagesDelayed"]),
        )

    async def ping(self) -> None:
        """Return when the service knows the queue."""
        with translated(self._name):
            async with asyncio.timeout(_CALL_S):
                await self._calls.call("GetQueueUrl", {"QueueName": self._name})

    async def _submit_all(
        self, action: str, entries: Sequence[Entry], *, in_order: bool = False
    ) -> dict[str, PlatformError]:
        """Submit entries in as many requests as they need; return the failed entries' ids and why. Raises when no request succeeded."""
        requests = list(split(entries))
        if in_order:
            outcomes = await self._submit_in_order(action, requests)
        else:
            outcomes = await asyncio.gather(*(self._try_submit(action, request) for request in requests))
        errors = [outcome for outcome in outcomes if isinstance(outcome, PlatformError)]
        if errors and len(errors) == len(requests):
            raise errors[0]
        failures: dict[str, PlatformError] = {}
        for request, outcome in zip(requests, outcomes, strict=True):
            if isinstance(outcome, PlatformError):
                failures |= dict.fromkeys((entry["Id"] for entry in request), outcome)
            else:
                failures |= outcome
        return failures

    async def _submit_in_order(
        self, action: str, requests: Sequence[Sequence[Entry]]
    ) -> list[dict[str, PlatformError] | PlatformError]:
        """One after the other; what follows a failure is not sent, or it would overtake."""
        outcomes: list[dict[str, PlatformError] | PlatformError] = []
        for request in requests:
            if outcomes and outcomes[-1]:
                outcomes.append(Unavailable(f"queue {self._name}: not sent, an earlier message failed"))
            else:
                outcomes.append(await self._try_submit(action, request))
        return outcomes

    async def _try_submit(
        self, action: str, request: Sequence[Entry]
    ) -> dict[str, PlatformError] | PlatformError:
        try:
            return await self._submit(action, self._name, request, _CALL_S)
        except PlatformError as error:
            return error

    async def _submit(
        self, action: str, name: str, request: Sequence[Entry], deadline_s: float
    ) -> dict[str, PlatformError]:
        answer = await self._call(action, name, deadline_s, Entries=request)
        return {failure["Id"]: refused_entry(name, failure) for failure in answer.get("Failed", ())}

    async def _call(self, action: str, name: str, deadline_s: float, **parameters: Any) -> dict[str, Any]:
        with translated(name):
            async with asyncio.timeout(deadline_s):
                url = await self._url(name)
                begun = time.monotonic()
                answer = await self._calls.call(action, {"QueueUrl": url, **parameters})
                if not parameters.get("WaitTimeSeconds"):
                    self._took.append(time.monotonic() - begun)
                return answer

    async def _url(self, name: str) -> str:
        async with self._asking:
            if name not in self._urls:
                begun = time.monotonic()
                answer = await self._calls.call("GetQueueUrl", {"QueueName": name})
                self._took.append(time.monotonic() - begun)
                self._urls[name] = answer["QueueUrl"]
            return self._urls[name]


@asynccontextmanager
async def open_queues(
    *,
    endpoint_url: str | None,
    region: str,
    prefix: str,
    specs: Sequence[QueueSpec] = QUEUES,
    environment: Mapping[str, str] = os.environ,
) -> AsyncIterator[Mapping[QueueName, SqsQueue]]:
    """The table's queues by name, over one pool of connections. Nothing is sent before the first call: the queues need not exist yet."""
    async with open_calls(endpoint_url=endpoint_url, region=region, environment=environment) as calls:
        yield {
            spec.name: SqsQueue(calls, spec, spec.queue(prefix), spec.dead_letter_queue(prefix))
            for spec in specs
        }


def _entry_to_send(position: int, message: Outgoing) -> Entry:
    attributes = dict(message.attributes)
    if message.traceparent:
        attributes[TRACEPARENT] = message.traceparent
    entry: dict[str, Any] = {"Id": str(position), "MessageBody": message.body}
    if attributes:
        entry["MessageAttributes"] = {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        }
    optional = {
        "DelaySeconds": message.delay_s,
        "MessageGroupId": message.group,
        "MessageDeduplicationId": message.deduplication_id,
    }
    return entry | {name: value for name, value in optional.items() if value}


def _read(message: Mapping[str, Any]) -> Received:
    system = message["Attributes"]
    return Received(
        message_id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        attributes={
            name: attribute["StringValue"]
            for name, attribute in message.get("MessageAttributes", {}).items()
            if "StringValue" in attribute
        },
        attempt=int(system["ApproximateReceiveCount"]),
        sent_at=datetime.fromtimestamp(int(system["SentTimestamp"]) / 1_000, UTC),
        group=system.get("MessageGroupId"),
    )


def _with_epitaph(received: Received, reason: str) -> dict[str, str]:
    """The message's attributes and why it died, at most ten together: the service takes no more."""
    epitaph = {
        REASON: _NOT_IN_MESSAGES.sub("\N{REPLACEMENT CHARACTER}", reason)[:_MAX_REASON] or "unknown",
        MESSAGE_ID: received.message_id,
        ATTEMPT: str(received.attempt),
    }
    others = [name for name in received.attributes if name not in epitaph and name != TRACEPARENT]
    kept = [*received.carrier, *others][: _MAX_ATTRIBUTES - len(epitaph)]
    return {**{name: received.attributes[name] for name in kept}, **epitaph}
