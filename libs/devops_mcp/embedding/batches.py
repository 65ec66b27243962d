"""Texts cut into the batches that a service takes, some of them under way at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import TypeAlias

from devops_mcp.embedding.base import Vector

AT_ONCE = 4
"""Requests of one call that are under way together."""

Batch: TypeAlias = Callable[[Sequence[str]], Awaitable[tuple[list[Vector], int]]]


async def in_batches(
    texts: Sequence[str], size: int, embed: Batch, *, at_once: int = AT_ONCE
) -> tuple[list[Vector], int]:
    """The vectors in the order of the texts, and the tokens of all batches; the first error ends the others."""
    slots = asyncio.Semaphore(at_once)

    async def one(batch: Sequence[str]) -> tuple[list[Vector], int]:
        async with slots:
            return await embed(batch)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(batch)) for batch in _cut(texts, size)]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    results = [task.result() for task in tasks]
    return list(chain.from_iterable(vectors for vectors, _ in results)), sum(tokens for _, tokens in results)


def _cut(texts: Sequence[str], size: int) -> list[Sequence[str]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]
