"""What is laid before an agent, by address, header and rights; and that a call reaches no further than the list says."""

import json

import httpx2
import pytest
from mcp.shared.exceptions import MCPError
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from devops_mcp.adapters.base import Effect
from devops_mcp.adapters.registry import load_adapters
from devops_mcp.embedding.tokens import count_tokens
from devops_mcp.operations.own_tools import OWN_TOOLS
from support.agents import ERAS, STATELESS, TRANSPORTS, agent
from support.channels import opening
from support.handshake import REVISIONS
from support.services import new_key, running_mcp, settings_for

MAX_TOKENS = 4_000
SUITE = {tool.name: tool for tool in OWN_TOOLS}
ADAPTERS = load_adapters(installed=False)
TOOLS = SUITE | {tool.name: tool for name in ("fs", "prometheus") for tool in ADAPTERS[name].tools}
OPEN_TO_ALL = {name for name, tool in SUITE.items() if not tool.needs_grant}
READS = {name for name, tool in TOOLS.items() if tool.effect is Effect.READ}

FRONT = {name for name, tool in SUITE.items() if tool.essential}

MODES = {
    "": FRONT,
    "/x/suite": set(SUITE),
    "/x/fs": FRONT | {name for name in TOOLS if name.startswith("fs_")},
    "/x/fs,prometheus": set(TOOLS) - (set(SUITE) - FRONT),
    "/x/all": set(TOOLS),
    "/readonly": FRONT & READS,
    "/x/all/readonly": READS,
}
ROLES = {
    "everything": (("*",), set(TOOLS)),
    "reader": (("tools:read:*",), READS | OPEN_TO_ALL),
    "files only": (("tools:*:fs_*",), {name for name in TOOLS if name.startswith("fs_")} | OPEN_TO_ALL),
    "nothing": (("contexts:read",), OPEN_TO_ALL),
}
every_way = [pytest.param(t, e, id=f"{t}-{e}") for t in TRANSPORTS for e in ERAS]


@pytest.fixture
def settings(database, redis_url, tmp_path):
    (tmp_path / "notes.txt").write_text("the answer is here")
    files = {"name": "files", "system": "fs", "options": {"roots": {"work": str(tmp_path)}}}
    metrics = {"name": "metrics", "system": "prometheus", "options": {"base_url": "http://127.0.0.1:9"}}
    return settings_for(database.mcp_url, redis_url, [files, metrics])


async def names_of(client) -> set[str]:
    names, cursor = set(), None
    while True:
        page = await client.list_tools(cursor=cursor)
        names |= {tool.name for tool in page.tools}
        if (cursor := page.next_cursor) is None:
            return names


async def refused_as_absent(client, name: str) -> bool:
    try:
        await client.call_tool(name, {})
    except MCPError as error:
        return f"there is no tool {name!r}" in str(error)
    return False


async def test_the_list_before_the_first_word_costs_few_tokens(database, settings):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, agent("http", url, key, STATELESS) as client:
        page = await client.list_tools()
    listed = json.dumps(
        [tool.model_dump(by_alias=True, exclude_none=True) for tool in page.tools], separators=(",", ":")
    )
    assert page.next_cursor is None
    assert count_tokens(listed) <= MAX_TOKENS


@pytest.mark.parametrize(("transport", "era"), every_way)
@pytest.mark.parametrize(
    ("toolsets", "view", "listed"),
    [
        (("fs",), "", MODES["/x/fs"]),
        (("fs",), "/x/prometheus", MODES["/x/fs,prometheus"]),
        (("fs",), "/readonly", MODES["/x/fs"] & READS),
        (("all",), "", MODES["/x/all"]),
    ],
)
async def test_a_credential_may_choose_what_is_listed(
    database, settings, transport, era, toolsets, view, listed
):
    key = await new_key(database.owner_url, toolsets=toolsets)
    async with running_mcp(settings) as url, agent(transport, url, key, era, view=view) as client:
        assert await names_of(client) == listed
        for hidden in sorted(set(TOOLS) - listed)[:3]:
            assert await refused_as_absent(client, hidden)


@pytest.mark.parametrize(("transport", "era"), every_way)
@pytest.mark.parametrize("role", ROLES)
async def test_what_a_list_hides_a_call_refuses(database, settings, transport, era, role):
    """O09: every tool, role and mode."""
    grants, permitted = ROLES[role]
    key = await new_key(database.owner_url, *grants)
    async with running_mcp(settings) as url:
        for view, laid_out in MODES.items():
            async with agent(transport, url, key, era, view=view) as client:
                listed = await names_of(client)
                assert listed == laid_out & permitted, view
                for name in TOOLS.keys() - listed:
                    assert await refused_as_absent(client, name), (view, name)


