"""Which tools there are, and which of them a principal may see and call: one rule for both."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from devops_mcp.adapters.base import AnyAdapter, AnyTool
from devops_mcp.models.base import JsonObject, Model
from devops_mcp.models.errors import NotFound
from devops_mcp.models.principals import Principal
from devops_mcp.operations.schemas import brief

Systems = Mapping[str, tuple[str, ...]]
"""The systems that a tenant has, and the names of its integrations of each."""
SUITE = "suite"
"""The system of the tools that are the suite's own."""


class FoundTool(Model):
    """A tool in short; `effect` is `read`, `write` or `destructive`."""

    name: str
    title: str
    system: str
    effect: str
    description: str


class DescribedTool(FoundTool):
    """A tool with the JSON Schema of its arguments."""

    input_schema: JsonObject


@dataclass(frozen=True)
class CatalogueEntry:
    """A tool, the system it belongs to, and its schemas."""

    tool: AnyTool
    system: str

    @cached_property
    def permissions(self) -> tuple[str, str]:
        """What a principal needs, one of them: `tools:<effect>:<name>` or `tools:<risk>:<name>`."""
        return f"tools:{self.tool.effect}:{self.tool.name}", f"tools:{self.tool.risk}:{self.tool.name}"

    @property
    def needed(self) -> tuple[str, ...]:
        """The permissions of which a caller needs one; none where it needs none."""
        return self.permissions if self.tool.needs_grant else ()

    def allows(self, principal: Principal, integrations: Iterable[str]) -> bool:
        """Whether the principal may call it, on one of these integrations at least."""
        return not self.needed or principal.may_on(integrations, *self.needed)

    @cached_property
    def found(self) -> FoundTool:
        """The entry as a search shows it."""
        return FoundTool(**self._short)

    @cached_property
    def described(self) -> DescribedTool:
        """The entry as it is described to who asks for it."""
        return DescribedTool(**self._short, input_schema=self.input_schema)

    @property
    def _short(self) -> dict[str, Any]:
        tool = self.tool
        return {
            "name": tool.name,
            "title": tool.title,
            "system": self.system,
            "effect": tool.effect.value,
            "description": tool.description,
        }

    @cached_property
    def input_schema(self) -> JsonObject:
        """JSON Schema 2020-12 of the arguments."""
        if self.tool.input_schema is not None:
            return self.tool.input_schema
        schema = brief(self.tool.params.model_json_schema())
        if self.system == SUITE:  # there is only one
            _properties(schema).pop("target", None)
        return schema

    @cached_property
    def output_schema(self) -> JsonObject:
        """JSON Schema of the result as it is shown: chosen, empty and cut parts are absent, so nothing is required."""
        schema = brief(self.tool.result.model_json_schema(mode="serialization"), of_result=True)
        _properties(schema)["truncated"] = {"type": "object"}
        return schema


class Catalogue:
    """All tools, in the order of their names."""

    def __init__(self, adapters: Mapping[str, AnyAdapter], suite_tools: Iterable[AnyTool]) -> None:
        entries = [CatalogueEntry(tool, SUITE) for tool in suite_tools]
        entries += [
            CatalogueEntry(tool, name) for name, adapter in adapters.items() for tool in adapter.tools
        ]
        self._entries = {entry.tool.name: entry for entry in sorted(entries, key=lambda e: e.tool.name)}
        if len(self._entries) != len(entries):
            raise ValueError("two tools share a name")

    @property
    def tools(self) -> tuple[AnyTool, ...]:
        """All, whoever may call them."""
        return tuple(entry.tool for entry in self._entries.values())

    def visible(self, principal: Principal, systems: Systems) -> tuple[CatalogueEntry, ...]:
        """The tools of the suite and of `systems`, with the names of their integrations, that the principal may call."""
        return tuple(e for e in self._entries.values() if _allowed(e, principal, systems))

    def input_schema(self, name: str) -> JsonObject | None:
        """The schema of a tool's arguments, whoever asks: schemas are public, what they lead to is not."""
        entry = self._entries.get(name)
        return entry.input_schema if entry else None

    def get(self, name: str, principal: Principal, systems: Systems) -> CatalogueEntry:
        """The tool, if it is visible. Raises `NotFound`, the same whether it is hidden or absent."""
        entry = self._entries.get(name)
        if entry is None or not _allowed(entry, principal, systems):
            raise self.absent(name)
        return entry

    def refused(self, name: str, principal: Principal, systems: Systems) -> CatalogueEntry | None:
        """The tool that is there for others in the tenant, and not for the principal."""
        entry = self._entries.get(name)
        there = entry is not None and (entry.system == SUITE or entry.system in systems)
        return entry if there and entry is not None and not _allowed(entry, principal, systems) else None

    @staticmethod
    def absent(name: str) -> NotFound:
        """What is said of a tool that is hidden or not there at all."""
        return NotFound(f"there is no tool {name!r}; find tools with tools_search")


def _allowed(entry: CatalogueEntry, principal: Principal, systems: Systems) -> bool:
    if entry.system == SUITE:
        return entry.allows(principal, ())
    return entry.system in systems and entry.allows(principal, systems[entry.system])


def _properties(schema: JsonObject) -> JsonObject:
    properties = schema.setdefault("properties", {})
    assert isinstance(properties, dict)
    return properties
