"""A DevOps system that signs like GitHub: the body, and neither the delivery's id nor its type."""

import hashlib
import hmac
import json
from datetime import UTC, datetime

from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.events.model import ActivityRecorded, BuildEvent, Event
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id

SECRET = SecretStr("a secret for tests")
ORIGIN = Origin(DEFAULT_TENANT_ID, "ci-prod")


def delivery(body: object, *, id_: str = "1", kind: str = "build", secret: SecretStr = SECRET) -> Delivery:
    """A signed delivery of `body`."""
    raw = json.dumps(body).encode()
    headers = {"x-signature": _signature(secret, raw), "x-delivery": id_, "x-kind": kind}
    return Delivery(headers, raw, datetime(2026, 11, 1, tzinfo=UTC))


def _signature(secret: SecretStr, raw: bytes) -> str:
    return hmac.new(secret.get_secret_value().encode(), raw, hashlib.sha256).hexdigest()


def _verify(given: Delivery, secrets: tuple[SecretStr, ...]) -> None:
    signature = given.headers.get("x-signature", "")
    if not any(hmac.compare_digest(_signature(secret, given.body), signature) for secret in secrets):
        raise Unauthenticated("the signature does not match")


def _parse(given: Delivery, origin: Origin) -> tuple[Event, ...]:
    body = json.loads(given.body)
    common = {
        "id": new_id(),
        "tenant_id": origin.tenant_id,
        "system": "ci",
        "source": origin.integration,
        "subject": "acme/shop",
        "occurred_at": given.received_at,
    }
    match given.headers["x-kind"]:
        case "ping":
            return ()
        case "build":
            if "workflow" not in body:
                raise InvalidInput("the body is no build")
            return (BuildEvent(type="build.finished", **body, **common),)
        case other:
            return (ActivityRecorded(title=f"{other} happened", vendor_type=other, **common),)


SOURCE = WebhookSource(
    verify=_verify, delivery_key=lambda given: given.headers.get("x-delivery"), parse=_parse
)


def failed_build(run_id: str = "1") -> dict[str, object]:
    return {
        "title": f"CI #{run_id} failed on main",
        "workflow": "CI",
        "run_id": run_id,
        "branch": "main",
        "commit": "0123456789abcdef",
        "conclusion": "failure",
        "failed": True,
    }
