"""API keys of a tenant: made, listed, changed, rotated and revoked; a secret is shown once."""

from datetime import datetime, timedelta
from typing import Annotated, TypeAlias
from uuid import UUID

from pydantic import Field

from devops_mcp.auth.api_keys import generate_key, hash_secret, parse_key, with_new_secret
from devops_mcp.models.accounts import ApiKeysWanted, Grants, RoleNames
from devops_mcp.models.base import Clock, JsonObject, Model, Moment, utc_now
from devops_mcp.models.errors import Conflict, InvalidInput, NotFound, Violation
from devops_mcp.models.ids import new_id
from devops_mcp.models.pages import NEWEST, Order, Page
from devops_mcp.models.principals import ApiKey, Principal, PrincipalKind
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed, denial
from devops_mcp.operations.handing_on import as_of_now, permitted_now, require_held, require_known, resolved
from devops_mcp.operations.toolsets import Toolsets
from devops_mcp.repositories.database import Database

EVERY = ApiKeysWanted()
READ = "api_keys:read"
WRITE = "api_keys:write"
OWN = "api_keys:own"


Toolset: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]


class ApiKeyDraft(Model):
    """A key as whoever manages it says it is. `toolsets` are the systems whose tools its MCP connections list at once, or `all`."""

    name: str = Field(min_length=1, max_length=200)
    roles: RoleNames = ()
    grants: Grants = ()
    toolsets: tuple[Toolset, ...] = Field(default=(), max_length=20)
    expires_at: Moment | None = None


class NewApiKey(ApiKeyDraft):
    """`personal` makes it the caller's own: it acts for that user, never does more than the user may, and ends with the user."""

    kind: PrincipalKind = PrincipalKind.SERVICE
    personal: bool = False


class ApiKeyView(Model):
    """A key without its secret; `prefix` is how the key begins."""

    id: UUID
    prefix: str
    name: str
    kind: PrincipalKind
    roles: tuple[str, ...]
    grants: tuple[str, ...]
    toolsets: tuple[str, ...]
    user_id: UUID | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class ApiKeyWithSecret(ApiKeyView):
    """`key` is what to send; it is shown this once."""

    key: str = Field(repr=False)


