"""A context as a model with limited room should see it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from devops_mcp.embedding.tokens import CHARS_PER_TOKEN, count_tokens
from devops_mcp.models.contexts import Context
from devops_mcp.models.principals import Principal
from devops_mcp.models.windows import Window, WindowRequest
from devops_mcp.observability.caller import for_caller
from devops_mcp.operations.contexts import ANY_OWNER, READ, ContextService, require, visible
from devops_mcp.operations.search import SearchService
from devops_mcp.operations.window_plan import Candidates, Choice, plan
from devops_mcp.repositories.context_windows import Mark, Marks, Shown
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.passages import Groundwork, QueryVector, SearchFilter
from devops_mcp.repositories.transaction import Transaction

HITS = 40
_LEAST_REACH, _MOST_REACH = 20, 4_000
_CUT = "\n[…]\n"


@dataclass(frozen=True, slots=True)
class _Opening:
    """What is known without a search: the candidates but those that the query finds, among the `latest` positions."""

    context: Context
    marks: Marks
    latest: range


@dataclass(frozen=True, slots=True)
class _Chosen:
    choices: Sequence[Choice]
    items: Sequence[Shown]
    passages: Mapping[int, str]
    """The best passage of each item that the query found, by position."""


class WindowService:
    """Fills windows. What is relevant is found by words and, where a model is at hand, by meaning."""

    def __init__(self, database: Database, search: SearchService, contexts: ContextService) -> None:
        self._database = database
        self._search = search
        self._contexts = contexts

    async def window(self, principal: Principal, context_id: UUID, wanted: WindowRequest) -> Window:
        """The items that fit, and why each is there. Raises `NotFound` when there is no such context, or it is another's."""
        require(principal, READ)
        # The vectors first: a thread computes them while this one goes on with the others.
        vectors, ground, opening = await asyncio.gather(
            for_caller(self._vectors(principal, wanted)),
            for_caller(self._groundwork(principal, context_id, wanted.query)),
            for_caller(
                self._database.read(
                    principal.tenant_id, lambda tx: _opening(tx, principal, context_id, wanted.max_tokens)
                )
            ),
        )
        chosen = await self._database.read(
            principal.tenant_id, lambda tx: _chosen(tx, opening, wanted.max_tokens, ground, vectors)
        )
        shown = _shown(chosen, await self._texts(principal, chosen))
        # The hundreds of items are checked with the whole, which takes a third of the time.
        return Window.model_validate(
            {
                "context_id": context_id,
                "title": opening.context.title,
                "max_tokens": wanted.max_tokens,
                "tokens": sum(item["tokens"] for item in shown),
                "item_count": opening.context.item_count,
                "mode": _mode(wanted, vectors),
                "items": shown,
            }
        )

    async def _groundwork(
        self, principal: Principal, context_id: UUID, query: str | None
    ) -> Groundwork | None:
        if query is None:
            return None
        among = SearchFilter(principal.id, any_owner=principal.may(ANY_OWNER), context_id=context_id)
        return await self._database.read(principal.tenant_id, lambda tx: tx.passages.groundwork(query, among))

    async def _vectors(self, principal: Principal, wanted: WindowRequest) -> Sequence[QueryVector]:
        return () if wanted.query is None else await self._search.vectors(principal, wanted.query)

    async def _texts(self, principal: Principal, chosen: _Chosen) -> dict[int, str]:
        """The texts that are shown, by position, with those that are kept apart from their rows."""
        parts = {choice.mark.position for choice in chosen.choices if choice.shortened}
        kept = {
            i.position: i.blob_id for i in chosen.items if i.blob_id is not None and i.position not in parts
        }
        texts = {item.position: item.text for item in chosen.items}
        return texts | await self._contexts.kept_texts(principal.tenant_id, kept)


def _mode(wanted: WindowRequest, vectors: Sequence[QueryVector]) -> str | None:
    if wanted.query is None:
        return None
    return "hybrid" if vectors else "lexical"


async def _opening(tx: Transaction, principal: Principal, context_id: UUID, budget: int) -> _Opening:
    context = await visible(tx, principal, context_id)
    end = context.item_count + 1
    latest = range(max(end - _reach(context, budget), 1), end)
    return _Opening(context, await tx.context_windows.marks(context_id, latest), latest)


async def _chosen(
    tx: Transaction,
    opening: _Opening,
    budget: int,
    ground: Groundwork | None,
    vectors: Sequence[QueryVector],
) -> _Chosen:
    hits = [] if ground is None else await tx.context_windows.found(ground, vectors, HITS)
    passages: dict[int, str] = {}
    for hit in hits:
        passages.setdefault(hit.mark.position, hit.passage)
    relevant = {hit.mark.position: hit.mark for hit in hits if hit.mark.covers_to is None}
    candidates = Candidates(
        anchors=opening.marks.anchors,
        recent=await _recent(tx, opening, budget),
        summaries=opening.marks.summaries,
        relevant=list(relevant.values()),
        passage_tokens={position: count_tokens(text) for position, text in passages.items()},
    )
    choices = plan(budget, candidates)
    items = await tx.context_windows.shown(opening.context.id, [choice.mark.position for choice in choices])
    return _Chosen(choices, items, passages)


def _reach(context: Context, budget: int) -> int:
    """How many of the latest items probably fill the budget: a quarter more than would if all were as long as they are on average."""
    average = max(context.token_count, 1) / max(context.item_count, 1)
    return min(max(int(budget / average * 1.25), _LEAST_REACH), _MOST_REACH)


async def _recent(tx: Transaction, opening: _Opening, budget: int) -> list[Mark]:
    """The latest items until their tokens fill the budget; pages grow, so that a large window does not take many."""
    marks, seen = list(opening.marks.recent), opening.latest
    tokens = sum(mark.tokens for mark in marks)
    while tokens < budget and seen.start > 1:
        seen = range(max(seen.start - 2 * len(seen), 1), seen.start)
        found = await tx.context_windows.between(opening.context.id, seen)
        marks += found
        tokens += sum(mark.tokens for mark in found)
    return marks


def _shown(chosen: _Chosen, texts: Mapping[int, str]) -> list[dict[str, Any]]:
    by_position = {item.position: item for item in chosen.items}
    return [
        _view(choice, by_position[choice.mark.position], texts[choice.mark.position], chosen.passages)
        for choice in chosen.choices
        if choice.mark.position in by_position
    ]


def _view(choice: Choice, item: Shown, whole: str, passages: Mapping[int, str]) -> dict[str, Any]:
    """What a `WindowItem` is made of."""
    mark, is_shortened = choice.mark, choice.shortened
    text = shortened(passages.get(mark.position, whole), choice.room) if is_shortened else whole
    return {
        "position": mark.position,
        "kind": item.kind,
        "role": item.role,
        "why": choice.why,
        "text": text,
        "tokens": count_tokens(text) if is_shortened else mark.tokens,
        "shortened": is_shortened,
        "covers_from": mark.covers_from,
        "covers_to": mark.covers_to,
        "created_at": item.created_at,
    }


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
