"""The first keys of an installation, before anybody could ask for one over the API: put in with the schema owner's connection."""

from uuid import UUID

from devops_mcp.auth.api_keys import hash_secret, parse_key
from devops_mcp.models.base import utc_now
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import ApiKey, PrincipalKind
from devops_mcp.repositories.api_keys import insert_as_owner


async def add_key(
    owner_url: str,
    key: str,
    *,
    name: str,
    grants: tuple[str, ...],
    kind: PrincipalKind,
    tenant_id: UUID = DEFAULT_TENANT_ID,
) -> bool:
    """Let `key` do what `grants` cover in the tenant; whether it was new. Only its hash is kept."""
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
        grants=grants,
        created_at=utc_now(),
    )
    return await insert_as_owner(owner_url, row)


async def ensure_development_key(owner_url: str, key: str) -> bool:
    """Let `key` do everything in the default tenant; whether it was new. For the embedded start only, never for production."""
    return await add_key(owner_url, key, name="development", grants=("*",), kind=PrincipalKind.USER)
