"""Bitbucket's webhooks, of Cloud and of Data Center.

Both sign the raw body with HMAC-SHA256 in `X-Hub-Signature`, and neither signs the delivery's id or `X-Event-Key`. Data Center repeats the
event's key in the body, which must then be the same; a body of Cloud must have its event's form. What Cloud's bodies do not tell apart is
`created` from `updated`, and `approved` from `unapproved`: there the header is believed, and the subject is the same pull request.
"""

import re

from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.bitbucket.webhooks import cloud, data_center
from devops_mcp.adapters.code_hosts import delivery_id
from devops_mcp.adapters.deliveries import json_object
from devops_mcp.adapters.signatures import HmacSha256
from devops_mcp.events.model import Event
from devops_mcp.models.errors import InvalidInput

SIGNATURE = HmacSha256("X-Hub-Signature", prefix="sha256=")
MAX_BODY_BYTES = 5 * 1_048_576
"""Neither says how much it sends; a push of thousands of branches fits."""
PING = "diagnostics:ping"
_EVENT = re.compile(r"[a-z]+(:[a-z_]+){1,3}")


def delivery_key(delivery: Delivery) -> str | None:
    """Cloud's or Data Center's id of the delivery; the same when it is tried again."""
    return delivery_id(delivery, "x-request-uuid") or delivery_id(delivery, "x-request-id")


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """The events in a delivery, one for each branch or tag of a push; none for a test of the connection."""
    event = delivery.headers.get("x-event-key", "")
    if not _EVENT.fullmatch(event) or len(event) > 60:
        raise InvalidInput("header X-Event-Key is missing, or does not name one event")
    body = json_object(delivery)
    if event == PING and body.keys() == {"test"}:
        return ()
    if "eventKey" not in body:
        return cloud.parse(event, body, delivery, origin)
    if body["eventKey"] != event:
        raise InvalidInput(f"the body is not that of a {event!r} event: body.eventKey names another")
    return data_center.parse(event, body, delivery, origin)


WEBHOOKS = WebhookSource(
    verify=SIGNATURE.verify, delivery_key=delivery_key, parse=parse, max_body_bytes=MAX_BODY_BYTES
)
