"""The composition root of the worker: what it is made of, in the order of its start."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta

from starlette.applications import Starlette
from starlette.types import ASGIApp

from devops_mcp.auth.sealing import SecretSeal
from devops_mcp.cache.notices import Notices
from devops_mcp.config import Settings
from devops_mcp.config.settings import ChatVendor, SummaryModelSettings
from devops_mcp.embedding.choose import OpenedModels
from devops_mcp.events.queues import QUEUES, QueueName, QueueSpec
from devops_mcp.events.sqs import open_queues
from devops_mcp.observability.health import Check, Health
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.compaction import Compactor
from devops_mcp.operations.dead_letters import DeadLetterFiler
from devops_mcp.operations.erasure import Eraser
from devops_mcp.operations.event_replays import Replayer
from devops_mcp.operations.events import EventProcessor
from devops_mcp.operations.file_indexing import FileIndexer
from devops_mcp.operations.platform import Platform, open_platform
from devops_mcp.operations.polling import PollRunner
from devops_mcp.operations.result_indexing import ResultIndexer
from devops_mcp.operations.rule_book import RuleBook
from devops_mcp.operations.rule_engine import RuleEngine
from devops_mcp.operations.summaries import Summariser
from devops_mcp.operations.task_runner import TaskRunner
from devops_mcp.operations.vectors import PassageEmbedder
from devops_mcp.operations.webhook_sending import WebhookSender
from devops_mcp.outbound.bedrock import open_bedrock_chat
from devops_mcp.outbound.chat import ChatModel, open_chat_model
from devops_mcp.outbound.posting import open_poster
from devops_mcp.serving.routes import common_routes
from devops_mcp.serving.surface import Surface
from worker.dead_letters import DeadLetterCollector
from worker.handlers import Handlers
from worker.loop import Consumer, Policy
from worker.polling import Pollings
from worker.relay import OutboxRelay
from worker.upkeep import Retention, Upkeep

REDIS_COMMAND_S = 0.5
"""Nobody waits for the worker, so that Redis may take longer than where it is a cache."""
TASK_S = 3_600.0
"""The longest that a task's attempt may take, whatever its tool says."""
POLICIES: Mapping[QueueName, Policy] = {
    QueueName.EVENTS: Policy(slots=4, ahead=2),
    # One after the other: a result takes some 40 ms, a file five times as long. Few at once, so that none of them waits for long.
    QueueName.INDEXING: Policy(slots=2, ahead=1, further=0, handler_timeout_s=60.0),
    # The model runs in one thread: more slots would only hold messages back from other workers.
    QueueName.EMBEDDINGS: Policy(slots=2, further=0, handler_timeout_s=60.0),
    # A task takes as long as its tool may, so each slot takes one, and none waits behind another of its queue. It counts its own attempts.
    QueueName.TASKS_HIGH: Policy(slots=8, batch=1, further=0, patience=0, handler_timeout_s=TASK_S),
    QueueName.TASKS_NORMAL: Policy(slots=8, batch=1, further=0, patience=0, handler_timeout_s=TASK_S),
    QueueName.TASKS_LOW: Policy(slots=4, batch=1, further=0, patience=0, handler_timeout_s=TASK_S),
    # One alone, so that none uses up its deliveries behind another of its context that fails. A long context is many calls of a model.
    QueueName.CONTEXTS: Policy(slots=4, batch=1, further=0, handler_timeout_s=900.0),
    # A group takes as long as its slowest receiver, which has `posting.DEADLINE_S`.
    QueueName.NOTIFICATIONS: Policy(slots=8, further=0, handler_timeout_s=30.0),
}


