"""The authorization code grant of OAuth 2.1: from a client's request over a user's word to tokens.

Codes are good for a minute and for one use; a second use ends the session that the first began. PKCE (S256) is demanded of everybody, and
every answer names us as `iss` (RFC 9207).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

from devops_mcp.auth.one_time_codes import (
    answers_challenge,
    hash_code,
    is_challenge,
    new_authorization_code,
    tenant_of_code,
)
from devops_mcp.auth.redirects import is_registered, proves_client, with_parameters
from devops_mcp.auth.refresh_tokens import parse_refresh_token
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import Forbidden, InvalidInput, OAuthRefusal, Unauthenticated
from devops_mcp.models.ids import new_id
from devops_mcp.models.oauth import (
    DEFAULT_SCOPES,
    AuthorizationCode,
    AuthorizationRequest,
    Consent,
    DeviceCode,
    OAuthClient,
    narrower,
    words_of,
)
from devops_mcp.models.permissions import require_grants
from devops_mcp.models.principals import Principal
from devops_mcp.models.sessions import TokenPair
from devops_mcp.operations.deeds import deed
from devops_mcp.operations.login import LoginService
from devops_mcp.operations.oauth_clients import OAuthClientService
from devops_mcp.operations.sessions import TokenSessions
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

CODE_LASTS = timedelta(seconds=60)
MAX_SCOPES = 50
CONSENT = "oauth.consent"
MAX_STATE = 2_000
_HABITUAL = frozenset({"openid", "profile", "email", "offline_access"})
"""What clients ask for by habit: we are no identity provider, and give refresh tokens unasked."""


@dataclass(frozen=True, slots=True)
class Audiences:
    """The services that tokens are issued for: `default` where a client names none (RFC 8707), and all of them."""

    default: str
    all: tuple[str, ...]

    def of(self, resource: str | None) -> str:
        """The service that `resource` is of, whatever its path. Raises `OAuthRefusal`."""
        if resource is None:
            return self.default
        try:
            parts = urlsplit(resource)
            origin = f"{parts.scheme}://{parts.netloc}".lower()
        except ValueError:
            origin = ""
        for audience in self.all:
            if origin == audience.lower() and "#" not in resource:
                return audience
        raise OAuthRefusal("invalid_target", f"tokens are issued for {' and '.join(self.all)} only")


class Redirected(Exception):
    """A refusal that the client is told of by sending the user back to `location`."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


