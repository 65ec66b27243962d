"""Receipt handles: they name queue, message and lease, so that they outlive a restart of the server."""

import base64
import binascii

from devops_mcp.embedded.sqs.errors import invalid_handle
from devops_mcp.embedded.sqs.records import Message


def handle_of(queue: str, message: Message) -> str:
    """The receipt handle of a message's present lease."""
    text = f"{queue} {message.id} {message.receive_count}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def read_handle(queue: str, handle: str) -> tuple[str, int]:
    """The message's id and the number of the receive; raises `Refused` for what is no handle of this queue."""
    try:
        name, message_id, count = base64.urlsafe_b64decode(handle).decode().split(" ")
        receive_count = int(count)
    except (binascii.Error, ValueError):
        raise invalid_handle(handle) from None
    if name != queue:
        raise invalid_handle(handle)
    return message_id, receive_count
