"""Who speaks on a connection: fixed when it opens, asked again on every request; and which tools it wants laid before it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS
from starlette.types import Scope

from devops_mcp.auth.authenticator import Authenticator, Credential
from devops_mcp.models.conversation import Conversation
from devops_mcp.models.errors import Forbidden, Unauthenticated
from devops_mcp.models.principals import Principal
from devops_mcp.observability.caller import set_caller
from devops_mcp.operations.requester import FRONT_DOOR, NOBODY, Requester, View
from devops_mcp.operations.toolsets import EVERYTHING, Toolsets
from devops_mcp.serving.lasting import Lasting

SCOPE_KEY = "devops_mcp.caller"
UNAUTHENTICATED = -32001
"""Our own code, in the range that JSON-RPC leaves to servers."""
TOOLSETS_HEADER = "x-mcp-toolsets"
READ_ONLY_PATH = "/readonly"
READ_ONLY_HEADER = "x-mcp-readonly"
_NOT_READ_ONLY = ("", "0", "false", "no", "off")
"""What of the header's values is no restriction; any other is one, however it is spelt."""
IDEMPOTENCY_META_KEY = "io.devops-mcp/idempotencyKey"
CONTEXT_META_KEY = "io.devops-mcp/contextId"
CONTEXT_HEADER = "x-mcp-context-id"
IDEMPOTENCY_HEADER = "idempotency-key"
_TELLING = frozenset(
    name.encode() for name in (TOOLSETS_HEADER, READ_ONLY_HEADER, CONTEXT_HEADER, IDEMPOTENCY_HEADER)
)
_MAX_KEY = 200
_ASKED_KEY = "devops_mcp.view"
_TOLD_KEY = "devops_mcp.told"


class Caller:
    """A connection's credential. It is looked up anew for each request, so that a revoked key stops working on open connections."""

    def __init__(self, authenticator: Authenticator, headers: Mapping[str, str]) -> None:
        self._authenticator = authenticator
        self._headers = headers
        self.known: Principal | None = None
        """Who it was the last time it was asked."""
        self._before: Principal | None = None
        self._credential: Credential | None = None

    async def principal(self) -> Principal:
        """The caller; raises `Unauthenticated`."""
        self.known = None
        credential = self._credential
        if credential is None:
            credential = self._credential = self._authenticator.credential(self._headers)
        self.known = await self._authenticator.whose(credential)
        self._before = self._before or self.known
        return self.known

    def at_hand(self) -> Principal | None:
        """The caller, where that is remembered; else it has to be asked for."""
        if self._credential is None or (found := self._authenticator.remembered(self._credential)) is None:
            return None
        self.known = found
        return found

    async def renew(self, headers: Mapping[str, str]) -> None:
        """Go on with another credential of the same caller.

        Raises `Unauthenticated` for one that is not valid, `Forbidden` for another caller's; the one before holds then.
        """
        credential = self._authenticator.credential(headers)
        found = await self._authenticator.whose(credential)
        before = self._before
        if before is None or (found.tenant_id, found.id) != (before.tenant_id, before.id):
            raise Forbidden("the credential is another caller's; open a connection with it")
        self._credential, self.known = credential, found

    async def may_less(self) -> bool:
        """Whether the caller has lost a right since this was asked before, and so may hear what it could no longer ask for.

        Raises `Unauthenticated`.
        """
        before, now = self._before, await self.principal()
        self._before = now
        return before is not None and (
            now.limits != before.limits or not set(before.grants) <= set(now.grants)
        )


@dataclass(frozen=True, slots=True)
class Entrance:
    """Whom a transport lets in, and which tools it lays before them: both are noted in the scope, where handlers find them.

    `lasting` is how many connections of one that last there may be.
    """

    authenticator: Authenticator
    toolsets: Toolsets
    lasting: Lasting

    async def admit(self, scope: Scope, credential: Mapping[str, str]) -> Principal:
        """Who comes with these headers; raises `Unauthenticated`."""
        caller = Caller(self.authenticator, credential)
        principal = await caller.principal()
        scope[SCOPE_KEY] = caller
        return principal

    def lay_out(self, scope: Scope) -> None:
        """Note what the address and the headers ask for; raises `InvalidInput` for a toolset that there is not."""
        told = scope[_TOLD_KEY] = _told(scope["headers"])
        wanted = _names(scope.get("path_params", {}).get("systems"), told.get(TOOLSETS_HEADER))
        self.toolsets.require(wanted)
        said = told.get(READ_ONLY_HEADER, "").lower()
        read_only = scope["path"].endswith(READ_ONLY_PATH) or said not in _NOT_READ_ONLY
        scope[_ASKED_KEY] = _view(wanted, read_only)


