"""How many connections of a pool one caller may hold: nobody's crowd keeps everybody else out, nor us."""

import asyncio
from collections import deque
from uuid import UUID

from devops_mcp.models.errors import Unavailable
from devops_mcp.observability.caller import current_caller

_SMALL = 5
"""Connections; fewer are not divided."""


class Share:
    """Each may hold so many; who wants more waits until one of its own comes back, in the order of asking."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[UUID, int] = {}
        self._waiting: dict[UUID, deque[asyncio.Future[None]]] = {}

    def takes(self, whose: UUID) -> bool:
        """Take one if there is one; it is to be given back."""
        held = self._held.get(whose, 0)
        if held >= self._most:
            return False
        self._held[whose] = held + 1
        return True

    async def take(self, whose: UUID) -> None:
        """Take one, as soon as there is one."""
        if self.takes(whose):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(whose, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(whose)
            raise

    def give(self, whose: UUID) -> None:
        """Hand one on to who waits longest, or put it back."""
        queue = self._waiting.get(whose)
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._waiting.pop(whose, None)
        if self._held[whose] == 1:
            del self._held[whose]
        else:
            self._held[whose] -= 1


class Shares:
    """Of twelve connections a caller may hold ten, and all callers of a tenant together eleven.

    What nobody waits for, as the probes of health and what is done in the background, has no share to keep to.
    """

    def __init__(self, size: int, wait_s: float) -> None:
        divided = size >= _SMALL
        self.of_one = size - size // 5 if divided else size
        """How many a caller may hold."""
        self._callers = Share(self.of_one)
        self._tenants = Share(size - max(size // 10, 1) if divided else size)
        self._wait_s = wait_s

    async def take(self, tenant_id: UUID) -> UUID | None:
        """Take one for whom the task at hand answers, and return whose it is: None where it answers nobody.

        Raises `Unavailable` where none comes back in time.
        """
        caller = current_caller()
        if caller is None:
            return None
        if not self._callers.takes(caller):
            await self._wait(self._callers, caller)
        if not self._tenants.takes(tenant_id):
            try:
                await self._wait(self._tenants, tenant_id)
            except BaseException:
                self._callers.give(caller)
                raise
        return caller

    def give(self, caller: UUID, tenant_id: UUID) -> None:
        """Give back what was taken."""
        self._tenants.give(tenant_id)
        self._callers.give(caller)

    async def _wait(self, share: Share, whose: UUID) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await share.take(whose)
        except TimeoutError:
            raise _too_many() from None


class Blocks:
    """Pieces of work that may want a second connection while they hold one: a caller has one fewer than connections, and so have all.

    Were every connection held by who waits for another, nobody would get any.
    """

    def __init__(self, size: int, of_one: int, wait_s: float) -> None:
        self._callers = Share(max(of_one - 1, 1))
        self._all = asyncio.Semaphore(max(size - 1, 1))
        self._wait_s = wait_s

    async def take(self) -> UUID | None:
        """Begin one, and return for whom: None where the task at hand answers nobody. Raises `Unavailable` where none ends in time."""
        caller = current_caller()
        taken = caller is None or self._callers.takes(caller)
        try:
            if taken and not self._all.locked():
                await self._all.acquire()
                return caller
            async with asyncio.timeout(self._wait_s):
                if caller is not None and not taken:
                    await self._callers.take(caller)
                    taken = True
                await self._all.acquire()
        except BaseException as error:
            if caller is not None and taken:
                self._callers.give(caller)
            if isinstance(error, TimeoutError):
                raise _too_many() from None
            raise
        return caller

    def give(self, caller: UUID | None) -> None:
        """End one."""
        self._all.release()
        if caller is not None:
            self._callers.give(caller)


def _too_many() -> Unavailable:
    return Unavailable(
        "too many requests of this caller or tenant wait for the database; send fewer at a time",
        retry_after_s=1,
    )
