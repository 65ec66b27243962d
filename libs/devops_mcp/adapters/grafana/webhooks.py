"""Grafana's alert notifications: signed with HMAC-SHA256 where the contact point says so, else with the secret as bearer token or password.

The signature is over the body, or over `{time}:{body}` where a header for the time is configured: name it `X-Grafana-Alerting-Timestamp`.
Which of the two it is, the header's presence says; neither fits as the other. A delivery has no id.
"""

from devops_mcp.adapters.alert_groups import events_of, group_of, key_of
from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.signatures import AnyOf, ByHeader, HmacSha256, SharedToken
from devops_mcp.events.model import Event
from devops_mcp.models.errors import InvalidInput

VERSION = "1"
SIGNATURE_HEADER = "X-Grafana-Alerting-Signature"
TIMESTAMP_HEADER = "X-Grafana-Alerting-Timestamp"
SIGNATURE = HmacSha256(SIGNATURE_HEADER)
TIMED_SIGNATURE = HmacSha256(SIGNATURE_HEADER, text="{ts}:{body}", timestamp_header=TIMESTAMP_HEADER)
TOKEN = AnyOf(
    (
        SharedToken("Authorization", prefix="Bearer "),
        SharedToken("Authorization", prefix="Basic ", encoding="base64"),
    )
)
PROOF = ByHeader(((TIMESTAMP_HEADER, TIMED_SIGNATURE), (SIGNATURE_HEADER, SIGNATURE)), otherwise=TOKEN)
SYSTEM = "grafana"


def delivery_key(delivery: Delivery) -> str | None:
    """The group and its alerts; None for a body that `parse` refuses."""
    try:
        return key_of(group_of(delivery, VERSION))
    except InvalidInput:
        return None


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """An event for each alert of the group."""
    return events_of(SYSTEM, group_of(delivery, VERSION), delivery, origin)


WEBHOOKS = WebhookSource(verify=PROOF.verify, delivery_key=delivery_key, parse=parse)
