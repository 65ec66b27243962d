"""`devops-mcp search` as a person runs it."""

import asyncio
import base64
import json
import os
import sys
from asyncio.subprocess import PIPE

import pytest
from typer.testing import CliRunner

from devops_mcp.cli.login import Login, LoginFile
from devops_mcp.cli.main import app
from devops_mcp.cli.search import Server, server_of
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.passages import NewPassage, PassageKind
from devops_mcp.repositories.database import open_database
from support.services import new_key, running_rest, settings_for

HOSTILE = "the build\x1b[2J failed\r\n\x9b31m 1. forged"


async def run(key: str, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "devops_mcp.cli.main", "search", *arguments),
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "DEVOPS_MCP_API_KEY": key},
    )
    async with asyncio.timeout(120):
        said, complained = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode(), complained.decode()


async def refusal(key: str, *arguments: str) -> BaseException | None:
    """What the command raises, without a process of its own; what it prints is mixed with the service's log here."""
    environment = {"DEVOPS_MCP_API_KEY": key}
    ran = await asyncio.to_thread(CliRunner().invoke, app, ["search", *arguments], env=environment)
    return ran.exception


async def index(database, system: str, text: str) -> None:
    passage = NewPassage(
        kind=PassageKind.EVENT,
        source_id=new_id(),
        title=f"{system} run",
        text=text,
        uri="devops://events/1",
        occurred_at=utc_now(),
        metadata={"system": system},
    )
    async with (
        open_database(database.app_url, pool_size=1, application="test") as opened,
        opened.transaction(DEFAULT_TENANT_ID) as tx,
    ):
        await tx.passages.add([(new_id(), passage)], owner_id=None)


async def test_what_is_remembered_is_found_from_a_terminal_which_no_text_commands(database, redis_url):
    """L01: control characters of a text are shown, not obeyed, and a hit stays on its lines."""
    await index(database, "github", HOSTILE)
    await index(database, "gitlab", "the build passed")
    key = await new_key(database.owner_url, "search:read")
    settings = settings_for(database.app_url, redis_url, embedding_provider="lexical")
    async with running_rest(settings) as url:
        code, said, complained = await run(key, "failed", "build", "--url", url)
        found = await run(key, "build", "--system", "gitlab", "--json", "--url", url)
        refused = await refusal("dm_nobody", "build", "--url", url)
        wrong = await refusal(key, "build", "--since", "yesterday", "--url", url)
    assert (code, complained) == (0, "")
    lines = said.splitlines()
    assert lines[0] == "1. github run"
    assert "**build**" in lines[1]
    assert lines[2].endswith("devops://events/1 (words #1)")
    assert lines[3] == "2. gitlab run"
    assert not {"\x1b", "\x9b", "\r"} & set(said)
    [hit] = json.loads(found[1])["hits"]
    assert hit["passage"]["title"] == "gitlab run"
    assert isinstance(refused, Unauthenticated)
    assert isinstance(wrong, InvalidInput)
    assert wrong.message.startswith("since: ")


def token_for(audience: str) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"aud": audience}).encode()).decode()
    return f"head.{claims}.signature"


def environment(tmp_path, audience: str | None = None) -> dict[str, str]:
    """Of somebody who has signed in for that service."""
    file = LoginFile(tmp_path / "login.json")
    if audience is not None:
        there = [
            "https://rest.example.com",
            *(f"https://rest.example.com/{path}" for path in ("token", "revoke")),
        ]
        file.write(Login(*there, expires_at=1e12, access_token=token_for(audience), refresh_token="r"))
    return {"DEVOPS_MCP_LOGIN_FILE": str(file.path)}


def test_the_login_is_used_with_the_service_that_it_is_for_and_no_other(tmp_path):
    """A09"""
    mine = environment(tmp_path, "https://rest.example.com")
    expected = Server("https://rest.example.com", token_for("https://rest.example.com"))
    assert (
        server_of(None, tmp_path, mine) == server_of("https://rest.example.com/", tmp_path, mine) == expected
    )
    with pytest.raises(InvalidInput, match="there is no credential"):
        server_of("https://other.example.com", tmp_path, mine)
    with pytest.raises(InvalidInput, match=r"--resource https://rest\.example\.com'"):
        server_of(None, tmp_path, environment(tmp_path, "https://mcp.example.com"))


def test_the_suites_own_key_goes_to_the_suite_alone(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"rest": "http://127.0.0.1:1", "api_key": "dm_own"}))
    nobody = environment(tmp_path)
    assert server_of(None, tmp_path, nobody) == Server("http://127.0.0.1:1", "dm_own")
    with pytest.raises(InvalidInput):
        server_of("http://127.0.0.1:2", tmp_path, nobody)
    assert (
        server_of("http://127.0.0.1:2", tmp_path, {**nobody, "DEVOPS_MCP_API_KEY": "dm_given"}).credential
        == "dm_given"
    )
    with pytest.raises(InvalidInput, match="no server is known"):
        server_of(None, tmp_path / "nothing", nobody)
