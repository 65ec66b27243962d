"""What `devops-mcp stdio` does between its two ends: messages pass as they are, and the client hears nothing of how it stays connected.

A key that ends is renewed before, and handed to the open connection. A connection that breaks off is made anew: the handshake is repeated,
what the client subscribed to is subscribed to, and what it waits for is asked again. Only a call of a tool that may have been done is not:
the client is told so.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, TypeAlias

from devops_mcp.cli.link import (
    ANSWERED_WITHIN_S,
    REFUSED,
    UNREACHABLE,
    Address,
    BrokenOff,
    Link,
    Unable,
    open_link,
)
from devops_mcp.cli.login import RENEW_BEFORE_S
from devops_mcp.cli.questions import Questions
from devops_mcp.cli.spoken import Spoken, message_in
from devops_mcp.cli.streams import Output

AUTHENTICATE = "io.devops-mcp/authenticate"
"""The transport's own request, by which a connection goes on with another credential: see docs/websocket.md."""
OUR_FAULT = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
"""Close codes that say something is wrong with what was sent: it would be again."""
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
_LOOK_EVERY_S = 30.0

Renew: TypeAlias = Callable[[], Address]
"""The address with a key that is good for longer. Waits for others; raises `Unable`."""


class Bridge:
    """Carries messages until the client has said all. `patience_s` is how long a connection that broke off is tried again."""

    def __init__(
        self,
        address: Address,
        lines: AsyncIterator[bytes],
        output: Output,
        renew: Renew,
        *,
        patience_s: float,
    ) -> None:
        self._address = address
        self._renew = renew
        self._lines = lines
        self._output = output
        self._patience_s = patience_s
        self._trouble_since = 0.0
        self._spoken = Spoken()
        self._questions = Questions()
        self._answered = asyncio.Event()
        self._reading_line: asyncio.Task[bytes | None] | None = None
        self._kept_back: bytes | None = None

    async def run(self) -> None:
        """Return when the lines have ended and what they asked is answered. Raises `Unable`."""
        link = await open_link(self._address, "", self._deliver)
        try:
            while True:
                try:
                    if not await self._carry(link):
                        await self._settle(link)
                        return
                    await self._hang_up(link)
                    link = await open_link(self._address, "", self._deliver)
                except BrokenOff as broken:
                    await self._hang_up(link)
                    link = await self._come_back(link, broken)
        finally:
            await link.close()
            if self._reading_line is not None:
                self._reading_line.cancel()
                await asyncio.wait({self._reading_line})

    async def _carry(self, link: Link) -> bool:
        """Send what the lines say; False at their end, True where the next one needs a connection of its own."""
        sending = asyncio.create_task(self._send_lines(link))
        keeping = asyncio.create_task(self._keep_authenticated(link))
        try:
            await asyncio.wait({sending, link.reading, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                await (keeping if keeping.done() else link.reading)  # says why it ended
            return await sending
        finally:
            sending.cancel()
            keeping.cancel()

    async def _send_lines(self, link: Link) -> bool:
        while (line := await self._next_line()) is not None:
            message = message_in(line)
            # A connection is of one era, and a client that greets after other messages has changed its mind.
            if message.get("method") == "initialize" and link.began:
                self._kept_back = line
                return True
            self._spoken.note(line, message)
            if (told := self._questions.for_server(line, message)) is not None:
                await link.send(told)
        return False

    async def _next_line(self) -> bytes | None:
        """The next line, which is not lost when nobody waits for it any more."""
        if (line := self._kept_back) is not None:
            self._kept_back = None
            return line
        if self._reading_line is None:
            self._reading_line = asyncio.create_task(self._read_line())
        line = await asyncio.shield(self._reading_line)
        self._reading_line = None
        return line

    async def _read_line(self) -> bytes | None:
        return await anext(self._lines, None)

    async def _deliver(self, data: bytes, message: dict[str, Any]) -> None:
        if "method" not in message:
            # Before it is written: that goes on when the connection ends meanwhile, and then this must not be asked again.
            self._spoken.answered(message.get("id"))
            self._answered.set()
        if (told := self._questions.for_client(data, message)) is not None:
            await self._output.write(told)

    async def _hang_up(self, link: Link) -> None:
        """End a connection that another takes the place of, and the server's questions with it."""
        await link.close()
        for cancellation in self._questions.lose():
            await self._output.write(cancellation)

    async def _keep_authenticated(self, link: Link) -> None:
        """Give the connection another key before the one it has ends, for as long as there is one. Raises `Unable`."""
        while (ends_at := self._address.ends_at) is not None:
            await _until(ends_at - RENEW_BEFORE_S)
            try:
                await self._take_renewed()
            except Unable as error:
                if error.code != UNREACHABLE:
                    raise
                await asyncio.sleep(LONGEST_PAUSE_S)
                continue
            params = {"authorization": f"Bearer {self._address.key}"}
            answer = await link.ask({"jsonrpc": "2.0", "method": AUTHENTICATE, "params": params})
            if (refused := answer.get("error")) is not None:
                raise Unable(REFUSED, f"{self._address.url} does not take the new token: {refused}")
        await asyncio.Event().wait()

    async def _take_renewed(self) -> None:
        renewed = await asyncio.to_thread(self._renew)
        if renewed.url != self._address.url:
            raise Unable(REFUSED, f"the login is for {renewed.url} now, not for {self._address.url}")
        self._address = renewed

    async def _come_back(self, link: Link, broken: BrokenOff) -> Link:
        """Another connection that the client takes for the same. Raises `Unable` where it cannot be had in time, or would break as well."""
        if broken.closed in OUR_FAULT or self._patience_s <= 0:
            raise broken
        if link.held or not self._trouble_since:
            self._trouble_since = time.monotonic()
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                if self._address.ends_at is not None:
                    await self._take_renewed()
                return await self._opened_again(link.session)
            except Unable as error:
                over = time.monotonic() - self._trouble_since > self._patience_s
                if over or (error.code != UNREACHABLE and not isinstance(error, BrokenOff)):
                    raise
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all come at once
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _opened_again(self, session: str) -> Link:
        link = await open_link(self._address, session, self._deliver)
        try:
            await self._say_again(link, resumed=bool(session) and link.session == session)
        except BaseException:
            await link.close()
            raise
        return link

    async def _say_again(self, link: Link, *, resumed: bool) -> None:
        """Bring the server to where the client believes it to be."""
        if (greeting := self._spoken.greeting) is not None:
            answer = await link.ask(message_in(greeting))
            if "error" in answer:
                raise BrokenOff(None, f"the handshake was refused: {answer['error']}")
            for line in self._spoken.settings(resumed=resumed):
                message = message_in(line)
                await (link.ask(message) if "id" in message else link.send(line))
            link.began = True
        for answer_of_ours in self._spoken.given_up():
            await self._output.write(answer_of_ours)
        for line in self._spoken.asked_again():
            await link.send(line)

    async def _settle(self, link: Link) -> None:
        """Wait for the answers that are owed, while they can come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                while self._spoken.waiting and not link.reading.done():
                    self._answered.clear()
                    answered = asyncio.create_task(self._answered.wait())
                    await asyncio.wait({answered, link.reading}, return_when=asyncio.FIRST_COMPLETED)
                    answered.cancel()
        if self._spoken.waiting and link.reading.done():
            await link.reading


async def _until(moment: float) -> None:
    """Wait for the time on the wall; in steps, since a machine that sleeps stops the clock by which one waits."""
    while (left := moment - time.time()) > 0:  # noqa: ASYNC110 - nothing tells of the time
        await asyncio.sleep(min(left, _LOOK_EVERY_S))
