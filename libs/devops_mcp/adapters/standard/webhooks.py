"""Webhooks of any sender that signs as Standard Webhooks say.

Signed over id, time and raw body: with HMAC-SHA256 by a secret (`whsec_`), or with Ed25519, of which we hold the public key (`whpk_`). The
specification recommends `type`, `timestamp` and `data` in the body and demands none of them, so a body that says less is taken too.
"""

import base64
import secrets

from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.code_hosts import delivery_id, named, time_in
from devops_mcp.adapters.deliveries import about, json_object, told
from devops_mcp.adapters.secret_forms import SECRET_BYTES, SecretForm
from devops_mcp.adapters.shapes import first_line
from devops_mcp.adapters.signatures import (
    AnyOf,
    Ed25519,
    HmacSha256,
    standard_webhooks_key,
    standard_webhooks_public_key,
)
from devops_mcp.events.model import ActivityRecorded, Event

SYSTEM = "standard"
SIGNATURE = HmacSha256(
    "webhook-signature",
    encoding="base64",
    prefix="v1,",
    text="{id}.{ts}.{body}",
    timestamp_header="webhook-timestamp",
    id_header="webhook-id",
    separator=" ",
    keys=standard_webhooks_key,
)
ASYMMETRIC = Ed25519(SIGNATURE, prefix="v1a,", keys=standard_webhooks_public_key)
MAX_TYPE = 200


def delivery_key(delivery: Delivery) -> str | None:
    """The message's id, which is signed."""
    return delivery_id(delivery, "webhook-id")


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """One event, of which the sender's own type is all that every sender tells."""
    body = json_object(delivery)
    kind = first_line(named(body, "type", "event_type", "eventType", "event") or "message", MAX_TYPE)
    detail = named(body, "data.title", "data.name", "data.message", "data.status", "data.id") or ""
    activity = ActivityRecorded(
        **told(
            SYSTEM,
            delivery,
            origin,
            subject=kind,
            title=f"{kind} from {origin.integration}{about(detail)}",
            at=time_in(body.get("timestamp")) or time_in(delivery.headers.get("webhook-timestamp")),
        ),
        vendor_type=kind,
    )
    return (activity,)


def new_secret() -> str:
    """As the specification has it: base64 behind `whsec_`."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


def fits(secret: str) -> bool:
    """Whether it is a secret or a public key that a sender of Standard Webhooks can have."""
    return bool(SIGNATURE.keys(secret) or ASYMMETRIC.keys(secret))


WEBHOOKS = WebhookSource(
    verify=AnyOf((SIGNATURE, ASYMMETRIC)).verify,
    delivery_key=delivery_key,
    parse=parse,
    signed_key=True,
    secrets=SecretForm(new_secret, fits, "base64 behind whsec_ or whpk_"),
)