class ApiKeyService:
    """Who makes, changes or rotates a key must hold all that it may; whose it is, or who manages keys, may revoke it."""

    def __init__(self, database: Database, toolsets: Toolsets, *, now: Clock = utc_now) -> None:
        self._database = database
        self._toolsets = toolsets
        self._now = now

    async def page(
        self, principal: Principal, *, limit: int, order: Order = NEWEST, wanted: ApiKeysWanted = EVERY
    ) -> Page[ApiKeyView]:
        """Those too that are good no more; who may not read all sees their own."""
        everybodys = principal.may(READ)
        if not everybodys:
            require(principal, OWN)
        user_id = None if everybodys else principal.user_id or principal.id
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.api_keys.page(user_id, wanted, order, limit + 1)
        return order.page([_view(key) for key in found], limit)

    async def get(self, principal: Principal, key_id: UUID) -> ApiKeyView:
        """Raises `NotFound`, also for another's where the principal sees only its own."""
        async with self._database.transaction(principal.tenant_id) as tx:
            key = await tx.api_keys.find(key_id)
        if key is None or not (principal.may(READ) or self._is_own(principal, key)):
            require(principal, OWN)
            raise _absent(key_id)
        return _view(key)

    async def create(self, principal: Principal, draft: NewApiKey) -> ApiKeyWithSecret:
        """Raises `Forbidden` for more than one's own rights, `InvalidInput` for a toolset that there is not."""
        key_id = new_id()
        permission = OWN if draft.personal else WRITE
        principal = await permitted_now(self._database, principal, permission, _target(key_id))
        if draft.personal and principal.user_id is None:
            problem = "only a user has keys of its own"
            raise InvalidInput(f"personal: {problem}", (Violation("personal", problem),))
        self._require_future(draft)
        self._toolsets.require(draft.toolsets)
        text = generate_key()
        key = self._new(principal, key_id, text, draft)
        await self._require_held(principal, "api_keys.create", key)
        async with self._database.transaction(principal.tenant_id) as tx:
            await require_known(tx, key.roles, key.grants)
            if not await tx.api_keys.add(key):
                raise Conflict("the tenant has a key of the same prefix; try again")
            await tx.audit.append(
                [deed(principal, "api_keys.create", _target(key_id), {"after": _about(key)})]
            )
        return _shown(key, text)

    async def replace(self, principal: Principal, key_id: UUID, draft: ApiKeyDraft) -> ApiKeyView:
        """Say anew how a key is called and what it may; its secret stays. A toolset that it had may have gone since, with its adapter.

        Raises as `create` does, `NotFound`, and `Conflict` for one that is revoked.
        """
        principal = await as_of_now(self._database, principal)
        before = await self._for_change(principal, key_id)
        after = before.model_copy(update=dict(draft))
        if after.expires_at != before.expires_at:
            self._require_future(draft)
        self._toolsets.require(set(after.toolsets) - set(before.toolsets))
        for key in (before, after):
            await self._require_held(principal, "api_keys.update", key)
        async with self._database.transaction(principal.tenant_id) as tx:
            _require_good(now := _existing(await tx.api_keys.find(key_id), key_id))
            if (now.roles, now.grants) != (before.roles, before.grants):
                raise Conflict(
                    f"API key {key_id} was just changed by somebody else; look again", retry_after_s=1
                )
            await require_known(tx, after.roles, after.grants)
            await tx.api_keys.replace(after)
            changed: JsonObject = {"before": _about(now), "after": _about(after)}
            await tx.audit.append([deed(principal, "api_keys.update", _target(key_id), changed)])
        return _view(after)

    async def rotate(self, principal: Principal, key_id: UUID, grace: timedelta) -> ApiKeyWithSecret:
        """The same key with a new secret; the one before stays good for `grace`. Raises `NotFound`, `Conflict` for one that is revoked."""
        principal = await as_of_now(self._database, principal)
        key = await self._for_change(principal, key_id)
        await self._require_held(principal, "api_keys.rotate", key)
        async with self._database.transaction(principal.tenant_id) as tx:
            _require_good(key := _existing(await tx.api_keys.find(key_id), key_id))
            text, hashed = with_new_secret(key.prefix)
            rotated = key.model_copy(
                update={
                    "secret_hash": hashed,
                    "previous_hash": key.secret_hash if grace else None,
                    "previous_until": self._now() + grace if grace else None,
                }
            )
            await tx.api_keys.put_secret(rotated)
            about: JsonObject = {"prefix": key.prefix, "grace_s": grace.total_seconds()}
            await tx.audit.append([deed(principal, "api_keys.rotate", _target(key_id), about)])
        return _shown(rotated, text)

    async def revoke(self, principal: Principal, key_id: UUID) -> None:
        """It stops within seconds, on open connections too. Raises `NotFound`; once more changes nothing."""
        principal = await as_of_now(self._database, principal)
        await self._for_change(principal, key_id)
        async with self._database.transaction(principal.tenant_id) as tx:
            key = _existing(await tx.api_keys.find(key_id), key_id)
            if key.revoked_at is None:
                await tx.api_keys.revoke(key_id, self._now())
                await tx.audit.append(
                    [deed(principal, "api_keys.revoke", _target(key_id), {"before": _about(key)})]
                )

    async def _for_change(self, principal: Principal, key_id: UUID) -> ApiKey:
        """The key, if the principal manages keys or it is its own; another's is not told apart from one that there is not."""
        async with self._database.transaction(principal.tenant_id) as tx:
            key = await tx.api_keys.find(key_id)
        if principal.may(WRITE):
            return _existing(key, key_id)
        if not principal.may(OWN):
            raise await denial(
                self._database,
                principal,
                "api_keys.write",
                _target(key_id),
                f"lacks the permission {WRITE!r}",
            )
        if key is None or not self._is_own(principal, key):
            raise _absent(key_id)
        return key

    def _require_future(self, draft: ApiKeyDraft) -> None:
        if draft.expires_at is not None and draft.expires_at <= self._now():
            raise InvalidInput("expires_at: is past", (Violation("expires_at", "is past"),))

    @staticmethod
    def _is_own(principal: Principal, key: ApiKey) -> bool:
        return principal.may(OWN) and key.user_id is not None and key.user_id == principal.user_id

    async def _require_held(self, principal: Principal, action: str, key: ApiKey) -> None:
        async with self._database.transaction(principal.tenant_id) as tx:
            grants = await resolved(tx, key.roles, key.grants)
        await require_held(self._database, principal, grants, action, _target(key.id))

    def _new(self, principal: Principal, key_id: UUID, text: str, draft: NewApiKey) -> ApiKey:
        parts = parse_key(text)
        assert parts is not None, "we just made it"
        return ApiKey(
            id=key_id,
            tenant_id=principal.tenant_id,
            prefix=parts.prefix,
            secret_hash=hash_secret(parts.secret),
            kind=draft.kind,
            name=draft.name,
            roles=draft.roles,
            grants=draft.grants,
            toolsets=draft.toolsets,
            user_id=principal.user_id if draft.personal else None,
            created_at=self._now(),
            expires_at=draft.expires_at,
        )


def _require_good(key: ApiKey) -> None:
    if key.revoked_at is not None:
        raise Conflict(f"API key {key.id} is revoked; make a new one")


def _view(key: ApiKey) -> ApiKeyView:
    return ApiKeyView(**key.model_dump(include=set(ApiKeyView.model_fields)))


def _shown(key: ApiKey, text: str) -> ApiKeyWithSecret:
    return ApiKeyWithSecret(**_view(key).model_dump(), key=text)


def _about(key: ApiKey) -> JsonObject:
    about: JsonObject = key.model_dump(
        mode="json",
        include={"prefix", "name", "kind", "roles", "grants", "toolsets", "user_id", "expires_at"},
    )
    return about


def _target(key_id: UUID) -> str:
    return f"api_key:{key_id}"


def _existing(key: ApiKey | None, key_id: UUID) -> ApiKey:
    if key is None:
        raise _absent(key_id)
    return key


def _absent(key_id: UUID) -> NotFound:
    return NotFound(f"there is no API key {key_id}")
