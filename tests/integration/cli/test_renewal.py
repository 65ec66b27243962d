"""The login of `devops-mcp stdio` while it is connected: renewed in time, and never exchanged for somebody else's."""

import asyncio
import base64
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.server import serve

from devops_mcp.cli.link import REFUSED, UNREACHABLE, USAGE, Address, Unable, open_link
from devops_mcp.cli.renewal import Renewal
from support.stdio import bridge, ended

ALICE, BOB = ("acme", "alice"), ("acme", "bob")


def token(url: str, tenant: str, user: str) -> str:
    claims = json.dumps({"aud": url.replace("ws", "http", 1), "tenant": tenant, "sub": user})
    return f"e30.{base64.urlsafe_b64encode(claims.encode()).decode().rstrip('=')}.signature"


def sign_in(file: Path, url: str, tenant: str, user: str) -> None:
    """Leave behind what `devops-mcp login` does."""
    login = {
        "issuer": url,
        "token_endpoint": f"{url}/oauth/token",
        "revocation_endpoint": f"{url}/oauth/revoke",
        "expires_at": time.time() + 3600,
        "access_token": token(url, tenant, user),
        "refresh_token": "r",
    }
    file.write_text(json.dumps(login))


@asynccontextmanager
async def listening(handler) -> AsyncIterator[str]:
    async with serve(handler, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("other", [BOB, ("globex", "alice")])
async def test_a_connection_is_not_made_again_as_somebody_else(tmp_path, other):
    """A call that is marked with a key would be repeated under their name."""
    file, connections = tmp_path / "login.json", 0

    async def breaking_off(socket) -> None:
        nonlocal connections
        connections += 1
        async for _ in socket:
            sign_in(file, url, *other)
            await socket.close(1012)
            return

    call = {"name": "x", "arguments": {"idempotency_key": "k"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    async with listening(breaking_off) as url:
        sign_in(file, url, *ALICE)
        async with bridge("--state", str(tmp_path), DEVOPS_MCP_LOGIN_FILE=str(file)) as process:
            assert process.stdin is not None
            process.stdin.write(json.dumps(message).encode() + b"\n")
            code, _, err = await ended(process)
    assert (code, connections) == (4, 1)
    assert "somebody else is signed in now" in err


async def test_a_login_that_is_being_refreshed_at_the_end_is_kept(tmp_path):
    """Its refresh token is good once: the next program would be taken for a thief."""
    file, asked, go = tmp_path / "login.json", asyncio.Event(), asyncio.Event()
    answer = json.dumps({"access_token": "a.b.c", "refresh_token": "the next", "expires_in": 600}).encode()

    async def refresh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await go.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refresh, "127.0.0.1", 0) as server:
        sign_in(file, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", *ALICE)
        file.write_text(json.dumps({**json.loads(file.read_text()), "expires_at": 0}))
        async with bridge("--state", str(tmp_path), DEVOPS_MCP_LOGIN_FILE=str(file)) as process:
            await asked.wait()
            process.send_signal(signal.SIGTERM)
            with pytest.raises(TimeoutError):  # it waits for the answer
                await asyncio.wait_for(process.wait(), 0.5)
            go.set()
            assert await ended(process) == (0, b"", "")
    assert json.loads(file.read_text())["refresh_token"] == "the next"


class Renewing:
    """A server that answers each renewal with the next of `answers`, and keeps the credentials it was given."""

    def __init__(self, *answers: dict) -> None:
        self.given: list[str] = []
        self.over = asyncio.Event()
        self._answers = list(answers)

    async def serve(self, socket) -> None:
        async for frame in socket:
            message = json.loads(frame)
            self.given.append(message["params"]["authorization"])
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], **self._answers.pop(0)}))
            if not self._answers:
                self.over.set()


async def kept(server: Renewing, find: Callable[[str], Address]) -> None:
    """Keep a connection whose credential ends now, until the server has given all its answers."""
    async with listening(server.serve) as url:
        address = Address(url, "first", ends_at=time.time(), caller=ALICE)
        link = await open_link(address, "", nobody_hears)
        keeping = asyncio.create_task(Renewal(address, lambda: find(url)).keep(link))
        over = asyncio.create_task(server.over.wait())
        await asyncio.wait({keeping, over}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        assert not link.reading.done()
        await link.close()
        over.cancel()
        if keeping.done():
            await keeping
        keeping.cancel()


async def nobody_hears(data: bytes, message: dict) -> None:
    raise AssertionError(data)


def second(url: str) -> Address:
    return Address(url, "second", ends_at=time.time() + 3600, caller=ALICE)


async def test_a_renewal_that_nobody_could_judge_is_tried_again():
    server = Renewing(
        {"error": {"code": -32603, "message": "the database cannot be reached"}}, {"result": {}}
    )
    await kept(server, second)
    assert server.given == ["Bearer second"] * 2


async def test_a_login_that_cannot_be_renewed_now_is_tried_again():
    server, failures = Renewing({"result": {}}), [Unable(UNREACHABLE, "not now")]

    def find(url: str) -> Address:
        if failures:
            raise failures.pop()
        return second(url)

    await kept(server, find)
    assert server.given == ["Bearer second"]


async def test_a_login_that_the_server_has_ended_says_what_to_do():
    server = Renewing({"error": {"code": -32001, "message": "the session has ended"}})
    with pytest.raises(Unable, match="sign in anew with 'devops-mcp login'") as refused:
        await kept(server, second)
    assert refused.value.code == REFUSED


async def test_a_login_that_is_gone_says_so():
    def find(url: str) -> Address:
        raise Unable(USAGE, "run 'devops-mcp login'")

    with pytest.raises(Unable, match="is gone: run 'devops-mcp login'") as refused:
        await kept(Renewing(), find)
    assert refused.value.code == REFUSED
