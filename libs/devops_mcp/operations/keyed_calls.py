"""Calls that their caller marked with a key.

One that was answered is made once, and answered alike for as long as its answer is kept. One that was refused, or put off before anything
was done, leaves its key free; one that broke off may be made again, once it would have shown what it did.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from anyio import CancelScope

from devops_mcp.models.base import Clock
from devops_mcp.models.conversation import InputRequired
from devops_mcp.models.errors import (
    Conflict,
    Internal,
    OutcomeUnknown,
    PlatformError,
    RateLimited,
    RequestInProgress,
    Unanswered,
    UpstreamInvalid,
    UpstreamRateLimited,
)
from devops_mcp.operations.tool_outcomes import ToolOutcome
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.idempotency import CallKey, MarkedCall
from devops_mcp.resilience.breaker import CircuitOpen
from devops_mcp.resilience.bulkhead import BulkheadFull

_AGAIN_S = 2.0
_PUT_OFF = (InputRequired, Unanswered, BulkheadFull, CircuitOpen, RateLimited, UpstreamRateLimited)
"""What says that a call was not made yet, and may be made later as it is."""
_UNREAD = (Internal, UpstreamInvalid)
"""What says nothing of whether the call was made: its answer could not be understood."""


@dataclass(frozen=True, slots=True)
class KeyedCall:
    """`digest` is of the arguments; `lasts` is how long the call may take."""

    tenant_id: UUID
    key: CallKey
    digest: bytes
    lasts: timedelta


class KeyedCalls:
    """A call's lease has two halves: the first is the time that the call may take, the second what a broken-off one may take to show."""

    def __init__(self, database: Database, now: Clock) -> None:
        self._database = database
        self._now = now

    async def once(
        self,
        call: KeyedCall,
        make: Callable[[], Awaitable[ToolOutcome]],
        is_put_off: Callable[[], bool] = lambda: False,
    ) -> ToolOutcome:
        """What `make` gives, or gave before; `is_put_off` says of one that broke off whether it had done nothing yet.

        Raises `Conflict` where the key came with other arguments, `RequestInProgress` while the call is under way, and `OutcomeUnknown`
        when it has broken off, for as long as it may last once more: then it is made anew.
        """
        now = self._now()
        async with self._database.transaction(call.tenant_id) as tx:
            marked = await tx.idempotent_calls.begin(call.key, call.digest, now, now + 2 * call.lasts)
        if marked is None:
            return await self._made(call, make, is_put_off)
        return _answered(call, marked, now)

    async def known(self, call: KeyedCall) -> ToolOutcome | None:
        """What the call gave before; None where it is to be made. Raises as `once` does."""
        now = self._now()
        async with self._database.transaction(call.tenant_id) as tx:
            marked = await tx.idempotent_calls.find(call.key)
        if marked is None or (marked.answer is None and marked.lease_until <= now):
            return None
        return _answered(call, marked, now)

    async def _made(
        self, call: KeyedCall, make: Callable[[], Awaitable[ToolOutcome]], is_put_off: Callable[[], bool]
    ) -> ToolOutcome:
        try:
            outcome = await make()
        except BaseException as error:
            undone = is_put_off() or _is_undone(error)
            await (self._forget(call) if undone else self._break_off(call))
            raise
        try:
            await self._finish(call, outcome)
        except BaseException:
            await self._break_off(call)
            raise
        return outcome

    async def _finish(self, call: KeyedCall, outcome: ToolOutcome) -> None:
        with CancelScope(shield=True):
            async with self._database.transaction(call.tenant_id) as tx:
                await tx.idempotent_calls.finish(call.key, outcome.data)

    async def _forget(self, call: KeyedCall) -> None:
        with CancelScope(shield=True):
            async with self._database.transaction(call.tenant_id) as tx:
                await tx.idempotent_calls.forget(call.key)

    async def _break_off(self, call: KeyedCall) -> None:
        """Let the first half of the lease be over; where that cannot be written, it is over when its time is."""
        with CancelScope(shield=True), suppress(PlatformError):
            async with self._database.transaction(call.tenant_id) as tx:
                await tx.idempotent_calls.break_off(call.key, self._now() + call.lasts)


def _answered(call: KeyedCall, marked: MarkedCall, now: datetime) -> ToolOutcome:
    """What is there of a call that is not to be made."""
    if marked.digest != call.digest:
        raise Conflict(f"idempotency key {call.key.key!r} was used with other arguments; use a new key")
    if marked.answer is None:
        raise _unanswered(call.key, marked.lease_until - now, call.lasts)
    return ToolOutcome.of(marked.answer)


def _is_undone(error: BaseException) -> bool:
    """Whether the error says that nothing was done, since the call was refused or put off."""
    if isinstance(error, _UNREAD):
        return False
    return isinstance(error, _PUT_OFF) or (isinstance(error, PlatformError) and not error.retryable)


def _unanswered(key: CallKey, left: timedelta, lasts: timedelta) -> RequestInProgress | OutcomeUnknown:
    if left > lasts:
        return RequestInProgress(
            f"the call with idempotency key {key.key!r} is still under way; ask again", retry_after_s=_AGAIN_S
        )
    left_s = left.total_seconds()
    return OutcomeUnknown(
        f"the call with idempotency key {key.key!r} broke off and may have been made: look whether it was; "
        f"asked again after {left_s:.0f} s, it is made anew",
        retry_after_s=left_s,
    )
