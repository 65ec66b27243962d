"""The journal of calls, over a network that fails."""

from collections.abc import Sequence
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from devops_mcp.models.contexts import ContextItem
from devops_mcp.models.errors import DeadlineExceeded, Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.operations import context_journal
from devops_mcp.operations.context_journal import MAX_TEXT, ContextJournal
from devops_mcp.operations.contexts import ContextService
from devops_mcp.repositories.context_appends import CountedItem
from devops_mcp.repositories.database import open_database
from faults.proxy import Hold, a_fault_proxy

AGENT = Principal(
    id=new_id(), tenant_id=DEFAULT_TENANT_ID, kind=PrincipalKind.AGENT, name="agent", grants=("*",)
)


async def test_calls_whose_commit_was_not_confirmed_are_in_their_context_once(database):
    """P02, I1"""
    port = urlsplit(database.app_url).port
    async with (
        a_fault_proxy(port or 0) as proxy,
        open_database(
            database.app_url.replace(f":{port}/", f":{proxy.port}/"),
            pool_size=1,
            application="test",
            answer_s=1.5,
        ) as opened,
    ):
        contexts = ContextService(opened, embeds=False)
        journal = ContextJournal(contexts)
        created = await contexts.create(AGENT, "night")
        journal.keep(AGENT, created.id, "events_search", {}, "the first")
        proxy.trap(b"INSERT INTO context_items", Hold.AFTER)
        with pytest.raises(Unavailable):
            await journal.flush()
        journal.keep(AGENT, created.id, "events_search", {}, "the second")
        await journal.flush()
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            texts = [item.text for item in await tx.contexts.items(created.id, 0, 100)]
    assert texts == ["events_search {}", "the first", "events_search {}", "the second"]


class OneLocked(ContextService):
    """One context takes too long to append to."""

    locked: UUID | None = None

    async def append_prepared(
        self, principal: Principal, context_id: UUID, items: Sequence[CountedItem], *, recorded: bool = False
    ) -> list[ContextItem]:
        if context_id == self.locked:
            raise DeadlineExceeded("locked")
        return await super().append_prepared(principal, context_id, items, recorded=recorded)


async def test_a_context_that_cannot_be_written_to_refuses_calls_only_once_there_is_no_room(
    database, monkeypatch
):
    monkeypatch.setattr(context_journal, "HELD", 4)
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        contexts = OneLocked(opened, embeds=False)
        journal = ContextJournal(contexts)
        locked, other = [await contexts.create(AGENT, title) for title in ("locked", "other")]
        contexts.locked = locked.id
        for context in (locked, other):
            journal.keep(AGENT, context.id, "fs_read", {}, "nothing")
        await journal.check(AGENT, other.id)
        journal.keep(AGENT, locked.id, "fs_read", {}, "nothing")
        with pytest.raises(Unavailable, match="too many calls"):
            await journal.check(AGENT, other.id)


async def test_whatever_a_call_was_given_its_context_and_the_others_have_their_calls(database):
    hard = {"long": [["x" * 400] * 50] * 50, "number": 10**30, "half": "\ud800", "zero": "\0"}
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        contexts = ContextService(opened, embeds=False)
        journal = ContextJournal(contexts)
        created = [await contexts.create(AGENT, title) for title in ("gone", "day", "night")]
        for context in created:
            await journal.check(AGENT, context.id)
            journal.keep(AGENT, context.id, "fs_read", hard, "no file '\0\ud800'")
        await contexts.delete(AGENT, created[0].id)
        await journal.flush()
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            kept = [await tx.contexts.items(context.id, 0, 100) for context in created[1:]]
    for call, result in kept:
        assert call.text.startswith('fs_read {"long": [["xxx')
        assert len(call.text) == MAX_TEXT
        assert result.text == "no file '\\0?'"
