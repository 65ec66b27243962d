"""Signatures, beside those that botocore makes of the same requests."""

from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from devops_mcp.events.signing import Signer

TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
NOW = datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC)


def botocores(url: str, headers: dict[str, str], body: bytes, credentials: Credentials) -> dict[str, str]:
    request = AWSRequest("POST", url, dict(headers), body)
    with patch("botocore.auth.get_current_datetime", lambda: NOW):
        SigV4Auth(credentials, "sqs", "eu-west-1").add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@pytest.mark.parametrize(
    "url", ["https://sqs.eu-west-1.amazonaws.com/", "http://127.0.0.1:9324/", "http://localhost:4566/queue/"]
)
@settings(max_examples=25, deadline=None)
@given(body=st.binary(max_size=200), action=TEXT, key=TEXT, secret=TEXT, token=st.none() | TEXT)
def test_a_signature_is_the_one_that_botocore_makes(url, body, action, key, secret, token):
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AmazonSQS.{action}"}
    credentials = Credentials(key, secret, token)
    signer = Signer(url, "sqs", "eu-west-1")
    for _ in range(2):  # with a new key, and with the one kept
        signed = signer.signed(headers, body, credentials, NOW)
        assert signed.pop("host") in url
        assert signed == botocores(url, headers, body, credentials)


def test_other_credentials_or_another_day_give_another_key():
    signer = Signer("http://127.0.0.1/", "sqs", "eu-west-1")
    made = {
        signer.signed({}, b"", Credentials("key", secret), now)["authorization"].rpartition("=")[2]
        for secret in ("one", "two")
        for now in (NOW, NOW.replace(day=22))
    }
    assert len(made) == 4
