"""Integrations: the systems of a tenant, and what a person has stored for them."""

from datetime import timedelta
from typing import Literal, TypeAlias

from pydantic import Field

from devops_mcp.models.base import Model
from devops_mcp.models.integrations import (
    Credentials,
    IntegrationDraft,
    IntegrationName,
    IntegrationsWanted,
    NewIntegration,
    WebhookSecret,
)
from devops_mcp.models.pages import Page
from devops_mcp.operations.integration_views import (
    AddedWebhookSecret,
    ConnectionTest,
    IntegrationSystem,
    IntegrationView,
)
from devops_mcp.operations.personal_credentials import OwnCredential
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody, NoParams, Nothing
from rest_api.listing import Listing, page_of

TAG = "integrations"


class OneIntegration(Model):
    integration: IntegrationName


IntegrationSort: TypeAlias = Literal["name", "-name", "system", "-system"]


class IntegrationPage(IntegrationsWanted, Listing[IntegrationSort]):
    """A page of integrations. `cursor` is `next_cursor` of the page before."""

    sort: IntegrationSort = "name"


class NewWebhookSecret(Body):
    """The secret that the sender signs with; null: one is made, and shown this once. Those before are accepted for `overlap_hours` yet."""

    secret: WebhookSecret | None = None
    overlap_hours: int = Field(default=24, ge=0, le=168)


class OwnCredentials(Body):
    """The system's credentials of the caller's own, as its `credentials_schema` describes them. They are never shown."""

    credentials: Credentials = Field(json_schema_extra={"writeOnly": True})


async def list_integration_systems(call: Call[NoParams, NoBody]) -> Page[IntegrationSystem]:
    """List the systems that there can be integrations of, with the JSON Schemas of what each is told."""
    return Page(items=call.platform.own_integrations.systems())


async def create_integration(call: Call[NoParams, NewIntegration]) -> IntegrationView:
    """Create an integration; its tools are there within seconds, for agents too.

    Its credentials are encrypted and never shown. Addresses in its options must be public, or in a network that the operator has opened.
    """
    return await call.platform.own_integrations.create(call.principal, call.body)


async def list_integrations(call: Call[IntegrationPage, NoBody]) -> Page[IntegrationView]:
    """List the integrations that the caller may see by name, those of the operator's configuration among them."""
    integrations, params = call.platform.own_integrations, call.params
    return page_of(await integrations.all(call.principal, params.part(IntegrationsWanted)), params)


async def get_integration(call: Call[OneIntegration, NoBody]) -> IntegrationView:
    """Get one integration."""
    return await call.platform.own_integrations.get(call.principal, call.params.integration)


async def replace_integration(call: Call[OneIntegration, IntegrationDraft]) -> IntegrationView:
    """Say anew how an integration is configured; credentials and webhook secrets that are left out stay as they are.

    Where an address changes, its credentials must be given again, and those that people have stored for it are forgotten.
    """
    return await call.platform.own_integrations.replace(call.principal, call.params.integration, call.body)


async def delete_integration(call: Call[OneIntegration, NoBody]) -> Nothing:
    """Delete an integration with all credentials for it; its tools are gone within seconds."""
    await call.platform.own_integrations.delete(call.principal, call.params.integration)
    return Nothing()


async def test_integration(call: Call[OneIntegration, NoBody]) -> ConnectionTest:
    """Test whether the system answers, as whom calls of the caller are made."""
    return await call.platform.own_integrations.test(call.principal, call.params.integration)


async def add_integration_webhook_secret(call: Call[OneIntegration, NewWebhookSecret]) -> AddedWebhookSecret:
    """Add a secret that deliveries are signed with; those before are accepted for a while yet."""
    overlap = timedelta(hours=call.body.overlap_hours)
    return await call.platform.own_integrations.add_webhook_secret(
        call.principal, call.params.integration, call.body.secret, overlap
    )


async def list_own_credentials(call: Call[NoParams, NoBody]) -> Page[OwnCredential]:
    """List the integrations that the caller has stored credentials of its own for."""
    return Page(items=await call.platform.personal_credentials.all(call.principal))


async def get_own_credentials(call: Call[OneIntegration, NoBody]) -> OwnCredential:
    """Get that and when the caller has stored credentials of its own for an integration."""
    return await call.platform.personal_credentials.get(call.principal, call.params.integration)


async def put_own_credentials(call: Call[OneIntegration, OwnCredentials]) -> OwnCredential:
    """Store credentials of one's own for an integration that is called as the person who asks."""
    return await call.platform.personal_credentials.put(
        call.principal, call.params.integration, call.body.credentials
    )


async def delete_own_credentials(call: Call[OneIntegration, NoBody]) -> Nothing:
    """Forget the caller's own credentials for an integration."""
    await call.platform.personal_credentials.delete(call.principal, call.params.integration)
    return Nothing()


_ALL = "/api/v1/integrations"
_ONE = f"{_ALL}/{{integration}}"
_OWN = "/api/v1/me/credentials"
_OWN_ONE = f"{_OWN}/{{integration}}"
INTEGRATIONS: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", "/api/v1/integration-systems", TAG, list_integration_systems, Page[IntegrationSystem]),
    Endpoint(
        "POST",
        _ALL,
        TAG,
        create_integration,
        IntegrationView,
        body=NewIntegration,
        status=201,
        errors=(409,),
    ),
    Endpoint("GET", _ALL, TAG, list_integrations, Page[IntegrationView], params=IntegrationPage),
    Endpoint("GET", _ONE, TAG, get_integration, IntegrationView, params=OneIntegration, errors=(404,)),
    Endpoint(
        "PUT",
        _ONE,
        TAG,
        replace_integration,
        IntegrationView,
        params=OneIntegration,
        body=IntegrationDraft,
        errors=(404, 409),
        lock=lambda tx, params: tx.integrations.find(params.integration, for_update=True),
        needs="integrations:write:{integration}",
    ),
    Endpoint(
        "DELETE",
        _ONE,
        TAG,
        delete_integration,
        Nothing,
        params=OneIntegration,
        status=204,
        errors=(404, 409),
    ),
    Endpoint(
        "POST",
        f"{_ONE}/test",
        TAG,
        test_integration,
        ConnectionTest,
        params=OneIntegration,
        errors=(404,),
        leased=True,
    ),
    Endpoint(
        "POST",
        f"{_ONE}/webhook-secrets",
        TAG,
        add_integration_webhook_secret,
        AddedWebhookSecret,
        params=OneIntegration,
        body=NewWebhookSecret,
        secret=True,
        errors=(404, 409),
    ),
    Endpoint("GET", _OWN, TAG, list_own_credentials, Page[OwnCredential]),
    Endpoint("GET", _OWN_ONE, TAG, get_own_credentials, OwnCredential, params=OneIntegration, errors=(404,)),
    Endpoint(
        "PUT",
        _OWN_ONE,
        TAG,
        put_own_credentials,
        OwnCredential,
        params=OneIntegration,
        body=OwnCredentials,
        errors=(404, 409),
        lock=lambda tx, params: tx.personal_credentials.lock(params.integration),
        needs="integrations:own",
    ),
    Endpoint(
        "DELETE",
        _OWN_ONE,
        TAG,
        delete_own_credentials,
        Nothing,
        params=OneIntegration,
        status=204,
        errors=(404,),
    ),
)
