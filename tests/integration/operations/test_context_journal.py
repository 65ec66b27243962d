"""The journal of calls, over a network that fails."""

from urllib.parse import urlsplit

import pytest

from devops_mcp.models.errors import Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.operations.context_journal import ContextJournal
from devops_mcp.operations.contexts import ContextService
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
            answer_s=0.5,
        ) as opened,
    ):
        contexts = ContextService(opened, embeds=False)
        journal = ContextJournal(contexts)
        created = await contexts.create(AGENT, "night")
        await journal.record(AGENT, created.id, "events_search", {}, "the first")
        proxy.trap(b"INSERT INTO context_items", Hold.AFTER)
        with pytest.raises(Unavailable):
            await journal.flush()
        await journal.record(AGENT, created.id, "events_search", {}, "the second")
        await journal.flush()
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            texts = [item.text for item in await tx.contexts.items(created.id, 0, 100)]
    assert texts == ["events_search {}", "the first", "events_search {}", "the second"]
