"""Sessions over a test's database, with a clock that the test moves."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from devops_mcp.auth.access_tokens import AccessTokens
from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.sealing import SecretSeal
from devops_mcp.cache.attempts import Attempts
from devops_mcp.models.principals import Principal
from devops_mcp.operations.sessions import TokenSessions
from devops_mcp.operations.signing_keys import SigningKeyService
from devops_mcp.repositories.database import Database

MASTER = "a master key for the tests, and nothing else"
ISSUER, HERE = "https://rest.example.com", "https://here.example.com"


@dataclass
class Wall:
    """A clock on the wall; it begins with the real time, since it is the library that says whether a token has expired."""

    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def advance(self, **by: float) -> None:
        self.time += timedelta(**by)


class Replica:
    """What one process has."""

    def __init__(self, database: Database, wall: Wall, *masters: str, issuer: str = ISSUER) -> None:
        keyring = Keyring([SecretStr(master) for master in masters or (MASTER,)])
        self.keys = SigningKeyService(database, SecretSeal(keyring), now=wall, monotonic=wall.monotonic)
        self.access = AccessTokens(issuer, self.keys, now=wall)
        # Nobody listens there, so that failures are counted in this process.
        attempts = Attempts(Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0)))
        self.sessions = TokenSessions(database, self.access, keyring, attempts, now=wall)

    async def begin(self, user: Principal, *scopes: str, client_id: str = "cli"):
        asked = {"scopes": scopes} if scopes else {}
        return await self.sessions.begin(user, client_id=client_id, audience=HERE, **asked)
