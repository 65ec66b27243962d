"""The platform's signing keys: made, exchanged every month with an overlap, and published."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from devops_mcp.auth.sealing import SealBroken, SecretSeal
from devops_mcp.auth.signing_keys import SealedKey, SigningKey, new_signing_key, open_key, seal_key
from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.ids import OPERATOR_TENANT_ID
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

log = structlog.get_logger()

SIGNS_FOR = timedelta(days=30)
PUBLISHED_BEFORE = timedelta(hours=1)
"""How long a key is published before it signs, so that who keeps a copy of the published keys has it by then."""
KEPT_AFTER = timedelta(hours=1)
"""How long a key is kept that signs no more: longer than what it signed is good."""
BELIEVED_S = 60.0
"""How long the keys are believed without reading them again."""
LOOK_AGAIN_S = 2.0
"""How soon they are read again for the sake of a name that is not among them."""


class SigningKeyService:
    """The keys in the database, for every replica the same. The first to need one makes it.

    A new master key exchanges the signing key too, so that the old one is needed no longer than it signs and its tokens hold.
    """

    def __init__(
        self,
        database: Database,
        seal: SecretSeal,
        *,
        now: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._seal = seal
        self._now = now
        self._monotonic = monotonic
        self._known: dict[str, SigningKey] = {}
        self._rows: dict[str, SealedKey] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def current(self) -> SigningKey:
        """The key that signs now; it is made if there is none. Raises `Unavailable`."""
        await self._read_if_older_than(BELIEVED_S)
        if self._is_due():
            await self._exchange()
        return self._signing()

    async def named(self, kid: str) -> EllipticCurvePublicKey | None:
        """The key of this name, if its signatures hold."""
        await self._read_if_older_than(BELIEVED_S)
        if kid not in self._known:
            await self._read_if_older_than(LOOK_AGAIN_S)
        key = self._known.get(kid)
        return None if key is None else key.public

    async def published(self) -> JsonObject:
        """The public parts (RFC 7517 §5), those too that do not sign yet or no more."""
        await self.current()
        return {"keys": [key.jwk() for key in self._latest_first()]}

    def _signing(self) -> SigningKey:
        now = self._now()
        return next(key for key in self._latest_first() if key.signs_from <= now)

    def _latest_first(self) -> list[SigningKey]:
        return sorted(self._known.values(), key=lambda key: key.signs_from, reverse=True)

    def _is_due(self) -> bool:
        """Whether there is no key, or the last one should have a successor by now."""
        latest = next(iter(self._latest_first()), None)
        if latest is None or all(key.signs_from > self._now() for key in self._known.values()):
            return True
        now = self._now()
        old = latest.signs_from + SIGNS_FOR - PUBLISHED_BEFORE <= now
        # Only once the last one signs: replicas that are being told of another master key one by one would else take turns.
        otherwise_sealed = not self._seal.is_current(self._rows[latest.kid].sealed)
        return old or (otherwise_sealed and latest.signs_from <= now)

    async def _exchange(self) -> None:
        async with self._database.transaction(OPERATOR_TENANT_ID) as tx:
            await tx.signing_keys.lock()
            self._take(await _rows(tx))
            if self._is_due():
                now = self._now()
                signing = any(key.signs_from <= now for key in self._known.values())
                await self._add(tx, now + PUBLISHED_BEFORE if signing else now)
                await tx.signing_keys.drop(self._outlived())
            self._take(await _rows(tx))

    def _outlived(self) -> list[str]:
        """Keys whose successor has signed for so long that nothing of theirs holds any more."""
        keys, over = self._latest_first(), self._now() - KEPT_AFTER
        followed = pairwise(keys)
        return [key.kid for successor, key in followed if successor.signs_from <= over]

    async def _add(self, tx: Transaction, signs_from: datetime) -> None:
        key = new_signing_key(signs_from)
        row = seal_key(key, self._seal)
        await tx.signing_keys.add(row.kid, row.sealed, row.signs_from)
        log.info("signing key made", kid=key.kid, signs_from=signs_from.isoformat())

    async def _read_if_older_than(self, seconds: float) -> None:
        async with self._reading:
            if self._read_at is not None and self._monotonic() < self._read_at + seconds:
                return
            async with self._database.transaction(OPERATOR_TENANT_ID) as tx:
                self._take(await _rows(tx))
            self._read_at = self._monotonic()

    def _take(self, rows: Sequence[SealedKey]) -> None:
        opened: dict[str, SigningKey] = {}
        for row in rows:
            known = self._known.get(row.kid)
            if known is not None and self._rows[row.kid] == row:
                opened[row.kid] = known
                continue
            try:
                opened[row.kid] = open_key(row, self._seal)
            except SealBroken as error:
                log.error("signing key does not open and is not used", kid=row.kid, error=error.message)
        self._known, self._rows = opened, {row.kid: row for row in rows}


async def _rows(tx: Transaction) -> list[SealedKey]:
    return [SealedKey(*row) for row in await tx.signing_keys.all()]
