"""Holds callers to their quotas, on every transport alike.

Who has no quota costs a look into a dictionary. Far from the end of a quota a process counts by itself and tells Redis every second; near
it, each call asks Redis, so that together the replicas let through exactly as many as there are. The database has the truth: from its usage
the counts begin, and without Redis each process goes on from what it knew.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn
from uuid import UUID

import structlog
from redis.asyncio import Redis

from devops_mcp.cache.quota_counts import QuotaCounts, Wanted
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import PlatformError, QuotaExceeded, Unavailable
from devops_mcp.models.principals import Principal
from devops_mcp.models.quotas import TENANT, QuotaDraft, QuotaName
from devops_mcp.repositories.database import Database

EVERY_S = 1.0
"""A change of a quota is known in every process within this time, and so is what other processes have used."""
NEAR = 1_000
"""So far from its end each use of a quota is asked for."""
_PLANS = 10_000
_START_S = 2.0
_END_S = 1.0
_CALLS = (QuotaName.TOOL_CALLS_PER_DAY, QuotaName.TOOL_CALLS_PER_MONTH)
_TOKENS = (QuotaName.TOOL_TOKENS_PER_DAY, QuotaName.TOOL_TOKENS_PER_MONTH)
_EMBEDDINGS = (QuotaName.EMBEDDING_TOKENS_PER_DAY, QuotaName.EMBEDDING_TOKENS_PER_MONTH)
log = structlog.get_logger()


@dataclass(slots=True)
class _Count:
    """What was used: `known` of all processes, as last heard, and `untold` of this one since."""

    tenant_id: UUID
    whose: UUID
    quota: QuotaName
    ends: datetime
    known: int | None = None
    untold: int = 0

    @property
    def key(self) -> str:
        return f"{self.tenant_id}:{self.whose}:{self.quota}:{self.ends:%Y-%m-%d}"

    @property
    def used(self) -> int:
        return (self.known or 0) + self.untold

    def tell(self, told: int, count: int) -> None:
        """So much of `untold` is in `count` now, which is everybody's."""
        self.known, self.untold = count, self.untold - told


@dataclass(frozen=True, slots=True)
class _Bound:
    count: _Count
    limit: int

    @property
    def left(self) -> int:
        return self.limit - self.count.used


@dataclass(frozen=True, slots=True)
class _Plan:
    """What bounds a principal until `ends`."""

    calls: tuple[_Bound, ...]
    tokens: tuple[_Bound, ...]
    ends: datetime


@dataclass(frozen=True, slots=True)
class _Limits:
    """A tenant's quotas, by principal, and the plans that follow."""

    version: str
    by_principal: Mapping[UUID, QuotaDraft]
    plans: OrderedDict[UUID, _Plan] = field(default_factory=OrderedDict)


