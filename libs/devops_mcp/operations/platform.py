"""What every service that answers callers is made of: the operations over one database, opened in the order of start.

rest-api and mcp-server offer the same operations, so they are put together once, here; each service's `app.py` puts its transport
around them.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from redis.asyncio import Redis

from devops_mcp.adapters.base import AnyAdapter, Outside
from devops_mcp.adapters.registry import load_adapters
from devops_mcp.auth.authenticator import Authenticator
from devops_mcp.auth.envelope import Envelope
from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.master_keys import open_keyring
from devops_mcp.auth.outside_tokens import MAX_DOCUMENT, OutsideTokens
from devops_mcp.auth.sealing import SecretSeal
from devops_mcp.cache.changes import Changes
from devops_mcp.cache.rates import Rate, RateLimiter
from devops_mcp.cache.redis import COMMAND_S, open_redis, ping
from devops_mcp.config import Settings
from devops_mcp.embedding.choose import Environs, OpenedModels, open_models
from devops_mcp.models.errors import ConfigurationError
from devops_mcp.observability.health import Check
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.accounts import Accounts, open_accounts
from devops_mcp.operations.adapter_resources import AdapterResources
from devops_mcp.operations.audit import AuditTrail, open_audit_trail
from devops_mcp.operations.audit_log import AuditReader
from devops_mcp.operations.authorization import Audiences
from devops_mcp.operations.blobs import BlobStore, open_blob_store
from devops_mcp.operations.call_ledger import CallLedger
from devops_mcp.operations.catalogue import Catalogue
from devops_mcp.operations.confirmation import Confirmation
from devops_mcp.operations.context_copies import ContextCopyService
from devops_mcp.operations.context_journal import open_context_journal
from devops_mcp.operations.contexts import ContextService
from devops_mcp.operations.dead_letters import DeadLetterService
from devops_mcp.operations.embeddings import EmbeddingService
from devops_mcp.operations.event_log import EventLog
from devops_mcp.operations.event_replays import ReplayService
from devops_mcp.operations.facts import FactService
from devops_mcp.operations.identities import BearerTokens, IdentityService
from devops_mcp.operations.integration_service import IntegrationService
from devops_mcp.operations.integration_watch import IntegrationWatch, watching
from devops_mcp.operations.integrations import Integrations, open_integrations
from devops_mcp.operations.oauth import AuthorizationServer, open_authorization_server
from devops_mcp.operations.own_tools import OWN_TOOLS
from devops_mcp.operations.personal_credentials import PersonalCredentialService
from devops_mcp.operations.pollers import PollerService
from devops_mcp.operations.prompts import PromptService
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.results import ResultService
from devops_mcp.operations.retention import RetentionService
from devops_mcp.operations.rule_dry_runs import RuleDryRuns
from devops_mcp.operations.rule_plans import RulePlanner
from devops_mcp.operations.rules import RuleService
from devops_mcp.operations.search import SearchService
from devops_mcp.operations.suite_prompts import SUITE_PROMPTS
from devops_mcp.operations.suite_tools import Desk, Suite
from devops_mcp.operations.tasks import TaskService
from devops_mcp.operations.tool_search import ToolSearch
from devops_mcp.operations.tools import Toolbox, ToolLimits, ToolService
from devops_mcp.operations.upstream_access import UpstreamAccess
from devops_mcp.operations.upstream_metrics import UpstreamCollector
from devops_mcp.operations.webhook_endpoints import WebhookEndpointService
from devops_mcp.operations.windows import WindowService
from devops_mcp.outbound.addresses import Network, parse_networks
from devops_mcp.outbound.documents import open_document_reader
from devops_mcp.repositories.database import Database, open_database

REST, MCP = "rest-api", "mcp-server"


@dataclass(frozen=True, slots=True)
class Platform:
    """The operations of one process, and what its transports need to know of the parts beneath."""

    database: Database
    redis: Redis
    authenticator: Authenticator
    addresses: Mapping[str, str]
    """Where each answering service is reached: what tokens are issued for. That of rest-api issues them."""
    accounts: Accounts
    authorization: AuthorizationServer
    audit: AuditTrail
    audit_log: AuditReader
    adapters: Mapping[str, AnyAdapter]
    integrations: Integrations
    integration_watch: IntegrationWatch
    own_integrations: IntegrationService
    personal_credentials: PersonalCredentialService
    catalogue: Catalogue
    suite: Suite
    tools: ToolService
    tasks: TaskService
    dead_letters: DeadLetterService
    event_replays: ReplayService
    pollers: PollerService
    webhook_endpoints: WebhookEndpointService
    retention: RetentionService
    rules: RuleService
    rule_dry_runs: RuleDryRuns
    private_networks: tuple[Network, ...]
    request_rates: RateLimiter | None
    embedding: OpenedModels
    embeddings: EmbeddingService
    prompts: PromptService
    adapter_resources: AdapterResources
    keyring: Keyring
    changes: Changes
    blobs: BlobStore
    checks: tuple[Check, ...]


@asynccontextmanager
async def open_platform(
    settings: Settings, metrics: Metrics, *, application: str, redis_command_s: float = COMMAND_S
) -> AsyncIterator[Platform]:
    """Open everything, closing it in reverse order. Raises `ConfigurationError` for settings that cannot work."""
    private_networks = _networks(settings)
    outside = Outside(private_networks=private_networks)
    adapters = load_adapters()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(
                settings.database_url.get_secret_value(),
                pool_size=settings.database_pool_size,
                application=application,
            )
        )
        redis = await stack.enter_async_context(
            open_redis(settings.redis_url.get_secret_value(), command_timeout_s=redis_command_s)
        )
        embedding = await stack.enter_async_context(
            open_models(
                settings.embedding_provider,
                settings.embedding_model_dir,
                settings.embedding_models,
                Environs(private_networks, settings.aws_region),
            )
        )
        keyring = await open_keyring(settings)
        accounts = stack.enter_context(open_accounts(database, redis, keyring, settings.rest.url))
        authorization = await stack.enter_async_context(
            open_authorization_server(
                database,
                redis,
                keyring,
                accounts,
                issuer=settings.rest.url,
                audiences=Audiences(settings.mcp.url, (settings.mcp.url, settings.rest.url)),
                private_networks=private_networks,
            )
        )
        changes = Changes(redis)
        integrations = await stack.enter_async_context(
            open_integrations(settings.integrations, adapters, outside, changes.of_list)
        )
        models = embedding.models
        metrics.registry.register(
            UpstreamCollector(lambda: {**integrations.policies.snapshot(), **models.snapshot()})
        )
        envelope = Envelope(keyring)
        watch = await stack.enter_async_context(watching(database, integrations, envelope))
        access = UpstreamAccess(integrations, database, envelope)
        audit = await stack.enter_async_context(open_audit_trail(database))
        blobs = await stack.enter_async_context(open_blob_store(settings, database))
        contexts = ContextService(
            database,
            embeds=embedding.provider is not None,
            changes=changes,
            compact_above=settings.compact_above_tokens,
            blobs=blobs,
            lifetime=settings.context_lifetime,
        )
        journal = await stack.enter_async_context(open_context_journal(contexts))
        catalogue = Catalogue(adapters, OWN_TOOLS)

        def desk(requester: Requester, toolbox: Toolbox) -> Desk:
            return suite.desk(requester, toolbox)

        tools = ToolService(
            catalogue,
            access,
            desk,
            database,
            CallLedger(audit, journal, metrics),
            _limits(settings),
            Confirmation(keyring),
            _rates(settings, redis),
        )
        # The suite's own tools call tools and start tasks, so the suite comes after both.
        search = SearchService(database, embedding.models, metrics)
        suite = Suite(
            contexts=contexts,
            windows=WindowService(database, search, contexts),
            facts=FactService(database),
            copies=ContextCopyService(database, contexts, blobs, embeds=embedding.provider is not None),
            search=search,
            events=EventLog(database, blobs),
            results=ResultService(database),
            tool_search=ToolSearch(embedding.provider),
            tasks=TaskService(database, tools, changes),
        )
        addresses = {REST: settings.rest.url, MCP: settings.mcp.url}
        prompts = PromptService(adapters, SUITE_PROMPTS, access, tools, deadline_s=settings.tool_deadline_s)
        documents = await stack.enter_async_context(
            open_document_reader(private_networks, max_bytes=MAX_DOCUMENT)
        )
        outside_tokens = OutsideTokens(settings.identity_providers, documents)
        identities = IdentityService(database, outside_tokens, settings.identity_providers)
        bearer = BearerTokens(accounts.sessions, identities, addresses.get(application, ""))
        yield Platform(
            database=database,
            redis=redis,
            authenticator=Authenticator(
                database.find_api_keys,
                basic=accounts.login.verify_password if settings.basic_authentication else None,
                bearer=bearer.principal_of,
            ),
            addresses=addresses,
            accounts=accounts,
            authorization=authorization,
            audit=audit,
            audit_log=AuditReader(database),
            adapters=adapters,
            integrations=integrations,
            integration_watch=watch,
            own_integrations=IntegrationService(
                database, adapters, access, watch, envelope, private_networks
            ),
            personal_credentials=PersonalCredentialService(database, integrations, envelope),
            catalogue=catalogue,
            suite=suite,
            tools=tools,
            tasks=suite.tasks,
            dead_letters=DeadLetterService(database),
            event_replays=ReplayService(database),
            pollers=PollerService(database, integrations),
            webhook_endpoints=WebhookEndpointService(database, SecretSeal(keyring), private_networks),
            retention=RetentionService(
                database,
                event_days=settings.event_retention_days,
                context_lifetime=settings.context_lifetime,
            ),
            rules=RuleService(database, RulePlanner(tools), changes),
            rule_dry_runs=RuleDryRuns(database, RulePlanner(tools)),
            private_networks=private_networks,
            request_rates=_request_rates(settings, redis),
            embedding=embedding,
            embeddings=EmbeddingService(database, embedding.models),
            prompts=prompts,
            adapter_resources=AdapterResources(adapters, access, deadline_s=settings.tool_deadline_s),
            keyring=keyring,
            changes=changes,
            blobs=blobs,
            checks=_checks(database, redis, embedding, integrations, blobs),
        )


def _checks(
    database: Database,
    redis: Redis,
    embedding: OpenedModels,
    integrations: Integrations,
    blobs: BlobStore,
) -> tuple[Check, ...]:
    """Only the database is required: without Redis we are slower, without a model lexical, and a vendor's outage is not ours."""

    return (
        Check("database", True, database.ping),
        Check("redis", False, lambda: ping(redis)),
        Check("blobs", False, blobs.ping),
        Check("embedding", False, embedding.state.describe),
        *(
            Check(f"{i.adapter.name}:{i.name}", False, partial(i.adapter.ping, i.client))
            for i in integrations.all_for_health()
            if i.adapter.ping is not None
        ),
    )


def _networks(settings: Settings) -> tuple[Network, ...]:
    try:
        return parse_networks(settings.private_networks)
    except ValueError as error:
        raise ConfigurationError(f"private_networks: {error}") from None


def _request_rates(settings: Settings, redis: Redis) -> RateLimiter | None:
    if settings.requests_per_s == 0:
        return None
    return RateLimiter(redis, Rate(settings.requests_per_s, settings.requests_burst, "requests"))


def _rates(settings: Settings, redis: Redis) -> RateLimiter | None:
    if settings.tool_calls_per_s == 0:
        return None
    return RateLimiter(redis, Rate(settings.tool_calls_per_s, settings.tool_calls_burst))


def _limits(settings: Settings) -> ToolLimits:
    return ToolLimits(settings.result_budget_bytes, settings.result_lifetime, settings.tool_deadline_s)
