"""The names under which tools are asked for together: those of the systems, of the suite itself, and of all."""

from collections.abc import Collection, Iterable

from devops_mcp.models.errors import InvalidInput, Violation
from devops_mcp.operations.catalogue import SUITE

EVERYTHING = "all"
_SHOWN = 40
"""So many characters of a name that we do not know are repeated."""


class Toolsets:
    """Those that there are here, whether or not a tenant has an integration of the system yet."""

    def __init__(self, systems: Iterable[str]) -> None:
        self._known = frozenset({EVERYTHING, SUITE, *systems})

    def require(self, asked: Collection[str], *, where: str = "toolsets") -> None:
        """Raise `InvalidInput` that names one of `asked` that there is not, and those that there are."""
        unknown = sorted(set(asked) - self._known)
        if unknown:
            problem = (
                f"there is no toolset {unknown[0][:_SHOWN]!r}; there are {', '.join(sorted(self._known))}"
            )
            raise InvalidInput(f"{where}: {problem}", (Violation(where, problem),))
