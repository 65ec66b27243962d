"""Large things kept apart from their rows: in S3 where the operator has a bucket, else in PostgreSQL. Which it is, a blob's row says.

A blob is noted before its bytes are written and removed only when nothing refers to it, bytes first. So whatever dies in between, what is
referred to is there, and what is left over is found again by its row and removed by upkeep.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from devops_mcp.config import Settings
from devops_mcp.events.messages import BlobsReleased
from devops_mcp.events.queues import QueueName
from devops_mcp.models.blobs import Attachment
from devops_mcp.models.errors import Conflict, Internal, NotFound
from devops_mcp.models.ids import new_id
from devops_mcp.observability.caller import for_caller
from devops_mcp.observability.tracing import current_traceparent
from devops_mcp.repositories.blobs import BlobRow
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

if TYPE_CHECKING:
    from devops_mcp.outbound.objects import ObjectStore

DATABASE = "database"
S3 = "s3"
UNCLAIMED_FOR = timedelta(hours=1)
"""Longer than any request takes between writing a blob and referring to it."""
_AT_ONCE = 8
_WRITTEN_AT_ONCE = 2
"""Into the database, where many abreast would each take longer than a statement may."""
_MESSAGE = 200
_SWEEP = 500


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it was sent."""

    name: str
    media_type: str
    body: bytes

    def described(self) -> Attachment:
        digest = hashlib.sha256(self.body).hexdigest()
        return Attachment(name=self.name, media_type=self.media_type, size=len(self.body), sha256=digest)


class BlobStore:
    """Writes to S3 where there is a bucket; reads and removes wherever a blob is."""

    def __init__(self, database: Database, objects: "ObjectStore | None" = None) -> None:
        self._database = database
        self._objects = objects
        self._turn_to_write = asyncio.Semaphore(_WRITTEN_AT_ONCE)

    async def keep(self, tenant_id: UUID, body: bytes) -> UUID:
        """Keep the bytes; whoever refers to the id within the hour has them. Raises `Unavailable`."""
        blob = BlobRow(new_id(), S3 if self._objects else DATABASE, len(body), hashlib.sha256(body).digest())
        if self._objects is None:
            async with self._turn_to_write, self._database.transaction(tenant_id) as tx:
                await tx.blobs.add(blob)
                await tx.blobs.write(blob.id, body)
            return blob.id
        async with self._database.transaction(tenant_id) as tx:
            await tx.blobs.add(blob)
        await self._objects.put(_key(tenant_id, blob.id), body)
        return blob.id

    async def read(self, tenant_id: UUID, blob_id: UUID) -> bytes:
        """The bytes, as they were kept. Raises `NotFound`, `Unavailable`, or `Internal` for bytes that are not what was kept."""
        async with self._database.transaction(tenant_id) as tx:
            found = await tx.blobs.find([blob_id])
            body = await tx.blobs.read(blob_id) if found and found[0].store == DATABASE else None
        if not found:
            raise NotFound(f"there is no blob {blob_id}")
        if found[0].store == S3:
            body = await self._bucket().get(_key(tenant_id, blob_id))
        if body is None or hashlib.sha256(body).digest() != found[0].sha256:
            raise Internal(f"blob {blob_id} is not what was kept")
        return body

    async def read_all(self, tenant_id: UUID, blob_ids: Iterable[UUID]) -> dict[UUID, bytes]:
        """The bytes of each, by id; several are read at once."""
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(blob_id: UUID) -> tuple[UUID, bytes]:
            async with turn:
                return blob_id, await self.read(tenant_id, blob_id)

        return dict(await asyncio.gather(*(for_caller(one(blob_id)) for blob_id in dict.fromkeys(blob_ids))))

    async def remove(self, tenant_id: UUID, blob_ids: Iterable[UUID]) -> int:
        """Remove those that nothing refers to; how many. One that was removed before is passed over. Raises `Unavailable`."""
        removed = 0
        for blob_id in blob_ids:
            try:
                removed += await self._remove(tenant_id, blob_id)
            except Conflict:
                continue
        return removed

    async def sweep(self, tenant_id: UUID, now: datetime) -> int:
        """Remove what has been left over for longer than `UNCLAIMED_FOR`; how many."""
        removed = 0
        while True:
            async with self._database.transaction(tenant_id) as tx:
                found = await tx.blobs.forgotten(now - UNCLAIMED_FOR, _SWEEP)
            gone = await self.remove(tenant_id, found)
            removed += gone
            if len(found) < _SWEEP or not gone:
                return removed

    async def ping(self) -> None:
        """Return when the bucket answers, if there is one."""
        if self._objects is not None:
            await self._objects.ping()

    async def _remove(self, tenant_id: UUID, blob_id: UUID) -> bool:
        # The row is locked until the object is gone: nobody can begin to refer to it, and a crash in between leaves the row.
        async with self._database.transaction(tenant_id) as tx:
            blob = await tx.blobs.remove(blob_id)
            if blob is not None and blob.store == S3:
                await self._bucket().remove(_key(tenant_id, blob_id))
        return blob is not None

    def _bucket(self) -> "ObjectStore":
        if self._objects is None:
            raise Internal("a blob is in S3, and no bucket is configured any more")
        return self._objects


def _key(tenant_id: UUID, blob_id: UUID) -> str:
    return f"{tenant_id}/{blob_id}"


async def release(tx: Transaction, blob_ids: Iterable[UUID]) -> None:
    """Have the worker remove blobs that this transaction lets go of, once it commits."""
    ids = list(dict.fromkeys(blob_ids))
    for start in range(0, len(ids), _MESSAGE):
        message = BlobsReleased(
            id=new_id(), tenant_id=tx.tenant_id, blob_ids=tuple(ids[start : start + _MESSAGE])
        )
        await tx.outbox.add(QueueName.TASKS_LOW, message, trace=current_traceparent())


@asynccontextmanager
async def open_blob_store(settings: Settings, database: Database) -> AsyncIterator[BlobStore]:
    """The store that the settings describe."""
    if settings.blobs_bucket is None:
        yield BlobStore(database)
        return
    # The client of AWS is slow to import, and many have no bucket.
    from devops_mcp.outbound.objects import open_objects

    async with open_objects(
        settings.blobs_bucket, region=settings.aws_region, endpoint_url=settings.s3_endpoint_url
    ) as objects:
        yield BlobStore(database, objects)
