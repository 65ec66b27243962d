"""`devops-mcp stdio` as a client starts it: a program of its own, spoken to over its standard input and output."""

import asyncio
import json
import signal
import subprocess
from asyncio.subprocess import DEVNULL
from contextlib import AsyncExitStack

import psycopg
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from websockets.asyncio.server import serve
from websockets.http11 import Response

import mcp_server.transports.websocket
from devops_mcp.embedded.ports import choose_ports
from support.agents import ERAS
from support.mcp_process import an_mcp_server
from support.services import new_key, running_mcp, settings_for
from support.stdio import COMMAND, ask, bridge, ended, environment

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
}

BLOCKED = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.mcp_url, redis_url)


def websocket(url: str) -> str:
    return url.replace("http", "ws", 1) + "/ws"


@pytest.mark.parametrize("era", ERAS)
async def test_the_python_client_lists_and_calls_tools(database, settings, era):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url:
        env = environment(DEVOPS_MCP_URL=websocket(url), DEVOPS_MCP_API_KEY=key)
        parameters = StdioServerParameters(command=COMMAND[0], args=COMMAND[1:], env=env)
        async with Client(stdio_client(parameters), mode=era) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            created = await client.call_tool("context_create", {"title": "over stdio"})
    assert "context_create" in names
    assert not created.is_error


async def test_it_ends_cleanly_with_its_input_after_what_was_asked_is_answered(database, settings):
    key = await new_key(database.owner_url)
    async with (
        running_mcp(settings) as url,
        bridge("--url", websocket(url), DEVOPS_MCP_API_KEY=key) as process,
    ):
        assert process.stdin is not None
        process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n\n")
        process.stdin.write_eof()
        code, out, err = await ended(process)
    assert (code, err) == (0, "")
    assert json.loads(out)["result"]["protocolVersion"] == "2025-11-25"


async def test_the_suite_that_make_run_started_is_found(database, settings, tmp_path):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url:
        (tmp_path / "run.json").write_text(json.dumps({"mcp_ws": websocket(url), "api_key": key}))
        async with bridge("--state", str(tmp_path)) as process:
            assert "result" in await ask(process, INITIALIZE)


async def test_the_suites_own_key_is_given_to_no_other_address(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"mcp_ws": "ws://127.0.0.1:1/ws", "api_key": "dm_secret"}))
    async with bridge("--state", str(tmp_path), "--url", "ws://127.0.0.1:10/ws") as process:
        code, out, err = await ended(process)
    assert (code, out) == (2, b"")
    assert "DEVOPS_MCP_API_KEY is missing" in err


async def test_a_handshake_after_a_probe_of_the_newer_era_is_served(database, settings):
    """As some clients do: they ask with server/discover first, and fall back."""
    key = await new_key(database.owner_url)
    async with (
        running_mcp(settings) as url,
        bridge("--url", websocket(url), DEVOPS_MCP_API_KEY=key) as process,
    ):
        discover = {"jsonrpc": "2.0", "id": 0, "method": "server/discover", "params": {"_meta": ENVELOPE}}
        assert "2026-07-28" in json.dumps(await ask(process, discover))
        assert (await ask(process, INITIALIZE))["result"]["protocolVersion"] == "2025-11-25"


@pytest.mark.parametrize(
    ("arguments", "changes", "code", "says"),
    [
        ([], {}, 2, "no server is known"),
        (
            ["--url", "http://127.0.0.1:1/mcp"],
            {"DEVOPS_MCP_API_KEY": "k"},
            2,
            "not the address of a WebSocket",
        ),
        (["--url", "ws://127.0.0.1:1/ws"], {}, 2, "DEVOPS_MCP_API_KEY is missing"),
        (["--url", "ws://127.0.0.1:1/ws"], {"DEVOPS_MCP_API_KEY": "k"}, 3, "cannot be reached"),
    ],
)
async def test_what_is_missing_is_said_in_one_line(tmp_path, arguments, changes, code, says):
    async with bridge("--state", str(tmp_path), *arguments, **changes) as process:
        ending = await ended(process)
    assert (ending[0], ending[1]) == (code, b"")
    assert says in ending[2]
    assert ending[2].count("\n") == 1


async def test_a_key_that_is_refused_has_its_own_code_and_is_not_shown(database, settings):
    key = "dm_aaaaaaaaaaaa_" + "x" * 43
    async with (
        running_mcp(settings) as url,
        bridge("--url", websocket(url), DEVOPS_MCP_API_KEY=key) as process,
    ):
        code, out, err = await ended(process)
    assert (code, out, err.count("\n")) == (4, b"", 1)
    assert "401" in err
    assert key not in err


