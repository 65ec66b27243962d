"""Every permission that the platform knows, and the built-in roles made of them.

A permission is `resource:action`, or `resource:action:name` where the platform goes down to single things. A grant is a permission in
which `*` stands for anything, colons too. What checks a permission that is not in this table fails `tests/contract/test_permissions.py`.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache

from devops_mcp.models.base import Model
from devops_mcp.models.errors import InvalidInput, Violation

GRANT_PATTERN = r"^[a-z0-9_.:*@-]{1,120}$"
PLATFORM = "platform:"
"""Permissions that only the operator's tenant can hold, whatever a grant elsewhere says."""
MAX_GRANTS = 200
_TOOL_CALL = "tools:call:"
_GRANT = re.compile(GRANT_PATTERN)
_MAX_STARS = 3


class BuiltInRole(StrEnum):
    """`owner` may do everything in its tenant, each further one down to `viewer` less. `agent` is for programs that act with tools."""

    OWNER = "owner"
    ADMIN = "admin"
    OPERATOR = "operator"
    DEVELOPER = "developer"
    VIEWER = "viewer"
    AGENT = "agent"


_ADMIN = (BuiltInRole.OWNER, BuiltInRole.ADMIN)
_OPERATOR = (*_ADMIN, BuiltInRole.OPERATOR)
_DEVELOPER = (*_OPERATOR, BuiltInRole.DEVELOPER)
_VIEWER = (*_DEVELOPER, BuiltInRole.VIEWER)
_OWNER = (BuiltInRole.OWNER,)
_AGENT = BuiltInRole.AGENT


class Permission(Model):
    """`name` may end in a part that stands for a name: `<tool>`. `roles` are the built-in ones that hold it, for every such name."""

    name: str
    about: str
    roles: tuple[BuiltInRole, ...]

    @property
    def grant(self) -> str:
        """The grant that covers it whatever the name."""
        return re.sub(r"<\w+>", "*", self.name)


def _p(name: str, about: str, *roles: BuiltInRole) -> Permission:
    return Permission(name=name, about=about, roles=roles)


PERMISSIONS: tuple[Permission, ...] = (
    _p("agents:any_owner", "register, change and remove everybody's agents", *_ADMIN),
    _p("agents:read", "list the tenant's agents, what they can do and how they are", *_VIEWER, _AGENT),
    _p("agents:write", "register oneself as an agent, and keep that current", *_DEVELOPER, _AGENT),
    _p("api_keys:own", "make, list, rotate and revoke API keys of one's own", *_VIEWER),
    _p("api_keys:read", "list the tenant's API keys, never their secrets", *_ADMIN),
    _p("api_keys:write", "make, rotate and revoke API keys, within one's own grants", *_ADMIN),
    _p("audit:payload", "see the arguments of what the audit log records", *_ADMIN),
    _p("audit:read", "search, export and verify the audit log", *_ADMIN),
    _p("consents:own", "list and withdraw what programs may do in one's name", *_VIEWER),
    _p("consents:read", "list what programs may do in the name of everybody in the tenant", *_ADMIN),
    _p("consents:write", "withdraw what programs may do in the name of everybody in the tenant", *_ADMIN),
    _p("contexts:any_owner", "reach the contexts of everybody in the tenant", *_ADMIN),
    _p("contexts:read", "read one's contexts", *_VIEWER, _AGENT),
    _p("contexts:write", "make, extend and delete one's contexts", *_DEVELOPER, _AGENT),
    _p("dead_letters:payload", "see the bodies of dead letters", *_OPERATOR),
    _p("dead_letters:purge", "throw dead letters away", *_OPERATOR),
    _p("dead_letters:read", "read dead letters", *_OPERATOR),
    _p("dead_letters:redrive", "send dead letters again", *_OPERATOR),
    _p("embeddings:any_owner", "choose the embedding model of the tenant and of others in it", *_ADMIN),
    _p("embeddings:choose", "choose the embedding model of what is one's own", *_DEVELOPER, _AGENT),
    _p("embeddings:create", "turn texts into vectors", *_DEVELOPER, _AGENT),
    _p("events:payload", "see what the systems sent, as they sent it", *_OPERATOR),
    _p("events:read", "read and follow events", *_VIEWER, _AGENT),
    _p("events:replay", "hand stored events once more to a consumer", *_OPERATOR),
    _p("integrations:own", "store one's own credentials for integrations", *_VIEWER),
    _p("integrations:payload", "see how integrations are configured, never their credentials", *_OPERATOR),
    _p("integrations:read:<integration>", "see that there is an integration", *_VIEWER, _AGENT),
    _p("integrations:write:<integration>", "make, change, test and delete an integration", *_ADMIN),
    _p("platform:read", "list the platform's tenants and the programs that registered", *_OWNER),
    _p("platform:write", "create and suspend tenants, revoke programs", *_OWNER),
    _p("pollers:read", "see which systems are polled, and how that goes", *_OPERATOR),
    _p("prompts:read:<prompt>", "use a prompt", *_VIEWER, _AGENT),
    _p("quotas:read", "see how much everybody in the tenant may use, and has used", *_OPERATOR),
    _p("quotas:write", "say how much each API key and user may use", *_ADMIN),
    _p("resources:read:<system>", "read what a system offers as resources", *_VIEWER, _AGENT),
    _p("roles:read", "list the tenant's roles", *_VIEWER),
    _p("roles:write", "make, change and delete roles, within one's own grants", *_ADMIN),
    _p("rules:destructive", "let rules call tools that may lose something, with nobody asked", *_ADMIN),
    _p("rules:read", "list rules and what they did", *_DEVELOPER),
    _p("rules:write", "make, change and delete rules, which act within one's own grants", *_OPERATOR),
    _p("search:read", "search contexts, events and results", *_VIEWER, _AGENT),
    _p("sessions:own", "list and end sessions of one's own", *_VIEWER),
    _p("sessions:read", "list the sessions of everybody in the tenant", *_ADMIN),
    _p("sessions:write", "end the sessions of everybody in the tenant", *_ADMIN),
    _p("tasks:cancel", "cancel everybody's tasks", *_OPERATOR),
    _p("tasks:payload", "see the arguments and results of everybody's tasks", *_ADMIN),
    _p("tasks:read", "see which tasks everybody has, and how they stand", *_OPERATOR),
    _p("tenant:read", "read about one's tenant", *_VIEWER),
    _p("tenant:write", "rename one's tenant", *_OWNER),
    _p("tools:destructive:<tool>", "call a tool that may lose something", *_OPERATOR),
    _p("tools:high:<tool>", "call a tool of high risk, whatever its effect", *_OPERATOR),
    _p("tools:low:<tool>", "call a tool of low risk, whatever its effect", *_OPERATOR),
    _p("tools:medium:<tool>", "call a tool of medium risk, whatever its effect", *_OPERATOR),
    _p("tools:read:<tool>", "call a tool that only reads", *_VIEWER, _AGENT),
    _p("tools:write:<tool>", "call a tool that changes something", *_DEVELOPER),
    _p("usage:own", "read what one has used oneself", *_VIEWER, _AGENT),
    _p("usage:read", "read what everybody in the tenant has used", *_OPERATOR),
    _p("users:read", "list the tenant's users", *_ADMIN),
    _p("users:write", "create, change, suspend and delete users, within one's own grants", *_ADMIN),
    _p("webhooks:read", "list outgoing webhooks and their deliveries", *_DEVELOPER),
    _p("webhooks:write", "make, change and delete outgoing webhooks", *_OPERATOR),
)


