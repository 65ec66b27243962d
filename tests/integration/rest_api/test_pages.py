"""Every page that a browser may be shown: valid, named for who cannot see it, usable without scripts, in plain words."""

import pytest

from support.browser import Page
from support.html_rules import faults_of
from support.oauth import CALLBACK, Place, an_authorization_server, reachable_settings


@pytest.fixture
def settings(database, redis_url):
    return reachable_settings(database.app_url, redis_url)


async def pages_of(place: Place) -> dict[str, Page]:
    """Each page as it is first shown, and as it is shown with a fault."""
    asked = await place.alice.open(place.client.asking())
    wrong = await place.alice.sign_in(asked, "alice", "wrong")
    consent = await place.consent_page(scope="tools:read:* contexts:read")
    device = await place.client.http.post(
        f"{place.url}/oauth/device_authorization", data={"client_id": place.client.id}
    )
    code = await place.alice.open(f"{place.url}/oauth/device")
    waits = await place.alice.submit(code, user_code=device.json()["user_code"])
    return {
        "sign in": asked,
        "sign in, wrong": wrong,
        "consent": consent,
        "consent, nothing chosen": await place.alice.submit(consent, decision="allow", scope=[]),
        "code": code,
        "code, wrong": await place.alice.submit(code, user_code="BBBB-BBBB"),
        "device": waits,
        "device, done": await place.alice.submit(waits, decision="deny"),
        "fault": await place.alice.open(f"{place.url}/oauth/authorize"),
        "docs": await place.alice.open(f"{place.url}/docs"),
    }


async def test_every_page_is_valid_accessible_and_runs_nothing(database, settings):
    """K01: a policy that allows no scripts and nothing from elsewhere holds on each of them."""
    async with an_authorization_server(database, settings) as place:
        await place.client.register(CALLBACK, client_name='<b onclick="x">"A" & <script>alert(1)</script>')
        for name, page in (await pages_of(place)).items():
            assert faults_of(page.answer.text) == [], name
            policy = page.answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy, name
            assert "script-src" not in policy, name
            assert "unsafe" not in policy, name
            assert "frame-ancestors 'none'" in policy, name


async def test_what_is_asked_for_is_said_in_plain_words(database, settings):
    async with an_authorization_server(database, settings) as place:
        text = " ".join(
            (await place.consent_page(scope="tools:read:* contexts:read audit:read")).text.split()
        )
    assert "Let A desktop client act for you?" in text
    for words in (
        "call a tool that only reads",
        "read one's contexts",
        "search, export and verify the audit log",
    ):
        assert words in text
    assert "It can never do more than you may yourself." in text
    assert settings.mcp.url in text


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("<p>You are <b>alice</b>. <form method=post action=/x><button>Go</button></form></p>", "(p)"),
        ("<form method=post action=/x><input name=user><button>Go</button></form>", "no name"),
        ("<form method=post action=/x onsubmit=x()><button>Go</button></form>", "onsubmit"),
        ("<a href=https://elsewhere.example.com>there</a>", "leads to"),
    ],
)
async def test_the_rules_find_what_they_are_for(page, fault):
    whole = f"<!doctype html><html lang=en><head><title>t</title></head><body><main><h1>t</h1>{page}</main></body></html>"
    assert any(fault in found for found in faults_of(whole)), faults_of(whole)
