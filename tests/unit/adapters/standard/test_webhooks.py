"""Standard Webhooks: the reference libraries' test vector, and the documented payload of one sender (360Learning)."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.standard.webhooks import SIGNATURE, WEBHOOKS
from devops_mcp.events.model import EVENT, ActivityRecorded
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations

BODY = (Path(__file__).parent / "recorded" / "user_created.json").read_bytes()
ARRIVED = datetime(2026, 11, 20, 10, 4, tzinfo=UTC)
NOW = int(ARRIVED.timestamp())
ORIGIN = Origin(DEFAULT_TENANT_ID, "learning")
SECRET = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
PRIVATE = Ed25519PrivateKey.generate()
PUBLIC = SecretStr("whpk_" + base64.b64encode(PRIVATE.public_key().public_bytes_raw()).decode())


def with_headers(body: bytes, signature: str, at: int = NOW, message_id: str = "msg_1") -> Delivery:
    headers = {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": signature}
    return Delivery(headers, body, ARRIVED)


def delivered(body: object = BODY) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    signature = SIGNATURE.sign(raw, SECRET.get_secret_value(), timestamp=NOW, message_id="msg_1")
    return with_headers(raw, signature)


def signed_by_ed25519(body: bytes = BODY) -> str:
    signed = f"msg_1.{NOW}.".encode() + body
    return "v1a," + base64.b64encode(PRIVATE.sign(signed)).decode()


def parsed(body: object) -> ActivityRecorded:
    [event] = WEBHOOKS.parse(delivered(body), ORIGIN)
    assert isinstance(event, ActivityRecorded)
    return event


def test_the_reference_vector_verifies():
    vector = Delivery(
        {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
        b'{"test": 2432232314}',
        datetime.fromtimestamp(1614265330, UTC),
    )
    WEBHOOKS.verify(vector, (SECRET,))
    assert WEBHOOKS.delivery_key(vector) == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_a_recommended_body_tells_its_type_and_time():
    event = parsed(BODY)
    assert (event.subject, event.vendor_type) == ("user.created", "user.created")
    assert event.title == "user.created from learning"
    assert event.occurred_at == datetime(2025, 6, 13, 12, 10, 50, 724000, UTC)


def test_a_body_that_tells_nothing_of_itself_is_taken_with_the_time_it_was_sent():
    event = parsed({"test": 2432232314, "timestamp": "not a time"})
    assert (event.vendor_type, event.occurred_at) == ("message", ARRIVED)


def test_an_ed25519_signature_verifies_with_the_public_key():
    WEBHOOKS.verify(with_headers(BODY, signed_by_ed25519()), (PUBLIC,))
    WEBHOOKS.verify(with_headers(BODY, f"v1,{'A' * 43}= {signed_by_ed25519()}"), (SECRET, PUBLIC))
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(with_headers(BODY, signed_by_ed25519()), (SECRET,))


@pytest.mark.parametrize(
    "given",
    [
        with_headers(BODY + b" ", signed_by_ed25519()),
        with_headers(BODY, signed_by_ed25519(), at=NOW + 1),
        with_headers(BODY, signed_by_ed25519(), message_id="msg_2"),
        with_headers(BODY, signed_by_ed25519().replace("v1a,", "v1,")),
        with_headers(BODY, signed_by_ed25519().replace("v1a,", "")),
        with_headers(BODY, signed_by_ed25519()[:-4]),
        with_headers(BODY, "v1a,"),
    ],
)
def test_an_ed25519_signature_of_something_else_is_refused(given):
    """W01"""
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(given, (PUBLIC,))


def test_a_public_key_is_never_taken_for_a_secret():
    """Whoever knows it could sign with it."""
    known = PUBLIC.get_secret_value().removeprefix("whpk_")
    forged = SIGNATURE.sign(BODY, f"whsec_{known}", timestamp=NOW, message_id="msg_1")
    WEBHOOKS.verify(with_headers(BODY, forged), (SecretStr(f"whsec_{known}"),))
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(with_headers(BODY, forged), (PUBLIC,))


@pytest.mark.parametrize("key", ["whpk_", "whpk_!", "whpk_AAAA", "whpk_é"])
def test_a_public_key_that_is_none_verifies_nothing(key):
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(with_headers(BODY, signed_by_ed25519()), (SecretStr(key),))


def test_no_byte_of_a_signed_delivery_can_change():
    for position in range(len(BODY)):
        changed = bytearray(BODY)
        changed[position] ^= 1
        for signature in (delivered().headers["webhook-signature"], signed_by_ed25519()):
            with pytest.raises(Unauthenticated):
                WEBHOOKS.verify(with_headers(bytes(changed), signature), (SECRET, PUBLIC))


def test_whatever_is_wrong_with_a_body_it_is_read_or_refused():
    content: dict[str, Any] = json.loads(BODY)
    for body in mutations(content):
        for event in WEBHOOKS.parse(delivered(body), ORIGIN):
            assert EVENT.validate_json(EVENT.dump_json(event)) == event
    for body in ([], "text", b"", b"{", 7):
        with pytest.raises(InvalidInput):
            WEBHOOKS.parse(delivered(body), ORIGIN)
