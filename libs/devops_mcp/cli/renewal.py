"""The credential that a bridge connects with: renewed before it ends, for as long as the login lasts, and always the same caller's."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

from devops_mcp.cli.link import REFUSED, UNREACHABLE, USAGE, Address, Link, Unable
from devops_mcp.cli.login import RENEW_BEFORE_S
from devops_mcp.cli.streams import apart

AUTHENTICATE = "io.devops-mcp/authenticate"
"""The transport's own request, by which a connection goes on with another credential: see docs/websocket.md."""
_NOT_TAKEN = -32001
"""How the server answers it where the credential is not valid, or another caller's; with any other error it may be asked again."""
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
_LOOK_EVERY_S = 30.0

Find: TypeAlias = Callable[[], Address]
"""The address with a key that is good for longer. Waits for others; raises `Unable`."""


class Renewal:
    """`address` is where to connect, with the key to do it with."""

    def __init__(self, address: Address, find: Find) -> None:
        self.address = address
        self._find = find

    async def renew(self) -> None:
        """Bring `address` up to date. Raises `Unable`: UNREACHABLE where that may be had later, REFUSED where it cannot be had."""
        if self.address.ends_at is None:
            return
        try:
            found = await apart(self._find)
        except Unable as error:
            if error.code != USAGE:
                raise
            raise Unable(REFUSED, f"the login that this began with is gone: {error}") from None
        if found.url != self.address.url:
            raise Unable(REFUSED, f"the login is for {found.url} now, not for {self.address.url}")
        if found.caller != self.address.caller:
            raise Unable(
                REFUSED,
                "somebody else is signed in now: start this server anew to go on as them, "
                "or sign in with 'devops-mcp login' as before",
            )
        self.address = found

    async def keep(self, link: Link) -> None:
        """Hand a connection its next key before each one ends; never return. Raises `Unable`."""
        while (ends_at := self.address.ends_at) is not None:
            await _until(ends_at - RENEW_BEFORE_S)
            await self._hand_over(link)
        await asyncio.Event().wait()

    async def _hand_over(self, link: Link) -> None:
        for pause_s in pauses():
            try:
                await self.renew()
                await self._authenticate(link)
                return
            except Unable as error:
                if error.code != UNREACHABLE:
                    raise
            await asyncio.sleep(pause_s)

    async def _authenticate(self, link: Link) -> None:
        params = {"authorization": f"Bearer {self.address.key}"}
        answer = await link.ask({"jsonrpc": "2.0", "method": AUTHENTICATE, "params": params})
        if (error := answer.get("error")) is None:
            return
        if error.get("code") == _NOT_TAKEN:
            reason = error.get("message", "no reason given")
            raise Unable(
                REFUSED,
                f"{self.address.url} ends this login ({reason}); sign in anew with 'devops-mcp login'",
            )
        raise Unable(UNREACHABLE, f"{self.address.url} cannot take the new token now: {error}")


def pauses() -> Iterator[float]:
    """Seconds to wait between one try and the next: longer each time, and not the same for all who try."""
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def _until(moment: float) -> None:
    """Wait for the time on the wall; in steps, since a machine that sleeps stops the clock by which one waits."""
    while (left := moment - time.time()) > 0:  # noqa: ASYNC110 - nothing tells of the time
        await asyncio.sleep(min(left, _LOOK_EVERY_S))
