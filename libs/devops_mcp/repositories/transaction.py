"""One transaction of one tenant: the door to every repository."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar
from uuid import UUID

from devops_mcp.repositories.agents import Agents
from devops_mcp.repositories.api_keys import ApiKeys
from devops_mcp.repositories.attached_files import AttachedFiles
from devops_mcp.repositories.audit import AuditLog
from devops_mcp.repositories.blobs import Blobs
from devops_mcp.repositories.compactions import Compactions
from devops_mcp.repositories.connection import Connection
from devops_mcp.repositories.context_copies import ContextCopies
from devops_mcp.repositories.context_windows import ContextWindows
from devops_mcp.repositories.contexts import Contexts
from devops_mcp.repositories.dead_letters import DeadLetters
from devops_mcp.repositories.embeddings import Embeddings
from devops_mcp.repositories.erasures import Erasures
from devops_mcp.repositories.event_replays import EventReplays
from devops_mcp.repositories.events import Events
from devops_mcp.repositories.facts import Facts
from devops_mcp.repositories.idempotency import IdempotentCalls
from devops_mcp.repositories.identities import Identities
from devops_mcp.repositories.integrations import PersonalCredentials, StoredIntegrations
from devops_mcp.repositories.oauth import AuthorizationCodes, Consents, DeviceCodes, OAuthClients
from devops_mcp.repositories.outbox import Outbox
from devops_mcp.repositories.passages import Passages
from devops_mcp.repositories.pollers import Pollers
from devops_mcp.repositories.principals import Principals
from devops_mcp.repositories.processed import ProcessedMessages
from devops_mcp.repositories.quotas import QuotaRows
from devops_mcp.repositories.results import KeptResults
from devops_mcp.repositories.roles import Roles
from devops_mcp.repositories.rule_runs import RuleRuns
from devops_mcp.repositories.rules import Rules
from devops_mcp.repositories.sessions import Sessions, SigningKeyRows
from devops_mcp.repositories.tasks import Tasks
from devops_mcp.repositories.tenants import Tenants
from devops_mcp.repositories.usage import ToolUsages
from devops_mcp.repositories.users import Users
from devops_mcp.repositories.webhook_deliveries import WebhookDeliveries
from devops_mcp.repositories.webhook_endpoints import WebhookEndpoints

RepositoryT = TypeVar("RepositoryT")


class _Made(Generic[RepositoryT]):
    """A repository that is made when it is first asked for, as a transaction needs one or two of them."""

    def __init__(self, make: Callable[[Connection], RepositoryT]) -> None:
        self._make = make

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    def __get__(self, transaction: "Transaction", owner: type[Any]) -> RepositoryT:
        made = self._make(transaction.connection)
        # From here on found before this is asked.
        transaction.__dict__[self._name] = made
        return made


class Transaction:
    """The repositories, over one connection on which the tenant is set. They never commit; whoever opened this does."""

    agents = _Made(Agents)
    api_keys = _Made(ApiKeys)
    attached_files = _Made(AttachedFiles)
    audit = _Made(AuditLog)
    authorization_codes = _Made(AuthorizationCodes)
    blobs = _Made(Blobs)
    compactions = _Made(Compactions)
    consents = _Made(Consents)
    contexts = _Made(Contexts)
    context_copies = _Made(ContextCopies)
    context_windows = _Made(ContextWindows)
    dead_letters = _Made(DeadLetters)
    device_codes = _Made(DeviceCodes)
    embeddings = _Made(Embeddings)
    erasures = _Made(Erasures)
    event_replays = _Made(EventReplays)
    events = _Made(Events)
    facts = _Made(Facts)
    idempotent_calls = _Made(IdempotentCalls)
    integrations = _Made(StoredIntegrations)
    identities = _Made(Identities)
    oauth_clients = _Made(OAuthClients)
    outbox = _Made(Outbox)
    personal_credentials = _Made(PersonalCredentials)
    pollers = _Made(Pollers)
    processed = _Made(ProcessedMessages)
    principals = _Made(Principals)
    quotas = _Made(QuotaRows)
    results = _Made(KeptResults)
    roles = _Made(Roles)
    sessions = _Made(Sessions)
    signing_keys = _Made(SigningKeyRows)
    rule_runs = _Made(RuleRuns)
    rules = _Made(Rules)
    tasks = _Made(Tasks)
    tenants = _Made(Tenants)
    tool_usage = _Made(ToolUsages)
    users = _Made(Users)
    webhook_deliveries = _Made(WebhookDeliveries)
    webhook_endpoints = _Made(WebhookEndpoints)

    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self.connection = connection
        self.tenant_id = tenant_id

    @cached_property
    def passages(self) -> Passages:
        return Passages(self.connection, self.tenant_id)

    async def flush(self) -> None:
        """Write what is left for the end. Whoever opened the transaction does, before it commits."""
        if "audit" in self.__dict__:
            await self.audit.flush()
