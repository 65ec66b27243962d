"""Stored events of a range handed once more to one consumer: asked for over REST, carried out by the worker, a chunk a message.

What a chunk does, how far the replay is then and the message for the next chunk are one transaction: whoever is killed at whatever
moment, each event is handed on once. This goes by the order of their receipt; deliveries may overtake one another, as live ones may.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from pydantic import JsonValue

from devops_mcp.events.messages import ReplayDue
from devops_mcp.events.model import Event
from devops_mcp.events.queues import QueueName
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import Conflict, InvalidInput, NotFound, Violation
from devops_mcp.models.ids import new_id
from devops_mcp.models.pages import Order, Page
from devops_mcp.models.principals import Principal
from devops_mcp.models.replays import Replay, ReplayConsumer, ReplayDraft, ReplayStatus
from devops_mcp.observability.tracing import current_traceparent
from devops_mcp.operations import event_log, webhook_endpoints
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed, deed_of_ours, permit
from devops_mcp.operations.events import index_events_anew
from devops_mcp.operations.facts import record_facts
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.event_replays import NewReplay
from devops_mcp.repositories.transaction import Transaction

REPLAY = "events:replay"
CONSUMER = "replays"
MAX_EVENTS = 10_000
"""Of one replay."""
CHUNK = 50
MAX_PENDING = 200
"""So many of a replay's deliveries are on their way at most: what happens now does not queue behind all of history."""
PAUSE = timedelta(seconds=2)
log = structlog.get_logger()


