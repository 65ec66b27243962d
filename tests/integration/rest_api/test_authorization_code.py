"""The authorization code grant over real HTTP: pages, codes and tokens (cases A09, A13, K01, L05)."""

import asyncio
import re
from urllib.parse import parse_qsl, urlsplit

import httpx2
import psycopg
import pytest

import devops_mcp.outbound.http
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import altered
from support.oauth import (
    CALLBACK,
    CHALLENGE,
    PASSWORD,
    Client,
    Place,
    an_authorization_server,
    reachable_settings,
)
from support.services import new_key
from support.tls import serving_documents

SCOPE = "contexts:read contexts:write"
ELSEWHERE = "https://app.example.com/back?from=us"

NOT_SURE = [
    {"redirect_uri": "https://evil.example.com/callback"},
    {"redirect_uri": "http://127.0.0.1:7777/callback/../evil"},
    {"redirect_uri": "http://127.0.0.1:7777/callback?x=1"},
    {"redirect_uri": "http://127.0.0.1:7777@evil.example.com/callback"},
    {"redirect_uri": "http://localhost:7777/callback"},
    {"redirect_uri": "https://127.0.0.1:7777/callback"},
    {"client_id": "00000000-0000-7000-8000-00000000beef"},
    {"client_id": "http://127.0.0.1/client.json"},
    {"client_id": "https://127.0.0.1:1/client.json"},
    {"client_id": "https://10.0.0.1/client.json"},
    {"client_id": "https://169.254.169.254/latest"},
    {"client_id": "https://example.com/"},
    {"client_id": "https://example.com/a/../b"},
    {"client_id": "https://user@example.com/a"},
    {"client_id": None},
]
FAULTS = [
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_mode": "fragment"}, "invalid_request"),
    ({"code_challenge": None}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"code_challenge_method": None}, "invalid_request"),
    ({"code_challenge": "short"}, "invalid_request"),
    ({"scope": "no:such:thing"}, "invalid_scope"),
    ({"scope": 'a"b'}, "invalid_scope"),
    ({"resource": "https://evil.example.com/mcp"}, "invalid_target"),
    ({"request_uri": "https://evil.example.com/r"}, "request_not_supported"),
    ({"prompt": "none"}, "interaction_required"),
]
NOT_FOR_CODES = [
    "http://app.example.com/callback", "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "https://a.example.com/#f",
    "https://user:pw@a.example.com/", "//a.example.com", "ms-msdt:/id", "https://", "http://127.0.0.1.evil.example.com/",
    "https://a.example.com/ x", "https://a.example.com/\u202e", "intent://x", "about:blank",
]  # fmt: skip


@pytest.fixture
def settings(database, redis_url):
    return reachable_settings(database.app_url, redis_url)


async def me(place: Place, token: str) -> httpx2.Response:
    return await place.client.http.get(f"{place.url}/api/v1/me", headers={"Authorization": f"Bearer {token}"})


def recorded(database) -> list[tuple[str, str]]:
    with psycopg.connect(database.superuser_url) as connection:
        return connection.execute("SELECT action, outcome FROM audit_log ORDER BY id").fetchall()


async def test_a_user_lets_a_client_act_and_the_tokens_do_what_was_chosen(database, settings):
    """L05: signing in, the consent and the session are in the audit log."""
    rest = settings.rest.url
    async with an_authorization_server(database, settings) as place:
        page = await place.consent_page(scope=SCOPE, resource=rest)
        assert "A desktop client" in page.text
        assert "127.0.0.1:7777" in page.text
        await place.alice.submit(page, decision="allow", scope="contexts:read")
        said = place.alice.answered()
        assert (said.keys(), said["state"], said["iss"]) == ({"code", "state", "iss"}, "xyz", place.url)
        answer = await place.client.exchange(said["code"], resource=f"{rest}/")
        assert answer.headers["cache-control"] == "no-store"
        tokens = answer.json()
        assert tokens.keys() == {"access_token", "refresh_token", "token_type", "expires_in", "scope"}
        assert tokens["scope"] == "contexts:read"
        assert (await me(place, tokens["access_token"])).json()["limits"] == [["contexts:read"]]

        renewed = (await place.client.refresh(tokens["refresh_token"], resource=rest)).json()
        assert (await me(place, renewed["access_token"])).status_code == 200
        wrong = await place.client.refresh(renewed["refresh_token"], resource=settings.mcp.url)
        assert wrong.json()["error"] == "invalid_target"
        more = await place.client.refresh(renewed["refresh_token"], scope=SCOPE)
        assert more.json()["error"] == "invalid_scope"
        revoking = {"token": renewed["refresh_token"], "client_id": place.client.id}
        assert (await place.client.http.post(f"{place.url}/oauth/revoke", data=revoking)).status_code == 200
        assert (await place.client.refresh(renewed["refresh_token"])).json()["error"] == "invalid_grant"
    happened = [
        ("login.password", "ok"),
        ("oauth.consent", "ok"),
        ("sessions.begin", "ok"),
        ("sessions.end", "ok"),
    ]
    assert [row for row in recorded(database) if row in happened] == happened