class QuotaKeeper:
    """Open it with `open_quota_keeper`."""

    def __init__(self, database: Database, redis: Redis, *, now: Clock = utc_now) -> None:
        self._database = database
        self._redis = QuotaCounts(redis)
        self._now = now
        self._limits: dict[UUID, _Limits] = {}
        self._counts: dict[str, _Count] = {}
        self._exchanging = asyncio.Lock()
        self._failing = False

    async def admit_call(self, principal: Principal) -> None:
        """Count a call of a tool; raises `QuotaExceeded`, and then it is not counted."""
        limits = self._limits.get(principal.tenant_id)
        if limits is None:
            return
        plan = self._plan(principal, limits)
        await self._know(bound.count for bound in (*plan.calls, *plan.tokens))
        for bound in plan.tokens:
            if bound.left <= 0:
                self._refuse(bound)
        near = [bound for bound in plan.calls if bound.left <= NEAR]
        if near:
            await self._take(near)
        for bound in plan.calls:
            if bound not in near:
                bound.count.untold += 1

    def spend(self, principal: Principal, tokens: int) -> None:
        """Count what a tool gave back."""
        limits = self._limits.get(principal.tenant_id)
        if limits is not None:
            for bound in self._plan(principal, limits).tokens:
                bound.count.untold += tokens

    async def admit_embedding(self, principal: Principal, tokens: int) -> None:
        """Raise `QuotaExceeded` unless there is room for so many tokens. They are counted where they are paid for."""
        limits = self._limits.get(principal.tenant_id)
        if limits is None:
            return
        for bound in self._bounds(principal, limits, _EMBEDDINGS):
            bound.count.known = await self._used(bound.count)
            if bound.left < tokens:
                self._refuse(bound)

    async def refresh(self) -> None:
        """Look which quotas there are now. Raises `Unavailable` or `DeadlineExceeded`, and what was known stays."""
        versions = {one.tenant_id: one.version for one in await self._database.quota_versions()}
        for tenant_id in self._limits.keys() - versions.keys():
            del self._limits[tenant_id]
        for tenant_id, version in versions.items():
            known = self._limits.get(tenant_id)
            if known is None or known.version != version:
                async with self._database.transaction(tenant_id) as tx:
                    rows = await tx.quotas.page(None, None)
                self._limits[tenant_id] = _Limits(version, {row.principal_id: row for row in rows})

    async def take_up(self) -> None:
        """Look now, for who has just changed something: it is done, so that a failure to look is no failure of the change."""
        try:
            await self.refresh()
        except PlatformError as error:
            if not self._failing:
                log.warning("quotas not read", code=error.code, reason=error.message)
            self._failing = True
        else:
            self._failing = False

    async def exchange(self) -> None:
        """Tell Redis what was used here, and hear what was elsewhere. Raises `Unavailable` or `DeadlineExceeded`; nothing is forgotten."""
        now = self._now()
        for key in [key for key, count in self._counts.items() if count.ends <= now]:
            del self._counts[key]
        async with self._exchanging:
            told = {key: count.untold for key, count in self._counts.items() if count.known is not None}
            if not told:
                return
            for key, count in (await self._redis.add(told)).items():
                if count is None:
                    await self._begin(self._counts[key])
                else:
                    self._counts[key].tell(told[key], count)

    async def run(self) -> None:
        """Look and exchange every second until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.take_up()
            with suppress(PlatformError):  # told with the next second's
                await self.exchange()

    def _plan(self, principal: Principal, limits: _Limits) -> _Plan:
        now = self._now()
        plan = limits.plans.get(principal.id)
        if plan is None or plan.ends <= now:
            plan = limits.plans[principal.id] = _Plan(
                self._bounds(principal, limits, _CALLS),
                self._bounds(principal, limits, _TOKENS),
                QuotaName.TOOL_CALLS_PER_DAY.renews(now),
            )
            if len(limits.plans) > _PLANS:
                limits.plans.popitem(last=False)
        return plan

    def _bounds(
        self, principal: Principal, limits: _Limits, names: Sequence[QuotaName]
    ) -> tuple[_Bound, ...]:
        """Those of the tenant, then the principal's own."""
        return tuple(
            _Bound(self._count(principal.tenant_id, whose, name), amount)
            for whose in (TENANT, principal.id)
            if (draft := limits.by_principal.get(whose)) is not None
            for name, amount in draft.limits().items()
            if name in names
        )

    def _count(self, tenant_id: UUID, whose: UUID, quota: QuotaName) -> _Count:
        """The one of the period; of embeddings the database alone keeps count."""
        count = _Count(tenant_id, whose, quota, quota.renews(self._now()))
        return count if quota in _EMBEDDINGS else self._counts.setdefault(count.key, count)

    async def _know(self, counts: Iterable[_Count]) -> None:
        for count in counts:
            if count.known is None:
                async with self._exchanging:
                    with suppress(Unavailable):
                        count.known = (await self._redis.add({count.key: 0}))[count.key]
                    if count.known is None:
                        await self._begin(count)

    async def _begin(self, count: _Count) -> None:
        """Begin from what the database knows, or this process where it knows more: it has counted what is not written yet."""
        used = max(await self._used(count), count.used)
        told, known = count.untold, used
        with suppress(Unavailable):
            known = await self._redis.begin(count.key, used, count.ends)
        count.tell(told, known)

    async def _used(self, count: _Count) -> int:
        async with self._database.transaction(count.tenant_id) as tx:
            return (await tx.quotas.used(count.whose, self._now()))[count.quota]

    async def _take(self, near: Sequence[_Bound]) -> None:
        """One of each, or raise `QuotaExceeded`."""
        async with self._exchanging:
            try:
                refused = await self._ask(near)
            except Unavailable:
                refused = next((bound for bound in near if bound.left < 1), None)
                if refused is None:
                    for bound in near:
                        bound.count.untold += 1
        if refused is not None:
            self._refuse(refused)

    async def _ask(self, near: Sequence[_Bound]) -> _Bound | None:
        """Take one of each; the one that has no room, and then none is taken."""
        for _ in range(2):
            wanted = [Wanted(bound.count.key, bound.limit, bound.count.untold) for bound in near]
            if (taken := await self._redis.take(wanted)) is not None:
                for bound, one, count in zip(near, wanted, taken.counts, strict=True):
                    bound.count.tell(one.besides, count)
                return None if taken.refused is None else near[taken.refused]
            for bound in near:
                await self._begin(bound.count)
        raise Unavailable("redis does not keep the counts")

    def _refuse(self, bound: _Bound) -> NoReturn:
        count = bound.count
        whose = "the tenant's" if count.whose == TENANT else "the caller's own"
        what = f"{bound.limit} {count.quota.amount_of} a {count.quota.period}"
        raise QuotaExceeded(
            f"{whose} quota of {what} is used up; it renews at {count.ends:%Y-%m-%dT%H:%M:%SZ}",
            retry_after_s=(count.ends - self._now()).total_seconds(),
            details={
                "quota": {
                    "quota": count.quota,
                    "of": "tenant" if count.whose == TENANT else "principal",
                    "limit": bound.limit,
                    "used": count.used,
                    "renews_at": count.ends,
                }
            },
        )


@asynccontextmanager
async def open_quota_keeper(database: Database, redis: Redis) -> AsyncIterator[QuotaKeeper]:
    """A keeper that has looked once, if the database is there; at the end it tells what it has not told yet."""
    keeper = QuotaKeeper(database, redis)
    with suppress(PlatformError, TimeoutError):
        async with asyncio.timeout(_START_S):
            await keeper.refresh()
    looking = asyncio.create_task(keeper.run(), name="quotas")
    try:
        yield keeper
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        with suppress(PlatformError, TimeoutError):
            async with asyncio.timeout(_END_S):
                await keeper.exchange()
