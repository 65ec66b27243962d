"""Bringing passages into the space of the model that is chosen for them, while they are searched.

Each choice has a mark in the order of the passages' ids, which is that of their making. A turn asks, through the outbox, for the vectors of
the next chunk behind the mark, and moves it on when the whole chunk has them; so any number of workers may take turns, and one that is
killed leaves nothing but a chunk to be asked for again, of which only what is lacking is computed.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.embeddings import TENANT
from devops_mcp.operations.item_indexing import request_vectors
from devops_mcp.operations.vectors import Chosen
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.embeddings import StoredChoice
from devops_mcp.repositories.passages import Whose
from devops_mcp.repositories.transaction import Transaction

CHUNK = 2_000
MESSAGE = 32
"""Passages of one message; a worker takes ten messages at a time, and a slow model must be done with them in time."""
ASKED_AGAIN_AFTER = timedelta(minutes=10)
"""Longer than a message that failed waits to be tried again; what is still lacking then was given up by its queue."""
CHECKED_AGAIN_AFTER = timedelta(days=1)
"""What was finished is gone through again, for passages whose message was given up meanwhile."""


@dataclass(frozen=True, slots=True)
class Turn:
    """How many passages were asked for now, and whether there is more to do or to wait for."""

    asked: int = 0
    goes_on: bool = False


class Reembedding:
    """Asks for the vectors that are lacking, a chunk a turn and choice."""

    def __init__(
        self, database: Database, models: EmbeddingModels, *, chunk: int = CHUNK, now: Clock = utc_now
    ) -> None:
        self._database = database
        self._models = models
        self._chunk = chunk
        self._now = now

    async def turn(self, tenant_id: UUID) -> Turn:
        """Ask for one chunk of each choice whose last one is there; nothing for a tenant that is suspended, and so perhaps erased."""
        if self._models.default is None:
            return Turn()
        async with self._database.transaction(tenant_id) as tx:
            if not await tx.tenants.is_active():
                return Turn()
            rows = await self._aimed(tx)
            owners = tuple(row.owner_id for row in rows if row.owner_id != TENANT)
            under_way = await tx.embeddings.choices(lock_unfinished=True)
            asked = [await self._step(tx, choice, owners) for choice in under_way]
        return Turn(sum(count or 0 for count in asked), any(count is not None for count in asked))

    async def _aimed(self, tx: Transaction) -> list[StoredChoice]:
        """The choices, each with the space that its model has now: the operator may have changed the models."""
        rows = await tx.embeddings.choices()
        names = {row.owner_id: row.model for row in rows}
        choices = Chosen(self._models, names)
        spaces = {row.owner_id: row.space for row in rows}
        for owner_id in {TENANT, *names}:
            space = choices.space(None if owner_id == TENANT else owner_id)
            if spaces.get(owner_id) != space:
                await tx.embeddings.choose(owner_id, names.get(owner_id), space)
        await tx.embeddings.begin_again(self._now() - CHECKED_AGAIN_AFTER)
        return rows

    async def _step(self, tx: Transaction, choice: StoredChoice, owners: tuple[UUID, ...]) -> int | None:
        """How many passages were asked for; None: all are there."""
        now = self._now()
        whose = Whose(None, owners) if choice.owner_id == TENANT else Whose(choice.owner_id)
        lacking = await tx.passages.outside(
            choice.space, whose, after=choice.settled, up_to=choice.reached, limit=self._chunk
        )
        if lacking:
            if choice.asked_at is not None and now - choice.asked_at < ASKED_AGAIN_AFTER:
                return 0
            await tx.embeddings.advance(choice.owner_id, choice.settled, choice.reached, now)
        else:
            lacking = await tx.passages.outside(choice.space, whose, after=choice.reached, limit=self._chunk)
            if not lacking:
                await tx.embeddings.finish(choice.owner_id, now)
                return None
            await tx.embeddings.advance(choice.owner_id, choice.reached, lacking[-1], now)
        await request_vectors(tx, lacking, batch=MESSAGE)
        return len(lacking)