class ReplayService:
    """The replays of the principal's tenant."""

    def __init__(self, database: Database, *, now: Clock = utc_now) -> None:
        self._database = database
        self._now = now

    async def start(self, principal: Principal, draft: ReplayDraft) -> Replay:
        """Have the worker hand the events on; the replay survives a crash of anything once this returns.

        Raises `InvalidInput` where there are more than `MAX_EVENTS`, `NotFound` for an endpoint that there is not, and `Conflict` for one
        that is disabled or while another replay to the same consumer runs.
        """
        replay_id = new_id()
        for permission in _needed(draft.consumer):
            await permit(self._database, principal, permission, _target(replay_id))
        now = self._now()
        until = min(draft.events.until or now, now)
        ranged = draft.model_copy(update={"events": draft.events.model_copy(update={"until": until})})
        async with self._database.transaction(principal.tenant_id) as tx:
            if draft.endpoint_id is not None:
                await _check_endpoint(tx, draft.endpoint_id)
            total = await tx.events.count(ranged.events, up_to=MAX_EVENTS + 1)
            if total > MAX_EVENTS:
                problem = f"has more than the {MAX_EVENTS} events of one replay; replay it in parts"
                raise InvalidInput(f"the range {problem}", (Violation("body.events", problem),))
            started = await tx.event_replays.add(NewReplay(replay_id, principal.id, ranged, total))
            await _go_on(tx, replay_id)
            await tx.audit.append([deed(principal, "events.replay", _target(replay_id), _about(started))])
        return started

    async def page(self, principal: Principal, *, order: Order, limit: int) -> Page[Replay]:
        require(principal, event_log.READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.event_replays.page(order, limit + 1)
        return order.page(found, limit)

    async def get(self, principal: Principal, replay_id: UUID) -> Replay:
        """Raises `NotFound`."""
        require(principal, event_log.READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            return _existing(await tx.event_replays.find(replay_id), replay_id)

    async def cancel(self, principal: Principal, replay_id: UUID) -> Replay:
        """Hand no more on. What was handed on stays so; a replay that has ended stays as it is. Raises `NotFound`."""
        await permit(self._database, principal, REPLAY, _target(replay_id))
        async with self._database.transaction(principal.tenant_id) as tx:
            cancelled = await tx.event_replays.end(replay_id, ReplayStatus.CANCELLED)
            if cancelled is None:
                return _existing(await tx.event_replays.find(replay_id), replay_id)
            await tx.audit.append([deed(principal, "events.replay.cancel", _target(replay_id))])
        return cancelled


class Replayer:
    """The worker's side. Any number of workers may have the same message: one of them does its chunk."""

    def __init__(self, database: Database, *, embeds: bool, now: Clock = utc_now) -> None:
        self._database = database
        self._embeds = embeds
        self._now = now

    async def process(self, tenant_id: UUID, messages: Sequence[ReplayDue]) -> set[UUID]:
        """Hand the next chunk of each on; the ids of the messages that had not been handled before."""
        return {message.id for message in messages if await self._step(tenant_id, message)}

    async def _step(self, tenant_id: UUID, message: ReplayDue) -> bool:
        async with self._database.transaction(tenant_id) as tx:
            if not await tx.processed.claim(CONSUMER, [message.id]):
                return False
            locked = await tx.event_replays.lock(message.replay_id)
            if locked is None:
                return True  # it was cancelled, or erased
            replay, position = locked
            if (problem := await self._problem(tx, replay)) is not None:
                await end_replay(tx, replay.id, ReplayStatus.FAILED, problem)
            elif await tx.webhook_deliveries.pending_of(replay.id) >= MAX_PENDING:
                await _go_on(tx, replay.id, self._now() + PAUSE)
            else:
                await self._hand_on_some(tx, replay, position)
        return True

    async def _hand_on_some(self, tx: Transaction, replay: Replay, position: UUID) -> None:
        stored = await tx.events.page(
            replay.events, order=Order(descending=False, after_id=position), limit=CHUNK
        )
        events = [one.event for one in stored]
        if events:
            await self._hand_on(tx, replay, events)
            await tx.event_replays.advance(replay.id, events[-1].id, len(events))
        if len(events) == CHUNK:
            await _go_on(tx, replay.id)
        else:
            await end_replay(tx, replay.id, ReplayStatus.COMPLETED)

    async def _hand_on(self, tx: Transaction, replay: Replay, events: Sequence[Event]) -> None:
        # To this consumer the same event is another message in each replay, and the same one however often a chunk is tried.
        fresh = await tx.processed.claim(f"{CONSUMER}:{replay.id}", [event.id for event in events])
        new = [event for event in events if event.id in fresh]
        if replay.endpoint_id is not None:
            await _deliver(tx, replay.id, [(replay.endpoint_id, event.id) for event in new])
        else:
            await index_events_anew(tx, new, embeds=self._embeds)
            record_facts(tx, new)

    async def _problem(self, tx: Transaction, replay: Replay) -> str | None:
        """Why the replay cannot go on."""
        principal = await tx.principals.find(replay.requested_by, self._now())
        if principal is None or not all(principal.may(permission) for permission in _needed(replay.consumer)):
            return "who asked for this may no longer"
        if replay.endpoint_id is None:
            return None
        endpoint = await tx.webhook_endpoints.find(replay.endpoint_id)
        if endpoint is None:
            return "the endpoint was deleted"
        return None if endpoint.enabled else f"the endpoint is disabled: {endpoint.disabled_reason}"


async def _deliver(tx: Transaction, replay_id: UUID, pairs: Sequence[tuple[UUID, UUID]]) -> None:
    await webhook_endpoints.notify_all(tx, await tx.webhook_deliveries.create(pairs, replay_id), {})


async def _go_on(tx: Transaction, replay_id: UUID, at: datetime | None = None) -> None:
    message = ReplayDue(id=new_id(), tenant_id=tx.tenant_id, replay_id=replay_id)
    await tx.outbox.add(QueueName.TASKS_LOW, message, trace=current_traceparent(), due_at=at)


async def end_replay(
    tx: Transaction, replay_id: UUID, status: ReplayStatus, error: str | None = None
) -> None:
    """End it, and say so in the audit log; one that does not run stays as it is."""
    ended = await tx.event_replays.end(replay_id, status, error)
    if ended is None:
        return
    about: dict[str, JsonValue] = {"status": status, "done": ended.done, "total": ended.total, "error": error}
    await tx.audit.append([deed_of_ours(tx.tenant_id, "events.replay.end", _target(replay_id), about)])
    log.info("replay ended", replay_id=str(replay_id), outcome=status, count=ended.done, reason=error)


async def _check_endpoint(tx: Transaction, endpoint_id: UUID) -> None:
    endpoint = await tx.webhook_endpoints.find(endpoint_id)
    if endpoint is None:
        raise NotFound(f"there is no webhook endpoint {endpoint_id}")
    if not endpoint.enabled:
        raise Conflict(f"webhook endpoint {endpoint_id} is disabled; enable it first")


def _needed(consumer: ReplayConsumer) -> tuple[str, ...]:
    """Who lets events out must be allowed to read them, as with the endpoints themselves."""
    if consumer is ReplayConsumer.WEBHOOK:
        return (REPLAY, webhook_endpoints.WRITE, event_log.READ)
    return (REPLAY,)


def _about(replay: Replay) -> dict[str, JsonValue]:
    wanted = replay.events.model_dump(mode="json", exclude_none=True)
    endpoint = None if replay.endpoint_id is None else str(replay.endpoint_id)
    return {
        "events": wanted,
        "consumer": replay.consumer,
        "endpoint_id": endpoint,
        "total": replay.total,
    }


def _target(replay_id: UUID) -> str:
    return f"event_replay:{replay_id}"


def _existing(replay: Replay | None, replay_id: UUID) -> Replay:
    if replay is None:
        raise NotFound(f"there is no replay {replay_id}")
    return replay
