"""The first keys and users of an installation, before anybody could ask for one over the API: put in with the schema owner's connection."""

from contextlib import closing
from uuid import UUID

from devops_mcp.adapters.registry import load_adapters
from devops_mcp.auth.api_keys import hash_secret, parse_key
from devops_mcp.auth.passwords import Passwords
from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.base import JsonObject, utc_now
from devops_mcp.models.ids import DEFAULT_TENANT_ID, OPERATOR_TENANT_ID, new_id
from devops_mcp.models.permissions import BuiltInRole, require_useful
from devops_mcp.models.principals import ApiKey, PrincipalKind
from devops_mcp.operations.toolsets import Toolsets
from devops_mcp.operations.users import NewUser, new_user
from devops_mcp.repositories.api_keys import insert_as_owner
from devops_mcp.repositories.sessions import drop_signing_keys_as_owner
from devops_mcp.repositories.users import insert_as_owner as insert_user_as_owner

OWNER_ACTOR = UUID(int=0)
"""Who acts by the schema owner's connection: nobody that we know by an id."""


async def add_key(
    owner_url: str,
    key: str,
    *,
    name: str,
    grants: tuple[str, ...],
    roles: tuple[BuiltInRole, ...] = (),
    kind: PrincipalKind,
    toolsets: tuple[str, ...] = (),
    tenant_id: UUID = DEFAULT_TENANT_ID,
) -> bool:
    """Let `key` do what `roles` and `grants` cover in the tenant; whether it was new. Only its hash is kept.

    Raises `InvalidInput` for a text that is no grant and for a toolset that there is not, `NotFound` for a tenant that does not exist,
    `Unavailable` when the owner gets no connection.
    """
    require_useful(grants)
    if toolsets:
        Toolsets(load_adapters()).require(toolsets)
    parts = parse_key(key)
    if parts is None:
        raise ValueError("the key is not of the form dm_<prefix>_<secret>")
    row = ApiKey(
        id=new_id(),
        tenant_id=tenant_id,
        prefix=parts.prefix,
        secret_hash=hash_secret(parts.secret),
        kind=kind,
        name=name,
        roles=roles,
        grants=grants,
        toolsets=toolsets,
        created_at=utc_now(),
    )
    return await insert_as_owner(owner_url, row, _creation(row))


async def add_user(owner_url: str, draft: NewUser, *, tenant_id: UUID = DEFAULT_TENANT_ID) -> UUID:
    """The id of a new user of the tenant. Raises `Conflict` when it has the name, `NotFound` for a tenant that does not exist."""
    require_useful(draft.grants)
    user = new_user(draft, utc_now())
    hashed = None
    if draft.password is not None:
        with closing(Passwords()) as passwords:
            hashed = await passwords.hash(draft.password)
    about: JsonObject = draft.model_dump(mode="json", include={"username", "email", "roles", "grants"})
    record = _record(tenant_id, "users.create", f"user:{user.id}", {"after": about})
    await insert_user_as_owner(owner_url, tenant_id, user, hashed, record)
    return user.id


async def forget_signing_keys(owner_url: str) -> int:
    """Refuse every access token that was issued so far, where a signing key became known; how many keys there were. Sessions go on."""
    record = _record(OPERATOR_TENANT_ID, "signing_keys.forget", "signing_keys", {})
    return await drop_signing_keys_as_owner(owner_url, record)


def _creation(key: ApiKey) -> AuditRecord:
    about: JsonObject = {
        "name": key.name,
        "kind": key.kind,
        "roles": list(key.roles),
        "grants": list(key.grants),
    }
    return _record(key.tenant_id, "key.create", f"key:{key.prefix}", about)


def _record(tenant_id: UUID, action: str, target: str, about: JsonObject) -> AuditRecord:
    return AuditRecord(
        id=new_id(),
        tenant_id=tenant_id,
        actor_id=OWNER_ACTOR,
        actor="schema owner",
        action=action,
        target=target,
        outcome="ok",
        duration_ms=0.0,
        arguments=about,
        at=utc_now(),
    )


async def ensure_development_key(owner_url: str, key: str) -> bool:
    """Let `key` do everything in the default tenant; whether it was new. For the embedded start only, never for production."""
    return await add_key(owner_url, key, name="development", grants=("*",), kind=PrincipalKind.USER)
