"""What was called while an agent worked on a context, appended to it: off the call's path, in order, and never lost on a clean stop."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple
from uuid import UUID

import structlog
from pydantic import JsonValue

from devops_mcp.models.contexts import ItemKind, NewItem
from devops_mcp.models.errors import AlreadyWritten, PlatformError, Unavailable
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import ContextService
from devops_mcp.operations.masking import masked, writable
from devops_mcp.operations.ttl_cache import TtlCache
from devops_mcp.repositories.context_appends import CountedItem
from devops_mcp.repositories.rows import dumps

FLUSH_S = 0.2
HELD = 5_000
MAX_TEXT = 8_000
"""Characters of a call, and of what came of it, that its context keeps."""
KNOWN_S = 30.0
CLOSING_S = 10.0
ROOM_S = 1.0
"""So long a call waits for others' to be appended when no more can be held."""
_BATCH = 50
log = structlog.get_logger()


class _Writer(NamedTuple):
    """Who writes into which context."""

    tenant_id: UUID
    principal_id: UUID
    context_id: UUID


@dataclass(slots=True)
class _Line:
    """The items of one writer, in their order; `begun` are the first of them as they were last tried."""

    principal: Principal
    items: deque[NewItem] = field(default_factory=deque)
    begun: list[CountedItem] | None = None


class ContextJournal:
    """Takes calls at once and appends them a moment later. When `HELD` items wait, no further call begins: none is dropped.

    A context that cannot be written to now does not hold up the others; what one will never take is left out, which the log tells.
    """

    def __init__(self, contexts: ContextService, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._contexts = contexts
        self._known: TtlCache[bool] = TtlCache(monotonic=monotonic)
        self._waiting: dict[_Writer, _Line] = {}
        self._held = 0
        self._writing = asyncio.Lock()
        self._flush: asyncio.Task[None] | None = None

    async def check(self, principal: Principal, context_id: UUID) -> None:
        """To be asked before a call. Raises `NotFound` or `Forbidden` unless the principal may append to the context.

        `Unavailable` when no more can be held.
        """
        if self._held >= HELD:
            await self._flushed()
        if self._held >= HELD:
            raise Unavailable("too many calls wait for their contexts", retry_after_s=2)
        writer = _Writer(principal.tenant_id, principal.id, context_id)
        if self._known.get(writer) is None:
            await self._contexts.require_writable(principal, context_id)
            self._known.put(writer, True, KNOWN_S)

    def keep(
        self,
        principal: Principal,
        context_id: UUID,
        tool: str,
        arguments: Mapping[str, JsonValue],
        said: str,
    ) -> None:
        """Append the call and what came of it, soon."""
        called = f"{tool} {dumps(masked(arguments))}"
        line = self._waiting.setdefault(
            _Writer(principal.tenant_id, principal.id, context_id), _Line(principal)
        )
        line.items += (
            NewItem(kind=kind, text=text[:MAX_TEXT], metadata={"tool": tool})
            for kind, text in (
                (ItemKind.TOOL_CALL, called),
                (ItemKind.RESULT, writable(said) or "(nothing)"),
            )
        )
        self._held += 2

    async def flush(self) -> None:
        """Append all that waits. What cannot be written now stays, in its order; raises why, once all has been tried."""
        failures: dict[_Writer, PlatformError] = {}
        async with self._writing:
            while due := [writer for writer in self._waiting if writer not in failures]:
                for writer in due:
                    if (failure := await self._try_write(writer)) is not None:
                        failures[writer] = failure
        if failures:
            raise next(iter(failures.values()))

    async def _try_write(self, writer: _Writer) -> PlatformError | None:
        """What keeps a writer's items. Raises `Unavailable`, when the others would only wait for the same."""
        line = self._waiting[writer]
        while line.items:
            try:
                await self._write(writer, line)
            except Unavailable:
                raise
            except PlatformError as error:
                if error.retryable:
                    return error
                log.warning("calls not appended to their context", reason=error.message)
                self._forget(line)
            except Exception:  # the writer must not end
                log.exception("calls not appended to their context")
                self._forget(line)
        del self._waiting[writer]
        return None

    async def _write(self, writer: _Writer, line: _Line) -> None:
        """Append the next items. After a failure they are the same again, with the same ids: it may have come too late."""
        if line.begun is None:
            await self._contexts.require_writable(line.principal, writer.context_id)
            batch = list(islice(line.items, _BATCH))
            line.begun = [await self._contexts.prepared(writer.tenant_id, item) for item in batch]
        try:
            await self._contexts.append_prepared(line.principal, writer.context_id, line.begun)
        except AlreadyWritten:
            log.info("calls were in their context", context_id=str(writer.context_id))
        self._forget(line)

    def _forget(self, line: _Line) -> None:
        """Those that were tried; they are the first."""
        tried = len(line.begun) if line.begun else min(len(line.items), _BATCH)
        for _ in range(tried):
            line.items.popleft()
        line.begun = None
        self._held -= tried

    async def run(self) -> None:
        """Flush every `FLUSH_S` seconds until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self._try_flush()

    async def _flushed(self) -> None:
        """Wait for a flush, up to `ROOM_S`."""
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._try_flush(), name="append calls to contexts")
        # Not cut off when the time is over: nobody would know what is appended.
        await asyncio.wait({self._flush}, timeout=ROOM_S)

    async def _try_flush(self) -> None:
        try:
            await self.flush()
        except PlatformError as error:
            log.warning("calls wait for their context", items=self._held, reason=error.message)

    async def close(self) -> None:
        """Append the rest. Raises what `flush` does, or `TimeoutError` after `CLOSING_S`; then the log says how much is lost."""
        try:
            async with asyncio.timeout(CLOSING_S):
                await self.flush()
        finally:
            if self._held:
                log.error("calls lost to their contexts", items=self._held)


@asynccontextmanager
async def open_context_journal(contexts: ContextService) -> AsyncIterator[ContextJournal]:
    """A journal that writes by itself, and writes the rest at the end."""
    journal = ContextJournal(contexts)
    writer = asyncio.create_task(journal.run(), name="context journal")
    try:
        yield journal
    finally:
        writer.cancel()
        with suppress(asyncio.CancelledError):
            await writer
        await journal.close()