async def test_a_server_that_does_not_come_back_in_time_ends_it_with_a_reason(database, settings):
    key = await new_key(database.owner_url)
    stop = asyncio.Event()
    async with (
        running_mcp(settings, stop) as url,
        bridge("--url", websocket(url), "--reconnect-within", "0", DEVOPS_MCP_API_KEY=key) as process,
    ):
        await ask(process, INITIALIZE)
        stop.set()
        code, out, err = await ended(process)
    assert (code, out, err.count("\n")) == (5, b"", 1)
    assert "1012" in err


class Restarting:
    """A server that breaks its first connection off in the midst of everything, and keeps what it hears on each."""

    def __init__(self) -> None:
        self.heard: list[list[dict]] = []
        self.offered: list[str | None] = []

    async def serve(self, socket) -> None:
        heard: list[dict] = []
        self.heard.append(heard)
        self.offered.append(socket.request.headers.get("Mcp-Session-Id"))
        first = len(self.heard) == 1
        async for frame in socket:
            message = json.loads(frame)
            heard.append(message)
            if first and message.get("id") == "unmarked":
                await socket.close(1012, "the server restarts")
                return
            if "id" in message and not (first and message["id"] in ("marked", "list")):
                await socket.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {}}))


async def test_a_client_hears_nothing_of_a_connection_that_is_made_again():
    """H14: what it waits for is asked again, but for a call that may have been done; and it is where it was."""
    server = Restarting()
    call = {"name": "x", "arguments": {}}
    spoken = [
        INITIALIZE,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "logging/setLevel", "params": {"level": "error"}},
        {"jsonrpc": "2.0", "id": 3, "method": "resources/subscribe", "params": {"uri": "devops://a"}},
        {"jsonrpc": "2.0", "id": 4, "method": "resources/subscribe", "params": {"uri": "devops://b"}},
        {"jsonrpc": "2.0", "id": 5, "method": "resources/unsubscribe", "params": {"uri": "devops://b"}},
        {"jsonrpc": "2.0", "id": "list", "method": "tools/list"},
        {
            "jsonrpc": "2.0",
            "id": "marked",
            "method": "tools/call",
            "params": {**call, "arguments": {"idempotency_key": "k"}},
        },
        {"jsonrpc": "2.0", "id": "unmarked", "method": "tools/call", "params": call},
    ]

    def told(response: Response) -> Response:
        response.headers["Mcp-Session-Id"] = f"session-{len(server.heard) + 1}"
        return response

    async with serve(
        server.serve, "127.0.0.1", 0, process_response=lambda _, __, response: told(response)
    ) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with bridge("--url", f"ws://127.0.0.1:{port}", DEVOPS_MCP_API_KEY="k") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("".join(f"{json.dumps(message)}\n" for message in spoken).encode())
            answers = [json.loads(await process.stdout.readline()) for _ in range(8)]
            process.stdin.write_eof()
            assert await ended(process) == (0, b"", "")
    by_id = {answer["id"]: answer for answer in answers}
    assert set(by_id) == {1, 2, 3, 4, 5, "list", "marked", "unmarked"}
    assert by_id["unmarked"]["error"]["code"] == -32003
    assert [answer for answer in answers if "error" in answer] == [by_id["unmarked"]]
    again = [(message["method"], message.get("params", {}).get("uri")) for message in server.heard[1]]
    assert again == [
        ("initialize", None),
        ("notifications/initialized", None),
        ("logging/setLevel", None),
        ("resources/subscribe", "devops://a"),
        ("tools/list", None),
        ("tools/call", None),
    ]
    assert server.offered == [None, "session-1"]


class Asking:
    """A server that asks back before it answers a call, always under the id 1; the first connection ends with the question open."""

    def __init__(self) -> None:
        self.told: list[dict] = []
        self._connections = 0

    async def serve(self, socket) -> None:
        self._connections += 1
        first = self._connections == 1
        async for frame in socket:
            message = json.loads(frame)
            if message.get("method") == "tools/call":
                await socket.send('{"jsonrpc": "2.0", "id": 1, "method": "elicitation/create"}')
            elif message.get("method") == "tools/list" and first:
                socket.transport.abort()
                return
            elif "method" not in message:
                self.told.append(message)
                await socket.send('{"jsonrpc": "2.0", "id": "call", "result": {}}')


