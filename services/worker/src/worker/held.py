"""Messages in our hands: kept from other consumers until each is acknowledged, returned or buried."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from devops_mcp.events.queues import QueueSpec
from devops_mcp.events.sqs import Received, SqsQueue
from devops_mcp.models.errors import PlatformError

log = structlog.get_logger()

_RENEWALS = 3
"""How often in a visibility timeout it is extended: two may fail before the message is delivered elsewhere."""


class Held:
    """Received messages. Where the queue does not answer, a message is delivered again, and has its effect only once."""

    def __init__(self, queue: SqsQueue, spec: QueueSpec, batch: Sequence[Received]) -> None:
        self._queue = queue
        self._spec = spec
        self._unsettled = {received.receipt: received for received in batch}
        self._over: set[str] = set()

    async def acknowledge(self, batch: Sequence[Received]) -> None:
        """These have had their effect: the queue forgets them."""
        self._settle(batch)
        self._over.update(received.receipt for received in batch)
        try:
            refused = await self._queue.delete_batch([received.receipt for received in batch])
        except PlatformError as error:
            self._log("messages not acknowledged", batch, error)
        else:
            if refused:
                log.warning("messages not acknowledged", queue=self._spec.name, count=len(refused))

    async def give_back(self, batch: Sequence[Received], delay_s: int) -> None:
        """Deliver these again after the delay."""
        self._settle(batch)
        try:
            await self._queue.change_visibility_batch([received.receipt for received in batch], delay_s)
        except PlatformError as error:
            self._log("messages not returned", batch, error)

    async def bury(self, received: Received, reason: str) -> None:
        """Move one to the dead letters, with the reason."""
        try:
            await self._queue.send_to_dead_letters(received, reason)
        except PlatformError as error:
            self._log("message not buried", [received], error)
        else:
            await self.acknowledge([received])

    def is_over(self, received: Received) -> bool:
        """Whether it was acknowledged or buried, so that what comes after it in its group may be handled."""
        return received.receipt in self._over

    async def keep(self) -> None:
        """Extend the visibility timeout of what is not settled, for ever."""
        timeout_s = int(self._spec.visibility_timeout.total_seconds())
        while True:
            await asyncio.sleep(timeout_s / _RENEWALS)
            unsettled = list(self._unsettled.values())
            if not unsettled:
                continue
            try:
                lost = await self._queue.change_visibility_batch([r.receipt for r in unsettled], timeout_s)
            except PlatformError as error:
                self._log("messages not kept", unsettled, error)
            else:
                if lost:
                    log.warning("lost lease", queue=self._spec.name, count=len(lost))

    async def release(self) -> None:
        """Give back whatever is not settled, for others to take at once."""
        if self._unsettled:
            await self.give_back(list(self._unsettled.values()), 0)

    def _settle(self, batch: Sequence[Received]) -> None:
        for received in batch:
            self._unsettled.pop(received.receipt, None)

    def _log(self, what: str, batch: Sequence[Received], error: PlatformError) -> None:
        log.warning(what, queue=self._spec.name, count=len(batch), code=error.code, reason=error.message)


@asynccontextmanager
async def holding(queue: SqsQueue, spec: QueueSpec, batch: Sequence[Received]) -> AsyncIterator[Held]:
    """Hold the batch within the block; what is not settled at its end is given back."""
    held = Held(queue, spec, batch)
    keeper = asyncio.create_task(held.keep(), name="keep messages")
    try:
        yield held
    finally:
        keeper.cancel()
        # Shielded: at the end of a drain the block is cancelled, and the messages should not wait for their timeout.
        await asyncio.shield(held.release())
