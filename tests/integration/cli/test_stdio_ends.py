"""How `devops-mcp stdio` ends: at once, with the exit code that says why, and without a traceback."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import Server, serve

from devops_mcp.cli.bridge import Bridge
from devops_mcp.cli.link import Address
from devops_mcp.cli.renewal import Renewal
from devops_mcp.cli.streams import Lines, Output
from support.stdio import COMMAND, ask, bridge, ended, environment

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
UNANSWERED = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"idempotency_key": "k"}}


async def answering(socket) -> None:
    """Answers pings, and with more than a pipe holds what is 'large'; nothing else."""
    async for frame in socket:
        message = json.loads(frame)
        if message["method"] != "tools/call":
            result = {"text": "x" * 1_000_000 * (message["method"] == "large")}
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}))


@asynccontextmanager
async def connected(*arguments: str) -> AsyncIterator[tuple[Server, asyncio.subprocess.Process]]:
    """A bridge that has had its first answer, and the server that it is connected to."""
    async with serve(answering, "127.0.0.1", 0, compression=None) as server:
        address = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with bridge("--url", address, *arguments, DEVOPS_MCP_API_KEY="k") as process:
            await ask(process, PING)
            yield server, process


async def vanish(server: Server) -> None:
    server.close(code=1012)
    await server.wait_closed()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_without_complaint(number):
    async with connected() as (_, process):
        process.send_signal(number)
        assert await ended(process) == (0, b"", "")


async def test_a_signal_ends_it_though_the_client_reads_nothing():
    async with connected() as (_, process):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps({**PING, "method": "large"}).encode() + b"\n")
        await process.stdout.read(1)
        process.send_signal(signal.SIGTERM)
        assert await process.stderr.read() == b""  # it has ended, though its output was not read yet
        assert (await ended(process))[0] == 0


async def test_a_signal_ends_it_while_its_server_is_away():
    async with connected() as (server, process):
        await vanish(server)
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == (0, b"", "")


async def test_it_ends_with_its_input_while_its_server_is_away():
    async with connected() as (server, process):
        await vanish(server)
        assert process.stdin is not None
        process.stdin.write_eof()
        assert await ended(process) == (0, b"", "")


async def test_it_ends_when_its_output_is_read_no_more():
    async with connected() as (_, process):
        assert process.stdin is not None
        assert process.stderr is not None
        process._transport.get_pipe_transport(1).close()
        process.stdin.write(json.dumps(PING).encode() + b"\n")
        assert await process.wait() == 0
        assert await process.stderr.read() == b""


async def test_who_waits_in_vain_is_told_why():
    async with connected("--reconnect-within", "0.5") as (server, process):
        assert process.stdin is not None
        process.stdin.write(json.dumps(UNANSWERED).encode() + b"\n")
        assert await ask(process, PING)
        await vanish(server)
        code, out, err = await ended(process)
    told = json.loads(out)
    assert (code, told["id"], told["error"]["code"]) == (3, 2, -32003)
    assert "; this was not answered before, and may have been done" in told["error"]["message"]
    assert "cannot be reached" in err


async def test_what_is_not_answered_in_time_after_the_end_of_the_input_is_given_up(monkeypatch):
    monkeypatch.setattr("devops_mcp.cli.bridge.ANSWERED_WITHIN_S", 0.1)
    (asks, asked), (told, tells) = os.pipe(), os.pipe()
    os.write(asked, json.dumps(UNANSWERED).encode())
    os.close(asked)
    async with serve(answering, "127.0.0.1", 0, compression=None) as server:
        address = Address(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", "k")
        renewal = Renewal(address, lambda: address)
        async with asyncio.timeout(30):
            await Bridge(renewal, Lines(asks), Output(tells), patience_s=0).run()
    os.close(tells)
    with os.fdopen(told) as output:
        answer = json.load(output)
    os.close(asks)
    assert (answer["id"], answer["error"]["code"]) == (2, -32003)


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
async def test_without_a_client_it_says_how_it_is_started(closed):
    process = await asyncio.create_subprocess_shell(
        f"{' '.join(COMMAND)} {closed}", stdin=-1, stdout=-1, stderr=-1, env=environment()
    )
    code, out, err = await ended(process)
    assert (code, out) == (2, b"")
    assert "standard input and output must be open" in err
