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
from devops_mcp.auth.outside_sign_in import OutsideSignIn
from devops_mcp.auth.outside_tokens import MAX_DOCUMENT, OutsideTokens
from devops_mcp.auth.sealing import SecretSeal
from devops_mcp.cache.changes import Changes
from devops_mcp.cache.redis import COMMAND_S, open_redis, ping
from devops_mcp.config import Settings
from devops_mcp.embedding.choose import OpenedModels
from devops_mcp.observability.health import Check
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.accounts import Accounts, open_accounts
from devops_mcp.operations.adapter_resources import AdapterResources
from devops_mcp.operations.agents import AgentService
from devops_mcp.operations.audit import AuditTrail, open_audit_trail
from devops_mcp.operations.audit_log import AuditReader
from devops_mcp.operations.authorization import Audiences
from devops_mcp.operations.blobs import BlobStore
from devops_mcp.operations.call_ledger import CallLedger
from devops_mcp.operations.caller_rates import CallerRates, Guesses
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
from devops_mcp.operations.foundation import MCP, REST, Foundation, open_foundation
from devops_mcp.operations.identities import BearerTokens, IdentityService
from devops_mcp.operations.integration_service import IntegrationService
from devops_mcp.operations.integration_watch import IntegrationWatch, watching
from devops_mcp.operations.integrations import Integrations, open_integrations
from devops_mcp.operations.language_models import language_models
from devops_mcp.operations.oauth import AuthorizationServer, open_authorization_server
from devops_mcp.operations.outside_sign_in import ANSWERS_WITHIN_S
from devops_mcp.operations.own_tools import OWN_TOOLS
from devops_mcp.operations.personal_credentials import PersonalCredentialService
from devops_mcp.operations.pollers import PollerService
from devops_mcp.operations.prompts import PromptService
from devops_mcp.operations.quota_keeper import QuotaKeeper, open_quota_keeper
from devops_mcp.operations.quotas import QuotaService
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.results import ResultService
from devops_mcp.operations.retention import RetentionService
from devops_mcp.operations.rule_dry_runs import RuleDryRuns
from devops_mcp.operations.rule_plans import RulePlanner
from devops_mcp.operations.rules import RuleService
from devops_mcp.operations.search import SearchService, open_search
from devops_mcp.operations.suite_prompts import SUITE_PROMPTS
from devops_mcp.operations.suite_tools import Desk, Suite
from devops_mcp.operations.tasks import TaskService
from devops_mcp.operations.tool_search import ToolSearch
from devops_mcp.operations.tools import Toolbox, ToolLimits, ToolService
from devops_mcp.operations.toolsets import Toolsets
from devops_mcp.operations.upstream_access import UpstreamAccess
from devops_mcp.operations.upstream_metrics import UpstreamCollector
from devops_mcp.operations.usage import UsageService
from devops_mcp.operations.webhook_endpoints import WebhookEndpointService
from devops_mcp.operations.windows import WindowService
from devops_mcp.outbound.addresses import Network
from devops_mcp.outbound.documents import open_document_reader
from devops_mcp.repositories.database import Database


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
    toolsets: Toolsets
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
    request_rates: CallerRates | None
    embedding: OpenedModels
    embeddings: EmbeddingService
    agents: AgentService
    usage: UsageService
    quotas: QuotaService
    prompts: PromptService
    adapter_resources: AdapterResources
    keyring: Keyring
    changes: Changes
    blobs: BlobStore
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class _Upstream:
    """The systems: their adapters, the integrations of all tenants, and the way to them."""

    adapters: Mapping[str, AnyAdapter]
    toolsets: Toolsets
    integrations: Integrations
    watch: IntegrationWatch
    access: UpstreamAccess
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class _Tooling:
    """The tools, and what they are made of."""

    catalogue: Catalogue
    audit: AuditTrail
    quotas: QuotaKeeper
    tools: ToolService
    suite: Suite
    embeddings: EmbeddingService


@dataclass(frozen=True, slots=True)
class _Admission:
    """Who is let in."""

    accounts: Accounts
    authorization: AuthorizationServer
    authenticator: Authenticator