class AuthorizationService:
    """What the authorization endpoint and the token endpoint do."""

    def __init__(
        self,
        database: Database,
        clients: OAuthClientService,
        sessions: TokenSessions,
        login: LoginService,
        *,
        issuer: str,
        audiences: Audiences,
        now: Clock = utc_now,
    ) -> None:
        self._database = database
        self._clients = clients
        self._sessions = sessions
        self._login = login
        self.issuer = issuer
        self.audiences = audiences
        self._now = now

    async def request(self, given: Mapping[str, str]) -> AuthorizationRequest:
        """The request in the parameters of the authorization endpoint.

        Raises `OAuthRefusal` where it is not sure who asks, and so nobody may be sent anywhere; `Redirected` for every other fault.
        """
        client = await self._clients.find(_given(given, "client_id"))
        redirect_uri = _redirect_of(client, given.get("redirect_uri"))
        state = given.get("state")
        try:
            return self._checked(client, redirect_uri, given)
        except OAuthRefusal as refusal:
            raise Redirected(
                self._answer(redirect_uri, state, error=refusal.error, error_description=refusal.message)
            ) from None

    def _checked(
        self, client: OAuthClient, redirect_uri: str, given: Mapping[str, str]
    ) -> AuthorizationRequest:
        if given.get("response_type") != "code":
            raise OAuthRefusal("unsupported_response_type", "response_type must be 'code'")
        if given.get("response_mode", "query") != "query":
            raise OAuthRefusal("invalid_request", "response_mode must be 'query'")
        if "request" in given or "request_uri" in given:
            raise OAuthRefusal("request_not_supported", "send the parameters themselves")
        if given.get("code_challenge_method") != "S256" or not is_challenge(given.get("code_challenge", "")):
            raise OAuthRefusal("invalid_request", "PKCE with the method S256 is needed (RFC 7636)")
        if len(given.get("state", "")) > MAX_STATE:
            raise OAuthRefusal("invalid_request", f"state has more than {MAX_STATE} characters")
        if "none" in given.get("prompt", "").split():
            raise OAuthRefusal("interaction_required", "the user is asked every time")
        scopes = scopes_in(given.get("scope"))
        return AuthorizationRequest(
            client_id=client.id,
            client_name=client.name,
            redirect_uri=redirect_uri,
            state=given.get("state"),
            scopes=scopes or DEFAULT_SCOPES,
            scopes_named=bool(scopes),
            audience=self.audiences.of(given.get("resource")),
            challenge=given["code_challenge"],
        )

    async def remembers(self, user: Principal, asked: AuthorizationRequest) -> bool:
        """Whether the user let the client do as much before, and wished not to be asked again."""
        if not can_be_remembered(asked) or not asked.scopes_named:
            return False
        async with self._database.transaction(user.tenant_id) as tx:
            consent = await tx.consents.of(user.id, asked.client_id, asked.audience)
        return consent is not None and consent.remembered and set(asked.scopes) <= set(consent.scopes)

    async def allow(
        self,
        user: Principal,
        asked: AuthorizationRequest,
        chosen: Sequence[str],
        *,
        remembered: bool = False,
    ) -> str:
        """Where to send the user with a code for what it chose of the scopes, asked for or offered. Raises `InvalidInput` for none."""
        scopes = narrower((*asked.scopes, *asked.offered), chosen)
        if not scopes:
            raise InvalidInput("nothing was chosen")
        await self._clients.note_use(await self._clients.find(asked.client_id))
        code = new_authorization_code(user.tenant_id)
        async with self._database.transaction(user.tenant_id) as tx:
            remembered = remembered and can_be_remembered(asked)
            consent_id = await put_consent(tx, user, asked, scopes, self._now(), remembered=remembered)
            await tx.authorization_codes.add(self._code(user, asked, scopes, code, consent_id))
        return self._answer(asked.redirect_uri, asked.state, code=code)

    async def deny(self, user: Principal, asked: AuthorizationRequest) -> str:
        """Where to send the user who does not let the client."""
        async with self._database.transaction(user.tenant_id) as tx:
            await note_denial(tx, user, asked)
        return self._answer(
            asked.redirect_uri,
            asked.state,
            error="access_denied",
            error_description="the user does not allow it",
        )

    async def exchange(self, given: Mapping[str, str]) -> TokenPair:
        """Tokens for a code. Raises `OAuthRefusal`."""
        text = _given(given, "code")
        tenant_id = tenant_of_code(text)
        if tenant_id is None:
            raise _invalid_code()
        code = await self._use(tenant_id, hash_code(text), given)
        await self._clients.known(code.client_id)
        user = await self._login.principal_of_user(tenant_id, code.user_id)
        if user is None:
            raise _invalid_code()
        try:
            pair = await self._sessions.begin(
                user.model_copy(update={"identity_id": code.identity_id}),
                client_id=code.client_id,
                client_name=code.client_name,
                audience=code.audience,
                scopes=code.scopes,
            )
        except Unauthenticated:
            raise _invalid_code() from None
        async with self._database.transaction(tenant_id) as tx:
            kept = await tx.authorization_codes.put_session(code.code_hash, pair.session_id)
            if not kept:  # the code came a second time meanwhile, or the consent was withdrawn
                await tx.sessions.revoke(pair.session_id, self._now())
        if not kept:
            raise _invalid_code()
        return pair

    async def refresh(self, given: Mapping[str, str]) -> TokenPair:
        """Tokens for a refresh token. Raises `OAuthRefusal`."""
        client_id, token = _given(given, "client_id"), _given(given, "refresh_token")
        await self._clients.known(client_id)
        await self._require_audience(token, given.get("resource"))
        scopes = scopes_in(given.get("scope"))
        try:
            return await self._sessions.refresh(token, client_id=client_id, scopes=scopes or None)
        except Unauthenticated as error:
            raise OAuthRefusal("invalid_grant", error.message) from None
        except (Forbidden, InvalidInput) as error:
            raise OAuthRefusal("invalid_scope", error.message) from None

    async def revoke(self, given: Mapping[str, str]) -> None:
        """End the session of a refresh token (RFC 7009); one that is not good changes nothing. Raises `OAuthRefusal`."""
        await self._sessions.end(_given(given, "token"), client_id=_given(given, "client_id"))

    async def _use(self, tenant_id: UUID, hashed: bytes, given: Mapping[str, str]) -> AuthorizationCode:
        """The code, from now on used. A second use ends what the first began, whoever it is that comes now."""
        async with self._database.transaction(tenant_id) as tx:
            code = await tx.authorization_codes.lock(hashed)
            if code is None:
                raise _invalid_code()
            if code.used_at is None:
                self._require_bound(code, given)
                await tx.authorization_codes.note_use(hashed, self._now())
                return code
            await self._end_what_it_began(tx, code)
        raise _invalid_code()

    def _require_bound(self, code: AuthorizationCode, given: Mapping[str, str]) -> None:
        resource = given.get("resource")
        bound = (
            self._now() < code.expires_at
            and code.client_id == given.get("client_id")
            and code.redirect_uri == given.get("redirect_uri", code.redirect_uri)
            and answers_challenge(given.get("code_verifier", ""), code.challenge)
        )
        if not bound:
            raise _invalid_code()
        if resource is not None and self.audiences.of(resource) != code.audience:
            raise OAuthRefusal("invalid_target", "the code was given for another resource")

    async def _end_what_it_began(self, tx: Transaction, code: AuthorizationCode) -> None:
        await tx.authorization_codes.note_second_use(code.code_hash)
        ended = code.session_id is not None and await tx.sessions.revoke(code.session_id, self._now())
        user = await tx.users.credentials(user_id=code.user_id)
        if user is not None:
            target = f"session:{code.session_id}" if ended else f"oauth_client:{code.client_id[:200]}"
            record = deed(user.principal(), "oauth.code_reuse", target, {"client_id": code.client_id})
            await tx.audit.append([replace(record, outcome="denied", error_code="invalid_grant")])

    async def _require_audience(self, refresh_token: str, resource: str | None) -> None:
        token = parse_refresh_token(refresh_token)
        if resource is None or token is None:
            return
        audience = self.audiences.of(resource)
        async with self._database.transaction(token.tenant_id) as tx:
            session = await tx.sessions.find(token.session_id)
        if session is not None and session.audience != audience:
            raise OAuthRefusal("invalid_target", "the session was begun for another resource")

    def _code(
        self, user: Principal, asked: AuthorizationRequest, scopes: tuple[str, ...], code: str, consent: UUID
    ) -> AuthorizationCode:
        return AuthorizationCode(
            code_hash=hash_code(code),
            consent_id=consent,
            user_id=user.id,
            client_id=asked.client_id,
            client_name=asked.client_name,
            redirect_uri=asked.redirect_uri,
            challenge=asked.challenge,
            audience=asked.audience,
            scopes=scopes,
            expires_at=self._now() + CODE_LASTS,
            identity_id=user.identity_id,
        )

    def _answer(self, redirect_uri: str, state: str | None, **said: str) -> str:
        return with_parameters(redirect_uri, {**said, "state": state, "iss": self.issuer})


