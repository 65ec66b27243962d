"""Message move tasks: dead letters go back to where they came from, or to another queue.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
"""

import base64
from dataclasses import dataclass
from enum import StrEnum

from devops_mcp.embedded.sqs.errors import Refused, invalid_value, not_found
from devops_mcp.embedded.sqs.queue import Place, Queue
from devops_mcp.embedded.sqs.records import Message
from devops_mcp.embedded.sqs.settings import name_in_arn
from devops_mcp.embedded.sqs.store import Store

_STEP = 100


class MoveStatus(StrEnum):
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"


@dataclass(slots=True)
class MoveTask:
    """`per_second` None: as fast as it goes."""

    id: str
    source: str
    target: str | None
    per_second: int | None
    started_at: float
    to_move: int
    moved: int = 0
    status: MoveStatus = MoveStatus.RUNNING
    failure: str | None = None

    @property
    def handle(self) -> str:
        return base64.urlsafe_b64encode(f"{self.id} {self.source}".encode()).decode()


class MoveTasks:
    """The tasks of this run of the server. Whoever runs one calls `step` until it no longer runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tasks: dict[str, MoveTask] = {}

    def start(self, source_arn: str, target_arn: str | None, per_second: int | None) -> MoveTask:
        source = self._find(source_arn, "SourceArn").name
        if not self._store.sources_of(source):
            raise invalid_value("Source queue must be configured as a Dead Letter Queue.")
        target = None if target_arn is None else self._find(target_arn, "DestinationArn").name
        if target == source:
            raise invalid_value("Source queue arn and destination queue arn cannot be the same.")
        if any(t.source == source and t.status is MoveStatus.RUNNING for t in self._tasks.values()):
            raise invalid_value(
                "There is already a task running. Only one active task is allowed for a source queue arn at a given time."
            )
        now = self._store.clock()
        waiting = self._store.queue(source).count(Place.VISIBLE, now)
        task = MoveTask(self._store.new_id(), source, target, per_second, now, waiting)
        self._tasks[task.id] = task
        return task

    def step(self, task: MoveTask) -> None:
        """Move one message of a task that has a rate, else a hundred; end the task when there is nothing left or it cannot go on."""
        if task.status is not MoveStatus.RUNNING:
            return
        limit = 1 if task.per_second else _STEP
        try:
            moved = self._store.redrive(task.source, limit, lambda message: _target(task, message))
        except Refused as error:
            task.status, task.failure = MoveStatus.FAILED, error.code
            return
        task.moved += moved
        if moved < limit:
            task.status = MoveStatus.COMPLETED

    def recent(self, source_arn: str, limit: int) -> list[MoveTask]:
        """The newest tasks of a source, newest first."""
        source = self._find(source_arn, "SourceArn").name
        tasks = [task for task in self._tasks.values() if task.source == source]
        return tasks[: -limit - 1 : -1]

    def cancel(self, handle: str) -> MoveTask:
        """Stop a running task; what it has moved stays moved."""
        try:
            task_id = base64.urlsafe_b64decode(handle).decode().split(" ")[0]
        except ValueError:
            raise invalid_value("Value for parameter TaskHandle is invalid.") from None
        task = self._tasks.get(task_id)
        if task is None:
            raise not_found("Task does not exist.")
        if task.status is not MoveStatus.RUNNING:
            raise not_found("Only active tasks can be cancelled.")
        task.status = MoveStatus.CANCELLED
        return task

    def _find(self, arn: str, parameter: str) -> Queue:
        queue = self._store.queues.get(name_in_arn(arn))
        if queue is None:
            raise not_found(f"The resource that you specified for the {parameter} parameter doesn't exist.")
        return queue


def _target(task: MoveTask, message: Message) -> str:
    if task.target is not None:
        return task.target
    source = message.system.get("DeadLetterQueueSourceArn")
    if source is None:
        # Sent to the dead-letter queue directly; AWS fails such a task too.
        raise Refused("CouldNotDetermineMessageSource", "the message does not say which queue it came from")
    return name_in_arn(source)
