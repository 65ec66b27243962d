"""The resources that systems offer by addresses of their own."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from devops_mcp.adapters.base import AnyAdapter, Resource
from devops_mcp.models.content import Document
from devops_mcp.models.errors import DeadlineExceeded, NotFound
from devops_mcp.models.principals import Principal
from devops_mcp.operations.prompts import COMPLETE_WITHIN_S, MAX_COMPLETIONS
from devops_mcp.operations.upstream_access import UpstreamAccess

_TARGET = "?target="
"""Names the integration, behind the address of a resource; default: the first that the principal may read from."""
_HOLE = re.compile(r"\\\{([a-z_]+)\\\}")
"""A hole of a template, after `re.escape`."""


@dataclass(frozen=True)
class OfferedResource:
    """A resource or template, and the system that offers it."""

    system: str
    resource: Resource[Any]

    @property
    def permission(self) -> str:
        return f"resources:read:{self.system}"

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the addresses under the template; a hole is one segment."""
        return re.compile(_HOLE.sub(r"(?P<\1>[^/?#]+)", re.escape(self.resource.uri)))


@dataclass(frozen=True, slots=True)
class _Found:
    """The resource of an address, what stands in its holes, and the integration that the address names."""

    offered: OfferedResource
    holes: dict[str, str]
    target: str | None


class AdapterResources:
    """Lists and reads them, for those who may."""

    def __init__(
        self, adapters: Mapping[str, AnyAdapter], access: UpstreamAccess, *, deadline_s: float
    ) -> None:
        self._offered = tuple(
            OfferedResource(name, resource)
            for name, adapter in sorted(adapters.items())
            for resource in adapter.resources
        )
        self._access = access
        self._integrations = access.integrations
        self._deadline_s = deadline_s

    def visible(self, principal: Principal) -> tuple[Resource[Any], ...]:
        """Resources and templates, in the order of systems."""
        return tuple(offered.resource for offered in self._offered if self._usable(principal, offered))

    def covers(self, principal: Principal, uri: str) -> bool:
        """Whether an address may be read, as far as its form tells."""
        return self._match(principal, uri) is not None

    async def read(self, principal: Principal, uri: str) -> Document:
        """What is behind an address. Raises `NotFound`, or what the system's client raises."""
        found = self._match(principal, uri)
        if found is None:
            raise NotFound(f"there is no resource {uri}")
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._client(principal, found.offered, found.target) as client,
            ):
                document = await found.offered.resource.read(client, found.holes)
                return document if found.target is None else document.model_copy(update={"uri": uri})
        except TimeoutError:
            raise DeadlineExceeded(f"{uri} took longer than {self._deadline_s:g} s") from None

    async def complete(self, principal: Principal, template: str, name: str, begun: str) -> list[str]:
        """Values for a hole of a template. Raises `NotFound` for a template that is not offered."""
        for offered in self._offered:
            if offered.resource.uri == template and self._usable(principal, offered):
                complete = offered.resource.complete.get(name)
                if complete is None:
                    return []
                try:
                    async with (
                        asyncio.timeout(COMPLETE_WITHIN_S),
                        self._client(principal, offered, None) as client,
                    ):
                        values = await complete(client, begun)
                except TimeoutError:
                    return []
                return list(values)[:MAX_COMPLETIONS]
        raise NotFound(f"there is no resource template {template}")

    def _match(self, principal: Principal, uri: str) -> "_Found | None":
        address, named, target = uri.partition(_TARGET)
        for offered in self._offered:
            match = offered.pattern.fullmatch(address)
            if match is None:
                continue
            usable = self._usable(principal, offered)
            if target in usable or (usable and not named):
                return _Found(offered, match.groupdict(), target or None)
        return None

    def _usable(self, principal: Principal, offered: OfferedResource) -> tuple[str, ...]:
        return self._integrations.usable(principal, offered.system, offered.permission)

    def _client(
        self, principal: Principal, offered: OfferedResource, target: str | None
    ) -> AbstractAsyncContextManager[Any]:
        integration = self._integrations.chosen(principal, offered.system, target, offered.permission)
        return self._access.client(principal, integration)
