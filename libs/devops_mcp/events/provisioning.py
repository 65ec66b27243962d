"""Queues and dead-letter queues as the table in `queues.py` has them: as data for templates, and made at a service."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from botocore.exceptions import ClientError

from devops_mcp.events.connection import open_sqs, translated
from devops_mcp.events.queues import QUEUES, QueueSpec

_BY_GROUP = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
"""AWS's high throughput for FIFO queues: without it a queue takes 300 requests a second, however many groups it has."""
_EXISTS_OTHERWISE = ("QueueAlreadyExists", "QueueNameExists")


@dataclass(frozen=True, slots=True)
class QueueDefinition:
    """A queue as SQS knows it. One with dead letters needs `redrive_policy` besides, once their queue exists."""

    name: str
    attributes: dict[str, str]
    dead_letter_queue: str | None = None
    max_receives: int | None = None


def queue_definitions(prefix: str, specs: Sequence[QueueSpec] = QUEUES) -> list[QueueDefinition]:
    """Every queue of the table, each dead-letter queue before the queue that needs it."""
    return [definition for spec in specs for definition in _define(prefix, spec)]


def redrive_policy(dead_letter_arn: str, max_receives: int) -> str:
    """The value of the attribute `RedrivePolicy`."""
    return json.dumps({"deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": max_receives})


async def create_queues(
    endpoint_url: str | None,
    *,
    region: str = "us-east-1",
    prefix: str = "devops-mcp-",
    specs: Sequence[QueueSpec] = QUEUES,
) -> None:
    """Make the table's queues at a service; those that exist get the table's attributes and keep their messages."""
    async with open_sqs(endpoint_url=endpoint_url, region=region) as client:
        await ensure_queues(client, prefix, specs)


async def ensure_queues(client: Any, prefix: str, specs: Sequence[QueueSpec] = QUEUES) -> None:
    """As `create_queues`, with an aiobotocore client that is open already."""
    for definition in queue_definitions(prefix, specs):
        with translated(definition.name):
            await _ensure(client, definition)


async def _ensure(client: Any, definition: QueueDefinition) -> None:
    attributes = dict(definition.attributes)
    if definition.dead_letter_queue is not None and definition.max_receives is not None:
        arn = await _arn(client, definition.dead_letter_queue)
        attributes["RedrivePolicy"] = redrive_policy(arn, definition.max_receives)
    try:
        await client.create_queue(QueueName=definition.name, Attributes=attributes)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _EXISTS_OTHERWISE:
            raise
        url = (await client.get_queue_url(QueueName=definition.name))["QueueUrl"]
        attributes.pop("FifoQueue", None)
        await client.set_queue_attributes(QueueUrl=url, Attributes=attributes)


async def _arn(client: Any, name: str) -> str:
    url = (await client.get_queue_url(QueueName=name))["QueueUrl"]
    answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    arn: str = answer["Attributes"]["QueueArn"]
    return arn


def _define(prefix: str, spec: QueueSpec) -> list[QueueDefinition]:
    kind = {"FifoQueue": "true"} if spec.fifo else {}
    dead = QueueDefinition(
        spec.dead_letter_queue(prefix), {**kind, "MessageRetentionPeriod": _seconds(spec.dead_retention)}
    )
    attributes = {
        **kind,
        **(_BY_GROUP if spec.fifo else {}),
        "MessageRetentionPeriod": _seconds(spec.retention),
        "VisibilityTimeout": _seconds(spec.visibility_timeout),
    }
    return [dead, QueueDefinition(spec.queue(prefix), attributes, dead.name, spec.max_receives)]


def _seconds(duration: timedelta) -> str:
    return str(int(duration.total_seconds()))
