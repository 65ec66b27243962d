"""The device flow (RFC 8628): a program without a browser waits while its user says yes or no in one elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from devops_mcp.auth.one_time_codes import hash_code, new_device_code, new_user_code, typed_user_code
from devops_mcp.cache.attempts import Allowance, Attempts
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import InvalidInput, NotFound, OAuthRefusal, Unauthenticated, Unavailable
from devops_mcp.models.ids import OPERATOR_TENANT_ID
from devops_mcp.models.oauth import DEFAULT_SCOPES, DeviceCode, DeviceState, narrower
from devops_mcp.models.principals import Principal
from devops_mcp.models.sessions import TokenPair
from devops_mcp.observability.caller import current_address
from devops_mcp.operations.authorization import Audiences, note_denial, put_consent, scopes_in
from devops_mcp.operations.login import LoginService
from devops_mcp.operations.oauth_clients import OAuthClientService
from devops_mcp.operations.sessions import TokenSessions
from devops_mcp.repositories.database import Database

LASTS = timedelta(minutes=10)
INTERVAL_S, SLOWER_S, SLOWEST_S = 5, 5, 60
LENIENCY_S = 0.5
"""Who asks on time may arrive a little early."""
WRONG_CODES_PER_USER = 10
WRONG_CODES_PER_ADDRESS = 50
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a device is told: the code that it asks with, and the one that its user types."""

    device_code: str
    user_code: str
    expires_in_s: int
    interval_s: int


