"""A network that fails on demand: a TCP proxy that delays, swallows, cuts and resets, and that stops a connection at a named moment."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

from devops_mcp.embedded.ports import LOOPBACK

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)


class Hold(Enum):
    """Where a connection stops: before the other side has heard of it, or after, with its answer held back."""

    BEFORE = "before"
    AFTER = "after"


@dataclass
class Trap:
    """Stops the first connection whose client says `words`, in a transaction in which it has said `after`; `sprung` is set then.

    Held `BEFORE`, the server never hears of it. Held `AFTER`, the server has done it, and its answer does not come back.
    """

    words: bytes
    hold: Hold
    after: bytes = b""
    caught: bool = False
    sprung: asyncio.Event = field(default_factory=asyncio.Event)

    def catches(self, link: "_Link", said: bytes) -> bool:
        if self.caught or self.words not in said or self.after not in link.transaction:
            return False
        self.caught = True
        return True


class _Link:
    """One connection through the proxy, in both directions."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near = near
        self.far = far
        self.trap: Trap | None = None
        self.forgotten = False
        self.released = asyncio.Event()
        self.transaction = b""
        self._prepared: dict[bytes, bytes] = {}

    def heard(self, piece: bytes) -> bytes:
        """What the client says: of PostgreSQL's protocol the statements, prepared ones too, of any other the bytes as they are."""
        statements = b"; ".join(self._statements(piece))
        if statements.startswith(b"BEGIN"):
            self.transaction = b""
        self.transaction = (self.transaction + statements)[-_CHUNK:]
        return statements or piece

    def _statements(self, piece: bytes) -> Iterator[bytes]:
        at = 0
        while at + 5 <= len(piece):
            kind, size = piece[at : at + 1], int.from_bytes(piece[at + 1 : at + 5])
            body = piece[at + 5 : at + 1 + size]
            match kind:
                case b"P":
                    name, _, rest = body.partition(b"\0")
                    self._prepared[name] = rest.partition(b"\0")[0]
                case b"B":
                    yield self._prepared.get(body.split(b"\0", 2)[1], b"")
                case b"Q":
                    yield body.rstrip(b"\0")
            at += 1 + size

    async def pause(self, *, answers: bool) -> None:
        """Stop here, for ever if the connection is forgotten, or if this is where the trap holds."""
        if self.forgotten:
            await asyncio.Event().wait()
        if self.trap is None or (self.trap.hold is Hold.AFTER) is not answers:
            return
        self.trap.sprung.set()
        await self.released.wait()

    def reset(self) -> None:
        for writer in (self.near, self.far):
            raw = writer.get_extra_info("socket")
            if raw is not None and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class FaultProxy:
    """Between a service and one server. Open with `a_fault_proxy`; healthy until told otherwise."""

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.port = 0
        self.latency_s = 0.0
        self.refusing = False
        self.refused = 0
        self._refusals = 0
        self.cut_answers = 0
        """So many of the next answers break off in their middle."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: set[_Link] = set()
        self._traps: list[Trap] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def trap(self, words: bytes, hold: Hold, *, after: bytes = b"") -> Trap:
        trap = Trap(words, hold, after)
        self._traps.append(trap)
        return trap

    def black_hole(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        self._flowing.clear()

    def heal(self) -> None:
        """Everything comes through again; what was swallowed is gone with its connection, held ones go on.

        Servers get rid of the forgotten ones by their keepalive, later than a test wants to wait.
        """
        self.refusing, self.latency_s, self.cut_answers = False, 0.0, 0
        self._traps.clear()
        if not self._flowing.is_set():
            self.reset_all()
            self._flowing.set()
        for link in list(self._links):
            link.trap = None
            link.released.set()
            if link.forgotten:
                link.reset()

    def refuse(self, count: int) -> None:
        """Break every connection, and turn away the next `count`."""
        self._refusals = count
        self.reset_all()

    def forget(self) -> None:
        """Nothing more comes through on the connections there are, and nobody is told: new ones are well."""
        for link in self._links:
            link.forgotten = True

    def reset_all(self) -> int:
        """Break every connection, as a firewall does that forgot them; how many there were."""
        links = list(self._links)
        for link in links:
            link.reset()
        return len(links)

    async def connected(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(near_reader, near)
        except (OSError, asyncio.CancelledError):
            pass  # Whoever hung up, or the end of the test: the connection is closed either way.
        finally:
            self._tasks.discard(task)
            near.transport.abort()

    async def _serve(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        if self.refusing or self._refusals:
            self._refusals = max(0, self._refusals - 1)
            self.refused += 1
            return
        far_reader, far = await asyncio.open_connection(LOOPBACK, self.upstream_port)
        link = _Link(near, far)
        self._links.add(link)
        pumps = {
            asyncio.create_task(self._pump(link, near_reader, far, ask=True)),
            asyncio.create_task(self._pump(link, far_reader, near, ask=False)),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._links.discard(link)
            far.transport.abort()

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, ask: bool
    ) -> None:
        while piece := await reader.read(_CHUNK):
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            await self._flowing.wait()
            if ask:
                said = link.heard(
                    piece
                )  # without a trap too: what is prepared now is only named when the trap is set
                link.trap = link.trap or next((t for t in self._traps if t.catches(link, said)), None)
            await link.pause(answers=not ask)
            if not ask and self.cut_answers and len(piece) > 1:
                self.cut_answers -= 1
                writer.write(piece[: len(piece) // 2])
                link.reset()
                return
            writer.write(piece)
            await writer.drain()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def a_fault_proxy(upstream_port: int) -> AsyncIterator[FaultProxy]:
    """A healthy proxy before a server of this machine, on a port of its own."""
    proxy = FaultProxy(upstream_port)
    server = await asyncio.start_server(proxy.connected, LOOPBACK, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
