"""The table of queues, as fast as tests want it that wait for messages to come back."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from devops_mcp.events.queues import QueueSpec

_BACK_AFTER = timedelta(seconds=2)


def quick_queues(specs: Sequence[QueueSpec]) -> tuple[QueueSpec, ...]:
    """A killed worker's messages come back after 2 s in place of 20 or 30, and may do so twice as often: a crowded machine is that slow."""
    return tuple(
        replace(spec, visibility_timeout=_BACK_AFTER, max_receives=2 * spec.max_receives) for spec in specs
    )
