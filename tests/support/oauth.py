"""rest-api as an authorization server, with a user, and the steps of a client by hand."""

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import httpx2
from pydantic import SecretStr

from devops_mcp.config import Settings
from devops_mcp.embedded.ports import LOOPBACK, choose_ports
from devops_mcp.operations.bootstrap import add_user
from devops_mcp.operations.users import NewUser
from support.browser import Page, Person
from support.services import running_rest, settings_for

PASSWORD = "correct horse battery staple"
CALLBACK = "http://127.0.0.1:7777/callback"
VERIFIER = "a-verifier-of-this-test-which-is-long-enough-for-rfc-7636"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


def reachable_settings(database_url: str, redis_url: str, **others: Any) -> Settings:
    """Settings whose services are reached where tokens say that they are."""
    ports = choose_ports({"rest": 0, "mcp": 0})
    settings = settings_for(database_url, redis_url, **others)
    there = {
        name: getattr(settings, name).model_copy(
            update={"port": port, "public_url": f"http://{LOOPBACK}:{port}"}
        )
        for name, port in ports.items()
    }
    return settings.model_copy(update=there)


async def add_alice(owner_url: str, *roles: str, username: str = "alice") -> str:
    """A user with the password; its id."""
    draft = NewUser(
        username=username, name=username, roles=roles or ("developer",), password=SecretStr(PASSWORD)
    )
    return str(await add_user(owner_url, draft))


class Client:
    """A client by hand."""

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        self.http = http
        self.url = url
        self.id = ""

    async def register(self, *redirect_uris: str, **more: Any) -> httpx2.Response:
        body = {
            "client_name": "A desktop client",
            "redirect_uris": list(redirect_uris or (CALLBACK,)),
            **more,
        }
        answer = await self.http.post(f"{self.url}/oauth/register", json=body)
        if answer.status_code == 201:
            self.id = answer.json()["client_id"]
        return answer

    def asking(self, **changes: str | None) -> str:
        """The address to send the user to."""
        wanted = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": CALLBACK,
            "state": "xyz",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changes,
        }
        query = urlencode({name: value for name, value in wanted.items() if value is not None})
        return f"{self.url}/oauth/authorize?{query}"

    async def token(self, **given: str) -> httpx2.Response:
        return await self.http.post(f"{self.url}/oauth/token", data=given)

    async def exchange(self, code: str, **changes: str) -> httpx2.Response:
        given = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self.id,
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
            **changes,
        }
        return await self.token(**given)

    async def refresh(self, token: str, **changes: str) -> httpx2.Response:
        return await self.token(grant_type="refresh_token", refresh_token=token, client_id=self.id, **changes)


class Place:
    """A running authorization server, a client that is registered there, and alice at her browser."""

    def __init__(self, url: str, client: Client, alice: Person) -> None:
        self.url = url
        self.client = client
        self.alice = alice

    async def consent_page(self, **changes: str | None) -> Page:
        """What alice sees once she has signed in, or is."""
        page = await self.alice.open(self.client.asking(**changes))
        if any(name == "password" for form in page.forms for name, _ in form.fields):
            page = await self.alice.sign_in(page, "alice", PASSWORD)
        return page

    async def code(self, **changes: str | None) -> str:
        """A code that alice allowed."""
        await self.alice.submit(await self.consent_page(**changes), decision="allow")
        return self.alice.answered()["code"]


@asynccontextmanager
async def an_authorization_server(database, settings: Settings, *roles: str) -> AsyncIterator[Place]:
    await add_alice(database.owner_url, *roles)
    async with (
        running_rest(settings) as url,
        httpx2.AsyncClient(timeout=60) as programs,
        httpx2.AsyncClient(timeout=60) as browser,
    ):
        client = Client(programs, url)
        assert (await client.register()).status_code == 201
        yield Place(url, client, Person(browser, url))
