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
        self._callers = Share(size - size // 5 if divided else size)
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
            raise Unavailable(
                "too many requests of this caller or tenant wait for the database; send fewer at a time",
                retry_after_s=1,
            ) from None
