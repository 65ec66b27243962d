"""Signing in on the authorization server's pages at an outside identity provider, instead of with a password.

What an answer is bound to waits in Redis, which every replica reaches: sealed, under the hash of the state, for ten minutes and for one
use. The browser that comes back must be the one that was sent.
"""

import hmac
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.outside_sign_in import Journey, OutsideSignIn
from devops_mcp.cache.sealing import Seal
from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import InvalidInput, Unauthenticated, Unavailable
from devops_mcp.operations.identities import IdentityService
from devops_mcp.operations.sign_in import Browser, SignInService

WAITS_S = 600
ANSWERS_WITHIN_S = 2.0
"""How long Redis may take over it: no cache this time, since nobody else knows what somebody left behind."""
_PREFIX = "devops-mcp:outside-sign-in:"


@dataclass(frozen=True, slots=True)
class CameBack:
    """How it went: the browser, with its user where it has one now; what the page was about that it left; and what went wrong."""

    browser: Browser
    content: JsonObject
    fault: str = ""


class OutsideSignInService:
    """Sends browsers to providers, and signs in those that come back as somebody who is a user here."""

    def __init__(
        self,
        outside: OutsideSignIn,
        identities: IdentityService,
        sign_ins: SignInService,
        redis: Redis,
        keyring: Keyring,
    ) -> None:
        self._outside = outside
        self._identities = identities
        self._sign_ins = sign_ins
        self._redis = redis
        self._seal = Seal(keyring.keys("outside sign-in"))

    @property
    def names(self) -> Mapping[int, str]:
        """The providers to choose from, by number."""
        return self._outside.names

    async def leave(self, browser: Browser, provider: int, content: JsonObject) -> str:
        """Where to send the browser; `content` is what the page was about that it leaves.

        Raises `InvalidInput` for a provider that there is not, `Unavailable` while the provider or Redis does not answer.
        """
        if provider not in self.names:
            raise InvalidInput("there is no such identity provider")
        location, journey = await self._outside.begin(provider)
        kept = {"journey": asdict(journey), "mark": browser.mark, "content": content}
        place = _place(journey.state)
        try:
            await self._redis.set(place, self._seal.close(orjson.dumps(kept), place), ex=WAITS_S)
        except (RedisError, OSError):
            raise _not_now() from None
        return location

    async def come_back(self, browser: Browser, answered: Mapping[str, str]) -> CameBack:
        """What a provider's answer makes of the browser.

        Raises `InvalidInput` for an answer that nobody waits for, or another browser does; `Unavailable` as `leave` does.
        """
        kept = await self._taken(answered.get("state", ""))
        if kept is None or not hmac.compare_digest(str(kept["mark"]), browser.mark):
            raise InvalidInput("nobody waits for this answer; begin again")
        content: JsonObject = kept["content"]  # type: ignore[assignment]
        journey = Journey(**kept["journey"])  # type: ignore[arg-type]
        try:
            identity = await self._outside.finish(journey, answered)
            user = await self._identities.admit(identity)
        except Unauthenticated as error:
            return CameBack(browser, content, error.message)
        await self._identities.note_sign_in(user, identity)
        return CameBack(await self._sign_ins.signed_in(user, identity), content)

    async def _taken(self, state: str) -> JsonObject | None:
        place = _place(state)
        try:
            sealed = await self._redis.getdel(place)
        except (RedisError, OSError):
            raise _not_now() from None
        opened = self._seal.open(sealed, place) if isinstance(sealed, bytes) else None
        kept: JsonObject | None = orjson.loads(opened) if opened is not None else None
        return kept


def _not_now() -> Unavailable:
    return Unavailable("signing in at an identity provider does not work just now", retry_after_s=5)


def _place(state: str) -> str:
    return _PREFIX + sha256(state.encode("utf-8", "replace")).hexdigest()
