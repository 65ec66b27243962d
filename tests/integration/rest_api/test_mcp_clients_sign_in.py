"""The protocol's own Python client signs in by itself: from a 401 of mcp-server to its tools, over real HTTP."""

from contextlib import asynccontextmanager

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)

import devops_mcp.outbound.http
from support.agents import ERAS, HANDSHAKE
from support.browser import Person
from support.oauth import CALLBACK, PASSWORD, add_alice, reachable_settings
from support.services import running_mcp, running_rest
from support.tls import serving_documents

PATH = "/mcp/x/fs"


class Storage:
    """A client's memory."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


class Desktop:
    """A desktop client and the person before it, who lets it do what it asks for."""

    def __init__(self, mcp_url: str, person: Person, document: str | None = None) -> None:
        self.storage = Storage()
        self._person = person
        self.seen: list[str] = []
        self.changed = {}
        said = OAuthClientMetadata(redirect_uris=[CALLBACK], client_name="A desktop client")
        self.auth = OAuthClientProvider(
            f"{mcp_url}{PATH}", said, self.storage, self._send, self._receive, client_metadata_url=document
        )

    async def _send(self, url: str) -> None:
        page = await self._person.open(url)
        if any(name == "password" for form in page.forms for name, _ in form.fields):
            page = await self._person.sign_in(page, "alice", PASSWORD)
        self.seen.append(page.text)
        await self._person.submit(page, decision="allow")

    async def _receive(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**self._person.answered() | self.changed)


@pytest.fixture
def settings(database, redis_url, tmp_path):
    roots = {"work": {"path": str(tmp_path), "read_only": False}}
    files = {"name": "files", "system": "fs", "options": {"roots": roots}}
    return reachable_settings(database.mcp_url, redis_url, integrations=[files])


@asynccontextmanager
async def a_desktop(database, settings, document: str | None = None):
    await add_alice(database.owner_url)
    rest = settings.model_copy(update={"database_url": type(settings.database_url)(database.app_url)})
    async with (
        running_rest(rest) as rest_url,
        running_mcp(settings) as mcp_url,
        httpx2.AsyncClient() as browser,
    ):
        yield Desktop(mcp_url, Person(browser, rest_url), document), f"{mcp_url}{PATH}"


@asynccontextmanager
async def connected(desktop: Desktop, url: str, era: str):
    async with (
        httpx2.AsyncClient(auth=desktop.auth, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=era) as client,
    ):
        yield client


async def test_a_client_registers_signs_in_and_calls_tools_and_asks_for_more_when_it_needs_it(
    database, settings, tmp_path
):
    """A18: what a tool needs beyond the first token is asked of the user as well."""
    async with a_desktop(database, settings) as (desktop, url):
        for era in ERAS:
            async with connected(desktop, url, era) as client:
                assert "context_list" in {tool.name for tool in (await client.list_tools()).tools}
        assert desktop.storage.client is not None
        assert desktop.storage.tokens is not None
        assert len(desktop.seen) == 1, "the second connection had its token already"
        assert "call a tool that only reads" in desktop.seen[0]
        async with connected(desktop, url, HANDSHAKE) as client:
            answer = await client.call_tool("fs_mkdir", {"path": "work/made"})
        assert not answer.is_error, answer
        assert (tmp_path / "made").is_dir()
        assert len(desktop.seen) == 2
        assert "call a tool that changes something: fs_mkdir" in desktop.seen[1]


async def test_a_client_is_known_by_its_own_document(database, settings, tmp_path, monkeypatch):
    def described(url: str) -> dict:
        return {
            "client_id": f"{url}/client.json",
            "client_name": "A described client",
            "redirect_uris": ["http://127.0.0.1/callback"],
            "token_endpoint_auth_method": "none",
        }

    async with serving_documents(tmp_path, {"/client.json": described}) as (documents, trusting):
        monkeypatch.setattr(devops_mcp.outbound.http, "_authorities", lambda: trusting)
        async with a_desktop(database, settings, f"{documents.url}/client.json") as (desktop, url):
            async with connected(desktop, url, HANDSHAKE) as client:
                assert (await client.list_tools()).tools
            assert desktop.storage.client is not None
            assert desktop.storage.client.client_id == f"{documents.url}/client.json"
            assert "A described client" in desktop.seen[0]
            assert documents.url.removeprefix("https://") in desktop.seen[0]
            assert documents.paths == ["/client.json"], "it is kept for a while"


async def test_an_answer_in_the_name_of_another_issuer_is_not_taken(database, settings):
    """The client can tell servers apart, since every answer names us (RFC 9207)."""
    async with a_desktop(database, settings) as (desktop, url):
        desktop.changed = {"iss": "https://evil.example.com"}
        with pytest.RaisesGroup(OAuthFlowError, flatten_subgroups=True, allow_unwrapped=True):
            async with connected(desktop, url, HANDSHAKE) as client:
                await client.list_tools()
