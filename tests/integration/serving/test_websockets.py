"""WebSockets as an attacker speaks them, frame by frame."""

import asyncio
import gc
import logging
import os
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.server import ServerProtocol

from devops_mcp.serving.http_protocol import HardenedHttp
from devops_mcp.serving.limits import MIB, Limits
from devops_mcp.serving.websocket_protocol import FRAMES, MAX_OFFERED, MAX_WAITING, Frames, _BoundedServer
from support.raw_http import PATIENCE_S, Peer, Site, site

TEXT, BINARY, CLOSE, PING = 0x1, 0x2, 0x8, 0x9
FIN = 0x80
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"
)


def frame(first: int, payload: bytes = b"", *, announce: int | None = None, masked: bool = True) -> bytes:
    size = len(payload) if announce is None else announce
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([first, mask_bit | size])
    elif size < 65_536:
        head = bytes([first, mask_bit | 126]) + struct.pack("!H", size)
    else:
        head = bytes([first, mask_bit | 127]) + struct.pack("!Q", size)
    # A mask of zeros leaves the payload as it is.
    return head + (b"\0\0\0\0" if masked else b"") + payload


async def echo(websocket: WebSocket) -> None:
    """By the short way, as the service has it."""
    await websocket.accept()
    frames: Frames = websocket.scope["extensions"][FRAMES]
    while (message := await frames.next_message()) is not None:
        await frames.send_text(str(len(message)).encode())


@asynccontextmanager
async def opened(limits: Limits | None = None) -> AsyncIterator[tuple[Site, Peer]]:
    async with site([WebSocketRoute("/ws", echo)], limits) as server, server.connected() as peer:
        await peer.send(HANDSHAKE % b"")
        assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        yield server, peer


async def close_code(peer: Peer) -> int:
    """The code of the close frame with which the server ends the connection, 0 if it ends without one."""
    received = await peer.rest()
    while received:
        length, start = received[1], 2
        if length == 126:
            length, start = int.from_bytes(received[2:4]), 4
        payload, received, opcode = received[start : start + length], received[start + length :], received[0]
        if opcode == FIN | CLOSE:
            return int.from_bytes(payload[:2])
    return 0


def living() -> Counter[type]:
    """How many there are of what a connection is made of."""
    kinds = (HardenedHttp, _BoundedServer, ServerProtocol)
    return Counter(kind for found in gc.get_objects() if (kind := type(found)) in kinds)


async def test_a_handshake_leaves_nothing_that_only_a_collection_would_find():
    """Thousands that come at once would else keep a third more than they need."""
    gc.collect()
    gc.disable()
    before = living()
    try:
        async with opened() as (_, peer):
            await peer.send(frame(FIN | TEXT, b"hello"))
            await peer.until(b"5")
            left = living() - before
    finally:
        gc.enable()
    assert left == {_BoundedServer: 1}


