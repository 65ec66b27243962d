"""GitHub's webhooks: https://docs.github.com/webhooks

A delivery is signed over its raw body with HMAC-SHA256 in `X-Hub-Signature-256`. Neither the delivery's id nor the event's name is signed:
the first is why a replay is also found by the body's digest, the second why every body must have its event's form.
"""

import re
from collections.abc import Callable, Mapping

from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.deliveries import json_object
from devops_mcp.adapters.github.webhooks import alerts, builds, changes
from devops_mcp.adapters.github.webhooks.activity import activity
from devops_mcp.adapters.github.webhooks.common import Payload
from devops_mcp.adapters.github.webhooks.forms import check_form
from devops_mcp.adapters.github.webhooks.identity import identity_of
from devops_mcp.adapters.signatures import HmacSha256
from devops_mcp.events.model import Event
from devops_mcp.models.errors import InvalidInput

MAX_BODY_BYTES = 25 * 1_048_576
"""GitHub's own cap, 25 MB, as the larger of the two that this may mean: what is refused here is not sent again."""
SIGNATURE = HmacSha256("X-Hub-Signature-256", prefix="sha256=")
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,59}")
_DELIVERY = re.compile(r"[0-9A-Za-z-]{1,100}")

_TRANSLATIONS: Mapping[str, Callable[[Payload], Event]] = {
    "check_run": builds.check_run,
    "code_scanning_alert": alerts.code_scanning_alert,
    "dependabot_alert": alerts.dependabot_alert,
    "deployment": builds.deployment,
    "deployment_status": builds.deployment_status,
    "issue_comment": changes.issue_comment,
    "issues": changes.issues,
    "pull_request": changes.pull_request,
    "push": changes.push,
    "release": changes.release,
    "repository_vulnerability_alert": alerts.repository_vulnerability_alert,
    "secret_scanning_alert": alerts.secret_scanning_alert,
    "secret_scanning_scan": alerts.secret_scanning_scan,
    "status": builds.status,
    "workflow_run": builds.workflow_run,
}


def delivery_key(delivery: Delivery) -> str | None:
    """GitHub's id of the delivery; the same when it is delivered again."""
    value = delivery.headers.get("x-github-delivery", "")
    return value if _DELIVERY.fullmatch(value) else None


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """The event in a delivery; none for a ping. Events that have no type of their own are `activity.recorded`."""
    event = delivery.headers.get("x-github-event", "")
    if not _EVENT.fullmatch(event):
        raise InvalidInput("header X-GitHub-Event is missing, or does not name one event")
    body = json_object(delivery)
    check_form(event, body)
    if event == "ping":
        return ()
    return (event_of(Payload(event, body, origin, delivery)),)


def event_of(payload: Payload) -> Event:
    """The event that a payload tells of; raises `InvalidInput` for one that lacks what its kind must have."""
    event = _TRANSLATIONS.get(payload.event, activity)(payload)
    return event.model_copy(update={"identity": identity_of(payload)})


WEBHOOKS = WebhookSource(
    verify=SIGNATURE.verify,
    delivery_key=delivery_key,
    parse=parse,
    max_body_bytes=MAX_BODY_BYTES,
)
