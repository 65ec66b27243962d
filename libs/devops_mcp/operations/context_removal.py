"""The end of a context: at once where it holds little, else it is not there from then on, and the worker removes it in steps.

What a context holds goes with its row, in one statement, which may take 5 s.
"""

from uuid import UUID

from devops_mcp.operations.blobs import release
from devops_mcp.operations.deeds import deed_of_ours
from devops_mcp.repositories.contexts import COUNTED, Size
from devops_mcp.repositories.transaction import Transaction

AT_ONCE = COUNTED
"""Rows that are removed in one transaction."""
_CONTEXTS = 50


async def remove(tx: Transaction, context_id: UUID) -> bool:
    """Remove a context with its items and what was indexed of them; the worker removes what was kept apart. Whether it was there."""
    size = await tx.contexts.lock_size(context_id)
    if size is None:
        return False
    if _rows(size) > AT_ONCE:
        await tx.contexts.give_up(context_id)
    else:
        await _remove_whole(tx, context_id)
    return True


async def remove_some_expired(tx: Transaction) -> tuple[int, bool]:
    """Remove contexts whose time is over, as many as one transaction may; how many, and whether it goes on."""
    expired, left, removed = await tx.contexts.expired(_CONTEXTS), AT_ONCE, 0
    for context in expired:
        if _rows(context.size) > left:
            count, blobs = await tx.contexts.empty(context.id, left)
            await release(tx, blobs)
            left -= count
            if not left:
                return removed, True
        else:
            left -= _rows(context.size)
        await _remove_whole(tx, context.id)
        removed += 1
        if not context.deleted:
            await tx.audit.append(
                [deed_of_ours(tx.tenant_id, "contexts.expire", f"context:{context.id}", {})]
            )
    return removed, len(expired) == _CONTEXTS


async def _remove_whole(tx: Transaction, context_id: UUID) -> None:
    blobs = await tx.contexts.blob_ids(context_id)
    await tx.contexts.delete(context_id)
    await release(tx, blobs)


def _rows(size: Size) -> int:
    """Items, their passages and these's sketches: so many at most, or more than `AT_ONCE`."""
    return size.items + 2 * size.passages
