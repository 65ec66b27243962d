"""What is fetched from SNS, against a stand-in that serves a certificate and hears confirmations over real HTTP."""

from contextlib import asynccontextmanager

import pytest

from devops_mcp.adapters.base import Outside
from devops_mcp.adapters.sns import connect
from devops_mcp.adapters.sns.config import SnsSettings
from devops_mcp.models.errors import Unauthenticated, UpstreamRejected, UpstreamUnavailable
from support.servers import LOOPBACK
from support.sns_topic import CERTIFICATE_PATH, TOPIC, sns_stand_in
from support.upstreams import quick

OTHER = TOPIC.replace("MyTopic", "Other")
CONFIRM = f"/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37"


@asynccontextmanager
async def a_client(endpoint_url: str | None):
    settings = SnsSettings(topics=(TOPIC,), endpoint_url=endpoint_url)
    outside = Outside(private_networks=LOOPBACK, policies=quick("sns"))
    async with connect(settings, outside) as sns:
        yield sns


async def test_a_certificate_is_fetched_once():
    async with sns_stand_in() as stand_in, a_client(stand_in.url) as sns:
        for _ in range(3):
            assert await sns.certificate(TOPIC, stand_in.url + CERTIFICATE_PATH) == stand_in.certificate
    assert stand_in.asked == [CERTIFICATE_PATH]


@pytest.mark.parametrize(
    "url",
    [
        "https://sns.us-west-2.amazonaws.com/a.pem",
        "{url}.evil.example/a.pem",
        "{url}@evil.example/a.pem",
        "http://evil@{host}/a.pem",
        "https://{host}/a.pem",
        "//{host}/a.pem",
        "/a.pem",
        "{url}/a.txt",
        "{url}/a.pem.txt",
        "{url}/a.pem?x=1",
        "{url}/a.pem#x",
        "{url}/../a.pem",
        "{url}/%2e%2e/a.pem",
        "{url}/.pem",
        "{url}//a.pem",
        "{url}",
        "http://[",
        "http://127.0.0.1:99999/a.pem",
        "file:///etc/a.pem",
        "",
    ],
)
async def test_no_certificate_is_fetched_from_elsewhere(url):
    """I05"""
    async with sns_stand_in() as stand_in, a_client(stand_in.url) as sns:
        named = url.format(url=stand_in.url, host=stand_in.url.removeprefix("http://"))
        with pytest.raises(Unauthenticated):
            await sns.certificate(TOPIC, named)
    assert stand_in.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.us-west-2.amazonaws.com/a.pem",
        "https://sns.us-west-2.amazonaws.com.evil.example/a.pem",
        "https://sns.eu-west-1.amazonaws.com/a.pem",
        "https://evil.example/sns.us-west-2.amazonaws.com/a.pem",
        "https://sns.us-west-2.amazonaws.com:8443/a.pem",
        "https://bucket.s3.us-west-2.amazonaws.com/a.pem",
        "https://169.254.169.254/a.pem",
    ],
)
async def test_without_an_endpoint_only_sns_in_the_region_of_the_topic_is_asked(url):
    """I06"""
    async with a_client(None) as sns:
        with pytest.raises(Unauthenticated):
            await sns.certificate(TOPIC, url)


async def test_nothing_is_fetched_for_a_topic_that_we_do_not_listen_to():
    async with sns_stand_in() as stand_in, a_client(stand_in.url) as sns:
        with pytest.raises(Unauthenticated):
            await sns.certificate(OTHER, stand_in.url + CERTIFICATE_PATH)
        with pytest.raises(Unauthenticated):
            await sns.confirm(OTHER, stand_in.url + CONFIRM)
    assert stand_in.asked == []


@pytest.mark.parametrize("status", [301, 403, 404])
async def test_a_certificate_that_is_not_there_proves_nothing(status):
    async with sns_stand_in() as stand_in, a_client(stand_in.url) as sns:
        stand_in.status = status
        with pytest.raises(Unauthenticated):
            await sns.certificate(TOPIC, stand_in.url + CERTIFICATE_PATH)


async def test_a_certificate_larger_than_any_is_not_read():
    async with sns_stand_in() as stand_in, a_client(stand_in.url) as sns:
        stand_in.certificate = "x" * 40_000
        with pytest.raises(Unauthenticated):
            await sns.certificate(TOPIC, stand_in.url + CERTIFICATE_PATH)


async def test_an_outage_of_sns_is_told_apart_and_over_when_it_is_over():
    async with sns_stand_in() as stand_in, a_client(stand_in.url) as sns:
        stand_in.status = 503
        with pytest.raises(UpstreamUnavailable):
            await sns.certificate(TOPIC, stand_in.url + CERTIFICATE_PATH)
        stand_in.status = 200
        assert await sns.certificate(TOPIC, stand_in.url + CERTIFICATE_PATH) == stand_in.certificate


async def test_a_subscription_is_confirmed_with_its_token():
    async with sns_stand_in() as stand_in, a_client(stand_in.url) as sns:
        await sns.confirm(TOPIC, stand_in.url + CONFIRM)
    [given] = stand_in.confirmed
    assert given == {"Action": ["ConfirmSubscription"], "TopicArn": [TOPIC], "Token": ["2336412f37"]}


async def test_a_confirmation_that_sns_refuses_is_an_error():
    async with sns_stand_in() as stand_in, a_client(stand_in.url) as sns:
        stand_in.status = 400
        with pytest.raises(UpstreamRejected):
            await sns.confirm(TOPIC, stand_in.url + CONFIRM)


@pytest.mark.parametrize(
    "change",
    [
        ("ConfirmSubscription", "Unsubscribe"),
        ("ConfirmSubscription", "ConfirmSubscription&Action=Unsubscribe"),
        ("MyTopic", "Other"),
        ("/?", "/elsewhere?"),
        ("/?", "/?a=1&b=1&c=1&d=1&e=1&f=1&g=1&h=1&"),
        (CONFIRM, ""),
    ],
)
async def test_an_address_that_would_do_anything_else_is_not_asked(change):
    async with sns_stand_in() as stand_in, a_client(stand_in.url) as sns:
        with pytest.raises(Unauthenticated):
            await sns.confirm(TOPIC, stand_in.url + CONFIRM.replace(*change))
    assert stand_in.asked == []
