"""What was used of the tools: counted on every transport, added up by day, kept over a clean stop."""

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.usage import CallUsed, ToolUsageWanted
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.audit import AuditTrail
from devops_mcp.repositories.database import Database, open_database
from support.agents import STATELESS, TRANSPORTS, agent
from support.rest import a_caller
from support.services import new_key, running_mcp, settings_for
from support.tenants import add_tenant

pytestmark = pytest.mark.usefixtures("one_day")

ME, AGENT = new_id(), new_id()
USAGE = "/api/v1/usage/tools"
LIST, GET = "/api/v1/tools/context_list/call", "/api/v1/tools/context_get/call"


def counts(report: dict[str, Any], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in (*names, "calls", "errors")) for row in report["items"]]


async def test_calls_are_counted_on_every_transport_and_kept_over_a_stop(database, redis_url):
    """T02: and another tenant sees none of it."""
    settings = settings_for(database.app_url, redis_url)
    theirs = new_id()
    add_tenant(database, theirs)
    key = await new_key(database.owner_url, "prompts:read:none", id=AGENT, roles=("agent",))
    async with a_caller(database, settings, id=ME) as rest:
        for _ in range(3):
            await rest("POST", LIST, json={})
        await rest("POST", GET, json={"arguments": {"context_id": str(new_id())}})
    async with running_mcp(settings) as url:
        for transport in TRANSPORTS:
            async with agent(transport, url, key, STATELESS) as client:
                await client.call_tool("context_list", {})
    async with a_caller(database, settings) as rest:
        everybodys = (await rest("GET", f"{USAGE}?by=tool")).json()
        mine = (await rest("GET", f"{USAGE}?principal_id={ME}&by=principal,tool,system")).json()
        by_day = (await rest("GET", f"{USAGE}?tool=context_list&by=day")).json()
        later = (await rest("GET", USAGE, params={"since": "2099-01-01T00:00:00Z"})).json()
        as_agent = {"X-API-Key": key}
        own = await rest("GET", f"{USAGE}?principal_id={AGENT}", headers=as_agent)
        of_others = await rest("GET", USAGE, headers=as_agent)
        by_nobody = {"X-API-Key": await new_key(database.owner_url, "search:read")}
        of_nobody = await rest("GET", USAGE, headers=by_nobody)
        wrong = [await rest("GET", f"{USAGE}?by={by}") for by in ("", "hour", "day,", "day;tool")]
        stranger = {"X-API-Key": await new_key(database.owner_url, tenant_id=theirs)}
        nothing = (await rest("GET", USAGE, headers=stranger)).json()
    assert counts(everybodys, "day", "tool") == [(None, "context_list", 5, 0), (None, "context_get", 1, 1)]
    assert counts(mine, "principal_id", "tool", "system") == [
        (str(ME), "context_list", "suite", 3, 0),
        (str(ME), "context_get", "suite", 1, 1),
    ]
    assert (everybodys["calls"], everybodys["errors"]) == (6, 1)
    assert 0 < everybodys["tokens"] == sum(row["tokens"] for row in everybodys["items"])
    assert everybodys["duration_ms"] > 0
    assert [row["calls"] for row in by_day["items"]] == [5]
    assert (later["items"], later["calls"]) == ([], 0)
    assert counts(own.json(), "tool") == [("context_list", 2, 0)]
    assert (of_others.status_code, of_nobody.status_code) == (403, 403)
    assert of_others.json()["detail"].endswith(f"; name principal_id={AGENT} for what is its own")
    assert "principal_id" not in of_nobody.json()["detail"]
    assert [answer.status_code for answer in wrong] == [422] * 4
    assert (nothing["items"], nothing["calls"]) == ([], 0)


class Doubtful(Database):
    """Commits its first transaction, and says that it was lost."""

    lost = False

    @asynccontextmanager
    async def transaction(self, tenant_id):
        async with super().transaction(tenant_id) as tx:
            yield tx
        if not self.lost:
            self.lost = True
            raise Unavailable("the answer to COMMIT was lost")


async def test_what_was_written_is_not_counted_again_when_nobody_knew(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        trail = AuditTrail(Doubtful(opened._pool, opened._url), Metrics())
        trail.keep(a_record(), used=CallUsed("suite", 5))
        try:
            await trail.flush()
        except Unavailable:
            trail.keep(a_record(), used=CallUsed("suite", 7))
        await trail.flush()
        now = utc_now()
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            day = timedelta(days=1)
            report = await tx.tool_usage.report(ToolUsageWanted(), now - day, now + day)
    assert (report.calls, report.errors, report.tokens) == (2, 0, 12)


def a_record() -> AuditRecord:
    return AuditRecord(
        id=new_id(),
        tenant_id=DEFAULT_TENANT_ID,
        actor_id=ME,
        actor="tester",
        action="tool.read",
        target="context_list",
        outcome="ok",
        duration_ms=1.0,
        arguments={},
        trace_id=None,
        at=utc_now(),
    )
