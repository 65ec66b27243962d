"""What was called while an agent worked on a context, appended to it: off the call's path, in order, and never lost on a clean stop."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import structlog
from pydantic import JsonValue

from devops_mcp.models.contexts import ItemKind, NewItem
from devops_mcp.models.errors import AlreadyWritten, Forbidden, NotFound, PlatformError
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import ContextService
from devops_mcp.operations.masking import masked
from devops_mcp.operations.ttl_cache import TtlCache
from devops_mcp.repositories.context_appends import CountedItem
from devops_mcp.repositories.rows import dumps

FLUSH_S = 0.2
HELD = 5_000
MAX_RESULT = 8_000
KNOWN_S = 30.0
CLOSING_S = 10.0
_BATCH = 50
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Entry:
    principal: Principal
    context_id: UUID
    items: tuple[NewItem, ...]


class ContextJournal:
    """Takes calls at once and appends them a moment later."""

    def __init__(self, contexts: ContextService, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._contexts = contexts
        self._known: TtlCache[bool] = TtlCache(monotonic=monotonic)
        self._waiting: deque[_Entry] = deque()
        self._begun: tuple[int, list[CountedItem]] | None = None
        self._writing = asyncio.Lock()

    async def check(self, principal: Principal, context_id: UUID) -> None:
        """Raise `NotFound` or `Forbidden` unless the principal may append to the context."""
        key = (principal.tenant_id, principal.id, context_id)
        if self._known.get(key) is None:
            await self._contexts.require_writable(principal, context_id)
            self._known.put(key, True, KNOWN_S)

    async def record(
        self,
        principal: Principal,
        context_id: UUID,
        tool: str,
        arguments: Mapping[str, JsonValue],
        said: str,
    ) -> None:
        """Append the call and what came of it. When `HELD` wait, those are written first: none is dropped."""
        if len(self._waiting) >= HELD:
            await self.flush()
        call = f"{tool} {dumps(masked(arguments))}"
        items = (
            NewItem(kind=ItemKind.TOOL_CALL, text=call, metadata={"tool": tool}),
            NewItem(kind=ItemKind.RESULT, text=said[:MAX_RESULT] or "(nothing)", metadata={"tool": tool}),
        )
        self._waiting.append(_Entry(principal, context_id, items))

    async def flush(self) -> None:
        """Append all that waits; what cannot be written now stays, in its order."""
        async with self._writing:
            while self._waiting:
                count = await self._write()
                for _ in range(count):
                    self._waiting.popleft()
                self._begun = None

    async def _write(self) -> int:
        """Append the next entries; how many. After a failure they are the same again, with the same ids: it may have come too late."""
        first = self._waiting[0]
        try:
            if self._begun is None:
                self._begun = await self._prepared(self._next())
            await self._contexts.append_prepared(first.principal, first.context_id, self._begun[1])
        except AlreadyWritten:
            log.info("calls were in their context", context_id=str(first.context_id))
        except (NotFound, Forbidden) as error:
            log.warning("calls not appended to their context", reason=error.message)
        return self._begun[0] if self._begun else 1

    async def _prepared(self, batch: Sequence[_Entry]) -> tuple[int, list[CountedItem]]:
        principal = batch[0].principal
        await self._contexts.require_writable(principal, batch[0].context_id)
        items = [item for entry in batch for item in entry.items]
        return len(batch), [await self._contexts.prepared(principal.tenant_id, item) for item in items]

    async def run(self) -> None:
        """Flush every `FLUSH_S` seconds until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.flush()
            except PlatformError as error:
                log.warning("calls wait for their context", waiting=len(self._waiting), reason=error.message)

    def _next(self) -> list[_Entry]:
        """The longest run from the front that goes into one context of one principal."""
        first = self._waiting[0]
        batch: list[_Entry] = []
        for entry in self._waiting:
            same = (entry.context_id, entry.principal.id) == (first.context_id, first.principal.id)
            if not same or len(batch) == _BATCH:
                break
            batch.append(entry)
        return batch


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
        async with asyncio.timeout(CLOSING_S):
            await journal.flush()
