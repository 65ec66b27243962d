"""What is served beside the API, as the OpenAPI document has it: the doors of webhooks, health, and what our own webhooks bring."""

from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

from devops_mcp.models.base import JsonObject, Model
from devops_mcp.operations.events import DeliveryOutcome
from devops_mcp.serving.problems import CODE_BY_STATUS, MEDIA_TYPE, STATUS_BY_CODE
from devops_mcp.serving.routes import LIVE, READY
from rest_api import webhooks

INCOMING, HEALTH = "incoming webhooks", "health"
_DELIVERY_ERRORS = (400, 401, 403, 404, 413, 414, 422, 431, 502, 503, 504)
_HANDSHAKE_ERRORS = (400, 403, 404, 405, 413, 414, 431, 502, 503, 504)
_PROBE_ERRORS = (400, 413, 414, 431, 504)
_ABOUT = {
    "system": "The system that sends.",
    "integration": "The name or the id of the integration; its `webhook_path` is this address.",
}
_BROUGHT = {
    "webhook-id": "The same each time that the delivery is sent: one that is known is to be answered and passed over.",
    "webhook-timestamp": "When this attempt was made, in seconds; more than five minutes away it is a replay.",
    "webhook-signature": "`v1,` and base64 of HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}`; one of several must fit.",
}


class WebhookReceipt(Model):
    """What became of a delivery: `duplicate` came before, `ignored` is nothing that anybody needs to hear of. `events` were stored now."""

    status: DeliveryOutcome
    events: tuple[UUID, ...]


class Liveness(Model):
    """The process answers."""

    status: Literal["live"]


class DependencyHealth(Model):
    """How one dependency was found; `detail` says more where there is more to say."""

    status: Literal["ok", "down"]
    detail: str | None
    duration_ms: float


class ReadinessReport(Model):
    """`degraded`: something that can be done without is down. `unready`, answered 503: something that cannot."""

    status: Literal["ready", "degraded", "unready"]
    checks: dict[str, DependencyHealth]


class OutgoingEvent(Model):
    """`data` is the event, its fields side by side; `replay_id` is there where a replay sends it."""

    type: str
    timestamp: datetime
    data: JsonObject
    replay_id: UUID | None = None


MODELS: tuple[type[BaseModel], ...] = (WebhookReceipt, Liveness, ReadinessReport, OutgoingEvent)
"""What the operations answer, and what our webhooks bring."""


def paths(references: dict[type[BaseModel], dict[str, Any]], problem: dict[str, Any]) -> dict[str, Any]:
    """The operations of these paths; `references` are to the schemas of `MODELS`."""
    doors = {
        path: {
            "post": _delivery(name, path, references, problem),
            "options": _handshake(name, path, problem),
        }
        for path, name in zip(webhooks.PATHS, ("webhook", "webhook_of_integration"), strict=True)
    }
    report = {"content": _json(references[ReadinessReport])}
    return {
        **doors,
        LIVE: {
            "get": _operation(
                "get_liveness",
                HEALTH,
                "Answer whether the process lives, without asking anything else.",
                {"200": {"description": "OK", "content": _json(references[Liveness])}},
                _PROBE_ERRORS,
                problem,
            )
        },
        READY: {
            "get": _operation(
                "get_readiness",
                HEALTH,
                "Answer whether requests can be served, and how each dependency was found, at most a second ago.",
                {
                    "200": {"description": "OK", **report},
                    "503": {"description": "Service Unavailable", **report},
                },
                _PROBE_ERRORS,
                problem,
            )
        },
    }


def outgoing(references: dict[type[BaseModel], dict[str, Any]]) -> dict[str, Any]:
    """What webhook endpoints are sent, as OpenAPI's `webhooks` have it."""
    headers = [
        {"name": name, "in": "header", "required": True, "description": said, "schema": {"type": "string"}}
        for name, said in _BROUGHT.items()
    ]
    return {
        "event": {
            "post": {
                "operationId": "bring_event",
                "summary": "An event that an endpoint asked for",
                "description": "Deliveries come at least once, as Standard Webhooks has it, signed with the endpoint's secret.",
                "security": [],
                "parameters": headers,
                "requestBody": {"required": True, "content": _json(references[OutgoingEvent])},
                "responses": {
                    "2XX": {"description": "The delivery is done"},
                    "410": {"description": "The endpoint is disabled"},
                    "default": {"description": "The delivery is tried again, for some 24 hours"},
                },
            }
        }
    }


def _delivery(
    name: str, path: str, references: dict[type[BaseModel], dict[str, Any]], problem: dict[str, Any]
) -> dict[str, Any]:
    said = (
        "Take a delivery of a system, signed as that system signs. What was answered 202 is kept. Without an integration in the "
        "address it is for the one of that system in the operator's configuration."
    )
    answers = {
        "200": {"description": "The answer that the sender asked for", "content": {"*/*": {"schema": {}}}},
        "202": {"description": "Stored, or stored before", "content": _json(references[WebhookReceipt])},
    }
    body = {
        "required": False,
        "description": "What the system sends, as it sends it; the signature is over these bytes.",
        "content": {"application/json": {"schema": {}}},
    }
    operation = _operation(f"receive_{name}", INCOMING, said, answers, _DELIVERY_ERRORS, problem)
    return {**operation, "parameters": _parameters(path), "requestBody": body}


def _handshake(name: str, path: str, problem: dict[str, Any]) -> dict[str, Any]:
    said = "Answer a sender that asks leave to deliver, where its system has such a handshake."
    answers = {"200": {"description": "Leave is given, as the headers say"}}
    operation = _operation(f"greet_{name}", INCOMING, said, answers, _HANDSHAKE_ERRORS, problem)
    return {**operation, "parameters": _parameters(path)}


def _operation(
    name: str,
    tag: str,
    said: str,
    answers: dict[str, Any],
    errors: tuple[int, ...],
    problem: dict[str, Any],
) -> dict[str, Any]:
    refused = {
        str(status): {"description": _refusal(status), "content": {MEDIA_TYPE: {"schema": problem}}}
        for status in errors
    }
    return {
        "operationId": name,
        "tags": [tag],
        "summary": said.partition(".")[0].partition(",")[0],
        "description": f"{said}\n\nNo credential is needed.",
        "security": [],
        "parameters": [],
        "responses": {**refused, **answers},
    }


def _refusal(status: int) -> str:
    codes = [code for code, its in STATUS_BY_CODE.items() if its == status]
    return (
        f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in codes or [CODE_BY_STATUS[status]])}"
    )


def _parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "description": said, "schema": {"type": "string"}}
        for name, said in _ABOUT.items()
        if f"{{{name}}}" in path
    ]


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
