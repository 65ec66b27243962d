"""Which DevOps systems there are: ours, one line each, and installed packages that name theirs as an entry point."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import entry_points

from devops_mcp.adapters.base import Adapter, AnyAdapter
from devops_mcp.models.base import OWN_SYSTEM

ENTRY_POINT_GROUP = "devops_mcp.adapters"

OWN = (
    "devops_mcp.adapters.github",
    "devops_mcp.adapters.alertmanager",
    "devops_mcp.adapters.grafana",
    "devops_mcp.adapters.pagerduty",
    "devops_mcp.adapters.sonarqube",
    "devops_mcp.adapters.artifactory",
    "devops_mcp.adapters.xray",
    "devops_mcp.adapters.slack",
    "devops_mcp.adapters.standard",
    "devops_mcp.adapters.cloudevents",
    "devops_mcp.adapters.sns",
    "devops_mcp.adapters.sentry",
    "devops_mcp.adapters.prometheus",
    "devops_mcp.adapters.filesystem",
    "devops_mcp.adapters.gitlab",
    "devops_mcp.adapters.gitea",
    "devops_mcp.adapters.forgejo",
    "devops_mcp.adapters.bitbucket",
    "devops_mcp.adapters.harness",
)


def load_adapters(modules: Iterable[str] = OWN, *, installed: bool = True) -> Mapping[str, AnyAdapter]:
    """All adapters by name: ours first, then with `installed` those of other packages in the order of their names.

    Raises `ValueError` when two adapters or two tools share a name, or an entry point is not an `Adapter`.
    """
    adapters: dict[str, AnyAdapter] = {}
    found = [(module, import_module(module).ADAPTER) for module in modules]
    if installed:
        points = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
        found += [(point.value, point.load()) for point in points]
    tools: set[str] = set()
    for origin, adapter in found:
        if not isinstance(adapter, Adapter):
            raise ValueError(f"{origin} is not an Adapter")
        if adapter.name == OWN_SYSTEM:
            raise ValueError(f"{origin}: {OWN_SYSTEM!r} is the name of what we bring about ourselves")
        if adapter.name in adapters:
            raise ValueError(f"two adapters are named {adapter.name!r}; the second is {origin}")
        names = {tool.name for tool in adapter.tools}
        if len(names) != len(adapter.tools) or names & tools:
            raise ValueError(f"{origin} names a tool twice, or one that another adapter has")
        tools |= names
        adapters[adapter.name] = adapter
    return adapters
