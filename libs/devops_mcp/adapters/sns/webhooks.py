"""Messages of Amazon SNS: notifications, and the confirmations of subscriptions.

The signature is inside the message, over its fields in the order of their names: RSA with SHA-1 (version 1) or SHA-256 (version 2), by the
certificate that `SigningCertURL` names. So a message is read, and the certificate fetched, before anything is verified.
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

import base64
from datetime import datetime
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate
from pydantic import Field, SecretStr

from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.code_hosts import shaped
from devops_mcp.adapters.deliveries import about, json_object, told
from devops_mcp.adapters.shapes import Shape
from devops_mcp.adapters.sns.client import Sns
from devops_mcp.events.model import ActivityRecorded, Event
from devops_mcp.models.errors import InvalidInput, Unauthenticated

SYSTEM = "sns"
MAX_BODY_BYTES = 2 * 1_048_576
"""A message is at most 256 KiB, of which JSON may write each byte as six."""
NOTIFICATION = "Notification"
SUBSCRIPTION = "SubscriptionConfirmation"
_LINE = r"^[^\r\n]*$"
_WORD = r"^\S+$"
_HASHES: dict[str, hashes.HashAlgorithm] = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303 - version 1 is SHA-1
_ACTIONS = {SUBSCRIPTION: "subscribed", "UnsubscribeConfirmation": "unsubscribed"}


class Message(Shape):
    """A message of either kind.

    What is signed separates fields by line ends only, so no field but `message`, the first, may have one: else a signed message could be
    read in two ways.
    """

    type: Literal["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"] = Field(
        validation_alias="Type"
    )
    id: str = Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", validation_alias="MessageId")
    topic: str = Field(max_length=400, pattern=_WORD, validation_alias="TopicArn")
    message: str = Field(validation_alias="Message")
    subject: str | None = Field(default=None, max_length=1_000, pattern=_LINE, validation_alias="Subject")
    timestamp: str = Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}Z$", validation_alias="Timestamp"
    )
    token: str = Field(default="", max_length=2_000, pattern=_LINE, validation_alias="Token")
    subscribe_url: str = Field(default="", max_length=4_000, pattern=_LINE, validation_alias="SubscribeURL")
    version: Literal["1", "2"] = Field(validation_alias="SignatureVersion")
    signature: str = Field(max_length=2_000, validation_alias="Signature")
    certificate_url: str = Field(max_length=1_000, validation_alias="SigningCertURL")

    def signed(self) -> bytes:
        """What SNS signs: names and values of some fields, each on a line."""
        subject = {} if self.subject is None else {"Subject": self.subject}
        confirmation = {"SubscribeURL": self.subscribe_url, "Token": self.token}
        fields = {
            "Message": self.message,
            "MessageId": self.id,
            "Timestamp": self.timestamp,
            "TopicArn": self.topic,
            "Type": self.type,
        } | (subject if self.type == NOTIFICATION else confirmation)
        return "".join(f"{name}\n{fields[name]}\n" for name in sorted(fields)).encode()


async def keys(sns: Sns, delivery: Delivery) -> tuple[SecretStr, ...]:
    """The certificate that the delivery names, if its topic is one of ours and the certificate of SNS."""
    message = _claimed(delivery)
    return (SecretStr(await sns.certificate(message.topic, message.certificate_url)),)


def verify(delivery: Delivery, certificates: tuple[SecretStr, ...]) -> None:
    """Raise `Unauthenticated` unless the holder of one of these certificates (PEM), in force when it arrived, signed this message."""
    message = _claimed(delivery)
    signature = _decoded(message.signature)
    algorithm, signed = _HASHES[message.version], message.signed()
    holders = [_public_key(certificate, delivery.received_at) for certificate in certificates]
    if not any(_signed_by(holder, signature, signed, algorithm) for holder in holders):
        raise Unauthenticated("the signature does not fit the message")


def delivery_key(delivery: Delivery) -> str | None:
    """The message's id, the same when it is delivered again; it is signed."""
    try:
        return message_of(delivery).id
    except InvalidInput:
        return None


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """What a topic told, or that we are subscribed to it or no longer so. The message itself is in the payload."""
    message = message_of(delivery)
    topic = message.topic.rsplit(":", 1)[-1]
    action = _ACTIONS.get(message.type)
    title = (
        f"{topic}{about(message.subject or message.message)}" if action is None else f"{topic} {action} us"
    )
    activity = ActivityRecorded(
        **told(SYSTEM, delivery, origin, subject=topic, title=title, at=_time(message.timestamp)),
        vendor_type=message.type,
        action=action,
    )
    return (activity,)


async def respond(sns: Sns, delivery: Delivery) -> None:
    """Confirm the subscription where that is what the message asks for."""
    message = message_of(delivery)
    if message.type == SUBSCRIPTION:
        await sns.confirm(message.topic, message.subscribe_url)


def message_of(delivery: Delivery) -> Message:
    """The message in a delivery; raises `InvalidInput` for what is none."""
    return shaped("SNS", Message, json_object(delivery))


def _claimed(delivery: Delivery) -> Message:
    """The message that a delivery, which nobody has verified, claims to be."""
    try:
        return message_of(delivery)
    except InvalidInput as error:
        raise Unauthenticated(
            f"not a signed message of SNS (raw message delivery must be off): {error.message}"
        ) from None


def _decoded(signature: str) -> bytes:
    try:
        decoded = base64.b64decode(signature, validate=True)
    except ValueError:
        raise Unauthenticated("the signature is not base64") from None
    # Unused bits of the last character could differ and still decode to the same signature.
    if base64.b64encode(decoded).decode() != signature:
        raise Unauthenticated("the signature is not written as base64 is")
    return decoded


def _public_key(certificate: SecretStr, at: datetime) -> RSAPublicKey:
    try:
        parsed = load_pem_x509_certificate(certificate.get_secret_value().encode())
    except ValueError:
        raise Unauthenticated("SigningCertURL leads to no certificate") from None
    if not parsed.not_valid_before_utc <= at <= parsed.not_valid_after_utc:
        raise Unauthenticated("the certificate that signed the message is not in force")
    key = parsed.public_key()
    if not isinstance(key, RSAPublicKey):
        raise Unauthenticated("the certificate that signed the message has no RSA key")
    return key


def _signed_by(
    holder: RSAPublicKey, signature: bytes, signed: bytes, algorithm: hashes.HashAlgorithm
) -> bool:
    try:
        holder.verify(signature, signed, PKCS1v15(), algorithm)
    except InvalidSignature:
        return False
    return True


def _time(timestamp: str) -> datetime | None:
    try:
        return datetime.fromisoformat(timestamp)
    except ValueError:
        return None


WEBHOOKS = WebhookSource(
    verify=verify,
    delivery_key=delivery_key,
    parse=parse,
    signed_key=True,
    max_body_bytes=MAX_BODY_BYTES,
    keys=keys,
    respond=respond,
)