async def put_consent(
    tx: Transaction,
    user: Principal,
    asked: AuthorizationRequest | DeviceCode,
    scopes: tuple[str, ...],
    now: datetime,
    *,
    remembered: bool = False,
) -> UUID:
    """Write down, in the audit log too, that the user lets the client that asked have these scopes; the consent's id."""
    consent = Consent(
        id=new_id(),
        user_id=user.id,
        client_id=asked.client_id,
        client_name=asked.client_name,
        audience=asked.audience,
        scopes=scopes,
        remembered=remembered,
        created_at=now,
        updated_at=now,
    )
    about = consent.model_dump(mode="json", include={"client_name", "audience", "scopes", "remembered"})
    await tx.audit.append([deed(user, CONSENT, _target(asked), about)])
    return await tx.consents.put(consent)


async def note_denial(tx: Transaction, user: Principal, asked: AuthorizationRequest | DeviceCode) -> None:
    """Write into the audit log that the user does not let the client that asked."""
    record = deed(user, CONSENT, _target(asked))
    await tx.audit.append([replace(record, outcome="denied", error_code="access_denied")])


def _target(asked: AuthorizationRequest | DeviceCode) -> str:
    return f"oauth_client:{asked.client_id[:200]}"


def scopes_in(given: str | None) -> tuple[str, ...]:
    """The scopes that a parameter holds, without those that are asked for by habit. Raises `OAuthRefusal` for what none of ours is."""
    scopes = tuple(dict.fromkeys(scope for scope in (given or "").split(" ") if scope))
    wanted = tuple(scope for scope in scopes if scope not in _HABITUAL)
    if len(wanted) > MAX_SCOPES:
        raise OAuthRefusal("invalid_scope", f"more than {MAX_SCOPES} scopes")
    try:
        require_grants(wanted, "scope")
    except InvalidInput as error:
        raise OAuthRefusal("invalid_scope", error.message) from None
    for scope in wanted:
        if not words_of(scope):
            raise OAuthRefusal("invalid_scope", f"there is nothing that {scope!r} would allow")
    return wanted


def can_be_remembered(asked: AuthorizationRequest) -> bool:
    """Whether the redirect proves who the client is: any program of a machine can claim to be one that redirects to it (RFC 8252 §8.6)."""
    return proves_client(asked.redirect_uri)


def _redirect_of(client: OAuthClient, given: str | None) -> str:
    if given is None and len(client.redirect_uris) == 1:
        return client.redirect_uris[0]
    if given is None or not is_registered(given, client.redirect_uris):
        raise OAuthRefusal(
            "invalid_request", "the redirect address is not one that this client has registered"
        )
    return given


def _given(given: Mapping[str, str], name: str) -> str:
    value = given.get(name)
    if not value:
        raise OAuthRefusal("invalid_request", f"{name} is missing")
    return value


def _invalid_code() -> OAuthRefusal:
    return OAuthRefusal(
        "invalid_grant", "the code is not good: used, expired, or given to another client or redirect address"
    )
