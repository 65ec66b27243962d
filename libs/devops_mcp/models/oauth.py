"""Programs that act for people: what they say of themselves, what they ask for, and what they were let do."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import Model
from devops_mcp.models.permissions import PERMISSIONS, covers

CLI_CLIENT = "devops-mcp-cli"
"""The command line, which every installation knows."""
READING = (
    "contexts:read",
    "events:read",
    "prompts:read:*",
    "resources:read:*",
    "search:read",
    "tools:read:*",
)
CHANGING = ("tools:write:*", "tools:destructive:*")
DEFAULT_SCOPES = (*READING, "contexts:write", *CHANGING)
"""What a client is thought to want that does not say it: the work of agents, and nothing of running the platform."""
ON_DEMAND = frozenset({"tools:destructive:*", "*"})
"""Scopes that are not chosen by themselves on the page which asks, unless the client named them."""
_TOOL_CALL = "tools:call:"


class ClientSource(StrEnum):
    """How a client made itself known: over registration (RFC 7591), or by the document at its id; `built_in` is the command line."""

    REGISTERED = "registered"
    DOCUMENT = "document"
    BUILT_IN = "built_in"


class OAuthClient(Model):
    """A public client. `id` is what it sends as `client_id`; `uri` is a page about it, as it says itself."""

    id: str
    source: ClientSource
    name: str
    uri: str | None = None
    redirect_uris: tuple[str, ...]
    created_at: datetime
    used_at: datetime | None = None
    revoked_at: datetime | None = None


class AuthorizationRequest(Model):
    """A request of the authorization endpoint that was found good."""

    client_id: str
    client_name: str
    redirect_uri: str
    state: str | None
    scopes: tuple[str, ...]
    scopes_named: bool
    """The client said them; else they are what it is thought to want."""
    audience: str
    challenge: str

    @property
    def offered(self) -> tuple[str, ...]:
        """What the user may let it do beyond what it asked for, if it works with tools: there are clients that never ask for more."""
        if not any(scope.startswith("tools:") for scope in self.scopes):
            return ()
        return tuple(scope for scope in CHANGING if not covers(self.scopes, scope))


class Consent(Model):
    """What a user lets a client do with one service (`audience`). `remembered`: the client is not asked about again for as much."""

    id: UUID
    user_id: UUID
    client_id: str
    client_name: str
    audience: str
    scopes: tuple[str, ...]
    remembered: bool
    created_at: datetime
    updated_at: datetime


class AuthorizationCode(Model):
    """A code's row: what it is bound to, and what became of it."""

    code_hash: bytes = Field(repr=False)
    consent_id: UUID
    user_id: UUID
    client_id: str
    client_name: str
    redirect_uri: str
    challenge: str
    audience: str
    scopes: tuple[str, ...]
    expires_at: datetime
    identity_id: UUID | None = None
    used_at: datetime | None = None
    session_id: UUID | None = None


class DeviceState(StrEnum):
    PENDING = "pending"
    ALLOWED = "allowed"
    DENIED = "denied"


class DeviceCode(Model):
    """A device that waits for a user's word. It may ask every `interval_s` seconds; `address` is where it asked from first."""

    code_hash: bytes = Field(repr=False)
    user_code_hash: bytes = Field(repr=False)
    client_id: str
    client_name: str
    audience: str
    scopes: tuple[str, ...]
    address: str | None
    created_at: datetime
    expires_at: datetime
    interval_s: int
    polled_at: datetime | None = None
    state: DeviceState = DeviceState.PENDING
    user_tenant_id: UUID | None = None
    user_id: UUID | None = None
    identity_id: UUID | None = None


def words_of(scope: str) -> tuple[str, ...]:
    """What a scope allows, in the words of the table of permissions; empty for one that allows nothing that there is."""
    if scope == "*":
        return ("everything that you may do, managing users and keys too",)
    if scope.startswith(_TOOL_CALL):
        return (f"call tools, whatever they do{_named(scope.removeprefix(_TOOL_CALL))}",)
    whole = [permission.about for permission in PERMISSIONS if covers((scope,), permission.grant)]
    part = [
        f"{permission.about}{_named(scope[len(permission.grant) - 1 :])}"
        for permission in PERMISSIONS
        if permission.grant != scope and covers((permission.grant,), scope)
    ]
    return tuple(whole or part)


def narrower(scopes: Sequence[str], chosen: Sequence[str]) -> tuple[str, ...]:
    """Those of `scopes` that were chosen, in their order."""
    return tuple(scope for scope in scopes if scope in chosen)


def _named(names: str) -> str:
    return "" if names == "*" else f": {names}"
