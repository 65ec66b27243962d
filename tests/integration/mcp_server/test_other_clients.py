"""Clients that others wrote, as they are published: the TypeScript SDK 1.x and 2.x, and the Inspector's command line.

(The Python SDK's client is what most tests here speak with; over stdio in tests/integration/cli/test_stdio.py, over SSE in test_sse.py.)
"""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from typing import Any

import pytest

from support.balancer import balancing
from support.node import MODULES, NODE, package
from support.services import new_key, running_mcp, settings_for

WITHIN_S = 60
STDIO = [sys.executable, "-m", "devops_mcp.cli.main", "stdio"]


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.mcp_url, redis_url)


async def node(script: str, *arguments: str) -> tuple[int, str, str]:
    """Run a script; its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        script,
        *arguments,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def typescript(script: str, *arguments: str) -> dict[str, Any]:
    package("@modelcontextprotocol/client")
    code, out, err = await node(str(MODULES.parent / script), *arguments)
    assert code == 0, err
    return json.loads(out)


async def test_the_typescript_sdk_1_over_http(database, settings):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url:
        said = await typescript("typescript_v1.mjs", f"{url}/mcp", key)
    assert said["protocol"] == "2025-11-25"
    assert "context_create" in said["tools"]
    assert not said["isError"]


@pytest.mark.parametrize(("mode", "revision"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_the_typescript_client_2_over_http(database, settings, mode, revision):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url:
        said = await typescript("typescript_v2.mjs", f"{url}/mcp", key, mode)
    assert said["protocol"] == revision
    assert "context_create" in said["tools"]
    assert not said["isError"]


async def inspect(target: list[str], *method: str) -> dict[str, Any]:
    """What the Inspector's command line says of a method."""
    inspector = package("@modelcontextprotocol/inspector") / "clients/launcher/build/index.js"
    ours = target.index("--") if "--" in target else len(target)
    arguments = [*target[:ours], "--method", *method, "--format", "json", *target[ours:]]
    code, out, err = await node(str(inspector), "--cli", *arguments)
    assert code == 0, (code, out, err)
    return dict(json.loads(out))


def target(transport: str, url: str, key: str) -> list[str]:
    """How a server is named to the Inspector."""
    if transport == "stdio":
        address = url.replace("http", "ws", 1) + "/ws"
        environment = ["-e", f"DEVOPS_MCP_URL={address}", "-e", f"DEVOPS_MCP_API_KEY={key}"]
        return ["--transport", "stdio", *environment, "--", *STDIO]
    path = {"http": "/mcp", "sse": "/sse"}[transport]
    return [url + path, "--transport", transport, "--header", f"X-API-Key:{key}"]


@pytest.mark.parametrize("transport", ["http", "sse", "stdio"])
async def test_the_inspector_lists_and_calls_tools(database, settings, transport):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url:
        named = target(transport, url, key)
        listed = await inspect(named, "tools/list")
        arguments = ["--tool-name", "context_create", "--tool-args-json", '{"title":"inspected"}']
        called = await inspect(named, "tools/call", *arguments)
    assert "context_create" in {tool["name"] for tool in _result(listed)["tools"]}
    assert not _result(called).get("isError")


async def test_the_inspector_speaks_the_newest_revision_over_http(database, settings, tmp_path):
    key = await new_key(database.owner_url)
    versions: set[str | None] = set()
    async with running_mcp(settings) as replica, balancing(replica, versions=versions) as url:
        server = {
            "type": "streamable-http",
            "url": f"{url}/mcp",
            "headers": {"X-API-Key": key},
            "protocolEra": "modern",
        }
        (tmp_path / "servers.json").write_text(json.dumps({"mcpServers": {"ours": server}}))
        named = ["--config", str(tmp_path / "servers.json"), "--server", "ours"]
        listed = await inspect(named, "tools/list")
    assert "context_create" in {tool["name"] for tool in _result(listed)["tools"]}
    assert versions == {"2026-07-28"}


def _result(said: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = said.get("result", said)
    return result
