"""The doors that webhooks come in by: `POST /webhooks/{system}` and `POST /webhooks/{system}/{integration}`.

There is no API key here: the signature over the raw bytes is the credential.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import PayloadTooLarge
from devops_mcp.operations.events import EventIntake
from devops_mcp.operations.integrations import Integrations


def webhook_routes(integrations: Integrations, intake: EventIntake, *, now: Clock = utc_now) -> list[Route]:
    """Both routes. 202: stored, or stored before; 401: not signed as it should be, and nothing was stored."""
    receive = _receiver(integrations, intake, now)
    return [
        Route("/webhooks/{system}", receive, methods=["POST"]),
        Route("/webhooks/{system}/{integration}", receive, methods=["POST"]),
    ]


def _receiver(integrations: Integrations, intake: EventIntake, now: Clock) -> Callable[[Request], object]:
    async def receive_webhook(request: Request) -> Response:
        integration = integrations.for_webhook(
            request.path_params["system"], request.path_params.get("integration")
        )
        source = integration.adapter.webhooks
        assert source is not None
        body = await request.body()
        if len(body) > source.max_body_bytes:
            raise PayloadTooLarge(f"{integration.adapter.name} sends at most {source.max_body_bytes} bytes")
        receipt = await intake.receive(
            integration.adapter.name,
            source,
            Origin(integration.tenant_id, integration.name),
            integration.webhook_secrets,
            Delivery(_headers(request), body, now()),
        )
        answer = {"status": receipt.outcome, "events": [str(event_id) for event_id in receipt.event_ids]}
        return JSONResponse(answer, status_code=202)

    return receive_webhook


def _headers(request: Request) -> dict[str, str]:
    """Header names in lower case; one that came twice is joined, so that a second signature cannot hide behind the first."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
