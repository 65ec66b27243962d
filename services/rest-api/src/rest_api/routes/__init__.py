"""The endpoints, one file a resource."""

from rest_api.endpoint import AnyEndpoint
from rest_api.routes.agents import AGENTS
from rest_api.routes.api_keys import API_KEYS
from rest_api.routes.audit import AUDIT
from rest_api.routes.content import CONTENT
from rest_api.routes.contexts import CONTEXTS
from rest_api.routes.dead_letters import DEAD_LETTERS
from rest_api.routes.embeddings import EMBEDDINGS
from rest_api.routes.event_replays import EVENT_REPLAYS
from rest_api.routes.events import EVENTS
from rest_api.routes.facts import FACTS
from rest_api.routes.identities import IDENTITIES
from rest_api.routes.integrations import INTEGRATIONS
from rest_api.routes.me import ME
from rest_api.routes.memory import MEMORY
from rest_api.routes.oauth import OAUTH
from rest_api.routes.pollers import POLLERS
from rest_api.routes.quotas import QUOTAS
from rest_api.routes.roles import ROLES
from rest_api.routes.rules import RULES
from rest_api.routes.search import SEARCH
from rest_api.routes.sessions import SESSIONS
from rest_api.routes.tasks import TASKS
from rest_api.routes.tenants import TENANTS
from rest_api.routes.tools import TOOLS
from rest_api.routes.usage import USAGE
from rest_api.routes.users import USERS
from rest_api.routes.webhook_endpoints import WEBHOOK_ENDPOINTS
from rest_api.versions import completed

_GIVEN: tuple[AnyEndpoint, ...] = (
    *AGENTS,
    *CONTEXTS,
    *MEMORY,
    *CONTENT,
    *DEAD_LETTERS,
    *EMBEDDINGS,
    *EVENT_REPLAYS,
    *EVENTS,
    *FACTS,
    *INTEGRATIONS,
    *POLLERS,
    *RULES,
    *SEARCH,
    *TOOLS,
    *TASKS,
    *USAGE,
    *QUOTAS,
    *WEBHOOK_ENDPOINTS,
    *OAUTH,
    *ME,
    *SESSIONS,
    *USERS,
    *IDENTITIES,
    *ROLES,
    *API_KEYS,
    *TENANTS,
    *AUDIT,
)

ENDPOINTS: tuple[AnyEndpoint, ...] = completed(_GIVEN)
"""All of them; beside a PUT of a resource with versions stands PATCH."""
