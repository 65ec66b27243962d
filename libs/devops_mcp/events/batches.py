"""How entries are cut into requests: ten each, and not more bytes than a request may have."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Entry: TypeAlias = Mapping[str, Any]
"""An entry of a batch request, as the service's model has it."""

BATCH = 10
MAX_REQUEST_BYTES = 262_144
"""What every SQS takes. AWS raised its limit to 1 MiB in 2025; a larger message goes alone, and the queue decides."""


def split(entries: Sequence[Entry], *, max_bytes: int = MAX_REQUEST_BYTES) -> Iterator[list[Entry]]:
    """The entries in order, in as few requests as that allows."""
    request: list[Entry] = []
    room = max_bytes
    for entry in entries:
        size = size_of(entry)
        if request and (len(request) == BATCH or size > room):
            yield request
            request, room = [], max_bytes
        request.append(entry)
        room -= size
    if request:
        yield request


def size_of(entry: Entry) -> int:
    """Bytes that count against the limits: body, and names, types and values of attributes."""
    size = len(entry.get("MessageBody", "").encode())
    for name, attribute in entry.get("MessageAttributes", {}).items():
        size += sum(len(text.encode()) for text in (name, attribute["DataType"], attribute["StringValue"]))
    return size
