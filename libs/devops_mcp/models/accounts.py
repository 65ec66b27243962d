"""People with a password or an identity from outside, the roles that are made for a tenant, and tenants."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints

from devops_mcp.models.base import Model
from devops_mcp.models.permissions import GRANT_PATTERN, MAX_GRANTS
from devops_mcp.models.principals import Account, PrincipalKind

MIN_PASSWORD = 12
MAX_PASSWORD = 256
"""Characters."""


def _lowered(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _long_enough(password: SecretStr) -> SecretStr:
    if not MIN_PASSWORD <= len(password.get_secret_value()) <= MAX_PASSWORD:
        raise ValueError(f"must have {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    return password


Username = Annotated[
    str, BeforeValidator(_lowered), StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
]
Email = Annotated[
    str,
    BeforeValidator(_lowered),
    StringConstraints(pattern=r"^[^\s@/]{1,64}@[^\s@/]{1,190}$", max_length=254),
]
Slug = Annotated[str, BeforeValidator(_lowered), StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,62}$")]
Password = Annotated[SecretStr, AfterValidator(_long_enough)]
RoleName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Grant = Annotated[str, StringConstraints(pattern=GRANT_PATTERN)]
RoleNames = Annotated[tuple[RoleName, ...], Field(max_length=20)]
Grants = Annotated[tuple[Grant, ...], Field(max_length=MAX_GRANTS)]


class UserStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"


class User(Model):
    """A person of a tenant. Its grants are its own and those of its roles together."""

    id: UUID
    username: str
    email: str | None = None
    name: str
    status: UserStatus
    roles: tuple[str, ...]
    grants: tuple[str, ...]
    has_password: bool
    created_at: datetime
    updated_at: datetime


class UsersWanted(Model):
    """Which users to list: those in a state, with a role of their own, of a username or an address, whose name holds `name`."""

    status: UserStatus | None = None
    role: RoleName | None = None
    username: Username | None = None
    email: Email | None = None
    name: str | None = Field(default=None, min_length=1, max_length=200)


class ApiKeysWanted(Model):
    """Which keys to list: those whose name holds `name`, of a kind, with a role of their own, of one user, that are good or not."""

    name: str | None = Field(default=None, min_length=1, max_length=200)
    kind: PrincipalKind | None = None
    role: RoleName | None = None
    user_id: UUID | None = None
    in_force: bool | None = None


class UserCredentials(Account):
    """What decides whether somebody may log in, and as whom."""

    username: str
    status: UserStatus
    password_hash: str | None


class IdentityName(Model):
    """Who somebody is at an outside identity provider: the claims `iss` and `sub` of its tokens."""

    issuer: str = Field(min_length=1, max_length=300)
    subject: str = Field(min_length=1, max_length=255)


class LinkedIdentity(IdentityName):
    """An identity that a user signs in by."""

    id: UUID
    created_at: datetime


class Role(Model):
    """A set of grants under a name. The built-in ones are the same in every tenant."""

    name: str
    description: str = ""
    grants: tuple[str, ...]
    built_in: bool = False


class RolesWanted(Model):
    """Which roles to list: the built-in ones or the tenant's own, whose name holds `name`."""

    built_in: bool | None = None
    name: str | None = Field(default=None, min_length=1, max_length=63)

    def holds(self, role: Role) -> bool:
        """Whether the role is one of these."""
        return self.built_in in (None, role.built_in) and (self.name or "") in role.name


class TenantStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"


class RetentionWanted(Model):
    """Days for which a tenant's events, with what is made searchable of them, and its contexts are kept.

    None: as long as the installation keeps them. A context whose creator says when it ends, ends then.
    """

    event_days: int | None = Field(default=None, ge=31, le=36_500)
    context_days: int | None = Field(default=None, ge=1, le=36_500)


class Retention(RetentionWanted):
    """`events_kept_days` and `contexts_kept_days` are what is in effect; None: until they are deleted."""

    events_kept_days: int
    contexts_kept_days: int | None


class Tenant(Model):
    """`slug` stands for the tenant in a login, as in `acme/alice`; a tenant without one is named by its id."""

    id: UUID
    name: str
    slug: str | None
    status: TenantStatus
    created_at: datetime


class TenantsWanted(Model):
    """Which tenants to list: those in a state, of a slug, whose name holds `name`."""

    status: TenantStatus | None = None
    slug: Slug | None = None
    name: str | None = Field(default=None, min_length=1, max_length=200)


class Erasure(Model):
    """The removal of everything of a tenant. `removed` counts rows by table, and blobs; None for `finished_at`: it is under way."""

    id: UUID
    tenant_id: UUID
    requested_by: UUID
    requested_at: datetime
    removed: dict[str, int]
    finished_at: datetime | None
