"""API keys."""

from datetime import timedelta
from typing import Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from devops_mcp.models.accounts import ApiKeysWanted
from devops_mcp.models.base import Model
from devops_mcp.models.pages import Page
from devops_mcp.operations.api_keys import ApiKeyDraft, ApiKeyView, ApiKeyWithSecret, NewApiKey
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody, NoParams, Nothing
from rest_api.listing import Listing

TAG = "API keys"


class OneApiKey(Model):
    key_id: UUID


ApiKeySort: TypeAlias = Literal["-created_at", "created_at", "-name", "name"]


class ApiKeyPage(ApiKeysWanted, Listing[ApiKeySort]):
    """A page of keys. `cursor` is `next_cursor` of the page before."""

    sort: ApiKeySort = "-created_at"


class KeyRotation(Body):
    """How long the secret before stays good besides the new one; 0 where it has become known to others."""

    grace_minutes: int = Field(default=0, ge=0, le=7 * 24 * 60)


async def create_api_key(call: Call[NoParams, NewApiKey]) -> ApiKeyWithSecret:
    """Create a key with roles and grants that the caller holds as well; it is shown this once."""
    return await call.platform.accounts.api_keys.create(call.principal, call.body)


async def list_api_keys(call: Call[ApiKeyPage, NoBody]) -> Page[ApiKeyView]:
    """List the tenant's keys, newest first unless `sort` says otherwise; who may not read all sees their own.

    Those too that are good no more, unless `in_force` says otherwise.
    """
    keys, params = call.platform.accounts.api_keys, call.params
    return await keys.page(
        call.principal, limit=params.limit, order=params.order, wanted=params.part(ApiKeysWanted)
    )


async def get_api_key(call: Call[OneApiKey, NoBody]) -> ApiKeyView:
    """Get one key, without its secret."""
    return await call.platform.accounts.api_keys.get(call.principal, call.params.key_id)


async def replace_api_key(call: Call[OneApiKey, ApiKeyDraft]) -> ApiKeyView:
    """Say anew how a key is called, what it may and until when, within seconds and on open connections too; its secret stays.

    The caller must hold all that the key may, before and after.
    """
    return await call.platform.accounts.api_keys.replace(call.principal, call.params.key_id, call.body)


async def rotate_api_key(call: Call[OneApiKey, KeyRotation]) -> ApiKeyWithSecret:
    """Give a key a new secret, shown this once; it stays the same key, with what it has and made."""
    grace = timedelta(minutes=call.body.grace_minutes)
    return await call.platform.accounts.api_keys.rotate(call.principal, call.params.key_id, grace)


async def revoke_api_key(call: Call[OneApiKey, NoBody]) -> Nothing:
    """Revoke a key; it stops within seconds, on open connections too, and stays in the list."""
    await call.platform.accounts.api_keys.revoke(call.principal, call.params.key_id)
    return Nothing()


_ALL = "/api/v1/api-keys"
_ONE = f"{_ALL}/{{key_id}}"
API_KEYS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        "POST",
        _ALL,
        TAG,
        create_api_key,
        ApiKeyWithSecret,
        body=NewApiKey,
        status=201,
        errors=(409,),
        secret=True,
    ),
    Endpoint("GET", _ALL, TAG, list_api_keys, Page[ApiKeyView], params=ApiKeyPage),
    Endpoint("GET", _ONE, TAG, get_api_key, ApiKeyView, params=OneApiKey, errors=(404,)),
    Endpoint(
        "PUT",
        _ONE,
        TAG,
        replace_api_key,
        ApiKeyView,
        params=OneApiKey,
        body=ApiKeyDraft,
        errors=(404, 409),
        lock=lambda tx, params: tx.api_keys.find(params.key_id),
    ),
    Endpoint(
        "POST",
        f"{_ONE}/rotate",
        TAG,
        rotate_api_key,
        ApiKeyWithSecret,
        params=OneApiKey,
        body=KeyRotation,
        secret=True,
        errors=(404, 409),
    ),
    Endpoint("DELETE", _ONE, TAG, revoke_api_key, Nothing, params=OneApiKey, status=204, errors=(404,)),
)
