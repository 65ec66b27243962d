"""`task.ready`: a task is run to its end, or to its next question."""

from collections.abc import Sequence
from uuid import UUID

from devops_mcp.events.messages import TaskReady
from devops_mcp.operations.task_runner import TaskRunner


async def handle(runner: TaskRunner, tenant_id: UUID, messages: Sequence[TaskReady]) -> set[UUID]:
    """One after the other: the queues of tasks are consumed one message at a time."""
    return {m.id for m in messages if await runner.run(tenant_id, m.task_id, m.id)}
