"""What a kept result is found by: its values with their names, in the order of its JSON."""

from collections.abc import Iterator

import orjson
from pydantic import JsonValue

from devops_mcp.embedding.chunking import split
from devops_mcp.models.ids import new_id
from devops_mcp.models.passages import NewPassage, PassageKind
from devops_mcp.models.results import KeptResult
from devops_mcp.operations.item_indexing import request_vectors
from devops_mcp.repositories.transaction import Transaction

MAX_TEXT = 100_000
"""Characters of a result that it is found by, the first of a longer one: some 90 passages, several times what a reader is shown."""


async def index_result(tx: Transaction, kept: KeptResult, system: str, *, embeds: bool) -> None:
    """Make a result of a tool of `system` searchable for its owner, as long as it is kept."""
    passages = [
        (
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
        for part, text in enumerate(split(result_text(orjson.loads(kept.body))))
    ]
    if passages:
        tx.passages.put(passages, owner_id=kept.owner_id)
        if embeds:
            await request_vectors(tx, [id_ for id_, _ in passages])


def result_text(value: JsonValue) -> str:
    """A line for each text and number, `name: value`; objects of a list are paragraphs."""
    return "\n".join(_lines("", value))[:MAX_TEXT]


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
