"""The one table of queues. The embedded start, LocalStack's init script and the deployment templates are made from it."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class QueueName(StrEnum):
    EVENTS = "events"
    INDEXING = "indexing"
    EMBEDDINGS = "embeddings"
    TASKS_HIGH = "tasks-high"
    TASKS_NORMAL = "tasks-normal"
    TASKS_LOW = "tasks-low"
    CONTEXTS = "contexts"
    NOTIFICATIONS = "notifications"


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """One queue with its dead-letter queue, which is named after it with `-dead` (and keeps a FIFO queue's suffix)."""

    name: QueueName
    visibility_timeout: timedelta
    """How long what a killed worker held is nobody's. A worker that lives extends it while a handler runs, however long that is."""
    max_receives: int
    """How often a message is delivered before the queue itself moves it to the dead letters."""
    retention: timedelta = timedelta(days=4)
    dead_retention: timedelta = timedelta(days=14)
    fifo: bool = False
    """Messages of one group keep their order, and only one consumer at a time has any of them."""

    def queue(self, prefix: str) -> str:
        """The queue's name at the service, such as `devops-mcp-events`."""
        return f"{prefix}{self.name}{'.fifo' if self.fifo else ''}"

    def dead_letter_queue(self, prefix: str) -> str:
        return f"{prefix}{self.name}-dead{'.fifo' if self.fifo else ''}"


QUEUES: tuple[QueueSpec, ...] = (
    QueueSpec(QueueName.EVENTS, visibility_timeout=timedelta(seconds=20), max_receives=5),
    QueueSpec(QueueName.INDEXING, visibility_timeout=timedelta(seconds=30), max_receives=5),
    QueueSpec(QueueName.EMBEDDINGS, visibility_timeout=timedelta(seconds=30), max_receives=5),
    QueueSpec(QueueName.TASKS_HIGH, visibility_timeout=timedelta(seconds=30), max_receives=5),
    QueueSpec(QueueName.TASKS_NORMAL, visibility_timeout=timedelta(seconds=30), max_receives=5),
    QueueSpec(QueueName.TASKS_LOW, visibility_timeout=timedelta(seconds=30), max_receives=5),
    QueueSpec(QueueName.CONTEXTS, visibility_timeout=timedelta(seconds=30), max_receives=5, fifo=True),
    QueueSpec(QueueName.NOTIFICATIONS, visibility_timeout=timedelta(seconds=20), max_receives=5),
)

IN_ORDER = frozenset(spec.name for spec in QUEUES if spec.fifo)
"""The queues whose messages have a group; see `messages.group_in`."""
