"""Amazon SNS as far as a subscriber sees it: it signs as SNS does, serves its certificate and hears confirmations, over plain HTTP."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.types import Receive, Scope, Send

from support.servers import serve

TOPIC = "arn:aws:sns:us-west-2:123456789012:MyTopic"
CERTIFICATE_PATH = "/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem"
MESSAGE_ID = "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"


@cache
def private_key() -> rsa.RSAPrivateKey:
    """The key that signs. Made once: it takes a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(valid_from: datetime | None = None, days: int = 365) -> str:
    """A certificate of that key, signed by itself, in PEM; by default it came into force yesterday."""
    begins = valid_from or datetime.now(UTC) - timedelta(days=1)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key().public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
    )
    return builder.sign(private_key(), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def signed(message: dict[str, Any], version: str = "2") -> dict[str, Any]:
    """`message` with the signature that SNS would give it (https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html)."""
    names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    if message["Type"] != "Notification":
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
    signature = private_key().sign(text.encode(), PKCS1v15(), algorithm)
    return {**message, "SignatureVersion": version, "Signature": base64.b64encode(signature).decode()}


@dataclass
class SnsStandIn:
    """Where SNS would be. `asked` are the paths that were fetched, `confirmed` the parameters of confirmations."""

    certificate: str = field(default_factory=certificate)
    status: int = 200
    url: str = ""
    asked: list[str] = field(default_factory=list)
    confirmed: list[dict[str, list[str]]] = field(default_factory=list)

    def notification(self, message: str = "Hello world!", **fields: Any) -> bytes:
        return self._written({"Type": "Notification", "Message": message, **fields})

    def confirmation(self, **fields: Any) -> bytes:
        """The offer of a subscription."""
        url = f"{self.url}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37"
        return self._written(
            {
                "Type": "SubscriptionConfirmation",
                "Message": "You have chosen to subscribe.\nVisit the SubscribeURL.",
                "SubscribeURL": url,
                "Token": "2336412f37",
                **fields,
            }
        )

    def _written(self, message: dict[str, Any]) -> bytes:
        common = {
            "MessageId": MESSAGE_ID,
            "TopicArn": TOPIC,
            "Timestamp": "2026-11-20T10:04:00.000Z",
            "SigningCertURL": f"{self.url}{CERTIFICATE_PATH}",
        }
        return json.dumps(signed(common | message)).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        body = b"<ConfirmSubscriptionResponse/>"
        if scope["path"] == CERTIFICATE_PATH:
            body = self.certificate.encode()
        elif self.status == 200:
            self.confirmed.append(parse_qs(scope["query_string"].decode()))
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def sns_stand_in() -> AsyncIterator[SnsStandIn]:
    """A stand-in that listens while the block runs."""
    stand_in = SnsStandIn()
    async with serve(stand_in) as url:
        stand_in.url = url
        yield stand_in
