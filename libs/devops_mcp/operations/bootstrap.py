"""What the embedded start puts into a fresh installation."""

from devops_mcp.auth.api_keys import hash_secret, parse_key
from devops_mcp.models.base import utc_now
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import ApiKey, PrincipalKind
from devops_mcp.repositories.api_keys import insert_as_owner


async def ensure_development_key(owner_url: str, key: str) -> bool:
    """Let `key` do everything in the default tenant; whether it was new. For the embedded start only, never for production."""
    parts = parse_key(key)
    if parts is None:
        raise ValueError("the development key is not of the form dm_<prefix>_<secret>")
    return await insert_as_owner(
        owner_url,
        ApiKey(
            id=new_id(),
            tenant_id=DEFAULT_TENANT_ID,
            prefix=parts.prefix,
            secret_hash=hash_secret(parts.secret),
            kind=PrincipalKind.USER,
            name="development",
            grants=("*",),
            created_at=utc_now(),
        ),
    )