@asynccontextmanager
async def open_platform(
    settings: Settings, metrics: Metrics, *, application: str, redis_command_s: float = COMMAND_S
) -> AsyncIterator[Platform]:
    """Open everything, closing it in reverse order. Raises `ConfigurationError` for settings that cannot work."""
    async with (
        open_foundation(
            settings, metrics, application=application, redis_command_s=redis_command_s
        ) as foundation,
        _open_upstream(foundation) as upstream,
        _open_tooling(foundation, upstream) as tooling,
        _open_admission(foundation, upstream.toolsets) as admission,
    ):
        yield _platform(foundation, upstream, tooling, admission)


@asynccontextmanager
async def _open_upstream(foundation: Foundation) -> AsyncIterator[_Upstream]:
    database, models = foundation.database, foundation.embedding.models
    adapters, envelope = load_adapters(), Envelope(foundation.keyring)
    outside = Outside(private_networks=foundation.private_networks)
    async with (
        open_integrations(
            foundation.settings.integrations, adapters, outside, foundation.changes.of_list
        ) as integrations,
        watching(database, integrations, envelope) as watch,
    ):
        foundation.metrics.registry.register(
            UpstreamCollector(lambda: {**integrations.policies.snapshot(), **models.snapshot()})
        )
        access = UpstreamAccess(integrations, database, envelope)
        yield _Upstream(adapters, Toolsets(adapters), integrations, watch, access, envelope)


@asynccontextmanager
async def _open_tooling(foundation: Foundation, upstream: _Upstream) -> AsyncIterator[_Tooling]:
    """The suite's own tools call tools and start tasks, so the suite comes after both; it is looked up at each call."""
    settings, database = foundation.settings, foundation.database
    catalogue = Catalogue(upstream.adapters, OWN_TOOLS)
    contexts = ContextService(
        database,
        embeds=foundation.embeds,
        changes=foundation.changes,
        compact_above=settings.compact_above_tokens,
        blobs=foundation.blobs,
        lifetime=settings.context_lifetime,
    )

    def desk(requester: Requester, toolbox: Toolbox) -> Desk:
        return suite.desk(requester, toolbox)

    async with (
        open_audit_trail(database, foundation.metrics) as audit,
        open_context_journal(contexts) as journal,
        open_quota_keeper(database, foundation.redis) as quotas,
        open_search(database, foundation.embedding.models, foundation.metrics) as search,
    ):
        tools = ToolService(
            catalogue,
            upstream.access,
            desk,
            database,
            CallLedger(audit, journal, foundation.metrics, quotas),
            ToolLimits(settings.result_budget_bytes, settings.result_lifetime, settings.tool_deadline_s),
            Confirmation(foundation.keyring),
            foundation.call_rates(),
        )
        embeddings = EmbeddingService(
            database, foundation.embedding.models, quotas, language_models(settings)
        )
        suite = _suite(foundation, contexts, tools, embeddings, search)
        yield _Tooling(catalogue, audit, quotas, tools, suite, embeddings)


def _suite(
    foundation: Foundation,
    contexts: ContextService,
    tools: ToolService,
    embeddings: EmbeddingService,
    search: SearchService,
) -> Suite:
    database, blobs = foundation.database, foundation.blobs
    return Suite(
        contexts=contexts,
        windows=WindowService(database, search, contexts),
        facts=FactService(database),
        copies=ContextCopyService(database, contexts, blobs, embeds=foundation.embeds),
        search=search,
        events=EventLog(database, blobs),
        results=ResultService(database),
        tool_search=ToolSearch(foundation.embedding.provider),
        tasks=TaskService(database, tools, foundation.changes),
        agents=AgentService(database, embeddings),
    )


