"""Outgoing webhooks: where integrators hear of events, and what was delivered there."""

from datetime import timedelta
from typing import Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import Model
from devops_mcp.models.pages import Page
from devops_mcp.models.webhooks import (
    DeliveryStatus,
    EndpointDraft,
    EndpointsWanted,
    WebhookDelivery,
    WebhookEndpoint,
)
from devops_mcp.operations.webhook_endpoints import EndpointWithSecret
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody, NoParams, Nothing
from rest_api.listing import ByAge, Listing

TAG = "outgoing webhooks"


class OneWebhookEndpoint(Model):
    endpoint_id: UUID


WebhookEndpointSort: TypeAlias = Literal[
    "-created_at", "created_at", "-updated_at", "updated_at", "-name", "name"
]


class WebhookEndpointPage(EndpointsWanted, Listing[WebhookEndpointSort]):
    """A page of endpoints. `cursor` is `next_cursor` of the page before."""

    sort: WebhookEndpointSort = "-created_at"


class WebhookDeliveryPage(OneWebhookEndpoint, ByAge):
    """A page of an endpoint's deliveries, newest first, in this state. `cursor` is `next_cursor` of the page before."""

    status: DeliveryStatus | None = None


class OneWebhookDelivery(OneWebhookEndpoint):
    delivery_id: UUID


class SecretRotation(Body):
    """How long the secret before signs besides the new one; 0 where it has become known to others."""

    overlap_hours: int = Field(default=24, ge=0, le=168)


async def create_webhook_endpoint(call: Call[NoParams, EndpointDraft]) -> EndpointWithSecret:
    """Create an endpoint that hears of events; its secret is shown this once.

    Requests are signed as Standard Webhooks has it: `webhook-id`, `webhook-timestamp` and `webhook-signature`. The filter's patterns
    take `*`; without a filter only rules send there.
    """
    return await call.platform.webhook_endpoints.create(call.principal, call.body)


async def list_webhook_endpoints(call: Call[WebhookEndpointPage, NoBody]) -> Page[WebhookEndpoint]:
    """List the tenant's endpoints, newest first unless `sort` says otherwise."""
    params = call.params
    return await call.platform.webhook_endpoints.page(
        call.principal, limit=params.limit, order=params.order, wanted=params.part(EndpointsWanted)
    )


async def get_webhook_endpoint(call: Call[OneWebhookEndpoint, NoBody]) -> WebhookEndpoint:
    """Get one endpoint."""
    return await call.platform.webhook_endpoints.get(call.principal, call.params.endpoint_id)


async def replace_webhook_endpoint(call: Call[OneWebhookEndpoint, EndpointDraft]) -> WebhookEndpoint:
    """Say anew where an endpoint is, what it hears of and whether it is enabled."""
    return await call.platform.webhook_endpoints.replace(call.principal, call.params.endpoint_id, call.body)


async def delete_webhook_endpoint(call: Call[OneWebhookEndpoint, NoBody]) -> Nothing:
    """Delete an endpoint with its deliveries."""
    await call.platform.webhook_endpoints.delete(call.principal, call.params.endpoint_id)
    return Nothing()


async def rotate_webhook_secret(call: Call[OneWebhookEndpoint, SecretRotation]) -> EndpointWithSecret:
    """Give an endpoint a new secret, shown this once; for a while the one before signs besides it."""
    overlap = timedelta(hours=call.body.overlap_hours)
    return await call.platform.webhook_endpoints.rotate(call.principal, call.params.endpoint_id, overlap)


async def list_webhook_deliveries(call: Call[WebhookDeliveryPage, NoBody]) -> Page[WebhookDelivery]:
    """List an endpoint's deliveries, newest first unless `sort` says otherwise. They are kept for 14 days."""
    params = call.params
    return await call.platform.webhook_endpoints.deliveries(
        call.principal, params.endpoint_id, status=params.status, order=params.order, limit=params.limit
    )


async def get_webhook_delivery(call: Call[OneWebhookDelivery, NoBody]) -> WebhookDelivery:
    """Get one delivery: how often it was tried, and what the last answer was."""
    params = call.params
    return await call.platform.webhook_endpoints.delivery(
        call.principal, params.endpoint_id, params.delivery_id
    )


async def resend_webhook_delivery(call: Call[OneWebhookDelivery, NoBody]) -> WebhookDelivery:
    """Deliver an event once more, under the same `webhook-id`."""
    params = call.params
    return await call.platform.webhook_endpoints.resend(
        call.principal, params.endpoint_id, params.delivery_id
    )


_ALL = "/api/v1/webhook-endpoints"
_ONE = f"{_ALL}/{{endpoint_id}}"
_DELIVERIES = f"{_ONE}/deliveries"
WEBHOOK_ENDPOINTS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        "POST",
        _ALL,
        TAG,
        create_webhook_endpoint,
        EndpointWithSecret,
        body=EndpointDraft,
        secret=True,
        status=201,
        errors=(409,),
    ),
    Endpoint("GET", _ALL, TAG, list_webhook_endpoints, Page[WebhookEndpoint], params=WebhookEndpointPage),
    Endpoint(
        "GET", _ONE, TAG, get_webhook_endpoint, WebhookEndpoint, params=OneWebhookEndpoint, errors=(404,)
    ),
    Endpoint(
        "PUT",
        _ONE,
        TAG,
        replace_webhook_endpoint,
        WebhookEndpoint,
        params=OneWebhookEndpoint,
        body=EndpointDraft,
        errors=(404,),
        lock=lambda tx, params: tx.webhook_endpoints.lock(params.endpoint_id),
        needs="webhooks:write",
    ),
    Endpoint(
        "DELETE",
        _ONE,
        TAG,
        delete_webhook_endpoint,
        Nothing,
        params=OneWebhookEndpoint,
        status=204,
        errors=(404,),
    ),
    Endpoint(
        "POST",
        f"{_ONE}/rotate-secret",
        TAG,
        rotate_webhook_secret,
        EndpointWithSecret,
        params=OneWebhookEndpoint,
        body=SecretRotation,
        secret=True,
        errors=(404,),
    ),
    Endpoint(
        "GET",
        _DELIVERIES,
        TAG,
        list_webhook_deliveries,
        Page[WebhookDelivery],
        params=WebhookDeliveryPage,
        errors=(404,),
    ),
    Endpoint(
        "GET",
        f"{_DELIVERIES}/{{delivery_id}}",
        TAG,
        get_webhook_delivery,
        WebhookDelivery,
        params=OneWebhookDelivery,
        errors=(404,),
    ),
    Endpoint(
        "POST",
        f"{_DELIVERIES}/{{delivery_id}}/resend",
        TAG,
        resend_webhook_delivery,
        WebhookDelivery,
        params=OneWebhookDelivery,
        errors=(404, 409),
    ),
)
