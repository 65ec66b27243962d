"""How long a tenant's events and contexts are kept, over REST."""

from datetime import datetime, timedelta

import psycopg
import pytest

from support.rest import a_caller
from support.services import settings_for

PATH = "/api/v1/tenants/current/retention"


@pytest.fixture
def settings(database, redis_url):
    return settings_for(
        database.app_url, redis_url, event_retention_days=90, context_lifetime=timedelta(days=20)
    )


async def test_a_tenant_says_how_long_and_new_contexts_end_accordingly(database, settings):
    """L05"""
    async with a_caller(database, settings) as rest:
        before = (await rest("GET", PATH)).json()
        first = (await rest("POST", "/api/v1/contexts", json={"title": "before"})).json()
        said = await rest("PUT", PATH, json={"event_days": 31, "context_days": 3})
        after = (await rest("GET", PATH)).json()
        second = (await rest("POST", "/api/v1/contexts", json={"title": "after"})).json()
        too_long = await rest("PUT", PATH, json={"event_days": 91})
        too_short = await rest("PUT", PATH, json={"event_days": 30})
        taken_back = (await rest("PUT", PATH, json={})).json()
    with psycopg.connect(database.superuser_url) as connection:
        audited = connection.execute(
            "SELECT action, arguments -> 'after' FROM audit_log WHERE action = 'tenants.retention' ORDER BY id"
        ).fetchall()
    inherited = {"event_days": None, "context_days": None, "events_kept_days": 90, "contexts_kept_days": 20}
    assert before == taken_back == inherited
    assert said.json() == after == {
        "event_days": 31, "context_days": 3, "events_kept_days": 31, "contexts_kept_days": 3,
    }  # fmt: skip
    assert (too_long.status_code, too_short.status_code) == (422, 422)
    assert [lifetime(context) for context in (first, second)] == [timedelta(days=20), timedelta(days=3)]
    assert [after["event_days"] for _, after in audited] == [31, None]


def lifetime(context) -> timedelta:
    """Rounded to hours."""
    ends, began = (datetime.fromisoformat(context[name]) for name in ("expires_at", "created_at"))
    return timedelta(hours=round((ends - began) / timedelta(hours=1)))
