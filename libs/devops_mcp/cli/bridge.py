"""What `devops-mcp stdio` does between its two ends: messages pass as they are, and the client hears nothing of how it stays connected.

A connection that breaks off is made anew: the handshake is repeated, what the client subscribed to is subscribed to, and what it waits for
is asked again. Only a call of a tool that may have been done is not: the client is told so. It is also told which of the server's
questions nobody waits for any more.
"""

import asyncio
import time
from typing import Any

from devops_mcp.cli.link import ANSWERED_WITHIN_S, UNREACHABLE, BrokenOff, Link, Unable, cancelled, open_link
from devops_mcp.cli.questions import Questions
from devops_mcp.cli.renewal import Renewal, pauses
from devops_mcp.cli.spoken import Spoken, message_in
from devops_mcp.cli.streams import Lines, Output

OUR_FAULT = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
"""Close codes that say something is wrong with what was sent: it would be again."""


class Bridge:
    """Carries messages until the client has said all. `patience_s` is how long a connection that broke off is tried again."""

    def __init__(self, renewal: Renewal, lines: Lines, output: Output, *, patience_s: float) -> None:
        self._renewal = renewal
        self._lines = lines
        self._output = output
        self._patience_s = patience_s
        self._trouble_since = 0.0
        self._spoken = Spoken()
        self._questions = Questions()
        self._answered = asyncio.Event()

    async def run(self) -> None:
        """Return when the lines have ended and what they asked is answered. Raises `Unable`, and `OSError` where nobody reads."""
        try:
            link: Link | None = await self._open("")
            while link is not None:
                link = await self._follow(link)
        except Unable as error:
            await self._give_up(str(error))
            raise

    async def _give_up(self, reason: str) -> None:
        for refusal in self._spoken.give_up(reason):
            await self._output.write(refusal)

    async def _follow(self, link: Link) -> Link | None:
        """Carry messages until the connection ends; then the one that takes its place, None where nothing is left to carry."""
        broken: BrokenOff | None = None
        try:
            if not await self._carry(link):
                await self._settle(link)
                return None
        except BrokenOff as error:
            broken = error
        finally:
            await link.close()
        await self._drop_questions()
        return await self._open("") if broken is None else await self._come_back(link, broken)

    async def _open(self, session: str) -> Link:
        return await open_link(self._renewal.address, session, self._deliver)

    async def _carry(self, link: Link) -> bool:
        """Send what the lines say; False at their end, True where the next one needs a connection of its own."""
        sending = asyncio.create_task(self._send_lines(link))
        keeping = asyncio.create_task(self._renewal.keep(link))
        try:
            await asyncio.wait({sending, link.reading, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                await (keeping if keeping.done() else link.reading)  # says why it ended
            return await sending
        finally:
            await cancelled(sending, keeping)

    async def _send_lines(self, link: Link) -> bool:
        while (line := await self._lines.take()) is not None:
            message = message_in(line)
            # A connection is of one era, and a client that greets after other messages has changed its mind.
            if message.get("method") == "initialize" and link.began:
                self._lines.put_back(line)
                return True
            self._spoken.note(line, message)
            if (told := self._questions.for_server(line, message)) is not None:
                await link.send(told)
        return False

    async def _deliver(self, link: Link, data: bytes, message: dict[str, Any]) -> None:
        if "method" not in message:
            if (after_s := self._spoken.put_off_s(message)) is not None and self._is_patient():
                link.meanwhile(self._ask_again(link, message["id"], after_s))
                return
            # Before it is written: that goes on when the connection ends meanwhile, and then this must not be asked again.
            self._spoken.answered(message.get("id"))
            self._answered.set()
        if (told := self._questions.for_client(data, message)) is not None:
            await self._output.write(told)

    async def _ask_again(self, link: Link, request_id: str | int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        if (line := self._spoken.waiting.get(request_id)) is not None:
            await link.send(line)

    def _is_patient(self) -> bool:
        """Whether a broken connection is worth another try; who has said all is waited for no longer than for any answer."""
        longest_s = min(self._patience_s, ANSWERED_WITHIN_S) if self._lines.over else self._patience_s
        return time.monotonic() - self._trouble_since <= longest_s

    async def _come_back(self, link: Link, broken: BrokenOff) -> Link | None:
        """Another connection that the client takes for the same; None where nobody needs it.

        Raises `Unable` where it cannot be had in time, or would break as well.
        """
        if broken.closed in OUR_FAULT or self._patience_s <= 0:
            raise broken
        if link.held or not self._trouble_since:
            self._trouble_since = time.monotonic()
        pause_s = pauses()
        while self._spoken.waiting or not self._lines.have_ended():
            try:
                await self._renewal.renew()
                return await self._opened_again(link.session)
            except Unable as error:
                may_pass = error.code == UNREACHABLE or isinstance(error, BrokenOff)
                if not (may_pass and self._is_patient()):
                    raise
            await self._drop_questions()
            await asyncio.sleep(next(pause_s))
        return None

    async def _drop_questions(self) -> None:
        """Tell the client that nobody waits for its answers to what the last connection asked."""
        for cancellation in self._questions.lose():
            await self._output.write(cancellation)

    async def _opened_again(self, session: str) -> Link:
        link = await self._open(session)
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
        for answer_of_ours in self._spoken.give_up_calls():
            await self._output.write(answer_of_ours)
        for line in self._spoken.asked_again():
            await link.send(line)

    async def _settle(self, link: Link) -> None:
        """Wait for the answers that are owed, while they can come; who has none then is told so."""
        try:
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                while self._spoken.waiting and not link.reading.done():
                    self._answered.clear()
                    answered = asyncio.create_task(self._answered.wait())
                    await asyncio.wait({answered, link.reading}, return_when=asyncio.FIRST_COMPLETED)
                    answered.cancel()
        except TimeoutError:
            await self._give_up(f"no answer within {ANSWERED_WITHIN_S:g} s after the end of the input")
        if self._spoken.waiting and link.reading.done():
            await link.reading
