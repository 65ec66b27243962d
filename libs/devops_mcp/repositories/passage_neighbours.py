"""What stands beside a hit: the items around it in its context, the events around it of the same subject."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from devops_mcp.models.passages import Hit, Neighbour, PassageKind
from devops_mcp.repositories.passage_search import SearchFilter

MAX_TEXT = 600
"""Characters of a neighbour; its uri leads to the rest."""

_ITEMS = sql.SQL("""
    SELECT hit.id, i.position - at.position, c.title, left(i.text, %(max_text)s),
           'devops://contexts/' || c.id || '#' || i.position, i.created_at
    FROM unnest(%(hits)s::uuid[], %(sources)s::uuid[]) AS hit (id, source_id)
    JOIN context_items AS at ON at.id = hit.source_id
    JOIN contexts AS c ON c.id = at.context_id AND (%(any_owner)s OR c.owner_id = %(principal)s)
    JOIN context_items AS i ON i.context_id = at.context_id
        AND i.position BETWEEN at.position - %(count)s AND at.position + %(count)s AND i.position <> at.position
        AND (%(as_of)s::timestamptz IS NULL OR i.created_at <= %(as_of)s)
    ORDER BY hit.id, i.position
""")
# Ids are in the order in which the events came in.
_THEN = sql.SQL("(%(as_of)s::timestamptz IS NULL OR (e.event->>'occurred_at')::timestamptz <= %(as_of)s)")
_EVENTS = sql.SQL("""
    SELECT hit.id, beside.place, at.subject, left(beside.event->>'title', %(max_text)s), 'devops://events/' || beside.id,
           (beside.event->>'occurred_at')::timestamptz
    FROM unnest(%(hits)s::uuid[], %(sources)s::uuid[]) AS hit (id, source_id)
    JOIN events AS at ON at.id = hit.source_id
    CROSS JOIN LATERAL (
        (SELECT e.id, e.event, -row_number() OVER (ORDER BY e.id DESC) AS place FROM events AS e
         WHERE e.subject = at.subject AND e.system = at.system AND e.id < at.id AND {then} ORDER BY e.id DESC LIMIT %(count)s)
        UNION ALL
        (SELECT e.id, e.event, row_number() OVER (ORDER BY e.id) AS place FROM events AS e
         WHERE e.subject = at.subject AND e.system = at.system AND e.id > at.id AND {then} ORDER BY e.id LIMIT %(count)s)) AS beside
    ORDER BY hit.id, beside.place
""").format(then=_THEN)


async def neighbours(
    connection: AsyncConnection[TupleRow], hits: Sequence[Hit], count: int, wanted: SearchFilter
) -> dict[UUID, list[Neighbour]]:
    """Up to `count` before and after each hit, in order, by the hit's id."""
    found: dict[UUID, list[Neighbour]] = defaultdict(list)
    for kind, statement in ((PassageKind.CONTEXT_ITEM, _ITEMS), (PassageKind.EVENT, _EVENTS)):
        of_kind = [hit.passage for hit in hits if hit.passage.kind is kind]
        if not of_kind:
            continue
        arguments = {
            "hits": [passage.id for passage in of_kind],
            "sources": [passage.source_id for passage in of_kind],
            "count": count,
            "max_text": MAX_TEXT,
            "any_owner": wanted.any_owner,
            "principal": wanted.owner_id,
            "as_of": wanted.as_of,
        }
        cursor = await connection.execute(statement, arguments)
        for hit_id, offset, title, text, uri, occurred_at in await cursor.fetchall():
            neighbour = Neighbour(offset=offset, title=title, text=text, uri=uri, occurred_at=occurred_at)
            found[hit_id].append(neighbour)
    return found
