"""Who is calling, and what they may do."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from uuid import UUID

from devops_mcp.models.base import Model
from devops_mcp.models.ids import OPERATOR_TENANT_ID
from devops_mcp.models.permissions import PLATFORM, covers, grants_of


class PrincipalKind(StrEnum):
    USER = "user"
    AGENT = "agent"
    SERVICE = "service"


class Principal(Model):
    """An authenticated caller. `grants` are permission patterns: `tools:read:github_*`, `contexts:*`, `*`.

    Each of `limits` narrows them further: what a token was asked for, what the user behind a key may.
    `user_id` is the user that it is, or acts for; `session_id` the sign-in that it comes by, if its credential is an access token of ours;
    `identity_id` the outside identity that it signed in by on our own pages, with which ends what it begins there.
    `toolsets` are the systems whose tools its connections list by themselves, or `all`: a choice, not a right.
    """

    id: UUID
    tenant_id: UUID
    kind: PrincipalKind
    name: str
    grants: tuple[str, ...]
    limits: tuple[tuple[str, ...], ...] = ()
    toolsets: tuple[str, ...] = ()
    user_id: UUID | None = None
    session_id: UUID | None = None
    identity_id: UUID | None = None

    @cached_property
    def ids(self) -> dict[str, str]:
        """What log lines name it by."""
        return {"tenant_id": str(self.tenant_id), "principal_id": str(self.id)}

    @cached_property
    def caller(self) -> str:
        """Who counts as one caller where calls are counted: a user and the keys that act for it."""
        return str(self.user_id or self.id)

    def may(self, permission: str, *alternatives: str) -> bool:
        """Whether the grants cover `permission`, such as `tools:write:github_issue_write` or `search:read`, or one of `alternatives`.

        Asked with a grant: whether it is theirs to hand on, with all that it covers.
        """
        if permission.startswith(PLATFORM) and self.tenant_id != OPERATOR_TENANT_ID:
            return False
        wanted = (permission, *alternatives)
        return all(any(covers(grants, one) for one in wanted) for grants in (self.grants, *self.limits))

    def may_on(self, integrations: Iterable[str], permission: str, *alternatives: str) -> bool:
        """Whether it may this on one of these integrations at least.

        A grant that ends in `@<integration>` holds for that one only; any other for all of them.
        """
        wanted = (permission, *alternatives)
        return self.may(*wanted) or any(self.may(*(f"{p}@{name}" for p in wanted)) for name in integrations)

    def within(self, limits: tuple[tuple[str, ...], ...]) -> "Principal":
        """The same, narrowed by these as well."""
        return self.model_copy(update={"limits": (*self.limits, *limits)}) if limits else self


NOBODY = Principal(
    id=UUID(int=0), tenant_id=OPERATOR_TENANT_ID, kind=PrincipalKind.USER, name="nobody", grants=()
)
"""Who has not said who it is, and may nothing."""


class Account(Model):
    """What decides about a principal: its grants and roles, and those of the user that it acts for."""

    id: UUID
    tenant_id: UUID
    kind: PrincipalKind
    name: str
    roles: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    role_grants: tuple[str, ...] = ()
    """Of the custom roles among `roles`."""
    user_id: UUID | None = None
    user_roles: tuple[str, ...] = ()
    user_grants: tuple[str, ...] = ()
    """Of the user itself and of its custom roles."""
    toolsets: tuple[str, ...] = ()
    is_user: bool = False
    """It is itself a user, and no key of one."""

    def principal(self) -> Principal:
        """With the grants that follow."""
        within = grants_of(self.user_roles, self.user_grants, ())
        return Principal(
            id=self.id,
            tenant_id=self.tenant_id,
            kind=self.kind,
            name=self.name,
            grants=grants_of(self.roles, self.role_grants, self.grants),
            toolsets=self.toolsets,
            limits=() if self.user_id is None else (within,),
            user_id=self.id if self.is_user else self.user_id,
        )


class ApiKey(Model):
    """A key's row; the secret itself is never kept, only its hash.

    `previous_hash` is that of the secret before, good until `previous_until`.
    A key of a user (`user_id`) never does more than the user may.
    """

    id: UUID
    tenant_id: UUID
    prefix: str
    secret_hash: bytes
    kind: PrincipalKind
    name: str
    roles: tuple[str, ...] = ()
    grants: tuple[str, ...]
    toolsets: tuple[str, ...] = ()
    user_id: UUID | None = None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    previous_hash: bytes | None = None
    previous_until: datetime | None = None


class FoundKey(ApiKey):
    """A key with all that decides about it."""

    role_grants: tuple[str, ...] = ()
    user_roles: tuple[str, ...] = ()
    user_grants: tuple[str, ...] = ()

    def principal(self) -> Principal:
        return Account(
            id=self.id,
            tenant_id=self.tenant_id,
            kind=self.kind,
            name=self.name,
            roles=self.roles,
            grants=self.grants,
            role_grants=self.role_grants,
            toolsets=self.toolsets,
            user_id=self.user_id,
            user_roles=self.user_roles,
            user_grants=self.user_grants,
        ).principal()
