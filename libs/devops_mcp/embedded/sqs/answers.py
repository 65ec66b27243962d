"""Answers as the service's model describes them."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from devops_mcp.embedded.sqs.call import Call
from devops_mcp.embedded.sqs.content import md5_of_attributes, md5_of_body
from devops_mcp.embedded.sqs.errors import Refused
from devops_mcp.embedded.sqs.handles import handle_of
from devops_mcp.embedded.sqs.moves import MoveStatus, MoveTask
from devops_mcp.embedded.sqs.queue import Place, Queue
from devops_mcp.embedded.sqs.records import Message, MessageAttribute
from devops_mcp.embedded.sqs.settings import arn_of

ACCOUNT = "000000000000"
_MAX_ENTRIES = 10
_ENTRY_ID = re.compile(r"[\w-]{1,80}", re.ASCII)
_COUNTS = {
    "ApproximateNumberOfMessages": Place.VISIBLE,
    "ApproximateNumberOfMessagesDelayed": Place.DELAYED,
    "ApproximateNumberOfMessagesNotVisible": Place.IN_FLIGHT,
}


def queue_url(call: Call, name: str) -> str:
    return f"{call.base_url}/{ACCOUNT}/{name}"


def queue_attributes(queue: Queue, names: Iterable[str], now: float) -> dict[str, str]:
    """The attributes asked for, `All` for every one; raises `Refused` for one that no queue has."""
    every = {
        **queue.settings.attributes,
        **{name: str(queue.count(place, now)) for name, place in _COUNTS.items()},
        "CreatedTimestamp": str(int(queue.created_at)),
        "LastModifiedTimestamp": str(int(queue.modified_at)),
        "QueueArn": arn_of(queue.name),
    }
    wanted = set(names)
    if "All" in wanted:
        return every
    for name in wanted - every.keys() - _ABSENT_UNLESS_SET:
        raise Refused("InvalidAttributeName", f"Unknown Attribute {name}.")
    return {name: value for name, value in every.items() if name in wanted}


_ABSENT_UNLESS_SET = {
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoQueue",
    "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "Policy",
    "RedriveAllowPolicy",
    "RedrivePolicy",
}


def received_message(
    queue: str, message: Message, system_names: frozenset[str], names: list[str]
) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "MessageId": message.id,
        "ReceiptHandle": handle_of(queue, message),
        "MD5OfBody": md5_of_body(message.body),
        "Body": message.body,
    }
    if system_names:
        system = _system_attributes(message)
        if "All" not in system_names:
            system = {name: value for name, value in system.items() if name in system_names}
        answer["Attributes"] = system
    if names and (attributes := _chosen(message.attributes, names)):
        answer["MessageAttributes"] = attributes
        answer["MD5OfMessageAttributes"] = md5_of_attributes(attributes)
    return answer


def move_task(task: MoveTask) -> dict[str, Any]:
    """A task as it is listed; only one that runs can be cancelled, so only it has a handle."""
    answer = {
        "TaskHandle": task.handle if task.status is MoveStatus.RUNNING else None,
        "Status": task.status.value,
        "SourceArn": arn_of(task.source),
        "DestinationArn": None if task.target is None else arn_of(task.target),
        "MaxNumberOfMessagesPerSecond": task.per_second,
        "ApproximateNumberOfMessagesMoved": task.moved,
        "ApproximateNumberOfMessagesToMove": task.to_move,
        "FailureReason": task.failure,
        "StartedTimestamp": int(task.started_at * 1_000),
    }
    return {name: value for name, value in answer.items() if value is not None}


def batch(entries: list[Call], one: Callable[[Call], Mapping[str, Any]]) -> dict[str, Any]:
    """Do each entry by itself; what is refused of one does not touch the others."""
    _check_batch(entries)
    successful: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for entry in entries:
        try:
            successful.append({"Id": entry.text("Id"), **one(entry)})
        except Refused as error:
            failed.append(
                {"Id": entry.text("Id"), "SenderFault": True, "Code": error.code, "Message": error.message}
            )
    answer = {"Successful": successful, "Failed": failed}
    return {name: values for name, values in answer.items() if values}


def _check_batch(entries: list[Call]) -> None:
    if not entries:
        raise Refused("EmptyBatchRequest", "The batch request doesn't contain any entries.")
    if len(entries) > _MAX_ENTRIES:
        raise Refused(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are {_MAX_ENTRIES}. You have sent {len(entries)}.",
        )
    ids = [entry.text("Id") for entry in entries]
    if not all(_ENTRY_ID.fullmatch(entry_id) for entry_id in ids):
        raise Refused(
            "InvalidBatchEntryId",
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores. "
            "It can be at most 80 letters long.",
        )
    if len(set(ids)) != len(ids):
        raise Refused(
            "BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id."
        )


def _system_attributes(message: Message) -> dict[str, str]:
    answer = {
        "SenderId": ACCOUNT,
        "SentTimestamp": str(int(message.sent_at * 1_000)),
        "ApproximateReceiveCount": str(message.earlier_receives + message.receive_count),
        "ApproximateFirstReceiveTimestamp": str(int((message.first_received_at or 0) * 1_000)),
        **message.system,
    }
    if message.group is not None:
        answer["MessageGroupId"] = message.group
    if message.deduplication_id is not None:
        answer["MessageDeduplicationId"] = message.deduplication_id
        answer["SequenceNumber"] = str(message.sequence)
    return answer


def _chosen(attributes: Mapping[str, MessageAttribute], names: list[str]) -> dict[str, MessageAttribute]:
    """By name, by `prefix.*`, or all."""
    if "All" in names or ".*" in names:
        return dict(attributes)
    prefixes = tuple(name.removesuffix("*") for name in names if name.endswith(".*"))
    return {k: v for k, v in attributes.items() if k in names or (prefixes and k.startswith(prefixes))}
