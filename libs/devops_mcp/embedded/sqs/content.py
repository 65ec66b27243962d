"""What a message may contain, how large it is, and its MD5 sums.

The rules: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from hashlib import md5

from devops_mcp.embedded.sqs.errors import Refused, invalid_parameter, invalid_value, missing
from devops_mcp.embedded.sqs.records import MessageAttribute

MAX_BYTES = 1_048_576
"""The limit of a message and of all messages of a batch together."""
_MAX_ATTRIBUTES = 10
_FORBIDDEN = re.compile("[^\u0009\u000a\u000d\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ATTRIBUTE_NAME = re.compile(r"(?!(?:aws|amazon)\.|\.)[\w.-]{1,255}(?<!\.)", re.IGNORECASE)
_ATTRIBUTE_TYPE = re.compile(r"(String|Number|Binary)(\..{1,248})?")
_FIFO_ID = re.compile(r"[!-~]{1,128}")
_TRANSPORT_STRING, _TRANSPORT_BINARY = b"\x01", b"\x02"


def check_body(body: str) -> None:
    if not body:
        raise missing("MessageBody")
    if _FORBIDDEN.search(body):
        raise Refused(
            "InvalidMessageContents",
            "Invalid characters found. Valid unicode characters are "
            "#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
        )


def check_size(size: int, limit: int) -> None:
    if size > limit:
        raise invalid_value(
            f"One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes."
        )


def check_attributes(attributes: Mapping[str, MessageAttribute]) -> None:
    if len(attributes) > _MAX_ATTRIBUTES:
        raise invalid_value(
            f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum [{_MAX_ATTRIBUTES}]."
        )
    for name, attribute in attributes.items():
        if not _ATTRIBUTE_NAME.fullmatch(name):
            raise invalid_value(f"The message attribute name '{name}' is invalid.")
        _check_attribute(name, attribute)


def _check_attribute(name: str, attribute: MessageAttribute) -> None:
    kind = attribute.get("DataType", "")
    if not _ATTRIBUTE_TYPE.fullmatch(kind):
        raise invalid_value(
            f"The type of message (user) attribute '{name}' is invalid. You must use only the following supported "
            "type prefixes: Binary, Number, String."
        )
    if not _value(name, attribute):
        raise invalid_value(
            f"Message (user) attribute '{name}' must contain a non-empty value of type '{kind}'."
        )
    if not kind.startswith("Binary") and _FORBIDDEN.search(attribute["StringValue"]):
        raise invalid_value(f"Message (user) attribute '{name}' contains invalid characters.")


def check_fifo_id(value: str | None, parameter: str) -> None:
    if value is not None and not _FIFO_ID.fullmatch(value):
        reason = f"{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length."
        raise invalid_parameter(value, parameter, reason)


def size_of(body: str, attributes: Mapping[str, MessageAttribute]) -> int:
    """Bytes that count against the limits: the body, and name, type and value of each attribute."""
    size = len(body) if body.isascii() else len(body.encode())
    for name, attribute in attributes.items():
        size += (
            len(name.encode()) + len(attribute.get("DataType", "").encode()) + len(_value(name, attribute))
        )
    return size


def md5_of_body(body: str) -> str:
    return md5(body.encode(), usedforsecurity=False).hexdigest()


def md5_of_attributes(attributes: Mapping[str, MessageAttribute]) -> str:
    """The sum over name, type, kind of transport and value of each attribute, in order of names.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
    """
    digest = md5(usedforsecurity=False)
    for name in sorted(attributes):
        attribute = attributes[name]
        binary = attribute["DataType"].startswith("Binary")
        digest.update(_length_prefixed([name.encode(), attribute["DataType"].encode()]))
        digest.update(_TRANSPORT_BINARY if binary else _TRANSPORT_STRING)
        digest.update(_length_prefixed([_value(name, attribute)]))
    return digest.hexdigest()


def _length_prefixed(parts: Iterable[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _value(name: str, attribute: MessageAttribute) -> bytes:
    if not attribute.get("DataType", "").startswith("Binary"):
        return attribute.get("StringValue", "").encode()
    try:
        return base64.b64decode(attribute.get("BinaryValue", ""), validate=True)
    except binascii.Error:
        raise invalid_value(f"Message (user) attribute '{name}' is not Base64.") from None