FAULTS = {
    "unmasked": (frame(FIN | TEXT, b"hi", masked=False), 1002),
    "RSV1": (frame(FIN | 0x40 | TEXT, b"hi"), 1002),
    "RSV2": (frame(FIN | 0x20 | TEXT, b"hi"), 1002),
    "RSV3": (frame(FIN | 0x10 | TEXT, b"hi"), 1002),
    "opcode 3": (frame(FIN | 0x3, b"hi"), 1002),
    "opcode 11": (frame(FIN | 0xB, b"hi"), 1002),
    "long ping": (frame(FIN | PING, b"x" * 126), 1002),
    "split ping": (frame(PING, b"x"), 1002),
    "split close": (frame(CLOSE, struct.pack("!H", 1000)), 1002),
    "continuation first": (frame(FIN, b"hi"), 1002),
    "text inside a message": (frame(TEXT, b"a") + frame(FIN | TEXT, b"b"), 1002),
    "close of one byte": (frame(FIN | CLOSE, b"\x03"), 1002),
    "close with a reserved code": (frame(FIN | CLOSE, struct.pack("!H", 1005)), 1002),
    "close inside a message": (frame(TEXT, b"a") + frame(FIN | CLOSE, struct.pack("!H", 1000)), 1002),
    "invalid UTF-8": (frame(FIN | TEXT, b"\xff\xfe"), 1007),
    "invalid UTF-8 across fragments": (frame(TEXT, b"\xe2\x82") + frame(FIN, b"\x28"), 1007),
    "invalid UTF-8 in a close": (frame(FIN | CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
}


@pytest.mark.parametrize(("sent", "code"), FAULTS.values(), ids=FAULTS.keys())
async def test_a_breach_of_the_protocol_is_answered_with_its_close_code(sent: bytes, code: int) -> None:
    """S02"""
    async with opened() as (server, peer):
        await peer.send(sent)

        assert await close_code(peer) == code
        assert await server.is_live()


@pytest.mark.parametrize("announced", [2**62, 17 * MIB, MIB + 1])
async def test_a_frame_announced_too_large_is_refused_before_it_comes(announced: int) -> None:
    """S03"""
    async with opened() as (_, peer):
        await peer.send(frame(FIN | BINARY, announce=announced))

        assert await close_code(peer) == 1009


async def test_a_message_at_the_limit_passes_and_one_byte_more_in_fragments_does_not() -> None:
    """S03"""
    async with opened() as (_, peer):
        await peer.send(frame(FIN | TEXT, b"x" * MIB))
        assert await peer.until(str(MIB).encode())

        await peer.send(frame(TEXT, b"x" * MIB) + frame(FIN, b"x"))
        assert await close_code(peer) == 1009


async def test_empty_fragments_without_end_are_refused() -> None:
    """S03"""
    async with opened() as (server, peer):
        with suppress(ConnectionError):
            await peer.send(frame(TEXT) + frame(0) * 100_000)

        assert await close_code(peer) == 1009
        assert server.refused == ["websocket_fault"]


async def test_fragments_up_to_the_limit_pass_for_every_message() -> None:
    """S03"""
    message = frame(TEXT, b"x") + frame(0, b"x") * 9 + frame(FIN)
    async with opened(Limits(websocket_fragments=10)) as (_, peer):
        for _ in range(3):
            await peer.send(message)
            assert await peer.exactly(4) == frame(FIN | TEXT, b"10", masked=False)

        await peer.send(frame(TEXT, b"x") + frame(0, b"x") * 10 + frame(FIN))
        assert await close_code(peer) == 1009


async def test_a_deflate_bomb_finds_no_decompressor() -> None:
    """S03"""
    async with site([WebSocketRoute("/ws", echo)]) as server, server.connected() as peer:
        await peer.send(HANDSHAKE % b"Sec-WebSocket-Extensions: permessage-deflate\r\n")
        answer = await peer.until(b"\r\n\r\n")
        await peer.send(frame(FIN | 0x40 | TEXT, b"\x00" * 100))

        assert b"permessage-deflate" not in answer
        assert await close_code(peer) == 1002


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(FIN | TEXT, b"x" * 100, announce=900_000), id="announced 900 kB"),
        pytest.param(frame(TEXT, b"begun"), id="first fragment"),
        pytest.param(b"\x81", id="half a frame head"),
        pytest.param(frame(FIN | TEXT, b"whole") + b"\x81", id="half a frame after a whole one"),
    ],
)
async def test_a_message_begun_and_not_ended_is_closed_at_its_deadline(sent: bytes) -> None:
    """S04"""
    async with opened(Limits(websocket_message_timeout_s=0.3)) as (server, peer):
        await peer.send(sent)

        assert await close_code(peer) == 1008
        assert "late" in server.refused


async def test_pings_and_fragments_do_not_lengthen_a_messages_time() -> None:
    """S04"""
    async with opened(Limits(websocket_message_timeout_s=0.3)) as (_, peer):
        ended = asyncio.create_task(close_code(peer))
        await peer.send(frame(TEXT, b"x"))
        try:
            while not ended.done():
                await peer.send(frame(0, b"x") + frame(FIN | PING, b"p"))
                await asyncio.sleep(0.05)  # the attack itself
        except ConnectionError:
            pass

        assert await ended == 1008


async def test_whole_messages_keep_a_socket_open_beyond_the_message_deadline() -> None:
    """S04"""
    async with opened(Limits(websocket_message_timeout_s=0.4)) as (server, peer):
        for _ in range(4):
            await peer.send(frame(FIN | TEXT, b"abc"))
            assert await peer.exactly(3) == frame(FIN | TEXT, b"3", masked=False)
            await asyncio.sleep(0.15)

        assert server.refused == []


