"""Gitea's webhooks: https://docs.gitea.com/usage/webhooks

A delivery is signed over its raw body with HMAC-SHA256 in `X-Gitea-Signature`, bare hex. Neither the delivery's id nor the event's name
is signed: the first is why a replay is also found by the body's digest, the second why every body must have its event's form.
"""

from devops_mcp.adapters import gitea_events
from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.code_hosts import delivery_id
from devops_mcp.adapters.signatures import HmacSha256
from devops_mcp.events.model import Event

SYSTEM = "gitea"
SIGNATURE = HmacSha256("X-Gitea-Signature")
MAX_BODY_BYTES = 25 * 1_048_576
"""Gitea has no limit of its own; this is as large as those of others get."""


def delivery_key(delivery: Delivery) -> str | None:
    """Gitea's id of the delivery; the same when it is sent again."""
    return delivery_id(delivery, "x-gitea-delivery")


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """The event in a delivery."""
    return gitea_events.parse(SYSTEM, delivery, origin)


WEBHOOKS = WebhookSource(
    verify=SIGNATURE.verify, delivery_key=delivery_key, parse=parse, max_body_bytes=MAX_BODY_BYTES
)
