import pytest
from pydantic import ValidationError

from devops_mcp.adapters.prometheus.config import PrometheusSettings

CANARY = "canary-9f31c2ab77e04d"
URL = "https://prometheus.example/prefix"


def test_a_token_goes_into_the_authorization_header():
    settings = PrometheusSettings(base_url=URL, bearer_token=CANARY, headers={"X-Scope-OrgID": "a"})

    assert settings.request_headers() == {"X-Scope-OrgID": "a", "Authorization": f"Bearer {CANARY}"}


def test_a_user_and_password_become_basic_authentication():
    settings = PrometheusSettings(base_url=URL, username="me", password="secret")

    assert settings.request_headers() == {"Authorization": "Basic bWU6c2VjcmV0"}


@pytest.mark.parametrize(
    "options",
    [
        {"bearer_token": CANARY, "username": "me", "password": CANARY},
        {"username": "me"},
        {"password": CANARY},
        {"bearer_token": CANARY, "headers": {"authorization": CANARY}},
        {"headers": {"X-A": f"{CANARY}\r\nX-B: 1"}},
        {"headers": {"X A": CANARY}},
        {"token": CANARY},
        {"timeout_s": 0},
        {"base_url": f"https://me:{CANARY}@prometheus.example"},
        {"base_url": "ftp://prometheus.example"},
        {"base_url": "https://"},
        {"base_url": "https://prometheus.example?x=1"},
        {"base_url": "https://prometheus.example/#a"},
    ],
)
def test_settings_that_contradict_themselves_are_refused_without_showing_a_secret(options):
    """C01, K01"""
    with pytest.raises(ValidationError) as caught:
        PrometheusSettings(**({"base_url": URL} | options))

    assert CANARY not in str(caught.value)


def test_secrets_do_not_show():
    """K01"""
    settings = PrometheusSettings(base_url=URL, username="me", password=CANARY, headers={"X-Key": CANARY})

    assert CANARY not in f"{settings!r} {settings}"
