"""The table of queues, as fast as tests want it that wait for messages to come back."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from devops_mcp.events.queues import QueueSpec

BACK_AFTER = timedelta(seconds=5)


def quick_queues(specs: Sequence[QueueSpec]) -> tuple[QueueSpec, ...]:
    """A killed worker's messages come back after 5 s in place of 20 or 30, and may do so four times as often.

    A crowded machine is that slow: a worker that has no turn for so long loses messages that it is still at.
    """
    return tuple(
        replace(spec, visibility_timeout=BACK_AFTER, max_receives=4 * spec.max_receives) for spec in specs
    )
