"""What was called while an agent worked on a context, appended to it: off the call's path, in order, and never lost on a clean stop."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple
from uuid import UUID

import structlog
from pydantic import JsonValue

from devops_mcp.models.contexts import ItemKind, NewItem
from devops_mcp.models.errors import AlreadyWritten, PlatformError, Unavailable
from devops_mcp.models.principals import Principal
from devops_mcp.operations.backlog import Backlog, writing
from devops_mcp.operations.contexts import ContextService
from devops_mcp.operations.masking import masked, writable
from devops_mcp.operations.ttl_cache import TtlCache
from devops_mcp.repositories.context_appends import CountedItem
from devops_mcp.repositories.rows import dumps

HELD = 5_000
MAX_TEXT = 8_000
"""Characters of a call, and of what came of it, that its context keeps."""
KNOWN_S = 30.0
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


class ContextJournal(Backlog[_Writer, _Line]):
    """Takes calls at once and appends them a moment later. When `HELD` items wait, no further call begins: none is dropped.

    A context that cannot be written to now does not hold up the others; what one will never take is left out, which the log tells.
    """

    def __init__(self, contexts: ContextService, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__("calls for contexts")
        self._contexts = contexts
        self._known: TtlCache[bool] = TtlCache(monotonic=monotonic)

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

    async def _try_write(self, key: _Writer) -> PlatformError | None:
        line = self._waiting[key]
        while line.items:
            try:
                await self._write(key, line)
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
        del self._waiting[key]
        return None

    async def _write(self, writer: _Writer, line: _Line) -> None:
        """Append the next items. After a failure they are the same again, with the same ids: it may have come too late."""
        if line.begun is None:
            await self._contexts.require_writable(line.principal, writer.context_id)
            batch = list(islice(line.items, _BATCH))
            line.begun = [await self._contexts.prepared(writer.tenant_id, item) for item in batch]
        try:
            await self._contexts.append_prepared(line.principal, writer.context_id, line.begun, recorded=True)
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


def open_context_journal(contexts: ContextService) -> AbstractAsyncContextManager[ContextJournal]:
    """A journal that writes by itself, and writes the rest at the end."""
    return writing(ContextJournal(contexts))
