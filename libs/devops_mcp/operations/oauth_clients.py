"""Which programs may ask people to act for them, and what they say of themselves.

A program makes itself known by registering (RFC 7591) or by a document of its own at the address that is its id (client metadata
documents). Either way it is a public client: what it proves is PKCE and where its codes are sent.
"""

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import structlog
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from devops_mcp.auth.redirects import require_redirect_uri
from devops_mcp.models.accounts import TenantsWanted
from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.errors import (
    MalformedInput,
    NotFound,
    OAuthRefusal,
    UpstreamError,
    UpstreamRejected,
    UpstreamUnavailable,
)
from devops_mcp.models.ids import OPERATOR_TENANT_ID, new_id
from devops_mcp.models.oauth import CLI_CLIENT, ClientSource, OAuthClient
from devops_mcp.models.pages import Order, Page
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.models.violations import refused
from devops_mcp.observability.caller import current_address
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed, permit
from devops_mcp.operations.ttl_cache import TtlCache
from devops_mcp.outbound.documents import Document, DocumentReader
from devops_mcp.repositories.database import Database
from devops_mcp.serving.strict_json import loads

log = structlog.get_logger()

READ = "platform:read"
WRITE = "platform:write"
CODE_GRANT = "authorization_code"
GRANT_TYPES = (CODE_GRANT, "refresh_token", "urn:ietf:params:oauth:grant-type:device_code")
MAX_REDIRECTS = 20
SHORTEST_KEPT_S, KEPT_S, LONGEST_KEPT_S = 60, 600, 86_400
"""Of a document: at least, where its owner says nothing, at most."""
_TENANTS = 100
_DOTS = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)


