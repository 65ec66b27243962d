"""Messages, and the records that every change of the store is made of and the journal keeps."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, TypeAdapter

MessageAttribute: TypeAlias = dict[str, str]
"""As it travels: `DataType` with `StringValue`, or with `BinaryValue` in Base64."""


@dataclass(slots=True)
class Message:
    """A message of one queue. Times are seconds since 1970.

    `sequence` orders the messages of a queue. `receive_count` counts in this queue, `earlier_receives` in those it was moved from.
    """

    id: str
    body: str
    sequence: int
    sent_at: float
    visible_at: float
    attributes: dict[str, MessageAttribute] = field(default_factory=dict)
    system: dict[str, str] = field(default_factory=dict)
    group: str | None = None
    deduplication_id: str | None = None
    receive_count: int = 0
    earlier_receives: int = 0
    first_received_at: float | None = None


@dataclass(slots=True)
class Sighting:
    """What the queue remembers of a deduplication id: the message that was sent with it, and until when."""

    key: str
    message_id: str
    sequence: int
    until: float


@dataclass(slots=True)
class QueueKept:
    """A queue exists with exactly these attributes and tags; its messages stay."""

    name: str
    attributes: dict[str, str]
    tags: dict[str, str]
    created_at: float
    modified_at: float
    kind: Literal["queue"] = "queue"


@dataclass(slots=True)
class QueueDropped:
    name: str
    kind: Literal["drop"] = "drop"


@dataclass(slots=True)
class Put:
    queue: str
    messages: list[Message]
    sightings: list[Sighting] = field(default_factory=list)
    kind: Literal["put"] = "put"


@dataclass(slots=True)
class Lease:
    """When a message becomes visible again, and how often it was received so far."""

    id: str
    visible_at: float
    receive_count: int
    first_received_at: float | None


@dataclass(slots=True)
class Leased:
    queue: str
    leases: list[Lease]
    kind: Literal["lease"] = "lease"


@dataclass(slots=True)
class Removed:
    queue: str
    ids: list[str]
    kind: Literal["del"] = "del"


@dataclass(slots=True)
class Moved:
    """Messages left one queue for another in one step; `ids` are those they had before."""

    source: str
    target: str
    ids: list[str]
    messages: list[Message]
    kind: Literal["move"] = "move"


@dataclass(slots=True)
class Purged:
    queue: str
    kind: Literal["purge"] = "purge"


Record: TypeAlias = Annotated[
    QueueKept | QueueDropped | Put | Leased | Removed | Moved | Purged, Discriminator("kind")
]
RECORD: TypeAdapter[Record] = TypeAdapter(Record)


def queues_of(record: Record) -> tuple[str, ...]:
    """The names of the queues that a record changes."""
    match record:
        case QueueKept() | QueueDropped():
            return (record.name,)
        case Moved():
            return (record.source, record.target)
        case _:
            return (record.queue,)