async def test_a_question_ends_with_the_connection_that_it_came_by():
    """An answer that comes late is not taken for one to the next connection's question."""
    server = Asking()
    marked = {"name": "x", "arguments": {"idempotency_key": "k"}}
    call = {"jsonrpc": "2.0", "id": "call", "method": "tools/call", "params": marked}
    async with serve(server.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with bridge("--url", f"ws://127.0.0.1:{port}", DEVOPS_MCP_API_KEY="k") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            lost = await ask(process, call)
            withdrawn = await ask(process, {"jsonrpc": "2.0", "id": "list", "method": "tools/list"})
            again = json.loads(await process.stdout.readline())
            for question, action in ((lost, "accept"), (again, "decline")):
                answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": action}}
                process.stdin.write(json.dumps(answer).encode() + b"\n")
            assert json.loads(await process.stdout.readline()) == {
                "jsonrpc": "2.0",
                "id": "call",
                "result": {},
            }
    assert withdrawn["method"] == "notifications/cancelled"
    assert withdrawn["params"]["requestId"] == lost["id"]
    assert server.told == [{"jsonrpc": "2.0", "id": 1, "result": {"action": "decline"}}]


class StillAtIt:
    """A server that breaks off in the midst of a call, and says of it twice that it is not over before it answers."""

    def __init__(self) -> None:
        self.asked = 0

    async def serve(self, socket) -> None:
        async for frame in socket:
            request_id = json.loads(frame)["id"]
            self.asked += 1
            if self.asked == 1:
                socket.transport.abort()
                return
            meta = {"io.devops-mcp/retryAfter": 0.01} if self.asked < 4 else {}
            await socket.send(
                json.dumps(
                    {"jsonrpc": "2.0", "id": request_id, "result": {"isError": bool(meta), "_meta": meta}}
                )
            )


async def test_a_call_that_is_still_under_way_after_a_break_is_asked_for_until_it_is_answered():
    """H14"""
    server = StillAtIt()
    marked = {"name": "x", "_meta": {"io.devops-mcp/idempotencyKey": "k"}}
    async with serve(server.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with bridge("--url", f"ws://127.0.0.1:{port}", DEVOPS_MCP_API_KEY="k") as process:
            answer = await ask(process, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": marked})
            assert process.stdin is not None
            process.stdin.write_eof()
            assert await ended(process) == (0, b"", "")
    assert answer["result"] == {"isError": False, "_meta": {}}
    assert server.asked == 4


def at_a_port(settings):
    """The settings with one port, so that a server can take another's place."""
    port = choose_ports({"mcp": 0})["mcp"]
    return settings.model_copy(update={"mcp": settings.mcp.model_copy(update={"port": port})})


async def test_a_restart_of_the_real_server_goes_unnoticed(database, settings):
    key = await new_key(database.owner_url)
    listening = at_a_port(settings)
    stop = asyncio.Event()
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    async with AsyncExitStack() as left:
        first = await left.enter_async_context(AsyncExitStack())
        url = await first.enter_async_context(running_mcp(listening, stop))
        process = await left.enter_async_context(bridge("--url", websocket(url), DEVOPS_MCP_API_KEY=key))
        assert (await ask(process, INITIALIZE))["result"]["protocolVersion"] == "2025-11-25"
        stop.set()
        await first.aclose()
        await left.enter_async_context(running_mcp(listening))
        assert (await ask(process, ping))["result"] == {}


async def test_what_a_server_asked_before_it_restarted_confirms_nothing_after(
    database, redis_url, tmp_path, monkeypatch
):
    """Whoever accepts late has accepted nothing: the file is not overwritten before the new question is answered."""
    monkeypatch.setattr(mcp_server.transports.websocket, "DRAIN_S", 0.1)
    notes = tmp_path / "notes.txt"
    notes.write_text("kept")
    roots = {"work": {"path": str(tmp_path), "read_only": False}}
    files = {"name": "files", "system": "fs", "options": {"roots": roots}}
    listening, stop = at_a_port(settings_for(database.mcp_url, redis_url, [files])), asyncio.Event()
    key = await new_key(database.owner_url)
    initialize = {**INITIALIZE, "params": {**INITIALIZE["params"], "capabilities": {"elicitation": {}}}}
    arguments = {"path": "work/notes.txt", "content": "lost", "overwrite": True}
    marked = {"io.devops-mcp/idempotencyKey": "k"}
    write = {"name": "fs_write", "arguments": arguments, "_meta": marked}
    async with AsyncExitStack() as left:
        first = await left.enter_async_context(AsyncExitStack())
        url = await first.enter_async_context(running_mcp(listening, stop))
        process = await left.enter_async_context(
            bridge("--url", f"{websocket(url)}/x/fs", DEVOPS_MCP_API_KEY=key)
        )
        assert process.stdin is not None
        assert process.stdout is not None
        await ask(process, initialize)
        asked = await ask(process, {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": write})
        assert asked["method"] == "elicitation/create"
        stop.set()
        await first.aclose()
        withdrawn = json.loads(await process.stdout.readline())
        await left.enter_async_context(running_mcp(listening))
        again = json.loads(await process.stdout.readline())
        for question, action in ((asked, "accept"), (again, "decline")):
            answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": action, "content": {}}}
            process.stdin.write(json.dumps(answer).encode() + b"\n")
        told = json.loads(await process.stdout.readline())
    assert withdrawn["params"]["requestId"] == asked["id"]
    assert (told["id"], told["result"]["isError"], notes.read_text()) == (2, True, "kept")


async def test_after_kill_9_of_the_server_its_client_is_told_what_was_lost_and_goes_on(
    database, redis_url, tmp_path
):
    """In the midst of a call, and of another that asks back."""
    (tmp_path / "notes.txt").write_text("kept")
    roots = {"work": {"path": str(tmp_path), "read_only": False}}
    served = {
        "DATABASE_URL": database.mcp_url,
        "REDIS_URL": redis_url,
        "MASTER_KEYS": '["a master key for the tests, and nothing else"]',
        "EMBEDDING_PROVIDER": "lexical",
        "INTEGRATIONS": json.dumps([{"name": "files", "system": "fs", "options": {"roots": roots}}]),
    }
    initialize = {**INITIALIZE, "params": {**INITIALIZE["params"], "capabilities": {"elicitation": {}}}}
    arguments = {"path": "work/notes.txt", "content": "lost", "overwrite": True}
    key = await new_key(database.owner_url)
    async with (
        an_mcp_server(served) as server,
        bridge("--url", f"{websocket(server.url)}/x/fs", DEVOPS_MCP_API_KEY=key) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        await ask(process, initialize)
        asked = await ask(process, calling(2, "fs_write", arguments))
        assert asked["method"] == "elicitation/create"
        with (
            psycopg.connect(database.superuser_url) as locking,
            psycopg.connect(database.superuser_url) as watching,
        ):
            watching.autocommit = True
            locking.execute("LOCK TABLE contexts IN ACCESS EXCLUSIVE MODE")
            process.stdin.write(json.dumps(calling(3, "context_list", {})).encode() + b"\n")
            while watching.execute(BLOCKED).fetchone() is None:
                await asyncio.sleep(0.02)
            await server.end(signal.SIGKILL)
        withdrawn = json.loads(await process.stdout.readline())
        async with an_mcp_server(served, server.port):
            lost = [json.loads(await process.stdout.readline()) for _ in range(2)]
            listed = await ask(process, calling(4, "context_list", {}))
    assert (withdrawn["method"], withdrawn["params"]["requestId"]) == ("notifications/cancelled", asked["id"])
    assert {answer["id"]: answer["error"]["code"] for answer in lost} == {2: -32003, 3: -32003}
    assert listed["result"]["structuredContent"] == {"items": []}
    assert (tmp_path / "notes.txt").read_text() == "kept"


def calling(request_id: int, tool: str, arguments: dict) -> dict:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


async def test_messages_pass_unchanged_and_one_a_line():
    """Large ones in many pieces, and line ends inside a frame."""

    async def echo(socket) -> None:
        async for frame in socket:
            await socket.send(json.dumps(json.loads(frame), indent=1))

    message = {"jsonrpc": "2.0", "method": "x", "params": {"text": "é\n" * 300_000}}
    async with serve(echo, "127.0.0.1", 0, max_size=None, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with bridge("--url", f"ws://127.0.0.1:{port}", DEVOPS_MCP_API_KEY="k") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(message).encode() + b"\n")
            line = b""
            while not line.endswith(b"\n"):
                line += await process.stdout.read(65_536)
    assert json.loads(line) == message


async def test_a_message_is_written_whole_though_its_connection_ends_meanwhile():
    """The client greets anew, over another connection, before it has read an answer that is larger than a pipe."""
    greeted = asyncio.Event()

    async def answering(socket) -> None:
        async for frame in socket:
            message = json.loads(frame)
            result = {"text": "x" * 1_000_000} if message["id"] == "large" else {}
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}))
            if message["id"] == 1:
                await (await socket.ping())
                greeted.set()

    async with serve(answering, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with bridge("--url", f"ws://127.0.0.1:{port}", DEVOPS_MCP_API_KEY="k") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b'{"jsonrpc": "2.0", "id": "large", "method": "tools/list"}\n')
            out = await process.stdout.read(1)
            process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
            await greeted.wait()
            process.stdin.write_eof()
            code, rest, err = await ended(process)
    answers = [json.loads(line) for line in (out + rest).splitlines()]
    assert [answer["id"] for answer in answers] == ["large", 1]
    assert (code, err) == (0, "")


def test_the_exit_codes_are_in_the_help():
    said = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, stdin=DEVNULL, check=True)
    assert "Exit codes" in said.stdout