async def test_messages_go_in_their_order_whatever_their_size() -> None:
    sizes = (0, 1, 125, 126, 65_535, 65_536, 200_000, *range(100))

    async def sized(websocket: WebSocket) -> None:
        await websocket.accept()
        frames: Frames = websocket.scope["extensions"][FRAMES]
        while (message := await frames.next_message()) is not None:
            await frames.send_text(b"x" * int(message))

    async with (
        site([WebSocketRoute("/ws", sized)]) as server,
        connect(f"ws://localhost:{server.port}/ws") as ws,
        asyncio.timeout(PATIENCE_S),
    ):
        for size in sizes:
            await ws.send(str(size))
        assert [len(await ws.recv()) for _ in sizes] == list(sizes)


async def test_offered_is_what_nothing_stands_before_and_the_rest_is_read_in_turn() -> None:
    """Of messages that come in one piece the first, and none while the reader has not come back for the next."""
    offered, busy, resume = list[bytes](), asyncio.Event(), asyncio.Event()

    def take(message: bytes) -> bool:
        offered.append(message)
        return message.startswith(b"take")

    async def reading(websocket: WebSocket) -> None:
        await websocket.accept()
        frames: Frames = websocket.scope["extensions"][FRAMES]
        frames.offer(take)
        while (message := await frames.next_message()) is not None:
            if message == b"busy":
                busy.set()
                await resume.wait()
            if message == b"enough":
                frames.offer(None)
            await frames.send_text(message[:9])

    async with site([WebSocketRoute("/ws", reading)]) as server, server.connected() as peer:
        await peer.send(HANDSHAKE % b"")
        await peer.until(b"\r\n\r\n")

        async def say(*messages: bytes) -> None:
            await peer.send(b"".join(frame(FIN | TEXT, message) for message in messages))

        async def hear(*messages: bytes) -> None:
            for message in messages:
                expected = frame(FIN | TEXT, message[:9], masked=False)
                assert await peer.exactly(len(expected)) == expected

        await say(b"take 1", b"take 2", b"read 1")
        await hear(b"take 2", b"read 1")
        await say(b"read 2")
        await hear(b"read 2")
        await say(b"busy")
        await busy.wait()
        await say(b"take 3")
        resume.set()
        await hear(b"busy", b"take 3")
        large = b"take " + b"x" * MAX_OFFERED
        await say(large)
        await hear(large)
        await say(b"enough")
        await hear(b"enough")
        await say(b"take 4")
        await hear(b"take 4")

    assert offered == [b"take 1", b"read 2", b"busy", b"enough"]


async def test_no_more_is_read_than_the_application_takes() -> None:
    taking, taken, opened_here = asyncio.Event(), asyncio.Event(), asyncio.Queue[Any]()

    async def waiting(websocket: WebSocket) -> None:
        await websocket.accept()
        frames: Frames = websocket.scope["extensions"][FRAMES]
        opened_here.put_nowait(frames)
        await taking.wait()
        for _ in range(100):
            await frames.next_message()
        taken.set()

    async with (
        site([WebSocketRoute("/ws", waiting)]) as server,
        connect(f"ws://localhost:{server.port}/ws") as ws,
        asyncio.timeout(PATIENCE_S),
    ):
        frames = await opened_here.get()
        sending = asyncio.gather(*(ws.send("x" * 60_000) for _ in range(100)))
        while not frames.read_paused:
            await asyncio.sleep(0.01)
        held = frames.queue.qsize()
        taking.set()
        await taken.wait()
        await sending
    assert MAX_WAITING <= held < 50


async def test_a_slow_application_is_not_taken_for_a_slow_client() -> None:
    """S04"""

    async def slow(websocket: WebSocket) -> None:
        await websocket.accept()
        for _ in range(3):
            await websocket.receive_text()
            await asyncio.sleep(0.6)
        await websocket.send_text("done")

    limits = Limits(websocket_message_timeout_s=0.5)
    async with (
        site([WebSocketRoute("/ws", slow)], limits) as server,
        connect(f"ws://localhost:{server.port}/ws") as ws,
    ):
        for _ in range(3):
            await ws.send("x" * 500_000)

        assert await asyncio.wait_for(ws.recv(), PATIENCE_S) == "done"


