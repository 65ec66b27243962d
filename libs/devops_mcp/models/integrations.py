"""Integrations as a tenant makes them: a system, where it is, and how we get in."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, JsonValue, SecretStr, StringConstraints

from devops_mcp.models.base import JsonObject, Model
from devops_mcp.models.polling import PollWanted

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
MAX_INTEGRATIONS = 100
"""Of one tenant."""
MAX_WEBHOOK_SECRETS = 5

IntegrationName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
WebhookSecret = Annotated[SecretStr, Field(min_length=8, max_length=500)]
Credentials = Annotated[dict[str, JsonValue], Field(max_length=50)]


class CredentialPolicy(StrEnum):
    """As whom we call the system.

    `SERVICE`: with the integration's own credentials. `PERSONAL_REQUIRED`: as the person who asks, and not at all for who has stored no
    credential. `PERSONAL_PREFERRED`: as the person where there is such a credential, else as the service. The audit log says which it was.
    """

    SERVICE = "service"
    PERSONAL_REQUIRED = "personal_required"
    PERSONAL_PREFERRED = "personal_preferred"


class IntegrationDraft(Model):
    """What may be said anew of an integration.

    `options` and `credentials` are the system's own, as its entry in the list of systems describes them. `credentials` and
    `webhook_secrets` are never shown; null leaves those that are kept as they are. `polls` are those of the system's pollers that run.
    """

    read_only: bool = False
    credential_policy: CredentialPolicy = CredentialPolicy.SERVICE
    options: JsonObject = Field(default_factory=dict, max_length=50)
    polls: dict[str, PollWanted] = Field(default_factory=dict, max_length=20)
    credentials: Credentials | None = Field(default=None, json_schema_extra={"writeOnly": True})
    webhook_secrets: tuple[WebhookSecret, ...] | None = Field(
        default=None, max_length=MAX_WEBHOOK_SECRETS, json_schema_extra={"writeOnly": True}
    )


class NewIntegration(IntegrationDraft):
    """`name` is what a tool's `target` says, and `system` one of the list of systems; neither changes afterwards."""

    name: IntegrationName
    system: str = Field(min_length=1, max_length=64)


class IntegrationsWanted(Model):
    """Which integrations to list: those of a system, whose name holds `name`, of the operator's configuration or not, read-only or not."""

    system: str | None = Field(default=None, min_length=1, max_length=64)
    name: str | None = Field(default=None, min_length=1, max_length=100)
    configured: bool | None = None
    read_only: bool | None = None


class KeptWebhookSecret(Model):
    """A secret that deliveries may be signed with, and until when; None: until it is taken away."""

    secret: str = Field(repr=False)
    until: datetime | None = None


class Sealed(Model):
    """What is sealed of an integration."""

    credentials: dict[str, Any] = Field(default_factory=dict, repr=False)
    webhook_secrets: tuple[KeptWebhookSecret, ...] = ()


class StoredIntegration(Model):
    """A row: what everybody may know of it, and `sealed`, which only opens with a master key."""

    id: UUID
    tenant_id: UUID
    name: str
    system: str
    read_only: bool
    credential_policy: CredentialPolicy
    options: JsonObject
    sealed: bytes = Field(repr=False)
    polls: dict[str, PollWanted] = Field(default_factory=dict)
    version: int
    created_at: datetime
    updated_at: datetime


class PersonalCredential(Model):
    """What a person has stored for an integration."""

    integration: str
    user_id: UUID
    sealed: bytes = Field(repr=False)
    version: UUID
    created_at: datetime
    updated_at: datetime


class Installed(Model):
    """That a tenant has an integration of this version; `suspended` tenants may have none."""

    tenant_id: UUID
    suspended: bool
    id: UUID | None
    version: int | None
