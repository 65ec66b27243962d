"""How the sender of every webhook source proves itself: made from the source's own scheme, and signed by code that is not ours to test."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from devops_mcp.adapters.base import AnyAdapter, Delivery
from devops_mcp.adapters.signatures import AnyOf, ByHeader, Ed25519, HmacSha256, SharedToken
from devops_mcp.adapters.sns.webhooks import Message, message_of
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import InvalidInput
from support.sns_topic import CERTIFICATE_PATH, certificate, signed

MESSAGE_ID = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"


@dataclass(frozen=True, slots=True)
class Secret:
    """What the receiver holds, and what the sender signs with where that is another."""

    held: SecretStr
    private: Any = None


@dataclass(frozen=True, slots=True)
class Proof:
    """One way in which a source's sender proves itself.

    `secret` gives the first, second … of its secrets, always the same. `prove` gives a body, as it is sent, and the headers of the proof.
    No character of those can change, nor of the body where that is `covered`. `content` is what of a body is covered. `listed` headers
    may carry several proofs; `time` is the header of the time. A proof that does not rotate is by what is fetched, not by what is held.
    """

    name: str
    secret: Callable[[int], Secret]
    prove: Callable[[bytes, datetime, Secret], tuple[bytes, dict[str, str]]]
    covered: bool = True
    content: Callable[[bytes], object] = field(default=lambda body: body)
    listed: frozenset[str] = frozenset()
    time: str | None = None
    tolerance: timedelta = timedelta(0)
    rotates: bool = True


def proofs_of(adapter: AnyAdapter) -> list[Proof]:
    """All ways of a source; fails for a scheme that nobody has told this module how to sign by."""
    assert adapter.webhooks is not None
    if adapter.name == "sns":
        return [_SNS]
    scheme = getattr(adapter.webhooks.verify, "__self__", None)
    return [_PROOFS[type(one)](one) for one in _flat(scheme)]


def _flat(scheme: Any) -> Iterator[Any]:
    if isinstance(scheme, AnyOf):
        for one in scheme.schemes:
            yield from _flat(one)
    elif isinstance(scheme, ByHeader):
        for _, one in scheme.schemes:
            yield from _flat(one)
        yield from _flat(scheme.otherwise)
    else:
        assert type(scheme) in _PROOFS, f"tests/support/webhook_proofs.py cannot sign by {scheme!r}"
        yield scheme


def _key(number: int) -> Secret:
    """One that every HMAC takes, as a key of Standard Webhooks or by its own characters."""
    return Secret(SecretStr("whsec_" + _base64(_bytes(number)[:24])))


def _token(number: int) -> Secret:
    """Not all of it is ASCII, and it may be a user and a password."""
    return Secret(SecretStr("gerät:" + _bytes(number).hex()))


def _key_pair(number: int) -> Secret:
    private = Ed25519PrivateKey.from_private_bytes(_bytes(number))
    return Secret(SecretStr(f"whpk_{_base64(private.public_key().public_bytes_raw())}"), private)


def _bytes(number: int) -> bytes:
    return hashlib.sha256(f"secret {number}".encode()).digest()


def _by_hmac(scheme: HmacSha256) -> Proof:
    def prove(body: bytes, at: datetime, secret: Secret) -> tuple[bytes, dict[str, str]]:
        text, headers = _signed_text(scheme, body, at)
        digest = hmac.new(scheme.keys(secret.held.get_secret_value())[0], text, hashlib.sha256)
        written = digest.hexdigest() if scheme.encoding == "hex" else _base64(digest.digest())
        return body, {**headers, scheme.header.lower(): scheme.prefix + written}

    return Proof(f"hmac-{scheme.text}", _key, prove, **_timed(scheme))


def _by_ed25519(scheme: Ed25519) -> Proof:
    def prove(body: bytes, at: datetime, secret: Secret) -> tuple[bytes, dict[str, str]]:
        text, headers = _signed_text(scheme.beside, body, at)
        return body, {
            **headers,
            scheme.beside.header.lower(): scheme.prefix + _base64(secret.private.sign(text)),
        }

    return Proof("ed25519", _key_pair, prove, **_timed(scheme.beside))


def _by_token(scheme: SharedToken) -> Proof:
    def prove(body: bytes, at: datetime, secret: Secret) -> tuple[bytes, dict[str, str]]:
        token = secret.held.get_secret_value().encode()
        written = base64.b64encode(token) if scheme.encoding == "base64" else token
        return body, {scheme.header.lower(): scheme.prefix + written.decode("latin-1")}

    return Proof(f"token-{scheme.header}-{scheme.encoding}", _token, prove, covered=False)


def _timed(scheme: HmacSha256) -> dict[str, Any]:
    listed = frozenset({scheme.header.lower()} if scheme.separator else ())
    time = scheme.timestamp_header.lower() if scheme.timestamp_header else None
    return {"listed": listed, "time": time, "tolerance": scheme.tolerance}


def _signed_text(scheme: HmacSha256, body: bytes, at: datetime) -> tuple[bytes, dict[str, str]]:
    """What is signed, and the headers that it is signed with."""
    before, _, after = scheme.text.partition("{body}")
    assert after == ""
    values, headers = {"{ts}": str(int(at.timestamp())), "{id}": MESSAGE_ID}, {}
    for mark, header in (("{ts}", scheme.timestamp_header), ("{id}", scheme.id_header)):
        assert (mark in before) == (header is not None)
        if header is not None:
            before, headers[header.lower()] = before.replace(mark, values[mark]), values[mark]
    return before.encode() + body, headers


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


_PROOFS: dict[type, Callable[[Any], Proof]] = {
    HmacSha256: _by_hmac,
    Ed25519: _by_ed25519,
    SharedToken: _by_token,
}


def _by_certificate(body: bytes, at: datetime, secret: Secret) -> tuple[bytes, dict[str, str]]:
    """SNS signs inside the message; `private` is where its certificate is served."""
    base, message = secret.private or "https://sns.us-west-2.amazonaws.com", json.loads(body)
    message["SigningCertURL"] = base + CERTIFICATE_PATH
    if "SubscribeURL" in message:
        message["SubscribeURL"] = f"{base}/?{urlsplit(message['SubscribeURL']).query}"
    return json.dumps(signed(message)).encode(), {}


def _message(body: bytes) -> Message | None:
    """The message without the address of the certificate: that is settled before anything is verified by it."""
    try:
        message = message_of(Delivery({}, body, utc_now()))
    except InvalidInput:
        return None
    return message.model_copy(update={"certificate_url": "", **_unsigned(message)})


def _unsigned(message: Message) -> dict[str, str]:
    return {"subscribe_url": "", "token": ""} if message.type == "Notification" else {"subject": ""}


_SNS = Proof(
    "certificate",
    lambda number: Secret(SecretStr(certificate())),
    _by_certificate,
    content=_message,
    rotates=False,
)