@asynccontextmanager
async def _open_admission(foundation: Foundation, toolsets: Toolsets) -> AsyncIterator[_Admission]:
    settings, database, addresses = foundation.settings, foundation.database, foundation.addresses
    issuer = addresses[REST]
    async with AsyncExitStack() as stack:
        accounts = stack.enter_context(
            open_accounts(database, foundation.redis, foundation.keyring, issuer, toolsets)
        )
        documents = await stack.enter_async_context(
            open_document_reader(foundation.private_networks, max_bytes=MAX_DOCUMENT)
        )
        providers = settings.identity_providers
        outside_tokens = OutsideTokens(providers, documents)
        identities = IdentityService(database, outside_tokens, providers)
        journeys = await stack.enter_async_context(
            open_redis(settings.redis_url.get_secret_value(), command_timeout_s=ANSWERS_WITHIN_S)
        )
        authorization = await stack.enter_async_context(
            open_authorization_server(
                database,
                foundation.redis,
                foundation.keyring,
                accounts,
                issuer=issuer,
                audiences=Audiences(addresses[MCP], (addresses[MCP], issuer)),
                private_networks=foundation.private_networks,
                identities=identities,
                journeys=journeys,
                outside=partial(OutsideSignIn, providers, outside_tokens, documents),
            )
        )
        bearer = BearerTokens(accounts.sessions, identities, addresses.get(foundation.application, ""))
        authenticator = Authenticator(
            database.find_api_keys,
            basic=accounts.login.verify_password if settings.basic_authentication else None,
            bearer=bearer.principal_of,
            guesses=Guesses(foundation.redis),
        )
        yield _Admission(accounts, authorization, authenticator)


def _platform(
    foundation: Foundation, upstream: _Upstream, tooling: _Tooling, admission: _Admission
) -> Platform:
    settings, database, keyring = foundation.settings, foundation.database, foundation.keyring
    adapters, integrations, access = upstream.adapters, upstream.integrations, upstream.access
    private_networks, deadline_s = foundation.private_networks, settings.tool_deadline_s
    return Platform(
        database=database,
        redis=foundation.redis,
        authenticator=admission.authenticator,
        addresses=foundation.addresses,
        accounts=admission.accounts,
        authorization=admission.authorization,
        audit=tooling.audit,
        audit_log=AuditReader(database),
        adapters=adapters,
        integrations=integrations,
        integration_watch=upstream.watch,
        own_integrations=IntegrationService(
            database, adapters, access, upstream.watch, upstream.envelope, private_networks
        ),
        personal_credentials=PersonalCredentialService(database, integrations, upstream.envelope),
        catalogue=tooling.catalogue,
        toolsets=upstream.toolsets,
        suite=tooling.suite,
        tools=tooling.tools,
        tasks=tooling.suite.tasks,
        dead_letters=DeadLetterService(database, foundation.changes),
        event_replays=ReplayService(database),
        pollers=PollerService(database, integrations),
        webhook_endpoints=WebhookEndpointService(database, SecretSeal(keyring), private_networks),
        retention=RetentionService(
            database, event_days=settings.event_retention_days, context_lifetime=settings.context_lifetime
        ),
        rules=RuleService(database, RulePlanner(tooling.tools), foundation.changes),
        rule_dry_runs=RuleDryRuns(database, RulePlanner(tooling.tools)),
        private_networks=private_networks,
        request_rates=foundation.request_rates(),
        embedding=foundation.embedding,
        embeddings=tooling.embeddings,
        agents=tooling.suite.agents,
        usage=UsageService(database),
        quotas=QuotaService(database, tooling.quotas),
        prompts=PromptService(adapters, SUITE_PROMPTS, access, tooling.tools, deadline_s=deadline_s),
        adapter_resources=AdapterResources(adapters, access, deadline_s=deadline_s),
        keyring=keyring,
        changes=foundation.changes,
        blobs=foundation.blobs,
        checks=_checks(foundation, integrations),
    )


def _checks(foundation: Foundation, integrations: Integrations) -> tuple[Check, ...]:
    """Only the database is required: without Redis we are slower, without a model lexical, and a vendor's outage is not ours."""
    return (
        Check("database", True, foundation.database.ping),
        Check("redis", False, lambda: ping(foundation.redis)),
        Check("blobs", False, foundation.blobs.ping),
        Check("embedding", False, foundation.embedding.state.describe),
        *(
            Check(f"{i.adapter.name}:{i.name}", False, partial(i.adapter.ping, i.client))
            for i in integrations.all_for_health()
            if i.adapter.ping is not None
        ),
    )
