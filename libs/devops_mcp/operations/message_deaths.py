"""What waits for a message that has died ends with it and says why, or somebody would wait for ever; a redrive takes it up again.

What is not here waits for nothing: events, vectors and blobs are found again by what they lack, kept results and files are read even where
they are not indexed, and an erasure goes on by its letter alone.
"""

from devops_mcp.events.messages import CompactionRequested, Message, NotificationDue, ReplayDue, TaskReady
from devops_mcp.models.errors import Internal
from devops_mcp.models.replays import ReplayStatus
from devops_mcp.models.tasks import Task, TaskResult
from devops_mcp.operations.event_replays import end_replay
from devops_mcp.operations.tasks import KEPT_FOR, settle_origin
from devops_mcp.repositories.transaction import Transaction


async def end_what_waits(tx: Transaction, message: Message, reason: str) -> Task | None:
    """In the transaction that files the letter, as often as it is filed; the task that ended, for those who watch it."""
    match message:
        case ReplayDue():
            await end_replay(tx, message.replay_id, ReplayStatus.FAILED, f"its message died: {reason}")
        case NotificationDue():
            await tx.webhook_deliveries.die(message.delivery_id, message.id, f"its message died: {reason}")
        case CompactionRequested():
            await tx.compactions.end(message.context_id, message.id)
        case TaskReady():
            return await _end_task(tx, message, reason)
        case _:
            pass
    return None


async def take_up_again(tx: Transaction, message: Message) -> Task | None:
    """In the transaction that sends the message again; the task that goes on, for those who watch it.

    Where nothing can go on, the message finds that there is nothing to do.
    """
    match message:
        case ReplayDue():
            await tx.event_replays.begin_again(message.replay_id)
        case NotificationDue():
            await tx.webhook_deliveries.revive(message.delivery_id, message.id)
        case CompactionRequested():
            await tx.compactions.take_up(message.context_id, message.id)
        case TaskReady():
            return await _revive_task(tx, message)
        case _:
            pass
    return None


async def _end_task(tx: Transaction, message: TaskReady, reason: str) -> Task | None:
    result = TaskResult(code=Internal.code, error=f"its message died: {reason}")
    ended = await tx.tasks.die(message.task_id, message.id, result)
    if ended is None:
        await tx.tasks.pass_by(message.task_id, message.id)
    else:
        await settle_origin(tx, ended)
    return ended


async def _revive_task(tx: Transaction, message: TaskReady) -> Task | None:
    revived = await tx.tasks.revive(message.task_id, message.id, KEPT_FOR)
    if revived is not None and revived.origin is not None:
        await tx.rule_runs.begin_again(revived.origin.run_id)
    return revived