@pytest.mark.parametrize("view", ["", "/readonly"])
@pytest.mark.parametrize("role", ROLES)
async def test_a_tool_that_is_not_listed_is_reached_within_rights_and_mode_only(
    database, settings, role, view
):
    """O09, through tools_call and tools_describe."""
    grants, permitted = ROLES[role]
    key = await new_key(database.owner_url, *grants)
    reachable = permitted & READS if view else permitted
    async with running_mcp(settings) as url, agent("ws", url, key, STATELESS, view=view) as client:
        for name in TOOLS:
            described = await client.call_tool("tools_describe", {"names": [name]})
            assert described.is_error == (name not in reachable), name
        caller = "tools_read" if view else "tools_call"
        for name in TOOLS.keys() - reachable:
            called = await client.call_tool(caller, {"name": name})
            assert called.is_error
            assert f"there is no tool {name!r}" in called.content[0].text


async def test_a_header_asks_for_tools_where_the_address_cannot(database, settings):
    key = await new_key(database.owner_url)
    headers = {"Authorization": f"Bearer {key}", "X-MCP-Toolsets": "fs"}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": ENVELOPE}}
    listed = {}
    async with running_mcp(settings) as url, httpx2.AsyncClient(headers=headers, timeout=60) as http:
        for said in ("true", "1", "yes", "On", "false", "0", ""):
            asked = TRANSPORT | {"X-MCP-Readonly": said}
            answer = await http.post(f"{url}/mcp", json=request, headers=asked)
            listed[said] = {tool["name"] for tool in answer.json()["result"]["tools"]}
    shown = {name for name in TOOLS if name in FRONT or name.startswith("fs_")}
    restricted = dict.fromkeys(("true", "1", "yes", "On"), shown & READS)
    assert listed == restricted | dict.fromkeys(("false", "0", ""), shown)


MISSPELT = "there is no toolset 'gihub'; there are"


@pytest.mark.parametrize("said", [{"view": "/x/fs,gihub"}, {"view": "/x/all,gihub"}, {"header": "gihub"}])
async def test_a_toolset_that_there_is_not_is_refused_with_those_that_there_are(database, settings, said):
    view, header = said.get("view", ""), said.get("header")
    headers = {"X-API-Key": await new_key(database.owner_url)} | (
        {"X-MCP-Toolsets": header} if header else {}
    )
    request = {"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {"_meta": ENVELOPE}}
    async with running_mcp(settings) as url, httpx2.AsyncClient(headers=headers, timeout=60) as http:
        posts = [
            await http.post(f"{url}/mcp{view}", json=request, headers=TRANSPORT),
            await http.post(f"{url}/mcp{view}", json=opening(REVISIONS[-1]) | {"id": 7}, headers=ACCEPT),
        ]
        stream = await http.get(f"{url}/sse{view}", headers={"Accept": "text/event-stream"})
        with pytest.raises(InvalidStatus) as refused:
            await connect(url.replace("http", "ws", 1) + f"/ws{view}", additional_headers=headers)
    for post in posts:
        answer = post.json()
        assert (post.status_code, answer["id"], answer["error"]["code"]) == (400, 7, -32602)
        assert MISSPELT in answer["error"]["message"]
        assert "github, gitlab" in answer["error"]["message"]
    assert (stream.status_code, MISSPELT in stream.text) == (400, True)
    assert refused.value.response.status_code == 422
    assert MISSPELT in refused.value.response.body.decode()


async def test_a_system_of_which_there_is_no_integration_yet_may_be_asked_for(database, settings):
    key = await new_key(database.owner_url)
    async with (
        running_mcp(settings) as url,
        agent("http", url, key, STATELESS, view="/x/gitlab,fs") as client,
    ):
        assert await names_of(client) == MODES["/x/fs"]


async def test_an_agent_finds_reads_and_calls_what_is_not_listed(database, settings):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, agent("ws", url, key, STATELESS) as client:
        found = await client.call_tool("tools_search", {"query": "read a text file", "limit": 3})
        names = [tool["name"] for tool in found.structured_content["items"]]
        described = await client.call_tool("tools_describe", {"names": names[:1]})
        read = await client.call_tool(
            "tools_read", {"name": "fs_read", "arguments": {"path": "work/notes.txt"}}
        )
    assert names[0] == "fs_read"
    assert described.structured_content["items"][0]["input_schema"]["required"] == ["path"]
    assert "the answer is here" in read.content[0].text
    assert set(found.structured_content["systems"]) == {"suite", "fs", "prometheus"}


async def test_tools_read_refuses_what_changes_something(database, settings, tmp_path):
    key = await new_key(database.owner_url)
    wanted = {"name": "fs_write", "arguments": {"path": "work/new.txt", "content": "x"}}
    async with running_mcp(settings) as url, agent("ws", url, key, STATELESS) as client:
        refused = await client.call_tool("tools_read", wanted)
    assert refused.is_error
    assert "call it with tools_call" in refused.content[0].text
    assert not (tmp_path / "new.txt").exists()


ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientCapabilities": {},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}
TRANSPORT = ACCEPT | {
    "MCP-Protocol-Version": STATELESS,
    "Mcp-Method": "tools/list",
}