@asynccontextmanager
async def open_app(settings: Settings, metrics: Metrics, stop: asyncio.Event) -> AsyncIterator[ASGIApp]:
    """The service's health and metrics, with its queues consumed until `stop`; drains at the end of the block."""
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(
            open_platform(settings, metrics, application="worker", redis_command_s=REDIS_COMMAND_S)
        )
        database, embedding = platform.database, platform.embedding
        queues = await stack.enter_async_context(
            open_queues(
                prefix=settings.queue_prefix,
                region=settings.aws_region,
                endpoint_url=settings.sqs_endpoint_url,
            )
        )

        poster = await stack.enter_async_context(open_poster(platform.private_networks))
        seal = SecretSeal(platform.keyring)
        sender = WebhookSender(database, poster, seal, metrics)
        summariser = await stack.enter_async_context(_open_summariser(settings, platform))
        book = await stack.enter_async_context(RuleBook(platform.changes).running())
        rules = RuleEngine(platform.tools, book, metrics)
        handlers = _handlers(platform, Notices(platform.redis, metrics), sender, summariser, rules)
        consumers = [
            Consumer(queues[spec.name], spec, handlers.handle, database.ping, metrics, POLICIES[spec.name])
            for spec in _consumed(embedding)
        ]
        filer = DeadLetterFiler(database, platform.changes)
        collectors = [DeadLetterCollector(queues[spec.name], spec, filer) for spec in QUEUES]
        relay = OutboxRelay(database, queues, metrics)
        checks = (Check("queue", True, queues[QueueName.EVENTS].ping), *platform.checks)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(stop.set)
        retention = Retention(
            timedelta(days=settings.event_retention_days), timedelta(days=settings.audit_retention_days)
        )
        upkeep = Upkeep(database, platform.keyring, embedding.models, platform.blobs, retention=retention)
        tasks.create_task(upkeep.run(stop), name="upkeep")
        tasks.create_task(relay.run(stop), name="relay")
        runner = PollRunner(database, platform.integrations, metrics)
        pollings = Pollings(runner, platform.integrations)
        tasks.create_task(pollings.run(stop), name="pollers")
        for consumer in consumers:
            tasks.create_task(consumer.run(stop, drain_timeout_s=settings.worker.drain_timeout_s))
        for collector in collectors:
            tasks.create_task(collector.run(stop))
        yield Surface(Starlette(routes=common_routes(Health(checks), metrics)), settings.worker, metrics)


@asynccontextmanager
async def _open_summariser(settings: Settings, platform: Platform) -> AsyncIterator[Summariser]:
    """Its breaker is seen in the metrics among those of integrations."""
    model = settings.summary_model
    if model is None:
        yield Summariser()
        return
    async with _open_chat(model, settings, platform) as chat:
        yield Summariser(chat, platform.integrations.policies.of("summary-model"))


def _open_chat(
    model: SummaryModelSettings, settings: Settings, platform: Platform
) -> AbstractAsyncContextManager[ChatModel]:
    if model.provider is ChatVendor.BEDROCK:
        region = model.region or settings.aws_region
        return open_bedrock_chat(
            model.model, region=region, endpoint_url=model.base_url, timeout_s=model.timeout_s
        )
    assert model.base_url is not None
    return open_chat_model(
        model.base_url, model.model, model.api_key, platform.private_networks, timeout_s=model.timeout_s
    )


def _handlers(
    platform: Platform, notices: Notices, sender: WebhookSender, summariser: Summariser, rules: RuleEngine
) -> Handlers:
    provider = platform.embedding.provider
    return Handlers(
        EventProcessor(platform.database, notices, embeds=provider is not None, rules=rules),
        ResultIndexer(platform.database, embeds=provider is not None),
        FileIndexer(platform.database, platform.blobs, embeds=provider is not None),
        PassageEmbedder(platform.database, platform.embedding.models) if provider else None,
        TaskRunner(platform.database, platform.tools, platform.changes),
        sender,
        Compactor(platform.database, summariser, embeds=provider is not None, changes=platform.changes),
        platform.blobs,
        Eraser(platform.database, platform.blobs),
        Replayer(platform.database, embeds=provider is not None),
    )


def _consumed(embedding: OpenedModels) -> list[QueueSpec]:
    """A worker without a model leaves the embeddings to those that have one."""
    return [
        spec for spec in QUEUES if embedding.provider is not None or spec.name is not QueueName.EMBEDDINGS
    ]
