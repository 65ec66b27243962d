"""Holds callers to their quotas, on every transport alike.

Who has no quota costs a look into a dictionary. Far from the end of a quota a process counts by itself and tells Redis every second; near
it, each call asks Redis, so that together the replicas let through exactly as many as there are. The database has the truth: from its usage
the counts begin, also when a quota is said anew, and without Redis each process goes on from what it knew.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn
from uuid import UUID

from redis.asyncio import Redis

from devops_mcp.cache.quota_counts import Begun, QuotaCounts, Said
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import PlatformError, QuotaExceeded, Unavailable
from devops_mcp.models.pages import NEWEST
from devops_mcp.models.principals import Principal
from devops_mcp.models.quotas import TENANT, QuotaDraft, QuotaName
from devops_mcp.operations.lookout import look_now, looking
from devops_mcp.repositories.database import Database

NEAR = 1_000
"""So far from its end each use of a quota is asked for."""
_PLANS = 10_000
_NAME = "quotas"
_END_S = 1.0
_CALLS = (QuotaName.TOOL_CALLS_PER_DAY, QuotaName.TOOL_CALLS_PER_MONTH)
_TOKENS = (QuotaName.TOOL_TOKENS_PER_DAY, QuotaName.TOOL_TOKENS_PER_MONTH)
_EMBEDDINGS = (QuotaName.EMBEDDING_TOKENS_PER_DAY, QuotaName.EMBEDDING_TOKENS_PER_MONTH)


@dataclass(slots=True)
class _Count:
    """What was used: by `others`, as last heard, and `mine`, by this process in the `life` that the count has in Redis.

    `sure` says whether the database was asked since the quotas were last said, and since Redis last lost the count; `by_database` is what
    it said, until Redis knows.
    """

    tenant_id: UUID
    whose: UUID
    quota: QuotaName
    ends: datetime
    others: int | None = None
    mine: int = 0
    life: str = ""
    sure: bool = False
    by_database: int = 0

    @property
    def key(self) -> str:
        return f"{self.tenant_id}:{self.whose}:{self.quota}:{self.ends:%Y-%m-%d}"

    @property
    def used(self) -> int:
        return (self.others or 0) + self.mine

    @property
    def said(self) -> Said:
        return Said(self.key, self.life, self.mine)

    def hear(self, said: Said, begun: Begun) -> None:
        """What came of `said`; what was used since is not in it."""
        self.life, self.others = begun.life, begun.used - begun.mine
        self.mine += begun.mine - said.mine


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
        self._looking = asyncio.Lock()

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
            await self._take(near, 1)
        for bound in plan.calls:
            if bound not in near:
                bound.count.mine += 1

    def spend(self, principal: Principal, tokens: int) -> None:
        """Count what a tool gave back."""
        limits = self._limits.get(principal.tenant_id)
        if limits is not None:
            for bound in self._plan(principal, limits).tokens:
                bound.count.mine += tokens

    @asynccontextmanager
    async def embedding(self, principal: Principal, tokens: int) -> AsyncIterator[Callable[[int], None]]:
        """Hold so many tokens while texts are embedded; raises `QuotaExceeded` where there is no room for them.

        What is yielded is to be told how many were paid for. The database has those by then, the other uses of embeddings too.
        """
        limits = self._limits.get(principal.tenant_id)
        bounds = () if limits is None else self._bounds(principal, limits, _EMBEDDINGS)
        for bound in bounds:
            used = await self._used(bound.count)
            async with self._exchanging:
                await self._raise(bound.count, used)
        if bounds:
            await self._take(bounds, tokens)
        held = tokens

        def paid(spent: int) -> None:
            nonlocal held
            held -= spent

        try:
            yield paid
        finally:
            for bound in bounds:
                bound.count.mine -= held
            with suppress(Unavailable):  # told with the next second's
                await self._tell([bound.count for bound in bounds])

    async def refresh(self) -> None:
        """Look which quotas there are now. Raises `Unavailable` or `DeadlineExceeded`, and what was known stays."""
        async with self._looking:
            versions = {one.tenant_id: one.version for one in await self._database.quota_versions()}
            for tenant_id in self._limits.keys() - versions.keys():
                del self._limits[tenant_id]
            for tenant_id, version in versions.items():
                known = self._limits.get(tenant_id)
                if known is None or known.version != version:
                    await self._read(tenant_id, version)

    async def _read(self, tenant_id: UUID, version: str) -> None:
        async with self._database.transaction(tenant_id) as tx:
            rows = await tx.quotas.page(NEWEST, None)
        now = {row.principal_id: row for row in rows}
        known = self._limits.get(tenant_id)
        before = {} if known is None else known.by_principal
        self._limits[tenant_id] = _Limits(version, now)
        # What was used while there was no quota, nobody counted but the database.
        for count in self._counts.values():
            if count.tenant_id == tenant_id and before.get(count.whose) != now.get(count.whose):
                count.sure = False

    async def take_up(self) -> None:
        """Look now, for who has just changed something: it is done, so that a failure to look is no failure of the change."""
        await look_now(_NAME, self.refresh)

    async def exchange(self) -> None:
        """Tell Redis what was used here, and hear what was elsewhere. Raises `Unavailable`; nothing is forgotten or counted twice."""
        now = self._now()
        for key in [key for key, count in self._counts.items() if count.ends <= now]:
            del self._counts[key]
        await self._tell([count for count in self._counts.values() if count.others is not None])

    async def _tell(self, counts: Sequence[_Count]) -> None:
        async with self._exchanging:
            said = [count.said for count in counts]
            heard = await self._redis.tell(said) if said else ()
            for count, one, used in zip(counts, said, heard, strict=True):
                if used is None:
                    count.sure = False
                if used is None or count.by_database:
                    await self._join(count)
                else:
                    count.hear(one, Begun(one.life, used, one.mine))

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
        """The one of the period."""
        count = _Count(tenant_id, whose, quota, quota.renews(self._now()))
        return self._counts.setdefault(count.key, count)

    async def _know(self, counts: Iterable[_Count]) -> None:
        for count in counts:
            if not count.sure:
                async with self._exchanging:
                    if not count.sure:
                        await self._raise(count, await self._used(count))

    async def _raise(self, count: _Count, by_database: int) -> None:
        """Begin from what the database knows, or this process where it knows more: it has counted what is not written yet."""
        count.others = max(by_database - count.mine, count.others or 0)
        count.by_database, count.sure = by_database, True
        with suppress(Unavailable):  # once Redis is back
            await self._join(count)

    async def _join(self, count: _Count) -> None:
        """Let Redis know what is known here, and hear what is known there."""
        said, by_database = count.said, count.by_database
        begun = await self._redis.begin(said, by_database=by_database, known=count.used, ends=count.ends)
        count.hear(said, begun)
        count.by_database = 0

    async def _used(self, count: _Count) -> int:
        async with self._database.transaction(count.tenant_id) as tx:
            return (await tx.quotas.used(count.whose, self._now()))[count.quota]

    async def _take(self, bounds: Sequence[_Bound], amount: int) -> None:
        """So much of each, or raise `QuotaExceeded`. Redis may have done it unheard: what is said next puts that right."""
        async with self._exchanging:
            try:
                refused = await self._ask(bounds, amount)
            except Unavailable:
                refused = next((bound for bound in bounds if bound.left < amount), None)
            if refused is None:
                for bound in bounds:
                    bound.count.mine += amount
        if refused is not None:
            self._refuse(refused)

    async def _ask(self, bounds: Sequence[_Bound], amount: int) -> _Bound | None:
        """Take so much of each; the one that has no room, and then nothing is taken."""
        for bound in bounds:
            if bound.count.by_database:  # Redis may know less
                await self._join(bound.count)
        for _ in range(2):
            said = [bound.count.said for bound in bounds]
            taken = await self._redis.take(said, [bound.limit for bound in bounds], amount)
            if taken is not None:
                for bound, one, used in zip(bounds, said, taken.used, strict=True):
                    bound.count.hear(one, Begun(one.life, used, one.mine))
                return None if taken.refused is None else bounds[taken.refused]
            for bound in bounds:
                await self._raise(bound.count, await self._used(bound.count))
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
    try:
        async with looking(_NAME, keeper.refresh, keeper.exchange):
            yield keeper
    finally:
        with suppress(PlatformError, TimeoutError):
            async with asyncio.timeout(_END_S):
                await keeper.exchange()
