"""The feed of processed events for whoever holds connections to agents: each event once to each subscriber, and none left out.

Redis brings notices within moments. PostgreSQL is read now and then as well, at once after a gap and more often while Redis is away, for
what a notice should have told and did not. So a lost notice costs seconds, never an event.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

import structlog

from devops_mcp.cache.channel import Gap
from devops_mcp.cache.notices import Notice, Notices
from devops_mcp.models.errors import PlatformError
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.events import notice_of
from devops_mcp.repositories.database import Database

log = structlog.get_logger()

Matcher: TypeAlias = Callable[[Notice], bool]

OVERLAP = timedelta(seconds=30)
"""How far behind the last look into PostgreSQL the next one begins: an event's time is taken before its transaction commits."""
_PAGE = 1_000
_REMEMBERED = 20_000
"""Ids of told events that are kept for each tenant, so that none is told twice."""


@dataclass(frozen=True, slots=True)
class FeedTimes:
    """Seconds between two looks into PostgreSQL, while notices arrive and while they do not."""

    listening_s: float = 10.0
    deaf_s: float = 2.0


class Subscription:
    """One subscriber's notices; iterate over it. It ends when the feed closes, or when the subscriber is `lost`."""

    def __init__(self, tenant_id: UUID, matches: Matcher, limit: int) -> None:
        self.tenant_id = tenant_id
        self.lost = False
        """The subscriber fell further behind than it may: drop its connection, so that it learns that it missed something."""
        self._matches = matches
        self._limit = limit
        self._waiting: deque[Notice] = deque()
        self._ended = False
        self._changed = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[Notice]:
        return self

    async def __anext__(self) -> Notice:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.popleft()

    def offer(self, notice: Notice) -> None:
        """Queue a notice if it matches."""
        if self._ended or not self._matches(notice):
            return
        if len(self._waiting) >= self._limit:
            self.lost = True
            self._waiting.clear()
            self.end()
            return
        self._waiting.append(notice)
        self._changed.set()

    def end(self) -> None:
        """No more notices; those that wait are still given."""
        self._ended = True
        self._changed.set()


@dataclass(slots=True)
class _Watch:
    """A tenant with subscribers. `looked_at` is the database's time of the last look."""

    looked_at: datetime
    subscriptions: set[Subscription] = field(default_factory=set)
    told: OrderedDict[UUID, None] = field(default_factory=OrderedDict)

    def is_new(self, event_id: UUID) -> bool:
        """Whether the event is seen for the first time; from then on it is not."""
        if event_id in self.told:
            return False
        self.told[event_id] = None
        if len(self.told) > _REMEMBERED:
            self.told.popitem(last=False)
        return True


class EventFeed:
    """One a process. `running()` keeps it fed; `subscribe()` works while it runs."""

    def __init__(
        self,
        database: Database,
        notices: Notices,
        metrics: Metrics,
        *,
        times: FeedTimes | None = None,
        waiting_limit: int = 256,
    ) -> None:
        self._database = database
        self._notices = notices
        self._metrics = metrics
        self._times = times or FeedTimes()
        self._waiting_limit = waiting_limit
        self._watches: dict[UUID, _Watch] = {}
        self._listening = False
        self._look_now = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["EventFeed"]:
        """Feed subscribers within this block; at its end all subscriptions end."""
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._listen(), name="feed listen"),
                tasks.create_task(self._keep_looking(), name="feed look"),
            ]
            try:
                yield self
            finally:
                for task in running:
                    task.cancel()
                for watch in self._watches.values():
                    for subscription in watch.subscriptions:
                        subscription.end()

    @asynccontextmanager
    async def subscribe(self, tenant_id: UUID, matches: Matcher) -> AsyncIterator[Subscription]:
        """Every event of the tenant that matches and is processed from now on, until the block ends.

        Raises `Unavailable` when PostgreSQL cannot be asked where "now" is.
        """
        subscription = Subscription(tenant_id, matches, self._waiting_limit)
        if tenant_id not in self._watches:
            watch = await self._begin_watch(tenant_id)
            self._watches.setdefault(tenant_id, watch)
        subscriptions = self._watches[tenant_id].subscriptions
        subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            subscriptions.discard(subscription)
            if not subscriptions:
                self._watches.pop(tenant_id, None)

    async def catch_up(self, subscription: Subscription, since: datetime) -> None:
        """Tell a subscriber that was away what was processed since; the last `_PAGE` of it, each perhaps for the second time."""
        async with self._database.transaction(subscription.tenant_id) as tx:
            missed = await tx.events.processed_ids(since, _PAGE)
            found = await tx.events.find([event_id for event_id, _ in missed])
        for stored in found:
            subscription.offer(notice_of(stored))

    async def _begin_watch(self, tenant_id: UUID) -> _Watch:
        """What is processed already is not told."""
        async with self._database.transaction(tenant_id) as tx:
            watch = _Watch(looked_at=await tx.events.clock())
            for event_id, _ in await tx.events.processed_ids(watch.looked_at - OVERLAP, _REMEMBERED):
                watch.is_new(event_id)
        return watch

    async def _listen(self) -> None:
        async for heard in self._notices.listen():
            if isinstance(heard, Gap):
                self._listening = heard.listening
                self._look_now.set()
            else:
                self._tell(heard)

    async def _keep_looking(self) -> None:
        while True:
            pause_s = self._times.listening_s if self._listening else self._times.deaf_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._look_now.wait()
            self._look_now.clear()
            for tenant_id in list(self._watches):
                await self._try_to_look(tenant_id)

    async def _try_to_look(self, tenant_id: UUID) -> None:
        try:
            while await self._look(tenant_id):
                pass
        except PlatformError as error:
            # The next look begins where the last good one ended, so nothing is left out.
            log.warning("event feed not caught up", code=error.code, reason=error.message)

    async def _look(self, tenant_id: UUID) -> bool:
        """Tell what was not told yet; whether there may be more."""
        watch = self._watches.get(tenant_id)
        if watch is None:
            return False
        async with self._database.transaction(tenant_id) as tx:
            now = await tx.events.clock()
            since = watch.looked_at - OVERLAP
            processed = await tx.events.processed_ids(since, _PAGE)
            missed = await tx.events.find([id_ for id_, _ in processed if id_ not in watch.told])
        for stored in missed:
            self._tell(notice_of(stored))
        more = len(processed) == _PAGE and processed[-1][1] > since
        watch.looked_at = processed[-1][1] + OVERLAP if more else now
        return more

    def _tell(self, notice: Notice) -> None:
        watch = self._watches.get(notice.tenant_id)
        if watch is None or not watch.is_new(notice.event_id):
            return
        self._metrics.notices("told")
        for subscription in watch.subscriptions:
            was_lost = subscription.lost
            subscription.offer(notice)
            if subscription.lost and not was_lost:
                self._metrics.notices("subscriber_lost")
                log.warning("subscriber too slow", tenant_id=str(notice.tenant_id))