async def test_a_client_that_pings_and_never_reads_is_cut() -> None:
    async with opened(Limits(websocket_unsent_bytes=100_000, websocket_message_timeout_s=PATIENCE_S)) as (
        server,
        peer,
    ):
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        pings = frame(FIN | PING, os.urandom(125)) * 2_000
        async with asyncio.timeout(PATIENCE_S):
            with suppress(ConnectionError):
                while "unread_pongs" not in server.refused:
                    await peer.send(pings)

        assert "unread_pongs" in server.refused


async def test_a_dead_peer_is_found_by_ping() -> None:
    async with opened(Limits(websocket_ping_s=0.2)) as (_, peer):
        assert await close_code(peer) == 1011


async def test_frames_before_the_handshake_is_answered_cut_the_connection() -> None:
    entered = asyncio.Event()

    async def slow_to_accept(websocket: WebSocket) -> None:
        entered.set()
        await websocket.receive()
        await websocket.receive()

    async with site([WebSocketRoute("/ws", slow_to_accept)]) as server, server.connected() as peer:
        await peer.send(HANDSHAKE % b"")
        await asyncio.wait_for(entered.wait(), PATIENCE_S)
        await peer.send(frame(FIN | 0x3, b"hi"))

        assert await peer.rest() == b""
        assert server.refused == ["early_frames"]


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Host": "evil.example"}, 421),
    ],
)
async def test_a_handshake_from_elsewhere_is_refused_before_the_upgrade(
    extra: dict[str, str], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """S01: that is the client's fault, so nobody has to look."""
    async with site([WebSocketRoute("/ws", echo)], allowed_origins=("https://app.example.com",)) as server:
        host = extra.pop("Host", "localhost")
        head = b"".join(f"{name}: {value}\r\n".encode() for name, value in extra.items())
        request = (HANDSHAKE % head).replace(b"Host: localhost", f"Host: {host}".encode())

        answer = await server.ask(request)

        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"application/problem+json" in answer
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_listed_origin_and_a_program_without_one_may_connect() -> None:
    """S01"""
    async with site([WebSocketRoute("/ws", echo)], allowed_origins=("https://app.example.com",)) as server:
        for origin in ("https://app.example.com", None):
            async with connect(f"ws://localhost:{server.port}/ws", origin=origin) as ws:  # type: ignore[arg-type]
                await ws.send("abc")
                assert await ws.recv() == "3"


async def test_an_unknown_path_is_refused_before_the_upgrade() -> None:
    async with site() as server:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://localhost:{server.port}/nowhere")

        assert refused.value.response.status_code in (403, 404)


async def test_a_stopping_server_says_so_to_open_sockets() -> None:
    async with site([WebSocketRoute("/ws", echo)]) as server:
        ws = await connect(f"ws://localhost:{server.port}/ws")
        closed = asyncio.create_task(ws.wait_closed())
    await asyncio.wait_for(closed, PATIENCE_S)

    assert ws.close_code == 1012
    with pytest.raises(ConnectionClosed):
        await ws.send("too late")


async def test_a_client_that_does_not_read_is_told_to_come_back_later():
    """1013, and the application is freed."""
    freed = asyncio.Event()

    async def endless(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("x" * 65_536)
        except (WebSocketDisconnect, RuntimeError):
            freed.set()

    limits = Limits(stalled_s=0.3, linger_s=PATIENCE_S)
    async with (
        site([WebSocketRoute("/ws", endless)], limits) as server,
        connect(f"ws://localhost:{server.port}/ws", max_queue=1) as ws,
    ):
        ws.transport.pause_reading()
        async with asyncio.timeout(PATIENCE_S):
            while "stalled" not in server.refused:
                await asyncio.sleep(0.02)
        ws.transport.resume_reading()
        with suppress(ConnectionClosed):
            async for _ in ws:
                pass
        assert ws.close_code == 1013
        await asyncio.wait_for(freed.wait(), PATIENCE_S)
