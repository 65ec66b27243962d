"""Webhook signatures: what verifies. That nothing near it does, tests/contract/test_webhook_sources.py shows of every source."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery
from devops_mcp.adapters.signatures import HmacSha256, SharedToken, standard_webhooks_key
from devops_mcp.models.errors import Unauthenticated

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
TS = int(NOW.timestamp())
WHSEC = "whsec_" + base64.b64encode(b"twenty-four bytes of key").decode()

GITHUB = HmacSha256("X-Hub-Signature-256", prefix="sha256=")
SONAR = HmacSha256("X-Sonar-Webhook-HMAC-SHA256")
PAGERDUTY = HmacSha256("X-PagerDuty-Signature", prefix="v1=", separator=",")
SLACK = HmacSha256(
    "X-Slack-Signature", prefix="v0=", text="v0:{ts}:{body}", timestamp_header="X-Slack-Request-Timestamp"
)
GRAFANA = HmacSha256(
    "X-Grafana-Alerting-Signature", text="{ts}:{body}", timestamp_header="X-Grafana-Alerting-Timestamp"
)
STANDARD = HmacSha256(
    "webhook-signature",
    encoding="base64",
    prefix="v1,",
    text="{id}.{ts}.{body}",
    timestamp_header="webhook-timestamp",
    id_header="webhook-id",
    separator=" ",
    keys=standard_webhooks_key,
)
SCHEMES = {
    "github": (GITHUB, "s3cret"),
    "sonarqube": (SONAR, "s3cret"),
    "pagerduty": (PAGERDUTY, "s3cret"),
    "slack": (SLACK, "s3cret"),
    "grafana": (GRAFANA, "s3cret"),
    "standard": (STANDARD, WHSEC),
}
each_scheme = pytest.mark.parametrize(("scheme", "secret"), SCHEMES.values(), ids=SCHEMES)


def sent(
    scheme: HmacSha256, body: bytes, signature: str, at: int | str = TS, message_id: str = "msg_1"
) -> Delivery:
    headers = {scheme.header.lower(): signature}
    if scheme.timestamp_header:
        headers[scheme.timestamp_header.lower()] = str(at)
    if scheme.id_header:
        headers[scheme.id_header.lower()] = message_id
    return Delivery(headers, body, NOW)


def verifies(scheme: HmacSha256, delivery: Delivery, *secrets: str) -> bool:
    try:
        scheme.verify(delivery, tuple(SecretStr(secret) for secret in secrets))
    except Unauthenticated:
        return False
    return True


def test_the_examples_of_the_vendors_verify() -> None:
    """From https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries and the libraries of Standard Webhooks."""
    github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    standard = HmacSha256(
        STANDARD.header,
        "base64",
        "v1,",
        STANDARD.text,
        STANDARD.timestamp_header,
        STANDARD.id_header,
        " ",
        standard_webhooks_key,
        timedelta(days=365 * 100),
    )
    body = b'{"test": 2432232314}'

    assert verifies(GITHUB, sent(GITHUB, b"Hello, World!", github), "It's a Secret to Everybody")
    delivery = sent(
        standard,
        body,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        1614265330,
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
    )
    assert verifies(standard, delivery, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


@each_scheme
@given(
    other=st.text(
        st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=40
    )
)  # HMAC fills keys up with NULs
def test_another_secret_does_not_verify(scheme: HmacSha256, secret: str, other: str) -> None:
    signature = scheme.sign(b"{}", secret, timestamp=TS, message_id="msg_1")

    assert verifies(scheme, sent(scheme, b"{}", signature), other) == (
        scheme.keys(other) == scheme.keys(secret)
    )


def test_any_secret_in_force_verifies_while_they_are_changed() -> None:
    delivery = sent(GITHUB, b"{}", GITHUB.sign(b"{}", "old"))

    assert verifies(GITHUB, delivery, "new", "old")
    assert not verifies(GITHUB, delivery, "new")


@pytest.mark.parametrize("secrets", [(), ("",), ("", "")])
def test_without_a_secret_nothing_verifies(secrets: tuple[str, ...]) -> None:
    """An empty secret would let anyone sign."""
    forged = "sha256=" + hmac.new(b"", b"{}", hashlib.sha256).hexdigest()

    assert not verifies(GITHUB, sent(GITHUB, b"{}", forged), *secrets)


RIGHT = GITHUB.sign(b"{}", "s3cret")


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        RIGHT.removeprefix("sha256="),
        RIGHT.upper(),
        f"sha256={RIGHT.removeprefix('sha256=').upper()}",
        RIGHT[:-1],
        f"{RIGHT}0",
        f" {RIGHT}",
        f"{RIGHT}\n",
        f"{RIGHT}, {RIGHT}",
        f"{RIGHT},{RIGHT}",
        f"sha1={hmac.new(b's3cret', b'{}', hashlib.sha1).hexdigest()}",
        RIGHT.replace("sha256", "sha512"),
        "sha256=" + "é" * 64,
        "sha256=" + "０" * 64,
    ],
)
def test_odd_forms_of_a_signature_are_refused(signature: str) -> None:
    """W01: missing, empty, upper-case, short, long, doubled, SHA-1, not ASCII."""
    assert verifies(GITHUB, sent(GITHUB, b"{}", RIGHT), "s3cret")
    assert not verifies(GITHUB, sent(GITHUB, b"{}", signature), "s3cret")


def test_a_signature_in_the_old_header_only_is_refused() -> None:
    """W01: SHA-1 alone."""
    sha1 = "sha1=" + hmac.new(b"s3cret", b"{}", hashlib.sha1).hexdigest()

    with pytest.raises(Unauthenticated, match="no X-Hub-Signature-256 header"):
        GITHUB.verify(Delivery({"x-hub-signature": sha1}, b"{}", NOW), (SecretStr("s3cret"),))


def test_the_signature_is_over_the_raw_bytes() -> None:
    """W02: the same JSON written otherwise does not verify."""
    signature = GITHUB.sign(b'{"a": 1}', "s3cret")

    assert not verifies(GITHUB, sent(GITHUB, b'{"a":1}', signature), "s3cret")
    assert not verifies(GITHUB, sent(GITHUB, b'\xef\xbb\xbf{"a": 1}', signature), "s3cret")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (TS, True), (TS - 299, True), (TS + 299, True), (TS - 301, False), (TS + 301, False),
        (f"-{TS}", False), ("1e999", False), ("", False), (f"{TS}.0", False), (f" {TS}", False), (f"+{TS}", False), ("９" * 10, False),
    ],
)  # fmt: skip
def test_a_timestamp_must_be_near(at: int | str, expected: bool) -> None:
    """W05."""
    digest = hmac.new(b"s3cret", f"v0:{at}:{{}}".encode(), hashlib.sha256).hexdigest()

    assert verifies(SLACK, sent(SLACK, b"{}", f"v0={digest}", at), "s3cret") is expected


def test_timestamp_and_id_are_signed_too() -> None:
    signature = STANDARD.sign(b"{}", WHSEC, timestamp=TS, message_id="msg_1")

    assert verifies(STANDARD, sent(STANDARD, b"{}", signature), WHSEC)
    assert not verifies(STANDARD, sent(STANDARD, b"{}", signature, at=TS + 1), WHSEC)
    assert not verifies(STANDARD, sent(STANDARD, b"{}", signature, message_id="msg_2"), WHSEC)


def test_the_end_of_a_signed_id_is_not_taken_for_the_time_before_another_body() -> None:
    signature = STANDARD.sign(b"{}", WHSEC, timestamp=TS + 9, message_id=f"msg.{TS}")

    assert verifies(STANDARD, sent(STANDARD, b"{}", signature, TS + 9, f"msg.{TS}"), WHSEC)
    assert not verifies(STANDARD, sent(STANDARD, f"{TS + 9}.{{}}".encode(), signature, TS, "msg"), WHSEC)


def test_a_header_in_utf_8_is_compared_by_its_bytes() -> None:
    """Servers read a header's bytes as Latin-1."""
    token = SharedToken("X-Gitlab-Token")

    token.verify(
        Delivery({"x-gitlab-token": "gerät".encode().decode("latin-1")}, b"", NOW), (SecretStr("gerät"),)
    )


