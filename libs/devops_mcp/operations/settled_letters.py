"""Letters of messages that had their effect after all: the queue gave them up while a slow worker still held them."""

import structlog

from devops_mcp.events.queues import QueueName

SETTLES = frozenset({QueueName.EVENTS, QueueName.INDEXING, QueueName.EMBEDDINGS})
"""Queues whose messages nothing ends with (see `message_deaths`), so that a letter goes, without a word more, with the effect."""
log = structlog.get_logger()


def log_settled(queue: str, count: int) -> None:
    """Tell that letters are gone which nobody sent again or threw away."""
    if count:
        log.info("dead letters settled", queue=queue, count=count)
