"""A queue's attributes: which may be set, to what, and what they mean.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from devops_mcp.embedded.sqs.content import MAX_BYTES
from devops_mcp.embedded.sqs.errors import Refused, invalid_parameter, invalid_value

ARN_PREFIX: Final = "arn:aws:sqs:us-east-1:000000000000:"
"""One account and one region, whatever the caller's credentials say."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_NUMBERS: Final[Mapping[str, tuple[int, int, int]]] = {
    # name: lowest, highest, default
    "DelaySeconds": (0, 900, 0),
    "MaximumMessageSize": (1_024, MAX_BYTES, MAX_BYTES),
    "MessageRetentionPeriod": (60, 1_209_600, 345_600),
    "ReceiveMessageWaitTimeSeconds": (0, 20, 0),
    "VisibilityTimeout": (0, 43_200, 30),
}
_FIFO_DEFAULTS: Final[Mapping[str, str]] = {
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}
_KEPT_AS_GIVEN = frozenset(
    {"Policy", "RedriveAllowPolicy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled"}
)
_SETTABLE = frozenset(_NUMBERS) | frozenset(_FIFO_DEFAULTS) | _KEPT_AS_GIVEN | {"RedrivePolicy"}
_REMOVED_BY_EMPTY = frozenset({"Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId"})


@dataclass(frozen=True, slots=True)
class Redrive:
    dead_letter_queue: str
    max_receive_count: int


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Attributes by name, and those that decide something, parsed."""

    attributes: Mapping[str, str]
    fifo: bool
    delay_s: int
    visibility_s: int
    wait_s: int
    retention_s: int
    max_bytes: int
    content_based_deduplication: bool
    deduplication_per_group: bool
    redrive: Redrive | None

    @classmethod
    def of(cls, attributes: Mapping[str, str]) -> "QueueSettings":
        """Parse attributes that were checked before."""
        return cls(
            attributes=attributes,
            fifo=attributes.get("FifoQueue") == "true",
            delay_s=int(attributes["DelaySeconds"]),
            visibility_s=int(attributes["VisibilityTimeout"]),
            wait_s=int(attributes["ReceiveMessageWaitTimeSeconds"]),
            retention_s=int(attributes["MessageRetentionPeriod"]),
            max_bytes=int(attributes["MaximumMessageSize"]),
            content_based_deduplication=attributes.get("ContentBasedDeduplication") == "true",
            deduplication_per_group=attributes.get("DeduplicationScope") == "messageGroup",
            redrive=_parse_redrive(attributes.get("RedrivePolicy")),
        )


def new_attributes(name: str, given: Mapping[str, str]) -> dict[str, str]:
    """The attributes of a new queue: the defaults, and what was given.

    Raises `Refused` for a bad name, an unknown attribute or a value outside its range.
    """
    fifo = given.get("FifoQueue") == "true"
    _check_name(name, fifo)
    attributes = {key: str(default) for key, (_, _, default) in _NUMBERS.items()}
    attributes["SqsManagedSseEnabled"] = "true"
    if fifo:
        attributes |= {"FifoQueue": "true", **_FIFO_DEFAULTS}
    return changed_attributes(attributes, {k: v for k, v in given.items() if k != "FifoQueue" or not fifo})


def changed_attributes(current: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The attributes after a change; an empty policy removes it."""
    fifo = current.get("FifoQueue") == "true"
    for name, value in given.items():
        _check(name, value, fifo=fifo)
    removed = {name for name, value in given.items() if value == "" and name in _REMOVED_BY_EMPTY}
    return {name: value for name, value in {**current, **given}.items() if name not in removed}


def arn_of(name: str) -> str:
    return ARN_PREFIX + name


def name_in_arn(arn: str) -> str:
    """The queue's name; raises `Refused` for what is not an ARN at all."""
    parts = arn.split(":")
    if len(parts) != 6 or parts[0] != "arn":
        raise invalid_value(
            "You must use this format to specify the SourceArn: "
            "arn:<partition>:<service>:<region>:<account-id>:<resource-id>"
        )
    return parts[5]


def _check_name(name: str, fifo: bool) -> None:
    if fifo and not name.endswith(".fifo"):
        raise invalid_value(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, "
            "must end with .fifo suffix and be 1 to 80 in length"
        )
    stem = name.removesuffix(".fifo") + "_fifo" if fifo else name
    if not _NAME.fullmatch(stem):
        raise invalid_value(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        )


def _check(name: str, value: str, *, fifo: bool) -> None:
    if name not in _SETTABLE or (name in _FIFO_DEFAULTS and not fifo):
        raise Refused("InvalidAttributeName", f"Unknown Attribute {name}.")
    if name in _NUMBERS:
        lowest, highest, _ = _NUMBERS[name]
        if not (value.isascii() and value.isdigit() and lowest <= int(value) <= highest):
            raise Refused("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
    if name == "RedrivePolicy":
        _parse_redrive(value)


def _parse_redrive(value: str | None) -> Redrive | None:
    if not value:
        return None
    try:
        policy = orjson.loads(value)
        target, limit = str(policy["deadLetterTargetArn"]), int(policy["maxReceiveCount"])
    except (orjson.JSONDecodeError, TypeError, ValueError, KeyError):
        raise invalid_parameter(
            value, "RedrivePolicy", "It needs deadLetterTargetArn and maxReceiveCount."
        ) from None
    if not 1 <= limit <= 1_000:
        reason = (
            f"Invalid value for maxReceiveCount: {limit}, valid values are from 1 to 1000 both inclusive."
        )
        raise invalid_parameter(value, "RedrivePolicy", reason)
    return Redrive(name_in_arn(target), limit)
