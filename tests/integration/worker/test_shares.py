"""What a tenant's messages may hold of the worker's pool, while the database keeps them waiting."""

import asyncio

import psycopg
from prometheus_client import CollectorRegistry

from devops_mcp.auth.sealing import SecretSeal
from devops_mcp.cache.notices import Notices
from devops_mcp.events.messages import NotificationDue
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.platform import open_platform
from devops_mcp.operations.rule_book import RuleBook
from devops_mcp.operations.rule_engine import RuleEngine
from devops_mcp.operations.summaries import Summariser
from devops_mcp.operations.webhook_sending import WebhookSender
from devops_mcp.outbound.posting import open_poster
from support.services import settings_for
from worker.app import _handlers

POOL, SHARE = 5, 4
LONG_S = 60.0
WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'worker' AND wait_event_type = 'Lock'
"""


async def test_a_tenants_messages_that_wait_leave_connections_to_others(database, redis_url):
    settings = settings_for(database.worker_url, redis_url).model_copy(update={"database_pool_size": POOL})
    metrics = Metrics(CollectorRegistry())
    async with (
        open_platform(settings, metrics, application="worker") as platform,
        open_poster(settings.private_networks) as poster,
        asyncio.timeout(LONG_S),
    ):
        sender = WebhookSender(platform.database, poster, SecretSeal(platform.keyring), metrics)
        rules = RuleEngine(platform.tools, RuleBook(platform.changes), metrics)
        handlers = _handlers(platform, Notices(platform.redis, metrics), sender, Summariser(), rules)
        due = [
            NotificationDue(id=new_id(), tenant_id=DEFAULT_TENANT_ID, delivery_id=new_id()) for _ in range(10)
        ]
        with (
            psycopg.connect(database.superuser_url, autocommit=True) as looking,
            psycopg.connect(database.superuser_url) as lock,
        ):
            lock.execute("LOCK TABLE webhook_deliveries IN ACCESS EXCLUSIVE MODE")
            handling = asyncio.create_task(handlers.handle(DEFAULT_TENANT_ID, due, {}))
            while looking.execute(WAITING).fetchone()[0] < SHARE:
                await asyncio.sleep(0.01)
            async with platform.database.transaction(new_id()) as tx:
                await tx.events.clock()
            assert not handling.done()
            lock.rollback()
            assert await handling == {message.id for message in due}
