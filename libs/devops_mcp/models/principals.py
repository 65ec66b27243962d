"""Who is calling, and what they may do."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from uuid import UUID

from devops_mcp.models.base import Model


class PrincipalKind(StrEnum):
    USER = "user"
    AGENT = "agent"
    SERVICE = "service"


class Principal(Model):
    """An authenticated caller. `grants` are permission patterns: `tools:read:github_*`, `contexts:*`, `*`.

    `toolsets` are the systems whose tools its connections list by themselves, or `all`: a choice, not a right.
    """

    id: UUID
    tenant_id: UUID
    kind: PrincipalKind
    name: str
    grants: tuple[str, ...]
    toolsets: tuple[str, ...] = ()

    def may(self, permission: str) -> bool:
        """Whether one of the grants covers `permission`, such as `tools:write:github_issue_write` or `search:read`."""
        return covers(self.grants, permission)


class ApiKey(Model):
    """A key's row; the secret itself is never kept, only its hash."""

    id: UUID
    tenant_id: UUID
    prefix: str
    secret_hash: bytes
    kind: PrincipalKind
    name: str
    grants: tuple[str, ...]
    toolsets: tuple[str, ...] = ()
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


def covers(grants: Iterable[str], permission: str) -> bool:
    """Whether a pattern in `grants` matches `permission`; `*` matches across colons."""
    return any(fnmatchcase(permission, grant) for grant in grants)
