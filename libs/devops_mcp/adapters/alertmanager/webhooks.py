"""Alertmanager's notifications. They are not signed: `http_config` sends the secret as a bearer token, or as `user:password`.

A delivery has no id. Alertmanager repeats a group while it fires; the same alerts in the same state are the same delivery.
"""

from devops_mcp.adapters.alert_groups import events_of, group_of, key_of
from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.signatures import AnyOf, SharedToken
from devops_mcp.events.model import Event
from devops_mcp.models.errors import InvalidInput

VERSION = "4"
BEARER = SharedToken("Authorization", prefix="Bearer ")
BASIC = SharedToken("Authorization", prefix="Basic ", encoding="base64")
SYSTEM = "alertmanager"


def delivery_key(delivery: Delivery) -> str | None:
    """The group and its alerts; None for a body that `parse` refuses."""
    try:
        return key_of(group_of(delivery, VERSION))
    except InvalidInput:
        return None


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """An event for each alert of the group."""
    return events_of(SYSTEM, group_of(delivery, VERSION), delivery, origin)


WEBHOOKS = WebhookSource(verify=AnyOf((BEARER, BASIC)).verify, delivery_key=delivery_key, parse=parse)
