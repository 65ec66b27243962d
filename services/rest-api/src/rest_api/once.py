"""`Idempotency-Key`: a POST that is sent again is done once and answered alike, for 24 hours.

A key belongs to its principal and route. Where the effect is one transaction, the answer is kept in that same transaction, so there is
no moment in which one is there without the other: the turn is a lock that ends with the transaction, or with the process. Where the effect
is elsewhere, the key is claimed first; who dies with a claim leaves it for `lease`, after which the request is done anew.
"""

import base64
import hmac
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import TypeAlias
from uuid import UUID

from pydantic import SecretStr

from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.sealing import SecretSeal
from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.errors import (
    Conflict,
    IdempotencyKeyReused,
    MalformedInput,
    PlatformError,
    RequestInProgress,
)
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.idempotency import CallKey, MarkedCall

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
PATTERN = r'^("[\x20\x21\x23-\x7e]{1,200}"|[\x21\x23-\x7e]{1,200})$'
"""A string as RFC 9651 has it, or the same without its quotes."""
_KEY = re.compile(PATTERN.removeprefix("^").removesuffix("$"))
_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, as it was given; `body` is empty where there is none."""

    status: int
    body: bytes
    replayed: bool = False


Do: TypeAlias = Callable[[], Awaitable[Said]]


class Streamed:
    """A body that is taken as it comes, and summed up on the way, so that it can be compared without being kept."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._sum = sha256()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body; once."""
        async for chunk in self._chunks:
            self._sum.update(chunk)
            yield chunk

    async def drain(self) -> None:
        """Take the rest for its sum alone."""
        async for _ in self.chunks():
            pass

    def digest(self) -> bytes:
        """Of what was taken so far."""
        return self._sum.digest()


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose request, by which key, and what it says: its address and its body, or the body that `streamed` takes."""

    tenant_id: UUID
    key: CallKey
    request: bytes
    streamed: Streamed | None = None

    @property
    def content(self) -> bytes:
        """What tells it from every other, once the body was taken; before that, what is known of it."""
        return self.request if self.streamed is None else self.request + self.streamed.digest()

    @property
    def place(self) -> str:
        """What its answer is sealed for: an answer may show a secret, this once."""
        return (
            f"{self.tenant_id}/idempotent_calls/{self.key.principal_id}/{self.key.operation}/{self.key.key}"
        )


def key_in(headers: Sequence[str]) -> str:
    """The key; raises `MalformedInput`."""
    if len(headers) > 1:
        raise MalformedInput(f"{HEADER} is sent {len(headers)} times; send one")
    [header] = headers
    if not _KEY.fullmatch(header):
        raise MalformedInput(f"{HEADER} must be 1 to 200 printable ASCII characters, such as a UUID")
    return header.strip('"')


class Once:
    """Does marked requests once."""

    def __init__(
        self, database: Database, keyring: Keyring, lease: timedelta, *, now: Clock = utc_now
    ) -> None:
        self._database = database
        self._seal = SecretSeal(keyring)
        self._keys = keyring.keys("idempotency")
        self._lease = lease
        self._now = now

    async def with_its_effect(self, mark: Mark, do: Do) -> Said:
        """Do it in the transaction that keeps the answer.

        Raises `RequestInProgress` and `IdempotencyKeyReused`. An error of `do` leaves the key free: nothing was done.
        """
        async with self._database.joining(mark.tenant_id) as tx:
            if not await tx.idempotent_calls.take_turn(mark.key):
                raise _in_progress()
            known = await tx.idempotent_calls.find(mark.key)
            if known is not None:
                return self._replayed(known, mark)
            said = await do()
            await tx.idempotent_calls.add(mark.key, self._digests(mark)[0], self._sealed(said, mark))
        return said

    async def leased(self, mark: Mark, do: Do) -> Said:
        """Claim the key, do it, keep the answer. An error that says the request was refused leaves the key free."""
        now = self._now()
        async with self._database.transaction(mark.tenant_id) as tx:
            known = await tx.idempotent_calls.begin(mark.key, self._digests(mark)[0], now, now + self._lease)
        if known is not None:
            if mark.streamed is not None and known.answer is not None:
                await mark.streamed.drain()
            return self._replayed(known, mark)
        try:
            said = await do()
        except PlatformError as error:
            if not error.retryable:
                async with self._database.transaction(mark.tenant_id) as tx:
                    await tx.idempotent_calls.forget(mark.key)
            raise
        async with self._database.transaction(mark.tenant_id) as tx:
            await tx.idempotent_calls.finish(mark.key, self._sealed(said, mark), self._digests(mark)[0])
        return said

    def _replayed(self, known: MarkedCall, mark: Mark) -> Said:
        if not any(hmac.compare_digest(known.digest, digest) for digest in self._digests(mark)):
            raise IdempotencyKeyReused("this idempotency key came with another request; use a new key")
        if known.answer is None:
            raise _in_progress()
        status, body = known.answer["status"], known.answer["body"]
        assert isinstance(status, int)
        assert isinstance(body, str)
        try:
            opened = self._seal.open(base64.b64decode(body), mark.place).get_secret_value()
        except PlatformError:
            raise Conflict(
                "the request was done, and its answer cannot be read any more; look what is there"
            ) from None
        return Said(status, opened.encode(), replayed=True)

    def _sealed(self, said: Said, mark: Mark) -> JsonObject:
        sealed = self._seal.close(SecretStr(said.body.decode()), mark.place)
        return {"status": said.status, "body": base64.b64encode(sealed).decode()}

    def _digests(self, mark: Mark) -> list[bytes]:
        """With keys of ours: a body may hold a password, which nobody is to guess from what we keep."""
        return [hmac.digest(key, mark.content, sha256) for key in self._keys]


def _in_progress() -> RequestInProgress:
    return RequestInProgress(
        "the request with this idempotency key is being answered; ask again", retry_after_s=_AGAIN_S
    )
