"""The integrations: adapters configured for tenants, connected once a process."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID

from pydantic import SecretStr, ValidationError

from devops_mcp.adapters.base import AnyAdapter, Outside
from devops_mcp.config import IntegrationSettings
from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import ConfigurationError, NotFound
from devops_mcp.models.lists import Listed
from devops_mcp.resilience.policies import PolicyTable


@dataclass(frozen=True, slots=True)
class Integration:
    """One configured system. `client` is what the adapter's `connect` gave."""

    name: str
    tenant_id: UUID
    adapter: AnyAdapter
    client: Any
    read_only: bool
    webhook_secrets: tuple[SecretStr, ...]


class Integrations:
    """Looks integrations up, always for one tenant. Open it with `open_integrations`."""

    def __init__(self, integrations: Sequence[Integration], policies: PolicyTable) -> None:
        self._all = tuple(integrations)
        self._of: dict[UUID, tuple[Integration, ...]] = {
            tenant_id: tuple(i for i in integrations if i.tenant_id == tenant_id)
            for tenant_id in {i.tenant_id for i in integrations}
        }
        self._systems = {tenant_id: _by_system(own) for tenant_id, own in self._of.items()}
        self.policies = policies
        """What stands between us and each, by `<tenant>/<name>`: for the metrics."""

    def of(self, tenant_id: UUID) -> tuple[Integration, ...]:
        return self._of.get(tenant_id, ())

    def describe(self, tenant_id: UUID) -> tuple[JsonObject, ...]:
        """The tenant's integrations as everybody in it may know them: nothing of where they are or how we get in."""
        return tuple(
            {"name": i.name, "system": i.adapter.name, "title": i.adapter.title, "read_only": i.read_only}
            for i in self.of(tenant_id)
        )

    def systems(self, tenant_id: UUID) -> Mapping[str, tuple[str, ...]]:
        """The systems that the tenant has an integration for, and the names of these."""
        return self._systems.get(tenant_id, {})

    def resolve(self, tenant_id: UUID, system: str, target: str | None) -> Integration:
        """The tenant's integration of `system` named `target`, or its first. Raises `NotFound` that names those there are."""
        candidates = [i for i in self.of(tenant_id) if i.adapter.name == system]
        for candidate in candidates:
            if target is None or candidate.name == target:
                return candidate
        if not candidates:
            raise NotFound(f"no integration of {system} is configured")
        raise NotFound(
            f"no integration of {system} is named {target!r}; there are: {', '.join(i.name for i in candidates)}"
        )

    def for_webhook(self, system: str, name: str | None) -> Integration:
        """Whose webhook address this is. Without a name, the system's only integration.

        Raises `NotFound` for a system that is unknown or sends no webhooks, and where a name is needed or wrong.
        """
        found = [
            i
            for i in self._all
            if i.adapter.name == system and i.adapter.webhooks and (name is None or i.name == name)
        ]
        if len(found) != 1:
            raise NotFound("there is no such webhook address; use /webhooks/<system>/<integration>")
        return found[0]

    def all_for_health(self) -> tuple[Integration, ...]:
        """Every integration of every tenant, for readiness only."""
        return self._all


@asynccontextmanager
async def open_integrations(
    configured: Sequence[IntegrationSettings],
    adapters: Mapping[str, AnyAdapter],
    outside: Outside,
    changed: Callable[[UUID, Listed], Awaitable[None]] | None = None,
) -> AsyncIterator[Integrations]:
    """Connect every configured integration; none is called yet. `changed` is told when one changed a tenant's lists.

    Raises `ConfigurationError` that names the wrong one.
    """
    policies = PolicyTable()
    async with AsyncExitStack() as stack:
        opened = [
            await _open(stack, settings, adapters, _given(outside, settings, policies, changed))
            for settings in configured
        ]
        yield Integrations(opened, policies)


def _by_system(integrations: Sequence[Integration]) -> dict[str, tuple[str, ...]]:
    systems = dict.fromkeys(i.adapter.name for i in integrations)
    return {system: tuple(i.name for i in integrations if i.adapter.name == system) for system in systems}


def _given(
    outside: Outside,
    settings: IntegrationSettings,
    policies: PolicyTable,
    changed: Callable[[UUID, Listed], Awaitable[None]] | None,
) -> Outside:
    """The world as one integration sees it."""
    given = replace(outside, policies=policies.of(_key(settings)))
    return given if changed is None else replace(given, changed=partial(changed, settings.tenant_id))


def _key(settings: IntegrationSettings) -> str:
    return f"{settings.tenant_id}/{settings.name}"


async def _open(
    stack: AsyncExitStack, settings: IntegrationSettings, adapters: Mapping[str, AnyAdapter], outside: Outside
) -> Integration:
    adapter = adapters.get(settings.system)
    if adapter is None:
        raise ConfigurationError(
            f"integration {settings.name}: no system is named {settings.system!r}; there are: {', '.join(sorted(adapters))}"
        )
    try:
        options = adapter.settings.model_validate(settings.options)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigurationError(f"integration {settings.name}: {faults}") from None
    client = await stack.enter_async_context(adapter.connect(options, outside))
    return Integration(
        settings.name, settings.tenant_id, adapter, client, settings.read_only, settings.webhook_secrets
    )
