"""A message as its sender gives it, and what a queue refuses of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from devops_mcp.embedded.sqs import content
from devops_mcp.embedded.sqs.errors import invalid_parameter, invalid_value, missing
from devops_mcp.embedded.sqs.records import MessageAttribute
from devops_mcp.embedded.sqs.settings import QueueSettings


@dataclass(frozen=True, slots=True)
class Draft:
    """`delay_s` None: the queue's own delay."""

    body: str
    attributes: Mapping[str, MessageAttribute]
    system: Mapping[str, str]
    delay_s: int | None = None
    group: str | None = None
    deduplication_id: str | None = None


def check_draft(settings: QueueSettings, draft: Draft) -> None:
    content.check_body(draft.body)
    content.check_attributes(draft.attributes)
    content.check_size(content.size_of(draft.body, draft.attributes), settings.max_bytes)
    content.check_fifo_id(draft.group, "MessageGroupId")
    content.check_fifo_id(draft.deduplication_id, "MessageDeduplicationId")
    reason = "The request include parameter that is not valid for this queue type."
    if settings.fifo and draft.group is None:
        raise missing("MessageGroupId")
    if settings.fifo and draft.delay_s:
        raise invalid_parameter(draft.delay_s, "DelaySeconds", reason)
    if not settings.fifo and draft.deduplication_id is not None:
        raise invalid_parameter(draft.deduplication_id, "MessageDeduplicationId", reason)


def deduplication(settings: QueueSettings, draft: Draft) -> tuple[str | None, str | None]:
    """The message's deduplication id, and the key under which the queue remembers it; None, None in a standard queue."""
    if not settings.fifo:
        return None, None
    identity = draft.deduplication_id
    if identity is None and settings.content_based_deduplication:
        identity = sha256(draft.body.encode()).hexdigest()
    if identity is None:
        raise invalid_value(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
        )
    return identity, f"{draft.group} {identity}" if settings.deduplication_per_group else identity
