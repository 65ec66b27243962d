"""The doors that webhooks come in by: `/webhooks/{system}` and `/webhooks/{system}/{integration}`.

There is no API key here: the signature over the raw bytes is the credential. A sender may ask leave to deliver by OPTIONS, where its system
has such a handshake.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import Forbidden, PayloadTooLarge
from devops_mcp.operations.events import EventIntake, Receipt
from devops_mcp.operations.integrations import Integration, Integrations

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
PATHS = ("/webhooks/{system}", "/webhooks/{system}/{integration}")
_ALLOW = {"Allow": "POST"}


def webhook_routes(integrations: Integrations, intake: EventIntake, *, now: Clock = utc_now) -> list[Route]:
    """Deliveries and handshakes at both addresses.

    202: stored, or stored before; 200: the answer that the sender asked for; 401: not signed as it should be; 403: the tenant is suspended.
    Nothing was stored with either of the last two.
    """
    handlers = (("POST", _receiver(integrations, intake, now)), ("OPTIONS", _greeter(integrations)))
    return [Route(path, handler, methods=[method]) for method, handler in handlers for path in PATHS]


def _receiver(integrations: Integrations, intake: EventIntake, now: Clock) -> Handler:
    async def receive_webhook(request: Request) -> Response:
        integration, source = _addressee(integrations, request)
        body = await request.body()
        if len(body) > source.max_body_bytes:
            raise PayloadTooLarge(f"{integration.adapter.name} sends at most {source.max_body_bytes} bytes")
        moment = now()
        async with integrations.connected(integration) as client:
            receipt = await intake.receive(
                integration.adapter.name,
                source,
                Origin(integration.tenant_id, integration.name),
                integration.webhook_secrets(moment),
                Delivery(_headers(request), body, moment),
                client,
            )
        return _answer(receipt)

    return receive_webhook


def _greeter(integrations: Integrations) -> Handler:
    async def shake_hands(request: Request) -> Response:
        integration, source = _addressee(integrations, request)
        if source.handshake is None:
            raise HTTPException(405, headers=_ALLOW)
        async with integrations.connected(integration) as client:
            granted = source.handshake(client, _headers(request))
        return Response(headers={**_ALLOW, **granted})

    return shake_hands


def _addressee(integrations: Integrations, request: Request) -> tuple[Integration, WebhookSource]:
    integration = integrations.for_webhook(
        request.path_params["system"], request.path_params.get("integration")
    )
    if integrations.is_suspended(integration.tenant_id):
        raise Forbidden("the tenant of this address is suspended: nothing is taken for it")
    source = integration.adapter.webhooks
    assert source is not None
    return integration, source


def _answer(receipt: Receipt) -> Response:
    if receipt.answer is not None:
        return Response(receipt.answer.body, media_type=receipt.answer.media_type)
    told = {"status": receipt.outcome, "events": [str(event_id) for event_id in receipt.event_ids]}
    return JSONResponse(told, status_code=202)


def _headers(request: Request) -> dict[str, str]:
    """Header names in lower case; one that came twice is joined, so that a second signature cannot hide behind the first."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