class ClientMetadata(BaseModel):
    """What a client says of itself (RFC 7591 §2), as far as we heed it; the rest is left aside."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    redirect_uris: list[str] = Field(default_factory=list, max_length=MAX_REDIRECTS)
    client_name: str = Field(default="", max_length=200)
    client_uri: str | None = Field(default=None, max_length=2_000)
    grant_types: list[str] = Field(default_factory=lambda: [CODE_GRANT], max_length=20)
    response_types: list[str] | None = Field(default=None, max_length=20)


class ClientDocument(ClientMetadata):
    client_id: str
    redirect_uris: list[str] = Field(min_length=1, max_length=MAX_REDIRECTS)
    client_secret: JsonValue = None


class OAuthClientService:
    """Clients are the platform's, not a tenant's: only who runs the platform lists and revokes them."""

    def __init__(
        self,
        database: Database,
        documents: DocumentReader,
        *,
        now: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._documents = documents
        self._now = now
        self._kept: TtlCache[OAuthClient] = TtlCache(monotonic=monotonic, max_entries=1_000)

    async def register(self, given: Mapping[str, Any]) -> tuple[OAuthClient, tuple[str, ...]]:
        """A new client, and the grant types that it may use. Raises `OAuthRefusal`."""
        said = _validated(ClientMetadata, given, "invalid_client_metadata")
        _require_usable(said)
        client = OAuthClient(
            id=str(new_id()),
            source=ClientSource.REGISTERED,
            name=_name(said.client_name) or "a program without a name",
            uri=_page(said.client_uri),
            redirect_uris=tuple(said.redirect_uris),
            created_at=self._now(),
        )
        async with self._database.transaction(OPERATOR_TENANT_ID) as tx:
            await tx.oauth_clients.put(client, current_address())
            about: JsonObject = {"name": client.name, "redirect_uris": list(client.redirect_uris)}
            await tx.audit.append([deed(_STRANGER, "oauth_clients.register", _target(client.id), about)])
        return client, tuple(name for name in GRANT_TYPES if name in said.grant_types)

    async def find(self, client_id: str) -> OAuthClient:
        """The client as it is now. Raises `OAuthRefusal` for one that there is not, was revoked, or whose document cannot be had."""
        known = await self.known(client_id)
        if not client_id.startswith("https://"):
            if known is None:
                raise _unknown()
            return known
        kept = self._kept.get(client_id)
        return kept if kept is not None else await self._from_document(client_id)

    async def known(self, client_id: str) -> OAuthClient | None:
        """The client as it is written down, without looking for its document. Raises `OAuthRefusal` for one that was revoked."""
        if client_id == CLI_CLIENT:
            return _COMMAND_LINE
        async with self._database.transaction(OPERATOR_TENANT_ID) as tx:
            client = await tx.oauth_clients.find(client_id[:2_000])
        if client is not None and client.revoked_at is not None:
            raise OAuthRefusal("invalid_client", "this client was revoked by who runs the platform")
        return client

    async def note_use(self, client: OAuthClient) -> None:
        """Write down that somebody has let it act."""
        if client.source is ClientSource.BUILT_IN:
            return
        async with self._database.transaction(OPERATOR_TENANT_ID) as tx:
            if client.source is ClientSource.DOCUMENT:
                await tx.oauth_clients.put(client, None)
            await tx.oauth_clients.note_use(client.id, self._now())

    async def page(
        self, principal: Principal, *, newest_first: bool, cursor: str | None, limit: int
    ) -> Page[OAuthClient]:
        """Clients that registered or were let act. Their ids may be addresses, so that the cursor says when the last was made, too."""
        require(principal, READ)
        made, _, client_id = (cursor or "").partition(" ")
        after = (datetime.fromisoformat(made), client_id) if cursor else None
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.oauth_clients.page(after, limit + 1, newest_first=newest_first)
        last = found[limit - 1] if len(found) > limit else None
        more = last and f"{last.created_at.isoformat()} {last.id}"
        return Page(items=tuple(found[:limit]), next_cursor=more)

    async def revoke(self, principal: Principal, client_id: str) -> None:
        """It may ask nobody any more, and its sessions in all tenants end. Raises `NotFound`; once more ends what was left."""
        await permit(self._database, principal, WRITE, _target(client_id))
        async with self._database.transaction(principal.tenant_id) as tx:
            if await tx.oauth_clients.find(client_id) is None:
                raise NotFound(f"there is no client {client_id[:200]!r}")
            if await tx.oauth_clients.revoke(client_id, self._now()):
                await tx.audit.append([deed(principal, "oauth_clients.revoke", _target(client_id))])
        await self._end_sessions(principal, client_id)

    async def _end_sessions(self, principal: Principal, client_id: str) -> None:
        order = Order(descending=False)
        while True:
            async with self._database.transaction(principal.tenant_id) as tx:
                tenants = await tx.tenants.page_of_all(TenantsWanted(), order, _TENANTS)
            for tenant in tenants:
                async with self._database.transaction(tenant.id) as tx:
                    await tx.consents.withdraw_client(client_id, self._now())
            if len(tenants) < _TENANTS:
                return
            order = Order(descending=False, after_id=tenants[-1].id)

    async def _from_document(self, client_id: str) -> OAuthClient:
        _require_document_address(client_id)
        try:
            document = await self._documents.read(client_id)
            said = _validated(ClientDocument, loads(document.body), "invalid_client")
        except (UpstreamUnavailable, UpstreamRejected) as error:
            # Why not would tell whoever names an address about the network that we are in.
            log.info("client document not read", client_id=client_id[:200], reason=error.message)
            raise OAuthRefusal("invalid_client", "the client's document cannot be read from here") from None
        except (UpstreamError, MalformedInput) as error:
            raise OAuthRefusal("invalid_client", f"the client's document: {error.message}") from None
        client = self._described(client_id, said)
        self._kept.put(client_id, client, _kept_for(document))
        return client

    def _described(self, client_id: str, said: ClientDocument) -> OAuthClient:
        if said.client_id != client_id:
            raise OAuthRefusal("invalid_client", "the client's document names another client_id")
        if said.client_secret is not None:
            raise OAuthRefusal("invalid_client", "the client's document holds a secret, which is none")
        _require_usable(said)
        host = urlsplit(client_id).netloc
        return OAuthClient(
            id=client_id,
            source=ClientSource.DOCUMENT,
            name=_name(said.client_name) or host,
            uri=_page(said.client_uri),
            redirect_uris=tuple(said.redirect_uris),
            created_at=self._now(),
        )


_COMMAND_LINE = OAuthClient(
    id=CLI_CLIENT,
    source=ClientSource.BUILT_IN,
    name="the command line of DevOps MCP",
    redirect_uris=(),
    created_at=datetime(2026, 11, 21, tzinfo=UTC),
)
_STRANGER = Principal(
    id=OPERATOR_TENANT_ID, tenant_id=OPERATOR_TENANT_ID, kind=PrincipalKind.SERVICE, name="unknown", grants=()
)


def _require_usable(said: ClientMetadata) -> None:
    if CODE_GRANT in said.grant_types and not said.redirect_uris:
        raise OAuthRefusal("invalid_redirect_uri", "redirect_uris is missing")
    if not set(said.grant_types) & set(GRANT_TYPES):
        raise OAuthRefusal(
            "invalid_client_metadata", f"grant_types has none of these: {', '.join(GRANT_TYPES)}"
        )
    if CODE_GRANT in said.grant_types and "code" not in (said.response_types or ["code"]):
        raise OAuthRefusal("invalid_client_metadata", "response_types must hold 'code'")
    for uri in said.redirect_uris:
        require_redirect_uri(uri)


def _require_document_address(client_id: str) -> None:
    """The rules for an address that is an id: nothing that two readers could take for different places."""
    try:
        parts = urlsplit(client_id)
        _ = parts.port
    except ValueError:
        raise _unknown() from None
    plain = client_id.isascii() and client_id.isprintable() and " " not in client_id
    if not plain or len(client_id) > 2_000 or not parts.hostname or parts.path in ("", "/"):
        raise _unknown()
    if "#" in client_id or parts.username is not None or _DOTS.search(parts.path):
        raise _unknown()


def _validated(model: type[Any], given: Any, error: str) -> Any:
    if not isinstance(given, Mapping):
        raise OAuthRefusal(error, "the metadata must be a JSON object")
    try:
        return model.model_validate(given)
    except ValidationError as faults:
        raise OAuthRefusal(error, refused(faults, most=1).message) from None


def _kept_for(document: Document) -> float:
    if document.max_age_s is None:
        return KEPT_S
    return min(max(document.max_age_s, SHORTEST_KEPT_S), LONGEST_KEPT_S)


def _name(said: str) -> str:
    """The name in printable characters: nothing that turns the text around or hides in it."""
    return " ".join("".join(c if c.isprintable() else " " for c in said).split())


def _page(uri: str | None) -> str | None:
    return uri if uri is not None and uri.startswith("https://") and uri.isprintable() else None


def _unknown() -> OAuthRefusal:
    return OAuthRefusal("invalid_client", "this client is not known here; let it register anew")


def _target(client_id: str) -> str:
    return f"oauth_client:{client_id[:200]}"
