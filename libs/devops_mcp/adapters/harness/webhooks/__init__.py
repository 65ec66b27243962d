"""Harness's webhooks: those of Code repositories, and the notifications of pipelines.

A Code webhook is signed over its raw body with HMAC-SHA256 in `X-Harness-Signature`, bare hex. A notification is not signed: give its rule
the header `X-Harness-Token` with the secret as its value. Both bodies name their own event, so the header `X-Harness-Trigger`, which is not
signed, may only agree. Neither has an id of the delivery: a repetition is told by its body.
"""

from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.deliveries import json_object
from devops_mcp.adapters.harness.webhooks import code, notifications
from devops_mcp.adapters.signatures import AnyOf, HmacSha256, SharedToken
from devops_mcp.events.model import Event
from devops_mcp.models.errors import InvalidInput

SIGNATURE = HmacSha256("X-Harness-Signature")
TOKEN = SharedToken("X-Harness-Token")
TRIGGER_HEADERS = ("x-harness-trigger", "x-gitness-trigger")
"""The second is the name of the same in Harness Open Source."""


def delivery_key(delivery: Delivery) -> str | None:
    """None: Harness gives its deliveries no id."""
    return None


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """The event in a delivery of either kind."""
    body = json_object(delivery)
    claimed = {delivery.headers[name] for name in TRIGGER_HEADERS if name in delivery.headers}
    trigger = body.get("trigger")
    if isinstance(trigger, str):
        if claimed - {trigger}:
            raise InvalidInput("X-Harness-Trigger does not name the event that body.trigger does")
        return (code.event(trigger, body, delivery, origin),)
    if "eventData" in body and not claimed:
        return (notifications.event(body, delivery, origin),)
    raise InvalidInput(
        "the body is neither a Code webhook's (trigger) nor a pipeline notification's (eventData)"
    )


WEBHOOKS = WebhookSource(verify=AnyOf((SIGNATURE, TOKEN)).verify, delivery_key=delivery_key, parse=parse)
