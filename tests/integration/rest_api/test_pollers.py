"""Polling as its operators set it up and see it."""

from datetime import timedelta

import pytest

from devops_mcp.models.errors import ConfigurationError
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.models.polling import PollerKey
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.platform import open_platform
from devops_mcp.repositories.database import open_database
from support.rest import a_caller
from support.services import settings_for

PROMETHEUS = {"name": "prom-eu", "system": "prometheus", "options": {"base_url": "http://127.0.0.1:9"}}


async def test_the_pollers_that_are_to_run_are_listed_with_how_they_are_doing(database, redis_url):
    integrations = [
        {**PROMETHEUS, "polls": {"alerts": {"every_s": 5}}},
        {**PROMETHEUS, "name": "prom-us", "polls": {"alerts": {}}},
        {**PROMETHEUS, "name": "prom-asia"},
    ]
    async with (
        open_database(database.worker_url, pool_size=1, application="test") as worker,
        worker.transaction(DEFAULT_TENANT_ID) as tx,
    ):
        for name in ("prom-eu", "long-gone"):
            turn = await tx.pollers.claim(PollerKey(name, "alerts"), "a place", timedelta(seconds=1))
            assert turn is not None
            await tx.pollers.fail(
                PollerKey(name, "alerts"),
                turn.fence,
                "upstream_unavailable",
                "no answer",
                timedelta(seconds=9),
            )
    async with a_caller(
        database, settings_for(database.app_url, redis_url, integrations), "pollers:read"
    ) as rest:
        failing, waiting = (await rest("GET", "/api/v1/pollers")).json()["items"]
    assert (failing["integration"], failing["status"], failing["every_s"]) == ("prom-eu", "failing", 5.0)
    assert (failing["failures"], failing["error_code"], failing["error"]) == (
        1,
        "upstream_unavailable",
        "no answer",
    )
    assert failing["ok_at"] is None
    assert failing["lag_s"] >= 0
    assert (waiting["integration"], waiting["status"], waiting["every_s"]) == ("prom-us", "waiting", 30.0)
    assert (waiting["begun_at"], waiting["lag_s"]) == (None, None)


async def test_a_tenant_says_itself_what_its_integrations_are_polled_for(database, redis_url):
    draft = {
        "name": "own",
        "system": "prometheus",
        "options": {"base_url": "http://127.0.0.1:9"},
        "polls": {"alerts": {"every_s": 60}},
    }
    same = {key: draft[key] for key in ("options", "polls")}
    async with a_caller(database, settings_for(database.app_url, redis_url)) as rest:
        systems = (await rest("GET", "/api/v1/integration-systems")).json()["items"]
        for wrong in (
            {"polls": {"rumours": {}}},
            {"polls": {"alerts": {"every_s": 1}}},
            {"credential_policy": "personal_required"},
        ):
            assert (await rest("POST", "/api/v1/integrations", json=draft | wrong)).status_code == 422
        created = (await rest("POST", "/api/v1/integrations", json=draft)).json()
        polled = (await rest("GET", "/api/v1/pollers")).json()["items"]
        changed = await rest("PUT", "/api/v1/integrations/own", json=same | {"polls": {"alerts": {}}})
        seldom = (await rest("GET", "/api/v1/pollers")).json()["items"]
        await rest("PUT", "/api/v1/integrations/own", json=same | {"polls": {}})
        ended = (await rest("GET", "/api/v1/pollers")).json()["items"]
    assert [one["name"] for one in systems if "alerts" in one["pollers"]] == ["prometheus"]
    assert (created["polls"], changed.json()["polls"]) == (
        {"alerts": {"every_s": 60.0}},
        {"alerts": {"every_s": None}},
    )
    assert [(one["integration"], one["poller"], one["every_s"]) for one in polled + seldom] == [
        ("own", "alerts", 60.0),
        ("own", "alerts", 30.0),
    ]
    assert ended == []


async def test_a_poller_that_the_system_has_not_ends_the_start_and_is_named(database, redis_url):
    """C01"""
    settings = settings_for(database.app_url, redis_url, [{**PROMETHEUS, "polls": {"rumours": {}}}])
    with pytest.raises(
        ConfigurationError, match="prom-eu: prometheus has no poller rumours; there are: alerts"
    ):
        async with open_platform(settings, Metrics(), application="test"):
            pass
