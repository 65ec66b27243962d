"""How OAuth clients find their way: challenges, protected-resource metadata, and what a token lacks (RFC 9728, cases A09, S01)."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx2
import pytest
import websockets

from devops_mcp.auth import access_tokens
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.models.permissions import require_grants
from devops_mcp.models.sessions import TokenPair
from devops_mcp.operations.users import NewUser, new_user
from devops_mcp.repositories.database import open_database
from support.handshake import HandshakeClient
from support.services import MCP_URL, REST_URL, new_key, running_mcp, settings_for
from support.tokens import Replica, Wall

METADATA = "/.well-known/oauth-protected-resource"


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.mcp_url, redis_url)


@asynccontextmanager
async def served(settings) -> AsyncIterator[tuple[str, httpx2.AsyncClient]]:
    async with running_mcp(settings) as base, httpx2.AsyncClient(base_url=base, timeout=60) as http:
        yield base, http


def said_in(challenge: str) -> dict[str, str]:
    assert challenge.startswith("Bearer ")
    return dict(re.findall(r'(\w+)="([^"]*)"', challenge))


async def begun(database, *scopes: str) -> TokenPair:
    """A session of a developer, for this service."""
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        user = new_user(NewUser(username="alice", name="Alice", roles=("developer",)), Wall().time)
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            await tx.users.add(user, None)
            alice = (await tx.users.credentials(user_id=user.id)).principal()
        sessions = Replica(opened, Wall(), issuer=REST_URL).sessions
        return await sessions.begin(alice, client_id="c", audience=MCP_URL, scopes=scopes)


async def test_who_has_no_token_is_told_where_to_get_one(settings):
    async with served(settings) as (_, http):
        for method, path in [
            ("POST", "/mcp"),
            ("GET", "/sse"),
            ("POST", "/mcp/x/github,fs/readonly"),
            ("GET", "/mcp/readonly"),
        ]:
            answer = await http.request(method, path)
            said = said_in(answer.headers["www-authenticate"])
            assert answer.status_code == 401
            assert said["resource_metadata"] == f"{MCP_URL}{METADATA}{path}"
            assert "error" not in said, "nothing was presented"
            require_grants(said["scope"].split())
            document = (await http.get(said["resource_metadata"].removeprefix(MCP_URL))).json()
            assert document["resource"] == f"{MCP_URL}{path}"
            assert document["authorization_servers"] == [REST_URL]
            of_own_tools = {"tools:write:context_*", "tools:write:agent_*"}
            assert set(said["scope"].split()) - of_own_tools <= set(document["scopes_supported"])


async def test_a_token_that_is_not_good_is_told_so_and_nothing_of_the_path_gets_into_the_answer(settings):
    bad = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."}
    async with served(settings) as (base, http):
        refused = await http.post("/mcp", headers=bad)
        assert said_in(refused.headers["www-authenticate"])["error"] == "invalid_token"
        odd = await http.post("/mcp/x/a%22%0d%0aX-Injected:%201", headers=bad)
        assert "x-injected" not in odd.headers
        assert said_in(odd.headers["www-authenticate"])["resource_metadata"] == f"{MCP_URL}{METADATA}"
        with pytest.raises(websockets.InvalidStatus) as denied:
            await websockets.connect(base.replace("http", "ws") + "/ws", subprotocols=["mcp"])
        said = said_in(denied.value.response.headers["www-authenticate"])
        assert said["resource_metadata"] == f"{MCP_URL}{METADATA}/ws"


async def test_the_metadata_is_there_for_the_service_and_its_addresses_only(settings):
    async with served(settings) as (_, http):
        whole = (await http.get(METADATA)).json()
        assert (whole["resource"], whole["bearer_methods_supported"]) == (MCP_URL, ["header"])
        for path in ("/ws", "/sse", "/mcp/x/all"):
            assert (await http.get(METADATA + path)).json()["resource"] == MCP_URL + path
        for path in ("/health/live", "/mcp/no/such", "/messages"):
            assert (await http.get(METADATA + path)).status_code == 404


async def test_an_open_websocket_ends_with_its_access_token(database, settings, monkeypatch):
    """S01"""
    pair = await begun(database, "*")
    headers = {"Authorization": f"Bearer {pair.access_token}"}
    async with served(settings) as (base, _):
        address = base.replace("http", "ws") + "/ws"
        async with websockets.connect(address, additional_headers=headers, subprotocols=["mcp"]) as socket:
            monkeypatch.setattr(access_tokens, "LEEWAY", timedelta(hours=-1))  # so that it is over now
            async with asyncio.timeout(40):
                await socket.wait_closed()
            assert socket.close_code == 4401


async def test_a_token_that_is_too_narrow_is_told_which_scopes_the_call_takes(database, settings):
    """The user may; where the user may not, another token would not help, and the tool is as absent (O09)."""
    pair = await begun(database, "tools:read:context_*")
    async with served(settings) as (base, http):
        await tried(http, base, pair.access_token, await new_key(database.owner_url, "tools:read:context_*"))


async def tried(http: httpx2.AsyncClient, base: str, token: str, api_key: str) -> None:
    client = HandshakeClient(http, [base], token)
    await client.begin()
    for name, arguments, lacks in [
        ("context_create", {"title": "x"}, "tools:write:context_create"),
        ("tools_call", {"name": "context_create", "arguments": {"title": "x"}}, "tools:write:context_create"),
        ("event_list", {}, "tools:read:event_list"),
    ]:
        answer = await client.post(client.request("tools/call", {"name": name, "arguments": arguments}))
        said = said_in(answer.headers["www-authenticate"])
        assert (answer.status_code, said["error"]) == (403, "insufficient_scope")
        assert said["scope"].split() == ["tools:read:context_*", lacks]
        assert said["resource_metadata"] == f"{MCP_URL}{METADATA}/mcp"
    listed = client.request("tools/call", {"name": "context_list", "arguments": {}})
    assert (await client.post(listed)).status_code == 200
    for absent in ("no_such_tool", "prometheus_query"):
        answer = await client.post(client.request("tools/call", {"name": absent, "arguments": {}}))
        assert answer.status_code == 200, "an error of the protocol, in its own words"
    key = HandshakeClient(http, [base], api_key)
    await key.begin()
    refused = await key.post(key.request("tools/call", {"name": "context_create", "arguments": {}}))
    assert refused.status_code == 200, "a key has the rights that it has"
