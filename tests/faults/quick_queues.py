"""The table of queues, fifteen times as fast, for tests that wait for messages to come back."""

from collections.abc import Sequence
from dataclasses import replace

from devops_mcp.events.queues import QueueSpec

_FASTER = 15


def quick_queues(specs: Sequence[QueueSpec]) -> tuple[QueueSpec, ...]:
    """A killed worker's messages come back after 2 s in place of 30."""
    return tuple(replace(spec, visibility_timeout=spec.visibility_timeout / _FASTER) for spec in specs)
