"""What users let programs do, and the programs that ask."""

from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import Model
from devops_mcp.models.oauth import Consent, OAuthClient
from devops_mcp.models.pages import Page
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody, NoParams, Nothing
from rest_api.listing import ByAge

TAG = "OAuth"


class ConsentPage(ByAge):
    """A page of consents, newest first. `cursor` is `next_cursor` of the page before."""


class OneConsent(Model):
    consent_id: UUID


class ClientPage(ByAge):
    """A page of clients, newest first. `cursor` is `next_cursor` of the page before."""


class OneClient(Body):
    """The id may be an address, and so stands in the body."""

    client_id: str = Field(min_length=1, max_length=2_000)


async def list_consents(call: Call[ConsentPage, NoBody]) -> Page[Consent]:
    """List what users let programs do, newest first unless `sort` says otherwise; who may not read all sees their own."""
    consents, params = call.platform.authorization.consents, call.params
    return await consents.page(call.principal, order=params.order, limit=params.limit)


async def get_consent(call: Call[OneConsent, NoBody]) -> Consent:
    """Get one consent."""
    return await call.platform.authorization.consents.get(call.principal, call.params.consent_id)


async def withdraw_consent(call: Call[OneConsent, NoBody]) -> Nothing:
    """Withdraw what a program may do; its sessions end within seconds, and it has to ask again."""
    await call.platform.authorization.consents.withdraw(call.principal, call.params.consent_id)
    return Nothing()


async def list_oauth_clients(call: Call[ClientPage, NoBody]) -> Page[OAuthClient]:
    """List the programs that registered, or that somebody let act for them, newest first unless `sort` says otherwise.

    Those that were revoked are among them.
    """
    clients, params = call.platform.authorization.clients, call.params
    newest_first = params.sort.startswith("-")
    return await clients.page(
        call.principal, newest_first=newest_first, cursor=params.cursor, limit=params.limit
    )


async def revoke_oauth_client(call: Call[NoParams, OneClient]) -> Nothing:
    """Revoke a program in all tenants; its sessions end within seconds, and it can ask nobody any more."""
    await call.platform.authorization.clients.revoke(call.principal, call.body.client_id)
    return Nothing()


_CONSENTS, _CLIENTS = "/api/v1/oauth/consents", "/api/v1/oauth/clients"
_CONSENT = f"{_CONSENTS}/{{consent_id}}"
OAUTH: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", _CONSENTS, TAG, list_consents, Page[Consent], params=ConsentPage),
    Endpoint("GET", _CONSENT, TAG, get_consent, Consent, params=OneConsent, errors=(404,)),
    Endpoint(
        "DELETE", _CONSENT, TAG, withdraw_consent, Nothing, params=OneConsent, status=204, errors=(404,)
    ),
    Endpoint("GET", _CLIENTS, TAG, list_oauth_clients, Page[OAuthClient], params=ClientPage),
    Endpoint(
        "POST",
        f"{_CLIENTS}/revoke",
        TAG,
        revoke_oauth_client,
        Nothing,
        body=OneClient,
        status=204,
        errors=(404,),
    ),
)
