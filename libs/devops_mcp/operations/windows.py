"""A context as a model with limited room should see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from devops_mcp.embedding.tokens import CHARS_PER_TOKEN, count_tokens
from devops_mcp.models.contexts import Context, ItemKind
from devops_mcp.models.passages import Hit, PassageKind
from devops_mcp.models.principals import Principal
from devops_mcp.models.windows import Window, WindowItem, WindowRequest
from devops_mcp.operations.contexts import ANY_OWNER, READ, ContextService, require, visible
from devops_mcp.operations.search import SearchService
from devops_mcp.operations.window_plan import Candidates, Choice, plan
from devops_mcp.repositories.context_windows import Mark, Shown
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.passages import QueryVector, SearchFilter
from devops_mcp.repositories.transaction import Transaction

HITS = 40
_LEAST_REACH, _MOST_REACH = 20, 4_000
_CUT = "\n[…]\n"


@dataclass(frozen=True, slots=True)
class _Found:
    """What the query found: the items' positions, best first, and the best passage of each."""

    positions: Sequence[int]
    passages: Mapping[int, str]


class WindowService:
    """Fills windows. What is relevant is found by words and, where a model is at hand, by meaning."""

    def __init__(self, database: Database, search: SearchService, contexts: ContextService) -> None:
        self._database = database
        self._search = search
        self._contexts = contexts

    async def window(self, principal: Principal, context_id: UUID, wanted: WindowRequest) -> Window:
        """The items that fit, and why each is there. Raises `NotFound` when there is no such context, or it is another's."""
        require(principal, READ)
        vectors = await self._search.vectors(principal, wanted.query) if wanted.query else ()
        async with self._database.transaction(principal.tenant_id) as tx:
            context = await visible(tx, principal, context_id)
            found = await _found(tx, principal, context_id, wanted.query, vectors)
            choices = plan(wanted.max_tokens, await _candidates(tx, context, wanted.max_tokens, found))
            items = await tx.context_windows.shown(context_id, [choice.mark.position for choice in choices])
        parts = {choice.mark.position for choice in choices if choice.shortened}
        kept = {i.position: i.blob_id for i in items if i.blob_id is not None and i.position not in parts}
        texts = await self._contexts.kept_texts(principal.tenant_id, kept)
        shown = _shown(choices, items, {item.position: item.text for item in items} | texts, found)
        return Window(
            context_id=context_id,
            title=context.title,
            max_tokens=wanted.max_tokens,
            tokens=sum(item.tokens for item in shown),
            item_count=context.item_count,
            mode=_mode(wanted, vectors),
            items=tuple(shown),
        )


def _mode(wanted: WindowRequest, vectors: Sequence[QueryVector]) -> str | None:
    if wanted.query is None:
        return None
    return "hybrid" if vectors else "lexical"


async def _found(
    tx: Transaction, principal: Principal, context_id: UUID, query: str | None, vectors: Sequence[QueryVector]
) -> _Found:
    if query is None:
        return _Found((), {})
    wanted = SearchFilter(
        owner_id=principal.id,
        any_owner=principal.may(ANY_OWNER),
        kinds=(PassageKind.CONTEXT_ITEM,),
        context_id=context_id,
    )
    hits = await tx.passages.search(query, vectors, wanted, HITS)
    passages: dict[int, str] = {}
    for hit in hits:
        passages.setdefault(_position(hit), hit.passage.text)
    return _Found(tuple(passages), passages)


def _position(hit: Hit) -> int:
    position = hit.passage.metadata["position"]
    assert isinstance(position, int)
    return position


async def _candidates(tx: Transaction, context: Context, budget: int, found: _Found) -> Candidates:
    end = context.item_count + 1
    latest = range(max(end - _reach(context, budget), 1), end)
    marks = await tx.context_windows.marks(context.id, latest, found.positions)
    at = marks.at
    return Candidates(
        anchors=marks.anchors,
        recent=await _recent(tx, context, budget, marks.recent, latest),
        summaries=marks.summaries,
        relevant=[
            at[position] for position in found.positions if position in at and at[position].covers_to is None
        ],
        passage_tokens={position: count_tokens(text) for position, text in found.passages.items()},
    )


def _reach(context: Context, budget: int) -> int:
    """How many of the latest items probably fill the budget: a quarter more than would if all were as long as they are on average."""
    average = max(context.token_count, 1) / max(context.item_count, 1)
    return min(max(int(budget / average * 1.25), _LEAST_REACH), _MOST_REACH)


async def _recent(
    tx: Transaction, context: Context, budget: int, latest: list[Mark], seen: range
) -> list[Mark]:
    """The latest items until their tokens fill the budget; pages grow, so that a large window does not take many."""
    marks, tokens = latest, sum(mark.tokens for mark in latest)
    while tokens < budget and seen.start > 1:
        seen = range(max(seen.start - 2 * len(seen), 1), seen.start)
        found = await tx.context_windows.between(context.id, seen)
        marks += found
        tokens += sum(mark.tokens for mark in found)
    return marks


def _shown(
    choices: Sequence[Choice], items: Sequence[Shown], texts: Mapping[int, str], found: _Found
) -> list[WindowItem]:
    by_position = {item.position: item for item in items}
    return [
        _view(choice, by_position[choice.mark.position], texts[choice.mark.position], found.passages)
        for choice in choices
        if choice.mark.position in by_position
    ]


def _view(choice: Choice, item: Shown, whole: str, passages: Mapping[int, str]) -> WindowItem:
    mark = choice.mark
    text = shortened(passages.get(mark.position, whole), choice.room) if choice.shortened else whole
    return WindowItem(
        position=mark.position,
        kind=ItemKind(item.kind),
        role=item.role,
        why=choice.why,
        text=text,
        tokens=count_tokens(text) if choice.shortened else mark.tokens,
        shortened=choice.shortened,
        covers_from=mark.covers_from,
        covers_to=mark.covers_to,
        created_at=item.created_at,
    )


def shortened(text: str, tokens: int) -> str:
    """The text itself, or its beginning and its end around a mark, of at most `tokens` tokens."""
    room = int(tokens * CHARS_PER_TOKEN)
    while count_tokens(text) > tokens and room > len(_CUT):
        head = (room - len(_CUT)) * 2 // 3
        tail = room - len(_CUT) - head
        part = text[:head] + _CUT + text[len(text) - tail :]
        if count_tokens(part) <= tokens:
            return part
        room = room * 9 // 10
    return text if count_tokens(text) <= tokens else ""