class DeviceFlow:
    """What the device authorization endpoint, the page for user codes, and the token endpoint do."""

    def __init__(
        self,
        database: Database,
        clients: OAuthClientService,
        sessions: TokenSessions,
        login: LoginService,
        attempts: Attempts,
        audiences: Audiences,
        *,
        now: Clock = utc_now,
    ) -> None:
        self._database = database
        self._clients = clients
        self._sessions = sessions
        self._login = login
        self._attempts = attempts
        self._audiences = audiences
        self._now = now

    async def begin(self, given: Mapping[str, str]) -> Waiting:
        """A device begins to wait. Raises `OAuthRefusal`."""
        if "client_id" not in given:
            raise OAuthRefusal("invalid_request", "client_id is missing")
        client = await self._clients.find(given["client_id"])
        scopes = scopes_in(given.get("scope")) or DEFAULT_SCOPES
        audience, now = self._audiences.of(given.get("resource")), self._now()
        for _ in range(_TRIES):
            device_code, user_code = new_device_code(), new_user_code()
            waits = DeviceCode(
                code_hash=hash_code(device_code),
                user_code_hash=hash_code(user_code),
                client_id=client.id,
                client_name=client.name,
                audience=audience,
                scopes=scopes,
                address=current_address(),
                created_at=now,
                expires_at=now + LASTS,
                interval_s=INTERVAL_S,
            )
            async with self._database.transaction(OPERATOR_TENANT_ID) as tx:
                if await tx.device_codes.add(waits):
                    return Waiting(device_code, user_code, int(LASTS.total_seconds()), INTERVAL_S)
        raise Unavailable("too many devices wait; try again", retry_after_s=INTERVAL_S)

    async def waiting(self, user: Principal, typed: str) -> DeviceCode:
        """The device that waits for the typed code. Raises `NotFound`; `RateLimited` for who guesses."""
        allowances = _allowances(user)
        await self._attempts.begin(allowances)
        code = typed_user_code(typed)
        async with self._database.transaction(OPERATOR_TENANT_ID) as tx:
            found = await tx.device_codes.lock(user_code_hash=hash_code(code)) if code else None
        if found is None or found.state is not DeviceState.PENDING or found.expires_at <= self._now():
            raise NotFound("no device waits with this code; it may have waited too long")
        await self._attempts.succeeded(allowances)
        return found

    async def answer(self, user: Principal, user_code_hash: bytes, chosen: Sequence[str] | None) -> None:
        """The user lets the device have those scopes, or nothing (None). Raises `NotFound` where it waits no more.

        What the user said is written down first, in its own tenant: no device is let by whom nothing is known of.
        """
        async with self._database.transaction(OPERATOR_TENANT_ID) as tx:
            found = self._pending(await tx.device_codes.lock(user_code_hash=user_code_hash))
        scopes = narrower(found.scopes, chosen) if chosen is not None else ()
        if chosen is not None and not scopes:
            raise InvalidInput("nothing was chosen")
        await self._record(user, found, scopes)
        changes = {
            "state": DeviceState.ALLOWED if scopes else DeviceState.DENIED,
            "user_tenant_id": user.tenant_id,
            "user_id": user.id,
            "identity_id": user.identity_id,
            "scopes": scopes,
        }
        async with self._database.transaction(OPERATOR_TENANT_ID) as tx:
            found = self._pending(await tx.device_codes.lock(user_code_hash=user_code_hash))
            await tx.device_codes.answer(found.model_copy(update=changes))

    async def poll(self, given: Mapping[str, str]) -> TokenPair:
        """Tokens, once the user has let the device. Raises `OAuthRefusal`, most often `authorization_pending`."""
        if "device_code" not in given or "client_id" not in given:
            raise OAuthRefusal("invalid_request", "device_code and client_id are needed")
        hashed = hash_code(given["device_code"])
        async with self._database.transaction(OPERATOR_TENANT_ID) as tx:
            found = await tx.device_codes.lock(code_hash=hashed)
            if found is None or found.client_id != given["client_id"]:
                raise OAuthRefusal("invalid_grant", "no device waits with this code")
            refusal = self._refusal(found)
            if refusal is None or refusal.error in ("access_denied", "expired_token"):
                await tx.device_codes.remove(hashed)
            else:
                slower = SLOWER_S if refusal.error == "slow_down" else 0
                interval_s = min(found.interval_s + slower, SLOWEST_S)
                await tx.device_codes.note_poll(hashed, self._now(), interval_s)
        if refusal is not None:
            raise refusal
        return await self._tokens(found)

    def _refusal(self, found: DeviceCode) -> OAuthRefusal | None:
        now = self._now()
        if found.expires_at <= now:
            return OAuthRefusal("expired_token", "nobody answered in time; begin again")
        pause = timedelta(seconds=found.interval_s - LENIENCY_S)
        if found.polled_at is not None and now < found.polled_at + pause:
            return OAuthRefusal("slow_down", f"ask every {found.interval_s + SLOWER_S} seconds from now on")
        match found.state:
            case DeviceState.PENDING:
                return OAuthRefusal("authorization_pending", "the user has not answered yet")
            case DeviceState.DENIED:
                return OAuthRefusal("access_denied", "the user does not allow it")
            case DeviceState.ALLOWED:
                return None

    async def _tokens(self, found: DeviceCode) -> TokenPair:
        assert found.user_tenant_id is not None
        assert found.user_id is not None
        await self._clients.known(found.client_id)
        user = await self._login.principal_of_user(found.user_tenant_id, found.user_id)
        if user is None:
            raise OAuthRefusal("access_denied", "the user is no more, or suspended")
        async with self._database.transaction(user.tenant_id) as tx:
            if await tx.consents.of(user.id, found.client_id, found.audience) is None:
                raise OAuthRefusal("access_denied", "the user has withdrawn it")
        try:
            return await self._sessions.begin(
                user.model_copy(update={"identity_id": found.identity_id}),
                client_id=found.client_id,
                client_name=found.client_name,
                audience=found.audience,
                scopes=found.scopes,
            )
        except Unauthenticated as error:
            raise OAuthRefusal("access_denied", error.message) from None

    def _pending(self, found: DeviceCode | None) -> DeviceCode:
        if found is None or found.state is not DeviceState.PENDING or found.expires_at <= self._now():
            raise NotFound("the device waits no more")
        return found

    async def _record(self, user: Principal, asked: DeviceCode, scopes: tuple[str, ...]) -> None:
        async with self._database.transaction(user.tenant_id) as tx:
            if not scopes:
                await note_denial(tx, user, asked)
                return
            await put_consent(tx, user, asked, scopes, self._now())
        await self._clients.note_use(await self._clients.find(asked.client_id))


def _allowances(user: Principal) -> list[Allowance]:
    address = current_address() or "unknown"
    return [
        Allowance(f"user codes of {user.id}", WRONG_CODES_PER_USER, clears=False),
        Allowance(f"user codes from {address}", WRONG_CODES_PER_ADDRESS, clears=False),
    ]
