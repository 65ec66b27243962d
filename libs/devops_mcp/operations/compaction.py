"""Long contexts summed up in the background. The items stay as they are; summaries say which of them they stand for."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from devops_mcp.cache.changes import Changes
from devops_mcp.events.messages import CompactionRequested
from devops_mcp.models.contexts import Context, ContextItem, context_uri
from devops_mcp.operations.item_indexing import beside_items, summary_item
from devops_mcp.operations.summaries import Summariser, transcript
from devops_mcp.repositories.context_windows import Mark
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

SPAN_TOKENS = 8_000
"""About so much is summed up at once."""
MAX_CHARS = 40_000
MERGED = 8
"""So many summaries are themselves summed up by one; the latest two stay as they are."""
_KEPT_APART = 2


@dataclass(frozen=True, slots=True)
class _Span:
    """Items to be summed up: those at the positions `first` to `last`."""

    context: Context
    first: int
    last: int
    items: Sequence[ContextItem]


class Compactor:
    """The worker's side. Any number of workers may have the same message: one of them is faster at each step, and the others stop."""

    def __init__(
        self, database: Database, summariser: Summariser, *, embeds: bool, changes: Changes | None = None
    ) -> None:
        self._database = database
        self._summariser = summariser
        self._embeds = embeds
        self._changes = changes

    async def process(self, tenant_id: UUID, messages: Sequence[CompactionRequested]) -> set[UUID]:
        """Sum up what these ask for; the ids of those that were not outdated. What a crash leaves undone is done by the next delivery."""
        return {message.id for message in messages if await self._compact(tenant_id, message)}

    async def _compact(self, tenant_id: UUID, message: CompactionRequested) -> bool:
        done = False
        while not await self._ended(tenant_id, message):
            while (span := await self._next(tenant_id, message)) is not None:
                if not await self._write(tenant_id, message, span):
                    return done
                done = True
            while (merging := await self._summaries_to_merge(tenant_id, message)) is not None:
                if not await self._write(tenant_id, message, merging, merges=True):
                    return done
        return done

    async def _ended(self, tenant_id: UUID, message: CompactionRequested) -> bool:
        """Whether there is nothing left to do; then it is said in the same transaction, so that who appends next asks anew."""
        async with self._database.transaction(tenant_id) as tx:
            if not await tx.compactions.hold(message.context_id, message.id):
                return True
            if await tx.contexts.find(message.context_id) is None:
                return True  # its time is over, and it waits for its removal
            progress = await tx.compactions.progress(message.context_id, message.keep_tokens, SPAN_TOKENS)
            if progress.last is not None or _to_merge(await tx.context_windows.summaries(message.context_id)):
                return False
            await tx.compactions.end(message.context_id, message.id)
        return True

    async def _next(self, tenant_id: UUID, message: CompactionRequested) -> _Span | None:
        """The next items to sum up; None when there are none, or the context is gone or another's to do."""
        async with self._database.transaction(tenant_id) as tx:
            context = await tx.contexts.find(message.context_id)
            if context is None or context.compaction_id != message.id:
                return None
            progress = await tx.compactions.progress(context.id, message.keep_tokens, SPAN_TOKENS)
            if progress.last is None:
                return None
            first, last = progress.compacted_to + 1, progress.last
            items = await tx.contexts.items(context.id, first - 1, last - first + 1)
        return _Span(context, first, last, [item for item in items if item.covers_to is None])

    async def _summaries_to_merge(self, tenant_id: UUID, message: CompactionRequested) -> _Span | None:
        async with self._database.transaction(tenant_id) as tx:
            context = await tx.contexts.find(message.context_id)
            if context is None or context.compaction_id != message.id:
                return None
            oldest = _to_merge(await tx.context_windows.summaries(context.id))
            if not oldest:
                return None
            items = await tx.contexts.at(context.id, [mark.position for mark in oldest])
        first = min(item.covers_from or 1 for item in items)
        return _Span(context, first, max(item.covers_to or 1 for item in items), items)

    async def _write(
        self, tenant_id: UUID, message: CompactionRequested, span: _Span, *, merges: bool = False
    ) -> bool:
        """Append the span's summary; False where another was faster. No transaction is open while the summary is written."""
        context = span.context
        summary = await self._summariser.sum_up(context.title, transcript(span.items)[:MAX_CHARS])
        item = summary_item(summary.text, (span.first, span.last), summary.made_by)
        beside = beside_items(tenant_id, context.id, [item], embeds=self._embeds)
        async with self._database.transaction(tenant_id) as tx:
            if not await self._still_ours(tx, message, span, merges=merges):
                return False
            await tx.contexts.append(context.id, [item], beside=beside)
        if self._changes is not None:
            await self._changes.of_resource(tenant_id, context_uri(context.id))
        return True

    async def _still_ours(
        self, tx: Transaction, message: CompactionRequested, span: _Span, *, merges: bool
    ) -> bool:
        if not merges:
            return await tx.compactions.advance(span.context.id, message.id, span.first - 1, span.last)
        if not await tx.compactions.hold(span.context.id, message.id):
            return False
        known = await tx.context_windows.summaries(span.context.id)
        return not any((mark.covers_from, mark.covers_to) == (span.first, span.last) for mark in known)


def _to_merge(summaries: Sequence[Mark]) -> Sequence[Mark]:
    """The oldest summaries, where there are so many that one should stand for them; else none."""
    marks = uncovered(summaries)
    if len(marks) < MERGED + _KEPT_APART:
        return ()
    return sorted(marks, key=lambda mark: mark.span[-1])[:MERGED]


def uncovered(summaries: Sequence[Mark]) -> list[Mark]:
    """Summaries that no wider one stands for."""
    return [
        mark
        for mark in summaries
        if not any(_within(mark, other) for other in summaries if other is not mark)
    ]


def _within(mark: Mark, other: Mark) -> bool:
    inside = mark.span[0] in other.span and mark.span[-1] in other.span
    return inside and (len(other.span) > len(mark.span) or other.position > mark.position)