async def principal_of(ctx: ServerRequestContext[Any, Any]) -> Principal:
    """The principal behind a request, on whichever transport it came; the task at hand answers it from now on."""
    assert ctx.request is not None, "every transport hands on the request it came with"
    caller: Caller = ctx.request.scope[SCOPE_KEY]
    try:
        principal = await caller.principal()
    except Unauthenticated as error:
        raise MCPError(UNAUTHENTICATED, error.message) from None
    set_caller(principal.id)
    return principal


def known_principal(ctx: ServerRequestContext[Any, Any]) -> Principal:
    """The principal as the transport last found it, for what cannot wait."""
    assert ctx.request is not None
    caller: Caller = ctx.request.scope[SCOPE_KEY]
    if caller.known is None:
        raise MCPError(UNAUTHENTICATED, "the credential is not known")
    return caller.known


async def requester_of(
    ctx: ServerRequestContext[Any, Any], conversation: Conversation | None = None
) -> Requester:
    """Who asks, as the operations know it."""
    principal = await principal_of(ctx)
    assert ctx.request is not None
    scope: Scope = ctx.request.scope
    return Requester(
        principal,
        view_of(scope, principal),
        conversation or NOBODY,
        idempotency_key=_idempotency_key(ctx, scope),
        context_id=_context_id(ctx, scope),
    )


def view_of(scope: Scope, principal: Principal) -> View:
    """What the address asks for (`/mcp/x/github,kubernetes`, `/mcp/readonly`), the headers of clients that set them, and the credential.

    The others add to what the address lists and never take a restriction back.
    """
    asked: View = scope[_ASKED_KEY]
    if not principal.toolsets or asked.systems is None:
        return asked
    return _view(asked.systems.union(principal.toolsets), asked.read_only)


def _names(*lists: str | None) -> frozenset[str]:
    """What stands in lists that are divided by commas."""
    return frozenset(name for named in lists if named for part in named.split(",") if (name := part.strip()))


def _view(systems: frozenset[str], read_only: bool) -> View:
    if EVERYTHING in systems:
        return View(systems=None, read_only=read_only)
    return View(systems=systems, read_only=read_only) if systems or read_only else FRONT_DOOR


def has_beside(scope: Scope) -> bool:
    """Whether the headers say something of a call besides its arguments, or ask who answers."""
    told = scope[_TOLD_KEY]
    return IDEMPOTENCY_HEADER in told or CONTEXT_HEADER in told


def _told(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """What the headers say besides who calls; of one that comes twice the first."""
    told: dict[str, str] = {}
    for name, value in headers:
        if name in _TELLING:
            told.setdefault(name.decode(), value.decode("latin-1"))
    return told


def _idempotency_key(ctx: ServerRequestContext[Any, Any], scope: Scope) -> str | None:
    key = (ctx.meta or {}).get(IDEMPOTENCY_META_KEY)
    if key is None and scope["type"] == "http":  # a connection's headers are those of all its calls
        key = scope[_TOLD_KEY].get(IDEMPOTENCY_HEADER)
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= _MAX_KEY and "\0" not in key):
        raise MCPError(INVALID_PARAMS, f"the idempotency key must be a text of 1 to {_MAX_KEY} characters")
    return key


def _context_id(ctx: ServerRequestContext[Any, Any], scope: Scope) -> UUID | None:
    named = (ctx.meta or {}).get(CONTEXT_META_KEY) or scope[_TOLD_KEY].get(CONTEXT_HEADER)
    if named is None:
        return None
    try:
        return UUID(str(named))
    except ValueError:
        raise MCPError(INVALID_PARAMS, "the context id is not a UUID") from None
