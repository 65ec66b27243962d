"""`devops-mcp login` as a person runs it: a program that waits, a browser, and a file of tokens."""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from devops_mcp.operations import sessions
from mcp_server.caller import Caller
from support.agents import HANDSHAKE
from support.oauth import PASSWORD, an_authorization_server, reachable_settings
from support.services import running_mcp

COMMAND = [sys.executable, "-m", "devops_mcp.cli.main"]


@pytest.fixture
def settings(database, redis_url):
    return reachable_settings(database.app_url, redis_url)


async def run(file: Path, *arguments: str) -> tuple[int, str, str]:
    environment = {**os.environ, "DEVOPS_MCP_LOGIN_FILE": str(file)}
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=PIPE, stderr=PIPE, env=environment
    )
    async with asyncio.timeout(60):
        said, complained = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode(), complained.decode()


async def sign_in(place, file: Path) -> str:
    environment = {**os.environ, "DEVOPS_MCP_LOGIN_FILE": str(file), "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "login", "--url", place.url, stdout=PIPE, stderr=PIPE, env=environment
    )
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(60):
        while not (found := re.search(r"or open (\S+)", said)):
            line = (await process.stdout.readline()).decode()
            assert line, said
            said += line
        page = await place.alice.open(found[1])
        page = await place.alice.submit(await place.alice.sign_in(page, "alice", PASSWORD))
        await place.alice.submit(page, decision="allow")
        rest, complained = await process.communicate()
    assert process.returncode == 0, complained.decode()
    return said + rest.decode()


async def test_a_person_signs_in_once_and_the_commands_use_it_until_it_signs_out(
    database, settings, tmp_path
):
    """K01: the tokens are in one file, for its owner only, and nothing prints them unasked."""
    file = tmp_path / "settings" / "login.json"
    mcp = settings.model_copy(update={"database_url": type(settings.database_url)(database.mcp_url)})
    async with an_authorization_server(database, settings) as place, running_mcp(mcp):
        said = await sign_in(place, file)
        kept = json.loads(file.read_text())
        assert file.stat().st_mode & 0o777 == 0o600
        assert kept["access_token"] not in said
        assert settings.mcp.url in said

        environment = {**os.environ, "DEVOPS_MCP_LOGIN_FILE": str(file)}
        bridge = StdioServerParameters(
            command=COMMAND[0], args=[*COMMAND[1:], "stdio", "--state", str(tmp_path)], env=environment
        )
        async with Client(stdio_client(bridge), mode=HANDSHAKE) as client:
            assert (await client.list_tools()).tools

        file.write_text(json.dumps({**kept, "expires_at": 0}))
        code, token, _ = await run(file, "token")
        renewed = json.loads(file.read_text())
        assert (code, token.strip()) == (0, renewed["access_token"])
        assert renewed["refresh_token"] != kept["refresh_token"]
        assert file.stat().st_mode & 0o777 == 0o600

        elsewhere = await run(file, "stdio", "--url", "ws://127.0.0.1:9/ws", "--state", str(tmp_path))
        assert elsewhere[0] == 2, "the token goes to its own server only"

        assert (await run(file, "logout"))[:2] == (0, "signed out\n")
        assert not file.exists()
        asked = {
            "grant_type": "refresh_token",
            "refresh_token": renewed["refresh_token"],
            "client_id": "devops-mcp-cli",
        }
        assert (await place.client.token(**asked)).json()["error"] == "invalid_grant"
        assert (await run(file, "token"))[0] == 1


async def test_connections_outlast_their_access_token_and_share_one_login(
    database, settings, tmp_path, monkeypatch
):
    """A13: two programs renew from one file at once, and the session goes on."""
    # An access token is renewed a minute before it ends: here a second after it was had.
    monkeypatch.setattr(sessions, "LIFETIME", timedelta(seconds=61))
    renewals: asyncio.Queue[object] = asyncio.Queue()
    renew = Caller.renew

    async def noticed(caller: Caller, headers) -> None:
        await renew(caller, headers)
        renewals.put_nowait(caller)

    monkeypatch.setattr(Caller, "renew", noticed)
    file = tmp_path / "login.json"
    mcp = settings.model_copy(update={"database_url": type(settings.database_url)(database.mcp_url)})
    bridge = StdioServerParameters(
        command=COMMAND[0],
        args=[*COMMAND[1:], "stdio", "--state", str(tmp_path)],
        env={**os.environ, "DEVOPS_MCP_LOGIN_FILE": str(file)},
    )
    async with (
        an_authorization_server(database, settings) as place,
        running_mcp(mcp),
        AsyncExitStack() as open_,
    ):
        await sign_in(place, file)
        began_with = json.loads(file.read_text())["refresh_token"]
        clients = [
            await open_.enter_async_context(Client(stdio_client(bridge), mode=HANDSHAKE)) for _ in "ab"
        ]
        async with asyncio.timeout(60):
            seen: dict[object, int] = {}
            while sorted(seen.values()) < [2, 2]:
                caller = await renewals.get()
                seen[caller] = seen.get(caller, 0) + 1
        for client in clients:
            assert (await client.list_tools()).tools
        assert json.loads(file.read_text())["refresh_token"] != began_with


async def test_a_server_that_names_another_issuer_is_not_signed_in_to(database, settings, tmp_path):
    """A03: mixed-up issuers."""
    async with an_authorization_server(database, settings) as place:
        address = place.url.replace("127.0.0.1", "localhost")
        code, _, complained = await run(tmp_path / "login.json", "login", "--url", address)
        assert code == 1
        assert "no authorization server by this address" in complained
