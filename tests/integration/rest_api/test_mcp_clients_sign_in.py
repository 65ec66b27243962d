"""The protocol's own clients sign in by themselves: from a 401 of mcp-server to its tools, over real HTTP."""

import asyncio
import json
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from typing import Any

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
from support.node import MODULES, NODE, package
from support.oauth import CALLBACK, PASSWORD, add_alice, reachable_settings
from support.services import running_mcp, running_rest
from support.tls import serving_documents

PATH = "/mcp/x/fs"


async def allow(person: Person, url: str, *, everything: bool = False) -> str:
    """Sign in where that is asked for, and allow what is ticked, or all there is; the text of the page that asked."""
    page = await person.open(url)
    if any(name == "password" for form in page.forms for name, _ in form.fields):
        page = await person.sign_in(page, "alice", PASSWORD)
    chosen = {"scope": [value for name, value, _ in page.boxes if name == "scope"]} if everything else {}
    await person.submit(page, decision="allow", **chosen)
    return page.text


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
        self.person = person
        self.seen: list[str] = []
        self.changed = {}
        said = OAuthClientMetadata(redirect_uris=[CALLBACK], client_name="A desktop client")
        self.auth = OAuthClientProvider(
            f"{mcp_url}{PATH}", said, self.storage, self._send, self._receive, client_metadata_url=document
        )

    async def _send(self, url: str) -> None:
        self.seen.append(await allow(self.person, url))

    async def _receive(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**self.person.answered() | self.changed)


@pytest.fixture
def settings(database, redis_url, tmp_path):
    roots = {"work": {"path": str(tmp_path), "read_only": False}}
    files = {"name": "files", "system": "fs", "options": {"roots": roots}}
    return reachable_settings(database.mcp_url, redis_url, integrations=[files])


def described(url: str) -> dict:
    return {
        "client_id": f"{url}/client.json",
        "client_name": "A described client",
        "redirect_uris": ["http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "none",
    }


@asynccontextmanager
async def a_desktop(database, settings, document: str | None = None):
    await add_alice(database.owner_url)
    rest = settings.model_copy(update={"database_url": type(settings.database_url)(database.app_url)})
    async with (
        running_rest(rest) as rest_url,
        running_mcp(settings) as mcp_url,
        httpx2.AsyncClient(timeout=60) as browser,
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


async def a_typescript_client(
    version: int, url: str, person: Person, document: str = "", *, everything: bool = False
) -> dict[str, Any]:
    """What the script says at its end, after the person has allowed what it asked for on the way."""
    package("@modelcontextprotocol/client")
    script = MODULES.parent / f"typescript_v{version}_signing_in.mjs"
    process = await asyncio.create_subprocess_exec(
        str(NODE), str(script), url, CALLBACK, document, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=2**20
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while "open" in (said := json.loads(await process.stdout.readline() or b"{}")):
                await allow(person, said["open"], everything=everything)
                process.stdin.write(f"{person.away}\n".encode())
            rest, complained = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, (said, rest, complained.decode())
    return dict(said)


async def test_the_typescript_client_2_registers_signs_in_refreshes_and_asks_for_more(
    database, settings, tmp_path
):
    async with a_desktop(database, settings) as (desktop, url):
        said = await a_typescript_client(2, url, desktop.person)
    assert "context_create" in said["tools"]
    assert said["errors"] == [False, False]
    assert said["refreshed"]
    assert said["opened"] == 2, "once to begin with, and once for a tool that takes more"
    assert (tmp_path / "made").is_dir()


async def test_the_typescript_sdk_1_is_known_by_its_document_and_may_from_the_start_what_the_user_gives_it(
    database, settings, tmp_path, monkeypatch
):
    """It never asks for more, since it refreshes first: so the user can give it more than it asks for."""
    async with serving_documents(tmp_path, {"/client.json": described}) as (documents, trusting):
        monkeypatch.setattr(devops_mcp.outbound.http, "_authorities", lambda: trusting)
        async with a_desktop(database, settings) as (desktop, url):
            document = f"{documents.url}/client.json"
            said = await a_typescript_client(1, url, desktop.person, document, everything=True)
    assert said["client"] == document
    assert said["errors"] == [False, False]
    assert said["refreshed"]
    assert said["opened"] == 1
    assert (tmp_path / "made").is_dir()
