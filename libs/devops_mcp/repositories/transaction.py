"""One transaction of one tenant: the door to every repository."""

from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from devops_mcp.repositories.agents import Agents
from devops_mcp.repositories.api_keys import ApiKeys
from devops_mcp.repositories.audit import AuditLog
from devops_mcp.repositories.blobs import Blobs
from devops_mcp.repositories.compactions import Compactions
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


class Transaction:
    """The repositories, over one connection on which the tenant is set. They never commit; whoever opened this does."""

    def __init__(self, connection: AsyncConnection[TupleRow], tenant_id: UUID) -> None:
        self.tenant_id = tenant_id
        self.agents = Agents(connection)
        self.api_keys = ApiKeys(connection)
        self.audit = AuditLog(connection)
        self.authorization_codes = AuthorizationCodes(connection)
        self.blobs = Blobs(connection)
        self.compactions = Compactions(connection)
        self.consents = Consents(connection)
        self.contexts = Contexts(connection)
        self.context_copies = ContextCopies(connection)
        self.context_windows = ContextWindows(connection)
        self.dead_letters = DeadLetters(connection)
        self.device_codes = DeviceCodes(connection)
        self.embeddings = Embeddings(connection)
        self.erasures = Erasures(connection)
        self.event_replays = EventReplays(connection)
        self.events = Events(connection)
        self.facts = Facts(connection)
        self.idempotent_calls = IdempotentCalls(connection)
        self.integrations = StoredIntegrations(connection)
        self.identities = Identities(connection)
        self.oauth_clients = OAuthClients(connection)
        self.outbox = Outbox(connection)
        self.passages = Passages(connection)
        self.personal_credentials = PersonalCredentials(connection)
        self.pollers = Pollers(connection)
        self.processed = ProcessedMessages(connection)
        self.principals = Principals(connection)
        self.results = KeptResults(connection)
        self.roles = Roles(connection)
        self.sessions = Sessions(connection)
        self.signing_keys = SigningKeyRows(connection)
        self.rule_runs = RuleRuns(connection)
        self.rules = Rules(connection)
        self.tasks = Tasks(connection)
        self.tenants = Tenants(connection)
        self.tool_usage = ToolUsages(connection)
        self.users = Users(connection)
        self.webhook_deliveries = WebhookDeliveries(connection)
        self.webhook_endpoints = WebhookEndpoints(connection)
