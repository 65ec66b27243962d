"""Integrations as they are shown."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from devops_mcp.adapters.base import AnyAdapter
from devops_mcp.models.base import JsonObject, Model
from devops_mcp.models.integrations import (
    CredentialPolicy,
    IntegrationsWanted,
    KeptWebhookSecret,
    Sealed,
    StoredIntegration,
)
from devops_mcp.operations.adapter_settings import credential_fields, part_of_schema
from devops_mcp.operations.integrations import Integration


class Polled(Model):
    """How often; null: as often as the poller does by itself."""

    every_s: float | None


class IntegrationSystem(Model):
    """A system, and the JSON Schemas of what an integration of it is told. `configurable`: False where only the operator may.

    `pollers` are what it can be polled for, with what each looks for.
    """

    name: str
    title: str
    configurable: bool
    webhooks: bool
    pollers: dict[str, str]
    options_schema: JsonObject
    credentials_schema: JsonObject


class IntegrationView(Model):
    """An integration. Those that are `configured` by the operator are read-only here.

    `options` are null for who may not see them, and of configured ones. `credentials` are the names of those that are set.
    `webhook_path` is where its system sends webhooks; `webhook_secrets` how many are in force. `polls` are the pollers that run.
    `problem` says why it cannot be used: its credentials do not open, or its system is not installed.
    """

    name: str
    system: str
    configured: bool
    read_only: bool
    credential_policy: CredentialPolicy
    options: JsonObject | None
    credentials: tuple[str, ...]
    webhook_path: str | None
    webhook_secrets: int
    polls: dict[str, Polled]
    problem: str | None = None
    version: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class ConnectionTest(Model):
    """Whether the system answered. `acted_as` is `service`, or `user:` and the id of the person; `detail` is its version or the problem."""

    ok: bool
    acted_as: str | None = None
    detail: str | None = None
    code: str | None = None
    duration_ms: float


class AddedWebhookSecret(Model):
    """`secret` is shown this once, where it was made here. `webhook_secrets` is how many are in force now."""

    secret: str | None
    webhook_path: str
    webhook_secrets: int


def system_of(adapter: AnyAdapter) -> IntegrationSystem:
    """What there is to say of a system."""
    secret = credential_fields(adapter.settings)
    others = adapter.settings.model_fields.keys() - secret
    return IntegrationSystem(
        name=adapter.name,
        title=adapter.title,
        configurable=not adapter.on_this_machine,
        webhooks=adapter.webhooks is not None,
        pollers={poller.name: poller.about for poller in adapter.pollers},
        options_schema=part_of_schema(adapter.settings, others),
        credentials_schema=part_of_schema(adapter.settings, secret),
    )


def view_of_configured(integration: Integration, now: datetime) -> IntegrationView:
    """One of the operator's configuration."""
    sealed = integration.opened()
    return IntegrationView(
        name=integration.name,
        system=integration.adapter.name,
        configured=True,
        read_only=integration.read_only,
        credential_policy=integration.policy,
        options=None,
        credentials=tuple(sorted(sealed.credentials)),
        webhook_path=webhook_path(integration.adapter, integration.name),
        webhook_secrets=in_force(sealed.webhook_secrets, now),
        polls={one.poller.name: Polled(every_s=one.every.total_seconds()) for one in integration.pollings},
    )


def view_of_row(
    row: StoredIntegration,
    sealed: Sealed | None,
    adapter: AnyAdapter | None,
    now: datetime,
    *,
    with_options: bool,
) -> IntegrationView:
    """One that a tenant made. `sealed` is None where it does not open, `adapter` where its system is not installed."""
    problem = None if adapter is not None else f"the system {row.system} is not installed"
    return IntegrationView(
        name=row.name,
        system=row.system,
        configured=False,
        read_only=row.read_only,
        credential_policy=row.credential_policy,
        options=row.options if with_options else None,
        credentials=tuple(sorted(sealed.credentials)) if sealed else (),
        webhook_path=None if adapter is None else webhook_path(adapter, row.id),
        webhook_secrets=in_force(sealed.webhook_secrets, now) if sealed else 0,
        polls={name: Polled(every_s=wanted.every_s) for name, wanted in row.polls.items()},
        problem=problem if sealed else "its secrets cannot be opened; store them again",
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def listed(views: Iterable[IntegrationView], wanted: IntegrationsWanted) -> tuple[IntegrationView, ...]:
    """Those that are wanted."""
    return tuple(
        view
        for view in views
        if wanted.system in (None, view.system)
        and wanted.configured in (None, view.configured)
        and wanted.read_only in (None, view.read_only)
        and (wanted.name is None or wanted.name.lower() in view.name.lower())
    )


def webhook_path(adapter: AnyAdapter, named: UUID | str) -> str | None:
    """Where the system sends webhooks, if it does."""
    return None if adapter.webhooks is None else f"/webhooks/{adapter.name}/{named}"


def in_force(kept: Iterable[KeptWebhookSecret], now: datetime) -> int:
    """How many are."""
    return sum(one.until is None or now < one.until for one in kept)
