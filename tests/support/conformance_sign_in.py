"""The person whom the conformance suite's authorization scenarios wait for: a user of the suite who allows what is asked.

The scenarios print the address that a browser is to open, and listen for the answer at an address of their own.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from devops_mcp.embedded.ports import choose_ports
from support.browser import Person

PASSWORD = "correct horse battery staple"
USERNAME = "conformance"
_ADDRESS = re.compile(r"https?://\S+/oauth/authorize\?\S+")


@dataclass(frozen=True)
class Registered:
    """A client for the scenarios, and the port that its answers go to."""

    client_id: str
    port: int


async def register(addresses: Mapping[str, Any]) -> Registered:
    """A user to sign in as, and a client that the scenarios are."""
    port = choose_ports({"callback": 0})["callback"]
    user = {"username": USERNAME, "name": USERNAME, "roles": ["developer"], "password": PASSWORD}
    client = {"client_name": "conformance", "redirect_uris": [f"http://127.0.0.1:{port}/callback"]}
    async with httpx2.AsyncClient(base_url=addresses["rest"], timeout=60) as http:
        key = {"X-API-Key": addresses["api_key"]}
        (await http.post("/api/v1/users", json=user, headers=key)).raise_for_status()
        registered = await http.post("/oauth/register", json=client)
        registered.raise_for_status()
        return Registered(registered.json()["client_id"], port)


async def answer(said: asyncio.StreamReader, url: str) -> str:
    """Read what the suite says to its end, and do as it asks on the way; all that it said."""
    told = ""
    async with httpx2.AsyncClient(timeout=30) as http:
        while line := await said.readline():
            told += line.decode()
            if found := _ADDRESS.search(line.decode()):
                await _allow(http, url, found[0])
    return told


async def _allow(http: httpx2.AsyncClient, url: str, address: str) -> None:
    person = Person(http, url)
    page = await person.sign_in(await person.open(address), USERNAME, PASSWORD)
    await person.submit(page, decision="allow")
    assert person.away is not None
    await http.get(person.away)
