"""`devops-mcp stdio`: the protocol on standard input and output, for clients that start their servers as programs.

It carries messages between this program's streams and a running mcp-server's WebSocket, each as it is: one JSON-RPC message a line here,
one a text frame there. So every revision and capability is the server's own. Only what is protocol is written to standard output; what
went wrong is one line on standard error, and the exit code says which kind it was:

    0  standard input ended, standard output is read no more, or a signal asked for the end
    2  there is no address or no key, or the address is not one of a WebSocket, or standard input or output is closed
    3  the server cannot be reached
    4  the server refuses: the key is not valid or may not connect, or the login has ended or is somebody else's now
    5  the connection broke off, and could not be made again in time
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

from devops_mcp.cli.bridge import Bridge
from devops_mcp.cli.link import REFUSED, UNREACHABLE, USAGE, Address, Unable
from devops_mcp.cli.login import REFRESHED_WITHIN_S, Login, signing_in
from devops_mcp.cli.renewal import Find, Renewal
from devops_mcp.cli.streams import Lines, Output, apart
from devops_mcp.models.errors import PlatformError, Unauthenticated, Unavailable

URL_VARIABLE = "DEVOPS_MCP_URL"
KEY_VARIABLE = "DEVOPS_MCP_API_KEY"
WRITTEN_WITHIN_S = 2.0
"""So long a client that is slow to read holds up the end."""
KEPT_WITHIN_S = 4 * REFRESHED_WITHIN_S
"""So long a refresh holds up the end: two tries, each to connect and to be answered."""


def address_of(url: str | None, state: Path, environment: Mapping[str, str]) -> Address:
    """The address that was asked for, else the environment's, else that of the suite which runs in `state`. Raises `Unable`."""
    suite = running(state)
    local = suite.get("mcp_ws")
    url = url or environment.get(URL_VARIABLE) or local
    key = environment.get(KEY_VARIABLE) or None
    if (
        key is None
        and local is not None
        and url is not None
        and (url == local or url.startswith(f"{local}/"))
    ):
        key = suite.get("api_key")
    login = _login(environment) if key is None else None
    ends_at, caller = None, None
    if login is not None:
        server = _websocket_of(login)
        url = url or f"{server}/ws"
        if url.startswith(f"{server}/"):
            key, ends_at, caller = login.access_token, login.expires_at, login.caller
    if url is None:
        raise Unable(
            USAGE, f"no server is known: give --url or {URL_VARIABLE}, or start one with 'make run' ({state})"
        )
    if urlsplit(url).scheme not in ("ws", "wss") or not urlsplit(url).hostname:
        raise Unable(USAGE, f"{url} is not the address of a WebSocket, such as wss://mcp.example.com/ws")
    if key is None:
        raise Unable(
            USAGE, f"{KEY_VARIABLE} is missing; set it to an API key of the server, or run 'devops-mcp login'"
        )
    return Address(url, key, ends_at, caller)


def running(state: Path) -> dict[str, str]:
    """What the suite that runs in `state` says of itself; nothing where none does."""
    try:
        content: dict[str, str] = json.loads((state / "run.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return content


def _login(environment: Mapping[str, str]) -> Login | None:
    try:
        with signing_in(environment) as here:
            return here.current()
    except Unavailable as error:
        raise Unable(UNREACHABLE, error.message) from None
    except Unauthenticated as error:
        raise Unable(REFUSED, error.message) from None
    except PlatformError as error:
        raise Unable(USAGE, error.message) from None


def _websocket_of(login: Login) -> str:
    """The server that the login's token is for; it goes nowhere else."""
    return (login.audience or "").replace("http", "ws", 1)


class _Finding:
    """Finds the address, one at a time."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._turn = Lock()

    def __call__(self) -> Address:
        with self._turn:
            return self._find()

    def end(self) -> None:
        """Wait for who finds it now, and let nobody begin: a refresh whose answer is not kept would end the login."""
        self._turn.acquire(timeout=KEPT_WITHIN_S)


def main(url: str | None, state: Path, reconnect_within_s: float) -> int:
    """Serve until the end; the exit code."""
    finding = _Finding(partial(address_of, url, state, os.environ))
    try:
        output = _output_alone()
        try:
            asyncio.run(_serve(finding, output, reconnect_within_s))
        finally:
            finding.end()
    except Unable as error:
        sys.stderr.write(f"devops-mcp stdio: {error}\n")
        return error.code
    except (ConnectionError, KeyboardInterrupt):
        return 0  # nobody reads any more, or nobody wants to
    return 0


def _output_alone() -> int:
    """Standard output, for the protocol alone: what prints by mistake goes to standard error from here on. Raises `Unable`."""
    if sys.stdin is None or sys.stdout is None:
        raise Unable(USAGE, "standard input and output must be open: this is started by an MCP client")
    output = os.dup(1)
    os.dup2(2, 1)
    return output


async def _serve(find: Find, descriptor: int, patience_s: float) -> None:
    stop, output = asyncio.Event(), Output(descriptor)
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    bridging = asyncio.create_task(_bridge(find, output, patience_s))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({bridging, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not bridging.done():
            bridging.cancel()
        with suppress(asyncio.CancelledError):
            await bridging
    finally:
        stopping.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(output.drain(), WRITTEN_WITHIN_S)


async def _bridge(find: Find, output: Output, patience_s: float) -> None:
    renewal = Renewal(await apart(find), find)
    await Bridge(renewal, Lines(0), output, patience_s=patience_s).run()
