"""Embedding that is paid for once and accounted for: by tenant, principal, model and day."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from devops_mcp.embedding.base import EmbeddingModel, EmbeddingProvider, Purpose, Vector
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import PlatformError
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.embeddings import Spent

KEPT_TOGETHER = 128
"""Texts that are lost, and paid for again, when the process ends between their answer and their being kept."""

WRITTEN_AFTER = timedelta(seconds=10)
CLOSING_S = 5.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Metered:
    """Unit vectors in the order of the texts; `tokens` were paid for now, `cached` texts had been before."""

    vectors: list[Vector]
    model: EmbeddingModel
    tokens: int = 0
    cached: int = 0


class EmbeddingMeter:
    """Asks providers, unless the tenant has paid for the same text before.

    What this machine computes costs nothing and is not kept, but counted all the same, as is what was paid for before. No search waits for
    that: its questions are added up and written down beside a later one of the tenant, or by `close`; those of a process that is killed
    are lost.
    """

    def __init__(self, database: Database, *, now: Clock = utc_now) -> None:
        self._database = database
        self._now = now
        self._unwritten: dict[UUID, _Unwritten] = {}
        self._writing: set[asyncio.Task[None]] = set()

    async def embed(
        self,
        provider: EmbeddingProvider,
        tenant_id: UUID,
        principal_id: UUID | None,
        texts: Sequence[str],
        purpose: Purpose = Purpose.PASSAGE,
    ) -> Metered:
        """The vectors; what was paid for them is kept and accounted for before they are returned. `principal_id` None is the tenant."""
        bill = _Bill(tenant_id, principal_id, provider, purpose)
        if provider.model.is_local or not texts:
            return await self._for_nothing(bill, texts)
        digests = [_digest(purpose, text) for text in texts]
        async with self._database.transaction(tenant_id) as tx:
            known = await tx.embeddings.cached(provider.model.space, digests)
        missing = list({d: text for d, text in zip(digests, texts, strict=True) if d not in known}.items())
        cached = len(texts) - len(missing)
        if cached:
            await self._count(bill, _Counted(cached, cached))
        tokens, model = 0, provider.model
        for start in range(0, len(missing), KEPT_TOGETHER):
            paid = await self._pay(bill, dict(missing[start : start + KEPT_TOGETHER]))
            known |= paid.by_digest
            tokens, model = tokens + paid.tokens, paid.model
        return Metered([known[digest] for digest in digests], model, tokens, cached)

    async def _for_nothing(self, bill: "_Bill", texts: Sequence[str]) -> Metered:
        embedded = await bill.provider.embed(texts, bill.purpose)
        if texts:
            await self._count(bill, _Counted(len(texts), 0, embedded.tokens))
        return Metered(embedded.vectors, embedded.model, embedded.tokens)

    async def _count(self, bill: "_Bill", counted: "_Counted") -> None:
        """Account for what cost nothing: at once or, where somebody waits for the answer to a question, later and beside it."""
        if bill.purpose is not Purpose.QUESTION:
            return await self._account(bill, bill.provider.model, counted)
        unwritten = self._unwritten.setdefault(bill.tenant_id, _Unwritten(self._now()))
        unwritten.add(bill, counted)
        if self._now() - unwritten.since >= WRITTEN_AFTER:
            self._write_beside(bill.tenant_id)
        return None

    async def written(self) -> None:
        """Wait for what is being written."""
        await asyncio.gather(*self._writing)

    async def close(self) -> None:
        """Write down all questions. What the database does not take in `CLOSING_S` is lost, which the log tells."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await self.written()
                for tenant_id in list(self._unwritten):
                    await self._write(tenant_id, self._unwritten.pop(tenant_id))
        if self._unwritten:
            log.error("questions not accounted for", tenants=len(self._unwritten))

    def _write_beside(self, tenant_id: UUID) -> None:
        """Taken out before anything is awaited: nobody else writes it too. It is nobody's request, and so in nobody's context."""
        writing = self._write(tenant_id, self._unwritten.pop(tenant_id))
        task = asyncio.create_task(writing, name="account for questions", context=Context())
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, tenant_id: UUID, unwritten: "_Unwritten") -> None:
        """All of a tenant's in one transaction, in one order for all processes, so that nobody waits for who waits for them."""
        ordered = sorted(unwritten.by_principal.values(), key=lambda one: one[0].order)
        written = False
        try:
            async with self._database.transaction(tenant_id) as tx:
                for bill, counted in ordered:
                    await tx.embeddings.spend(bill.spent(bill.provider.model, counted), self._now())
            written = True
        except PlatformError as error:
            log.warning("questions not accounted for yet", reason=error.message)
        finally:
            if not written:
                self._put_back(tenant_id, unwritten)

    def _put_back(self, tenant_id: UUID, unwritten: "_Unwritten") -> None:
        """For the next time, after a pause."""
        again = self._unwritten.setdefault(tenant_id, _Unwritten(self._now()))
        for bill, counted in unwritten.by_principal.values():
            again.add(bill, counted)

    async def _pay(self, bill: "_Bill", texts: Mapping[bytes, str]) -> "_Paid":
        """Embed these; they are kept and accounted for when this returns."""
        embedded = await bill.provider.embed(list(texts.values()), bill.purpose)
        by_digest = dict(zip(texts, embedded.vectors, strict=True))
        counted = _Counted(len(texts), 0, embedded.tokens)
        await self._account(bill, embedded.model, counted, by_digest)
        return _Paid(by_digest, embedded.model, embedded.tokens)

    async def _account(
        self,
        bill: "_Bill",
        model: EmbeddingModel,
        counted: "_Counted",
        new: Mapping[bytes, Vector] | None = None,
    ) -> None:
        async with self._database.transaction(bill.tenant_id) as tx:
            if new:
                await tx.embeddings.remember(model.space, new)
            await tx.embeddings.spend(bill.spent(model, counted), self._now())


@dataclass(frozen=True, slots=True)
class _Counted:
    """Texts, those of them that had been paid for before, and the tokens of the others."""

    texts: int
    cached: int
    tokens: int = 0


@dataclass(slots=True)
class _Unwritten:
    """Questions of a tenant that were answered since then: whose, by principal and model, and how many."""

    since: datetime
    by_principal: dict[tuple[UUID | None, str], tuple["_Bill", _Counted]] = field(default_factory=dict)

    def add(self, bill: "_Bill", counted: _Counted) -> None:
        key = (bill.principal_id, bill.provider.model.name)
        before = self.by_principal[key][1] if key in self.by_principal else _Counted(0, 0)
        self.by_principal[key] = (
            bill,
            _Counted(
                before.texts + counted.texts,
                before.cached + counted.cached,
                before.tokens + counted.tokens,
            ),
        )


@dataclass(frozen=True, slots=True)
class _Bill:
    """Whose it is, and who is asked for what."""

    tenant_id: UUID
    principal_id: UUID | None
    provider: EmbeddingProvider
    purpose: Purpose

    @property
    def order(self) -> tuple[str, str]:
        return str(self.principal_id), self.provider.model.name

    def spent(self, model: EmbeddingModel, counted: _Counted) -> Spent:
        cost = model.cost(counted.tokens)
        return Spent(self.principal_id, model.name, counted.texts, counted.cached, counted.tokens, cost)


@dataclass(frozen=True, slots=True)
class _Paid:
    by_digest: dict[bytes, Vector]
    model: EmbeddingModel
    tokens: int


def _digest(purpose: Purpose, text: str) -> bytes:
    return hashlib.sha256(f"{purpose}\0{text}".encode(errors="surrogatepass")).digest()