def test_a_body_that_looks_like_the_template_is_only_a_body() -> None:
    body = b"{ts}{id}{body}"

    assert verifies(SLACK, sent(SLACK, body, SLACK.sign(body, "s3cret", timestamp=TS)), "s3cret")
    assert SLACK.sign(body, "s3cret", timestamp=TS) != SLACK.sign(str(TS).encode(), "s3cret", timestamp=TS)


def test_one_of_several_signatures_is_enough_where_the_vendor_sends_several() -> None:
    right, wrong = PAGERDUTY.sign(b"{}", "s3cret"), PAGERDUTY.sign(b"{}", "another")

    assert verifies(PAGERDUTY, sent(PAGERDUTY, b"{}", f"{wrong},{right}"), "s3cret")
    assert not verifies(PAGERDUTY, sent(PAGERDUTY, b"{}", f"{wrong},{wrong}"), "s3cret")


def test_an_asymmetric_signature_beside_ours_is_passed_over() -> None:
    signature = STANDARD.sign(b"{}", WHSEC, timestamp=TS, message_id="msg_1")

    assert verifies(STANDARD, sent(STANDARD, b"{}", f"v1a,AAAA {signature}"), WHSEC)


@pytest.mark.parametrize("given_token", ["", "s3cret ", "S3CRET", "s3cre", "s3crett", "Bearer s3cret", "é"])
def test_a_shared_token_must_be_the_secret(given_token: str) -> None:
    token = SharedToken("X-Gitlab-Token")

    token.verify(Delivery({"x-gitlab-token": "s3cret"}, b"", NOW), (SecretStr("other"), SecretStr("s3cret")))
    with pytest.raises(Unauthenticated):
        token.verify(Delivery({"x-gitlab-token": given_token}, b"", NOW), (SecretStr("s3cret"),))


@pytest.mark.parametrize("value", ["s3cret", "bearer s3cret", "Bearer  s3cret", "Bearer "])
def test_a_bearer_token_needs_its_prefix(value: str) -> None:
    token = SharedToken("Authorization", prefix="Bearer ")

    token.verify(Delivery({"authorization": "Bearer s3cret"}, b"", NOW), (SecretStr("s3cret"), SecretStr("")))
    with pytest.raises(Unauthenticated):
        token.verify(Delivery({"authorization": value}, b"", NOW), (SecretStr("s3cret"), SecretStr("")))
