"""What a kept result is found by: its values with their names, in the order of its JSON."""

from collections.abc import Iterator, Sequence
from uuid import UUID

import orjson
from pydantic import JsonValue

from devops_mcp.embedding.chunking import split
from devops_mcp.events.messages import ResultKept
from devops_mcp.events.queues import QueueName
from devops_mcp.models.ids import new_id
from devops_mcp.models.passages import NewPassage, PassageKind
from devops_mcp.models.results import KeptResult
from devops_mcp.observability.tracing import current_traceparent
from devops_mcp.operations.item_indexing import request_vectors
from devops_mcp.operations.masking import writable
from devops_mcp.operations.settled_letters import log_settled
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.outbox import Posting

MAX_TEXT = 100_000
"""Characters of a result that it is found by, the first of a longer one: some 90 passages, several times what a reader is shown."""


CONSUMER = "indexing"


def announced(kept: KeptResult, system: str) -> Posting:
    """What has the worker index a result of a tool of `system`, to be published with it."""
    message = ResultKept(id=new_id(), tenant_id=kept.tenant_id, result_id=kept.id, system=system)
    return Posting(message.id, QueueName.INDEXING, message.model_dump_json(), current_traceparent())


class ResultIndexer:
    """Makes kept results searchable for their owners, as long as they are kept: by their words, with `embeds` by their meaning too."""

    def __init__(self, database: Database, *, embeds: bool) -> None:
        self._database = database
        self._embeds = embeds

    async def process(self, tenant_id: UUID, messages: Sequence[ResultKept]) -> set[UUID]:
        """Index each; the ids of the messages that had an effect. A result that is gone has no passages, and gets none."""
        return {message.id for message in messages if await self._index(tenant_id, message)}

    async def _index(self, tenant_id: UUID, message: ResultKept) -> bool:
        async with self._database.transaction(tenant_id) as tx:
            kept = await tx.results.hold(message.result_id)
            if kept is None or not await tx.processed.claim(CONSUMER, [message.id]):
                return False
            log_settled(CONSUMER, await tx.dead_letters.settle(CONSUMER, [message.id]))
            passages = list(_passages(kept, message.system))
            if passages:
                tx.passages.put(passages, owner_id=kept.owner_id)
                if self._embeds:
                    await request_vectors(tx, [id_ for id_, _ in passages])
        return True


def _passages(kept: KeptResult, system: str) -> Iterator[tuple[UUID, NewPassage]]:
    for part, text in enumerate(split(writable(result_text(orjson.loads(kept.body))))):
        yield (
            new_id(),
            NewPassage(
                kind=PassageKind.RESULT,
                source_id=kept.id,
                part=part,
                title=kept.tool,
                text=text,
                uri=f"devops://results/{kept.id}",
                occurred_at=kept.created_at,
                metadata={"tool": kept.tool, "system": system},
            ),
        )


def result_text(value: JsonValue) -> str:
    """A line for each text and number, `name: value`; objects of a list are paragraphs."""
    said, length = list[str](), 0
    for line in _lines("", value):
        said.append(line)
        length += len(line) + 1
        if length > MAX_TEXT:
            break
    return "\n".join(said)[:MAX_TEXT]


def _lines(name: str, value: JsonValue) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _lines(key, part)
    elif isinstance(value, list):
        for part in value:
            if isinstance(part, dict):
                yield ""
            yield from _lines(name, part)
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
        yield f"{name}: {value}"