async def test_a_code_is_good_once_for_its_own_client_redirect_verifier_and_resource(database, settings):
    """A13: a second use ends the session of the first."""
    async with an_authorization_server(database, settings) as place:
        other = Client(place.client.http, place.url)
        await other.register()
        code = await place.code(scope=SCOPE, resource=settings.rest.url)
        for changes in (
            {"client_id": other.id},
            {"redirect_uri": f"{CALLBACK}/"},
            {"redirect_uri": CALLBACK.replace("7777", "7778")},
            {"code_verifier": "another-verifier-which-is-long-enough-for-rfc-7636"},
            {"code_verifier": CHALLENGE},
            {"code_verifier": ""},
            {"code": altered(code)},
            {"code": "dmc_short"},
            {"resource": settings.mcp.url},
            {"resource": "https://evil.example.com"},
        ):
            refused = await place.client.exchange(**{"code": code, **changes})
            error = "invalid_target" if "resource" in changes else "invalid_grant"
            assert (refused.status_code, refused.json()["error"]) == (400, error), changes
        tokens = (await place.client.exchange(code)).json()
        assert (await me(place, tokens["access_token"])).status_code == 200
        assert (await place.client.exchange(code)).json()["error"] == "invalid_grant"
        assert (await place.client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert ("oauth.code_reuse", "denied") in recorded(database)


async def test_of_many_uses_of_a_code_at_once_none_leaves_a_session(database, settings):
    """A13"""
    async with an_authorization_server(database, settings) as place:
        code = await place.code()
        answers = await asyncio.gather(*(place.client.exchange(code) for _ in range(8)))
        assert sum(answer.status_code == 200 for answer in answers) <= 1
        for answer in answers:
            if answer.status_code == 200:
                again = await place.client.refresh(answer.json()["refresh_token"])
                assert again.json()["error"] == "invalid_grant"


async def test_a_code_is_good_for_a_minute_and_kept_as_a_hash(database, settings):
    """K01"""
    async with an_authorization_server(database, settings) as place:
        code = await place.code()
        with psycopg.connect(database.superuser_url) as connection:
            [row] = connection.execute("SELECT to_jsonb(c)::text FROM authorization_codes AS c").fetchall()
            assert code not in row[0]
            connection.execute("UPDATE authorization_codes SET expires_at = expires_at - interval '60 s'")
        assert (await place.client.exchange(code)).json()["error"] == "invalid_grant"


async def test_nobody_is_sent_anywhere_while_it_is_not_sure_who_asks(place):
    """I05, I06: no open redirect, and no address is looked at that must not be."""
    for changes in NOT_SURE:
        answer = await place.http.get(place.asking(**changes))
        assert (answer.status_code, "location" in answer.headers) == (400, False), changes
        assert "script" not in answer.text
    answer = await place.http.get(place.asking() + "&redirect_uri=https%3A%2F%2Fevil.example.com")
    assert (answer.status_code, "location" in answer.headers) == (400, False), "a parameter comes twice"


async def test_a_client_hears_of_its_faults_at_its_own_address(place):
    for changes, error in FAULTS:
        answer = await place.http.get(place.asking(**changes))
        assert answer.status_code == 303, changes
        to = urlsplit(answer.headers["location"])
        assert f"{to.scheme}://{to.netloc}{to.path}" == CALLBACK
        said = dict(parse_qsl(to.query))
        assert (said["error"], said["state"], said["iss"]) == (error, "xyz", place.url), changes


@pytest.fixture
async def place(database, settings):
    async with an_authorization_server(database, settings) as opened:
        yield opened.client


async def test_on_loopback_any_port_will_do_and_elsewhere_each_character_counts(database, settings):
    async with an_authorization_server(database, settings) as place:
        await place.client.register(
            "http://localhost/back", "https://app.example.com/a", "com.example.app:/back"
        )
        for good in ("http://localhost:5000/back", "http://localhost/back", "com.example.app:/back"):
            await place.alice.submit(await place.consent_page(redirect_uri=good), decision="deny")
            assert place.alice.away is not None
            assert place.alice.away.startswith(f"{good}?")
            assert place.alice.answered()["error"] == "access_denied"
        for bad in ("https://app.example.com:444/a", "https://app.example.com/a/", "com.example.app:/back/x"):
            answer = await place.client.http.get(place.client.asking(redirect_uri=bad))
            assert (answer.status_code, "location" in answer.headers) == (400, False)
    assert recorded(database).count(("oauth.consent", "denied")) == 3


async def test_an_address_that_no_code_may_be_sent_to_is_not_registered(place):
    for uri in NOT_FOR_CODES:
        refused = await place.register(uri)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_redirect_uri"), uri


async def test_what_a_client_says_of_itself_is_heeded_or_refused(place):
    known = (
        await place.register(client_name="A\u202e\n name", token_endpoint_auth_method="client_secret_post")
    ).json()
    assert (known["client_name"], known["token_endpoint_auth_method"]) == ("A name", "none")
    assert known["grant_types"] == ["authorization_code"]
    assert "client_secret" not in known
    for wrong in (
        {"grant_types": ["implicit"]},
        {"redirect_uris": "x"},
        {"response_types": ["token"]},
        {"client_name": 7},
    ):
        refused = await place.register(**wrong)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata"), wrong
    for body in (b"[]", b"{", b'{"redirect_uris": [], "redirect_uris": []}'):
        refused = await place.http.post(f"{place.url}/oauth/register", content=body)
        assert refused.status_code == 400


async def test_a_form_counts_only_in_the_browser_and_for_the_sign_in_that_it_was_made_for(database, settings):
    """S01: neither a page elsewhere nor another browser makes a user allow anything."""
    async with (
        an_authorization_server(database, settings) as place,
        httpx2.AsyncClient(timeout=60) as stranger,
    ):
        page = await place.consent_page()
        sent = {"form": dict(page.forms[-1].fields)["form"], "decision": "allow", "scope": "contexts:read"}
        there = f"{place.url}/oauth/authorize"
        assert (await stranger.post(there, data=sent)).status_code == 400
        for origin in ("https://evil.example.com", "null"):
            crossed = await place.alice.http.post(there, data=sent, headers={"Origin": origin})
            assert crossed.status_code == 403
        for forged in ({**sent, "form": ""}, {**sent, "form": altered(sent["form"])}):
            assert (await place.alice.http.post(there, data=forged)).status_code == 400
        old = sent
        await place.alice.submit(page, form=0)  # signs out
        assert (await place.alice.http.post(there, data=old)).status_code == 400
        back = await place.alice.open(place.client.asking())
        wrong = await place.alice.sign_in(back, "alice", "not the password")
        assert wrong.answer.status_code == 403
        right = await place.alice.sign_in(wrong, "alice", PASSWORD)
        assert right.answer.status_code == 200
        assert (await place.alice.submit(right, decision="allow", scope=[])).answer.status_code == 200
        assert place.alice.away is None, "nothing was chosen"


async def test_the_pages_stand_alone_in_no_frame_without_scripts(database, settings):
    async with an_authorization_server(database, settings) as place:
        await place.client.register(client_name="<script>alert(1)</script>")
        for page in (await place.alice.open(place.client.asking()), await place.consent_page()):
            headers = page.answer.headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert (headers["x-frame-options"], headers["cache-control"]) == ("DENY", "no-store")
            assert "<script" not in page.answer.text
            assert re.search(r"<style>.*</style>", page.answer.text, re.DOTALL)
        assert "form-action 'self' http://127.0.0.1:7777;" in policy, "browsers hold redirects to it too"
        assert all(cookie.has_nonstandard_attr("HttpOnly") for cookie in place.alice.http.cookies.jar)
        assert {cookie.path for cookie in place.alice.http.cookies.jar} == {"/oauth"}


async def test_a_sign_in_ends_with_the_password_and_with_the_users_suspension(database, settings):
    async with an_authorization_server(database, settings) as place:
        await place.consent_page()
        key = {"X-API-Key": await new_key(database.owner_url)}
        users = f"{place.url}/api/v1/users"
        [alice] = (await place.client.http.get(users, headers=key)).json()["items"]
        other = {"password": f"{PASSWORD} anew"}
        await place.client.http.put(f"{users}/{alice['id']}/password", json=other, headers=key)
        page = await place.alice.open(place.client.asking())
        assert "Sign in" in page.text
        await place.alice.sign_in(page, "alice", other["password"])
        assert "Let A desktop client" in (await place.alice.open(place.client.asking())).text
        with psycopg.connect(database.superuser_url) as connection:
            connection.execute("UPDATE users SET status = 'suspended'")
        assert "Sign in" in (await place.alice.open(place.client.asking())).text


async def test_only_what_proves_itself_is_not_asked_about_again_and_withdrawing_ends_it(database, settings):
    async with an_authorization_server(database, settings) as place:
        await place.client.register(ELSEWHERE, CALLBACK)
        for redirect_uri in (ELSEWHERE, CALLBACK):
            page = await place.consent_page(scope=SCOPE, redirect_uri=redirect_uri)
            assert bool([box for box in page.boxes if box[0] == "remember"]) == (redirect_uri == ELSEWHERE)
            await place.alice.submit(page, decision="allow", remember="yes")
            asked = await place.alice.open(
                place.client.asking(scope="contexts:read", redirect_uri=redirect_uri)
            )
            if redirect_uri == CALLBACK:
                assert "Let A desktop client" in asked.text, (
                    "any program of the machine can say that it is this one"
                )
                continue
            assert place.alice.away is not None
            assert place.alice.away.startswith(f"{ELSEWHERE}&code=")
            code = place.alice.answered()["code"]
            more = await place.alice.open(place.client.asking(scope="search:read", redirect_uri=ELSEWHERE))
            assert "Let A desktop client" in more.text, "that was not asked about"
        tokens = (await place.client.exchange(code, redirect_uri=ELSEWHERE)).json()
        key = {"X-API-Key": await new_key(database.owner_url)}
        consents = f"{place.url}/api/v1/oauth/consents"
        [consent] = (await place.client.http.get(consents, headers=key)).json()["items"]
        assert consent["client_name"] == "A desktop client"
        gone = await place.client.http.delete(f"{consents}/{consent['id']}", headers=key)
        assert gone.status_code == 204
        assert (await place.client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_revoked_client_is_out_and_can_ask_nobody(database, settings):
    async with an_authorization_server(database, settings) as place:
        tokens = (await place.client.exchange(await place.code(resource=settings.rest.url))).json()
        assert (await me(place, tokens["access_token"])).status_code == 200
        key = {"X-API-Key": await new_key(database.owner_url)}
        clients = f"{place.url}/api/v1/oauth/clients"
        [known] = (await place.client.http.get(clients, headers=key)).json()["items"]
        assert (known["id"], known["source"]) == (place.client.id, "registered")
        done = await place.client.http.post(f"{clients}/revoke", json={"client_id": known["id"]}, headers=key)
        assert done.status_code == 204
        assert (await place.client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_client"
        assert (await place.alice.open(place.client.asking())).answer.status_code == 400
        with psycopg.connect(database.superuser_url) as connection:
            [(ended,)] = connection.execute(
                "SELECT count(*) FROM sessions WHERE revoked_at IS NOT NULL"
            ).fetchall()
        assert ended == 1


async def test_who_asks_without_end_is_told_to_wait(database, settings):
    async with an_authorization_server(database, settings) as place:
        answers = [await place.client.register() for _ in range(40)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert int(refused[0].headers["retry-after"]) >= 1


async def test_the_metadata_says_where_everything_is(place):
    said = (await place.http.get(f"{place.url}/.well-known/oauth-authorization-server")).json()
    assert said["issuer"] == place.url
    for name, address in said.items():
        if name.endswith(("_endpoint", "_uri")):
            assert (await place.http.get(address)).status_code != 404, name
    assert said["code_challenge_methods_supported"] == ["S256"]
    assert said["client_id_metadata_document_supported"] is True
    assert (await place.http.get(f"{place.url}/.well-known/openid-configuration")).status_code == 404


async def test_a_user_of_another_tenant_signs_in_under_its_name(database, settings):
    """T02: the code and the session are that tenant's."""
    async with an_authorization_server(database, settings) as place:
        key = {"X-API-Key": await new_key(database.owner_url)}
        owner = {"username": "bob", "name": "Bob", "password": PASSWORD}
        acme = {"name": "Acme", "slug": "acme", "owner": owner}
        made = await place.client.http.post(f"{place.url}/api/v1/tenants", json=acme, headers=key)
        page = await place.alice.open(place.client.asking(resource=settings.rest.url))
        await place.alice.submit(await place.alice.sign_in(page, "acme/bob", PASSWORD), decision="allow")
        tokens = (await place.client.exchange(place.alice.answered()["code"])).json()
        assert (await me(place, tokens["access_token"])).json()["tenant_id"] == made.json()["id"]
        assert made.json()["id"] != str(DEFAULT_TENANT_ID)


async def test_a_document_that_is_not_the_clients_own_or_not_in_order_names_no_client(
    database, settings, tmp_path, monkeypatch
):
    """I07: it is read without redirects, up to a size, and believed only where it names itself."""

    def said(**changes):
        return lambda url: {"client_id": f"{url}/c", "redirect_uris": [CALLBACK], **changes}

    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    answers = {
        "/c": said(),
        "/another": said(),
        "/secret": lambda url: {**said()(url), "client_id": f"{url}/secret", "client_secret": "x"},
        "/evil": lambda url: {"client_id": f"{url}/evil", "redirect_uris": ["javascript:alert(1)"]},
        "/none": lambda url: {"client_id": f"{url}/none", "redirect_uris": []},
        "/large": head + b'{"x": "' + b"x" * 20_000 + b'"}',
        "/text": head.replace(b"application/json", b"text/html") + b"{}",
        "/away": b"HTTP/1.1 302 Found\r\nLocation: /c\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "/broken": head + b"{",
    }
    async with serving_documents(tmp_path, answers) as (documents, trusting):
        monkeypatch.setattr(devops_mcp.outbound.http, "_authorities", lambda: trusting)
        async with an_authorization_server(database, settings) as place:
            for path in answers:
                answer = await place.client.http.get(place.client.asking(client_id=documents.url + path))
                expected = (200 if path == "/c" else 400, False)
                assert (answer.status_code, "location" in answer.headers) == expected, path
        assert documents.paths == list(answers), "each was asked for once, and no redirect was followed"


async def test_the_user_may_give_what_is_offered_besides_and_nothing_else(database, settings):
    """A client that works with tools may be let change things too, where the user ticks that; no other is."""
    async with an_authorization_server(database, settings) as place:
        page = await place.consent_page(scope="tools:read:*")
        assert page.boxes == [
            ("scope", "tools:read:*", True),
            ("scope", "tools:write:*", False),
            ("scope", "tools:destructive:*", False),
        ]
        chosen = ["tools:read:*", "tools:write:*", "audit:read"]
        await place.alice.submit(page, decision="allow", scope=chosen)
        tokens = (await place.client.exchange(place.alice.answered()["code"])).json()
        assert tokens["scope"] == "tools:read:* tools:write:*"
        assert [box[1] for box in (await place.consent_page(scope="contexts:read")).boxes] == [
            "contexts:read"
        ]