_MORE: Mapping[BuiltInRole, tuple[str, ...]] = {_AGENT: ("tools:write:context_*", "tools:write:agent_*")}
"""What a role holds of permissions down to a name."""


def _built_in(role: BuiltInRole) -> tuple[str, ...]:
    if role is BuiltInRole.OWNER:
        return ("*",)
    return (
        *(permission.grant for permission in PERMISSIONS if role in permission.roles),
        *_MORE.get(role, ()),
    )


BUILT_IN: Mapping[str, tuple[str, ...]] = {role.value: _built_in(role) for role in BuiltInRole}
"""The grants of each built-in role."""


def covers(grants: tuple[str, ...], permission: str) -> bool:
    """Whether a pattern in `grants` matches `permission`; `*` matches across colons, and `tools:call:x` is every way of calling x.

    A pattern in the place of `permission` is matched only if all that it matches is covered.
    """
    return _covers(grants, permission)


def grants_of(roles: Iterable[str], custom: Iterable[str], own: Iterable[str]) -> tuple[str, ...]:
    """The union of the built-in roles among `roles`, the grants `custom` of the other ones, and one's own."""
    built_in = (grant for role in roles for grant in BUILT_IN.get(role, ()))
    return tuple(dict.fromkeys((*built_in, *custom, *own)))


def require_grants(grants: Iterable[str], where: str = "grants") -> None:
    """Raise `InvalidInput` for a text that is no grant."""
    wrong = [grant for grant in grants if not _GRANT.fullmatch(grant) or grant.count("*") > _MAX_STARS]
    if wrong:
        problem = f"{wrong[0]!r} is not of the form resource:action or resource:action:name, with up to {_MAX_STARS} '*'"
        raise InvalidInput(f"{where}: {problem}", (Violation(where, problem),))


def require_useful(grants: Iterable[str], where: str = "grants") -> None:
    """Raise `InvalidInput` for a text that is no grant, or that allows nothing since no permission is like it: a misspelt one."""
    given = tuple(grants)
    require_grants(given, where)
    idle = next((grant for grant in given if not _allows_something(grant)), None)
    if idle is not None:
        problem = f"{idle!r} allows nothing: no permission is like it; GET /api/v1/permissions lists them"
        raise InvalidInput(f"{where}: {problem}", (Violation(where, problem),))


def _allows_something(grant: str) -> bool:
    """Whether it matches a permission; one down to a name is tried with every name that the grant may end in."""
    spelled, matches = _spelled_out(grant), _compiled((grant,)).fullmatch
    ends = {spelled[at:].replace("*", "") for at in range(1, len(spelled) + 1) if spelled[at - 1] in ":*"} | {
        ""
    }
    return any(
        matches(permission.grant.removesuffix("*") + end)
        for permission in PERMISSIONS
        for end in (ends if permission.grant.endswith("*") else ("",))
    )


@lru_cache(maxsize=16_384)
def _covers(grants: tuple[str, ...], permission: str) -> bool:
    return bool(_compiled(grants).fullmatch(_spelled_out(permission)))


@lru_cache(maxsize=2_048)
def _compiled(grants: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{_expression(grant)})" for grant in grants) or r"(?!)", re.DOTALL)


def _expression(grant: str) -> str:
    return ".*".join(re.escape(part) for part in _spelled_out(grant).split("*"))


def _spelled_out(grant: str) -> str:
    if grant.startswith(_TOOL_CALL):
        return f"tools:*:{grant.removeprefix(_TOOL_CALL)}"
    return grant
